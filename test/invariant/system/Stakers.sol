// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Exit, Sequencer, Status} from "../../../contracts/interfaces/ISequencerRegistry.sol";
import {Ledger} from "./Ledger.sol";

/// @title What owners and delegators do
abstract contract Stakers is Ledger {
    function join(uint256 stakeWei) external {
        if (registry.count() == MAX_SEQUENCERS || _activeCount() >= MAX_ACTIVE) return;
        if (_joinAs(bound(stakeWei, p.minStakeWei, 300 ether))) _did("joined");
    }

    function topUp(uint256 who, uint256 amountWei) external {
        (uint32 id, address owner) = _pickOwner(who);
        if (_isWorthNothing(id)) return;
        if (amountWei % 4 != 0) _creditDue();
        amountWei = bound(amountWei, p.weightUnitWei, 300 ether);
        _give(owner, amountWei);
        (bool done,) = _try(owner, at.registry, abi.encodeCall(registry.topUp, (id, amountWei)));
        if (!done) return;
        _tokensInWei += amountWei;
        _did("topped up");
    }

    function delegate(uint256 who, uint256 delegator, uint256 amountWei) external {
        uint32 id = _pickId(who);
        if (_isWorthNothing(id)) return;
        if (amountWei % 4 != 0) _creditDue();
        address holder = _delegators[bound(delegator, 0, 2)];
        amountWei = bound(amountWei, p.weightUnitWei, 300 ether);
        _give(holder, amountWei);
        (bool done,) = _try(holder, at.registry, abi.encodeCall(registry.delegate, (id, amountWei)));
        if (!done) return;
        _tokensInWei += amountWei;
        _did("delegated");
    }

    function undelegate(uint256 who, uint256 delegator, uint256 shares) external {
        uint32 id = _pickId(who);
        address holder = _delegators[bound(delegator, 0, 2)];
        uint256 holding = registry.sharesOf(id, holder);
        if (holding != 0) _leave(id, holder, bound(shares, 1, holding));
    }

    /// An owner takes out a part, or everything if the rest would be too little, as long as enough others stay.
    function leave(uint256 who, uint256 shares) external {
        (uint32 id, address owner) = _pickOwner(who);
        uint256 holding = registry.sharesOf(id, owner);
        if (holding == 0) return;
        shares = bound(shares, 1, holding);
        // Else what waits would be left alone, or nothing at all.
        if (_ownWei(id, owner, holding - shares) < p.minStakeWei) {
            shares = holding;
        }
        if (shares == holding && _activeCount() < 3) return;

        uint256 waiting = shares == holding ? registry.waitingSharesOf(id, owner) : 0;
        vm.prank(owner);
        _openExits.push(registry.leave(id, shares, waiting));
        _did("requested exits");
    }

    function _leave(uint32 id, address holder, uint256 shares) private {
        vm.prank(holder);
        _openExits.push(registry.requestExit(id, shares));
        _did("requested exits");
    }

    /// Who waits to work takes a part of it back, or all.
    function leaveQueue(uint256 who, uint256 delegator, uint256 shares) external {
        (uint32 id, address owner) = _pickOwner(who);
        address holder = delegator % 4 == 3 ? owner : _delegators[delegator % 4];
        uint256 waiting = registry.waitingSharesOf(id, holder);
        if (waiting == 0) return;
        shares = bound(shares, 1, waiting);
        if (holder == owner && _ownWei(id, owner, registry.sharesOf(id, owner)) < p.minStakeWei + 300 ether) return;
        _leaveQueue(id, holder, shares);
    }

    function _leaveQueue(uint32 id, address holder, uint256 shares) private {
        uint256 waiting = registry.waitingSharesOf(id, holder);
        if (waiting == 0) return;
        vm.prank(holder);
        _openExits.push(registry.leave(id, 0, shares < waiting ? shares : waiting));
        _did("requested exits");
        _did("left the queue");
    }

    /// @dev What an owner with so many working shares has of its own.
    function _ownWei(uint32 id, address owner, uint256 shares) private view returns (uint256) {
        Sequencer memory entry = registry.sequencer(id);
        uint256 waiting = registry.waitingSharesOf(id, owner);
        return Math.mulDiv(shares, entry.assetsWei - entry.restingWei + 1, entry.shares + 1000)
            + Math.mulDiv(waiting, entry.restingWei + 1, entry.restingShares + 1000);
    }

    /// The holder of an exit asks for it now, or once its time has come. What it gets is its part of what the pool holds.
    function claim(uint256 which, uint256 wait) external {
        if (_openExits.length == 0) return;
        which = bound(which, 0, _openExits.length - 1);
        uint256 exitId = _openExits[which];
        if (wait % 4 != 0) _awaitExit(exitId);
        Exit memory exit = registry.exit(exitId);
        Sequencer memory entry = registry.sequencer(exit.sequencer);
        uint256 dueWei = Math.mulDiv(exit.restingShares, entry.restingWei + 1, entry.restingShares + 1000);
        uint256 beforeWei = token.balanceOf(exit.holder);

        (bool done,) = _try(exit.holder, at.registry, abi.encodeCall(registry.claim, (exitId)));
        if (!done) return;
        assertEq(token.balanceOf(exit.holder) - beforeWei, dueWei, "a claim pays its part of the pool");
        _tokensOutWei += dueWei;
        _openExits[which] = _openExits[_openExits.length - 1];
        _openExits.pop();
        _did("claimed exits");
        if (entry.status == Status.Tombstoned) _did("claimed exits of the slashed");
    }

    /// @dev Until the exit has left the queue, a few epochs at most, and until its clock has run out.
    function _awaitExit(uint256 exitId) private {
        for (uint256 i = 0; i < 4; ++i) {
            (bool known, uint64 time) = registry.claimableAt(exitId);
            if (known) return _travel(time, true);
            _travel(settlement.startOf(_epoch() + 1), true);
        }
    }

    /// Whoever is jailed comes back, now or after its term, with what its own stake is short of.
    function unjail(uint256 who, uint256 wait) external {
        (uint32 id, address owner) = _pickOwner(who);
        Sequencer memory entry = registry.sequencer(id);
        if (entry.status == Status.Jailed && wait % 4 != 0) {
            _travel(entry.jailedUntil, true);
            _topUpToMinimum(id, owner);
        }
        (bool done,) = _try(owner, at.registry, abi.encodeCall(registry.unjail, (id)));
        if (!done) return;
        _heardAt[id] = block.timestamp;
        _did("unjailed");
    }

    function _topUpToMinimum(uint32 id, address owner) private {
        Sequencer memory entry = registry.sequencer(id);
        if (entry.assetsWei < 1 ether) return;
        uint256 ownWei = _ownWei(id, owner, registry.sharesOf(id, owner));
        if (ownWei >= p.minStakeWei) return;
        // A little more than is missing, for what rounding takes.
        uint256 amountWei = p.minStakeWei - ownWei + p.weightUnitWei;
        _give(owner, amountWei);
        (bool done,) = _try(owner, at.registry, abi.encodeCall(registry.topUp, (id, amountWei)));
        if (done) _tokensInWei += amountWei;
    }

    function rotate(uint256 who) external {
        (uint32 id, address owner) = _pickOwner(who);
        address signer = _actor(_keysUsed++).signer;
        bytes memory proof = _proof(owner, _keyOf(signer));
        (bool done,) = _try(owner, at.registry, abi.encodeCall(registry.rotateSigner, (id, signer, proof)));
        if (!done) return;
        _name(signer);
        _did("rotated");
    }

    function setPoster(uint256 who) external {
        (uint32 id, address owner) = _pickOwner(who);
        (address poster, uint256 key) = makeAddrAndKey(string.concat("poster ", vm.toString(id)));
        bytes memory proof = _posterProof(id, key);
        _name(poster);
        vm.prank(owner);
        registry.setPoster(id, poster, proof);
    }

    function flush(uint256 max) external {
        _try(_keeper, at.registry, abi.encodeCall(registry.flush, (bound(max, 1, 20))));
    }

    function setCommission(uint256 who, uint256 bps) external {
        (uint32 id, address owner) = _pickOwner(who);
        uint256 maximum = Math.min(rewardPool.commission(id).bps + p.commissionRaiseBps, 10_000);
        vm.prank(owner);
        rewardPool.setCommission(id, uint16(bound(bps, maximum / 2, maximum)));
    }

    function claimCommission(uint256 who) external {
        uint32 id = _pickId(who);
        uint256 dueWei = rewardPool.commissionBalance(id);
        if (dueWei == 0) return;
        address payee = registry.payeeOf(id);
        uint256 beforeWei = token.balanceOf(payee);
        rewardPool.claimCommission(id);
        assertEq(
            token.balanceOf(payee) - beforeWei, dueWei, "commissions go to whom the owner has named, or to the owner"
        );
        _tokensOutWei += dueWei;
        _did("claimed commissions");
    }

    /// An owner hands over all that it has in its pool, at whatever time.
    function handOver(uint256 who, uint256 heir) external {
        (uint32 id, address owner) = _pickOwner(who);
        address next = makeAddr(string.concat("heir ", vm.toString(heir % 8)));
        address withdrawal = registry.rightsOf(id).withdrawal;
        (uint256 shares, uint256 waiting) = (registry.sharesOf(id, owner), registry.waitingSharesOf(id, owner));
        vm.prank(owner);
        registry.proposeOwner(id, next);
        vm.prank(next);
        registry.acceptOwner(id, withdrawal);
        assertEq(registry.ownerOf(id), next);
        assertEq(registry.sharesOf(id, next), shares, "a hand-over moves what works");
        assertEq(registry.waitingSharesOf(id, next), waiting, "a hand-over moves what waits");
        assertEq(registry.payeeOf(id), withdrawal == address(0) ? next : withdrawal, "whom it pays stays");
        _did("handed over");
    }

    /// Whom the owner's stake is paid to is named, and names nobody again.
    function setWithdrawal(uint256 who) external {
        uint32 id = _pickId(who);
        address payee = registry.payeeOf(id);
        address to = registry.rightsOf(id).withdrawal == address(0) ? makeAddr("vault") : address(0);
        vm.prank(payee);
        registry.setWithdrawal(id, to);
        _did("named whom to pay");
    }

    /// @dev A pool slashed to next to nothing prices its shares beyond what 128 bits hold; it is as good as dead.
    function _isWorthNothing(uint32 id) private view returns (bool) {
        return registry.assetsOf(id) < 1 ether;
    }
}

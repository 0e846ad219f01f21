// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Status} from "../../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus, ISlasher, KeyReference} from "../../../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../../../contracts/lib/KeyLib.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../../../contracts/types/Wire.sol";
import {Posters} from "./Posters.sol";

/// @title What offenders and those who report them do
abstract contract Watchers is Posters {
    bytes32[] internal _cases;
    /// The report that opened a case by a sequencer's current key.
    mapping(bytes32 caseId => bytes call) internal _reports;
    mapping(bytes32 caseId => uint256) internal _executions;
    /// Who reported a sequencer first, or had committed before that.
    mapping(uint32 id => address reporter) internal _firstReporter;
    mapping(uint32 id => bytes32 caseId) internal _firstCase;
    mapping(uint32 id => uint256 tokenWei) internal _takenWei;
    mapping(uint32 id => uint256 tokenWei) internal _baseWei;

    /* REPORTING */

    /// Somebody signed two votes or two proposals, and is reported under its key or by its place in the set in force.
    function report(uint256 who, uint256 height, uint256 how) external {
        if (_activeCount() < 4) return;
        (KeyReference key, uint256 secret) = how & 1 == 0 ? _currentKey(who) : _keyInForce(who, how & 8 != 0);
        if (secret == 0) return;
        bytes memory call = _callOf(key, secret, uint64(bound(height, 1, 30)), how & 2 == 0);
        address reporter = _reporters[(how >> 2) % 2];
        (bool done, bytes memory answer) = _try(reporter, at.slasher, call);
        if (!done) return;
        bytes32 caseId = abi.decode(answer, (bytes32));
        _opened(caseId, reporter);
        if (how & 1 == 0) _reports[caseId] = call;
        _did("reported");
    }

    /// A reporter commits, somebody who sees the report on its way is included first, and the reporter has the case all the
    /// same.
    function reportCommitted(uint256 who, uint256 height, uint256 salt) external {
        if (_activeCount() < 4) return;
        (KeyReference key, uint256 secret) = _keyInForce(who, false);
        if (secret == 0) return;
        uint32 id = registry.idOf(vm.addr(secret));
        height = bound(height, 31, 60);
        address reporter = _reporters[0];
        bytes memory call = _callOf(key, secret, uint64(height), true);
        _commitTo(reporter, call, bytes32(salt));
        _advance(1);

        (bool done, bytes memory answer) = _try(_reporters[1], at.slasher, call);
        if (!done) return;
        bytes32 caseId = abi.decode(answer, (bytes32));
        _opened(caseId, _reporters[1]);
        vm.prank(reporter);
        (done,) = at.slasher.call(abi.encodeCall(slasher.claimCase, (call, bytes32(salt))));
        assertEq(done, _firstCase[id] == caseId, "whoever committed before the first report has the bounty");
        if (!done) return;
        _firstReporter[id] = reporter;
        _did("took a case over");
    }

    function _opened(bytes32 caseId, address reporter) private {
        uint32 id = slasher.caseOf(caseId).sequencer;
        _cases.push(caseId);
        if (_firstCase[id] != 0) {
            _did("reported again");
            return;
        }
        (_firstCase[id], _firstReporter[id]) = (caseId, reporter);
    }

    /// @dev Anyone burns what slashes left.
    function _sweep() private {
        if (slasher.toBurn() == 0) return;
        uint256 dueWei = slasher.toBurn();
        uint256 beforeWei = token.balanceOf(BURN);
        vm.prank(_keeper);
        slasher.sweep();
        assertEq(token.balanceOf(BURN) - beforeWei, dueWei, "what was slashed burns");
        _did("swept");
    }

    function _currentKey(uint256 who) private view returns (KeyReference key, uint256 secret) {
        uint32 id = _pickId(who);
        return (KeyLib.ofSequencer(id), _keyOf(registry.sequencer(id).signer));
    }

    /// @dev No secret if the set is empty. Of somebody who was reported already, if there is one, where `again` asks for it.
    function _keyInForce(uint256 who, bool again) private view returns (KeyReference key, uint256 secret) {
        uint32 generation = settlement.generation();
        uint256 n = settlement.leaderSet(_epoch()).members.length;
        if (n == 0) return (key, 0);
        for (uint256 i = 0; again && i < n; ++i) {
            address signer = settlement.memberAt(generation, _epoch(), (who % n + i) % n).signer;
            if (_firstCase[registry.idOf(signer)] == 0) continue;
            who = who % n + i;
            break;
        }
        secret = _keyOf(settlement.memberAt(generation, _epoch(), who % n).signer);
        return (KeyLib.inSet(generation, _epoch(), uint8(who % n)), secret);
    }

    function _callOf(KeyReference key, uint256 secret, uint64 height, bool votes) private view returns (bytes memory) {
        uint32 generation = settlement.generation();
        if (votes) {
            Vote memory a = Vote({generation: generation, height: height, round: ROUND, blockHash: BLOCK_A});
            Vote memory b = Vote({generation: generation, height: height, round: ROUND, blockHash: BLOCK_B});
            return _callOfVotes(key, secret, a, b);
        }
        Proposal memory c = Proposal(generation, height, ROUND, -1, BLOCK_A);
        Proposal memory d = Proposal(generation, height, ROUND, -1, BLOCK_B);
        Signature memory signatureC = _signProposal(secret, c);
        return abi.encodeCall(ISlasher.reportDoubleProposal, (key, c, signatureC, d, _signProposal(secret, d)));
    }

    function _callOfVotes(KeyReference key, uint256 secret, Vote memory a, Vote memory b)
        internal
        view
        returns (bytes memory)
    {
        Signature memory signatureA = _signVote(secret, VoteType.Precommit, a);
        Signature memory signatureB = _signVote(secret, VoteType.Precommit, b);
        return abi.encodeCall(ISlasher.reportDoubleVote, (key, VoteType.Precommit, a, signatureA, b, signatureB));
    }

    /* EXECUTING */

    /// Anyone executes a case, now or once it is due. What leaves the pool is the reporter's bounty, and burns else.
    function execute(uint256 which, uint256 wait) external {
        if (_cases.length == 0) return;
        bytes32 caseId = _cases[which % _cases.length];
        bool open = slasher.caseOf(caseId).status == CaseStatus.Reported;
        if (open && wait % 4 != 0) _travel(slasher.executableAt(caseId), true);
        uint32 id = slasher.caseOf(caseId).sequencer;
        uint256 beforeWei = registry.assetsOf(id);
        bool first = registry.sequencer(id).status != Status.Tombstoned;
        open = open && block.timestamp >= slasher.executableAt(caseId);

        bool done = _punished(id, _firstReporter[id], abi.encodeCall(slasher.execute, (caseId)));
        assertEq(done, open, "a due case is executed, once, and no other");
        if (!done) return;
        ++_executions[caseId];
        if (first) _baseWei[id] = beforeWei;
        _takenWei[id] += beforeWei - registry.assetsOf(id);
        assertEq(uint8(registry.sequencer(id).status), uint8(Status.Tombstoned), "for ever out of sets");
        _did("executed");
    }

    /// Anyone reports whoever missed too many turns.
    function reportAbsent(uint256 who) external {
        _reportAbsent(_pickId(who), _reporters[who % 2]);
    }

    function _reportAbsent(uint32 id, address reporter) private {
        uint256 dueWei = registry.assetsOf(id) * p.missedTurnBps / 10_000;
        uint256 beforeWei = registry.assetsOf(id);
        bytes memory call = abi.encodeCall(slasher.reportMissedTurns, (id));
        if (!_punished(id, reporter, call)) return;
        assertEq(beforeWei - registry.assetsOf(id), dueWei, "absence costs its share");
        _did("jailed for absence");
    }

    /// @dev `call`s the slasher as `reporter`, and follows what it takes.
    function _punished(uint32 id, address reporter, bytes memory call) private returns (bool done) {
        uint256 assetsWei = registry.assetsOf(id);
        uint256 bountyWei = slasher.bountyOf(reporter);
        uint256 burnedWei = slasher.toBurn();
        uint256 othersWei = poolsWei() - assetsWei;

        vm.prank(reporter);
        bytes memory answer;
        (done, answer) = at.slasher.call(call);
        if (!done) {
            _requireRefusedCase(answer);
            return false;
        }

        uint256 slashedWei = assetsWei - registry.assetsOf(id);
        bountyWei = slasher.bountyOf(reporter) - bountyWei;
        burnedWei = slasher.toBurn() - burnedWei;
        assertEq(bountyWei, slashedWei * p.bountyBps / 10_000, "whoever reported first has a share of every slash");
        assertEq(bountyWei + burnedWei, slashedWei, "the rest burns");
        assertEq(poolsWei() - registry.assetsOf(id), othersWei, "nobody else pays");
        slashedAndBurnedWei += burnedWei;
    }

    /// @dev A case that is not due, or was executed, is refused by name; {execute} judges whether it should have been.
    function _requireRefusedCase(bytes memory answer) private view {
        bytes4 reason = bytes4(answer);
        if (reason != ISlasher.NotDue.selector && reason != ISlasher.AlreadyExecuted.selector) _requireSo(answer);
    }

    function claimBounty(uint256 who) external {
        if (who % 3 == 0) _sweep();
        address reporter = _reporters[who % 2];
        uint256 dueWei = slasher.bountyOf(reporter);
        if (dueWei == 0) return;
        uint256 beforeWei = token.balanceOf(reporter);
        vm.prank(reporter);
        slasher.claimBounty(reporter);
        assertEq(token.balanceOf(reporter) - beforeWei, dueWei, "bounties are paid in full");
        _tokensOutWei += dueWei;
        _did("claimed bounties");
    }

    /* SILENCE */

    /// A member of the set in force leaves three of its turns to others, and is reported.
    function fallSilent(uint256 who) external {
        if (!_canSettle() || _activeCount() < 4) return;
        uint256 n = settlement.leaderSet(_epoch()).members.length;
        if (n < 2) return;
        address silent = settlement.memberAt(settlement.generation(), _epoch(), who % n).signer;
        // Right behind a batch that is not regular nobody misses anything.
        if (_settledBatches.length != 0 && _settledBatches[_settledBatches.length - 1].header.regularSince == 0) {
            BatchHeader memory regular = _nextHeader(1);
            _followQueue(regular, false);
            _post(_leader(regular), regular, _quorum(regular.epoch));
        }
        for (uint256 i = 0; i < 3; ++i) {
            if (!_missTurnOf(silent)) return;
        }
        // The turn after closes the last of these.
        BatchHeader memory header = _nextHeader(p.turnLength);
        _followQueue(header, false);
        _post(_leader(header), header, _quorum(header.epoch));
        _book(settled);
        _reportAbsent(registry.idOf(silent), _reporters[who % 2]);
    }

    /// @dev Where one weighs little, its next turn may be further ahead than a batch reaches.
    function _missTurnOf(address silent) private returns (bool) {
        uint64 epoch = _epoch();
        uint256 n = settlement.leaderSet(epoch).members.length;
        uint256 index = 0;
        while (index < n && settlement.memberAt(settlement.generation(), epoch, index).signer != silent) ++index;
        if (index == n || n < 2) return false;
        uint256 weight = settlement.memberAt(settlement.generation(), epoch, index).weight;
        if (weight * 20 < settlement.totalAt(settlement.generation(), epoch)) return false;

        BatchHeader memory header = _nextHeaderLedBy(index);
        _followQueue(header, false);
        _advance(p.takeoverSeconds);
        _post(_memberDrawn(header.epoch, header.lastHeight / p.turnLength, 1), header, _quorum(header.epoch));
        return true;
    }

    /* READING */

    function caseCount() external view returns (uint256) {
        return _cases.length;
    }

    function executionsOf(uint256 which) external view returns (uint256) {
        return _executions[_cases[which]];
    }

    /// @notice What safety offences took of `id`, and what its pool held when the first of them was executed.
    function takenFrom(uint32 id) external view returns (uint256 takenWei, uint256 baseWei) {
        return (_takenWei[id], _baseWei[id]);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus, ISlasher} from "../../contracts/interfaces/ISlasher.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Offences} from "../utils/Offences.sol";

/// Slasher, cases
/// ├── execute
/// │   ├── it slashes base and correlated share, tombstones, books the bounty and what is to burn
/// │   ├── when it is too early: it reverts
/// │   ├── when it was executed: it reverts
/// │   ├── given several offenders around the same time: each pays for all
/// │   ├── given several cases of one offender: they count once, the largest
/// │   └── given exits on their way: they pay too
/// ├── delay
/// │   └── the guardian puts an execution off, once
/// ├── sweep: it burns what was booked, once
/// └── claimBounty: it pays once, to whom the reporter names
contract CasesTest is Offences {
    address private _reporter = makeAddr("reporter");

    function setUp() external {
        _begin(4);
    }

    /* EXECUTE */

    function test_execute_slashesTombstonesAndBooks() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 caseId = _reportVotesAs(_reporter, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        // 5 %, and 3 times the quarter of the weight that offended.
        uint256 slashedWei = STAKE_WEI * 80 / 100;
        uint256 bountyWei = slashedWei / 10;

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Slashed(id, slashedWei, slashedWei);
        vm.expectEmit(address(slasher));
        emit ISlasher.Executed(caseId, id, slashedWei, bountyWei, slashedWei - bountyWei);
        slasher.execute(caseId);

        assertEq(registry.assetsOf(id), STAKE_WEI - slashedWei);
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Tombstoned));
        assertEq(slasher.bountyOf(_reporter), bountyWei);
        assertEq(slasher.toBurn(), slashedWei - bountyWei);
        // No token has moved.
        assertEq(token.balanceOf(address(registry)), 4 * STAKE_WEI);
    }

    function test_execute_revertsWhen_tooEarly() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        uint64 due = slasher.executableAt(caseId);
        _warpTo(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotDue.selector, due, due - 1));
        slasher.execute(caseId);
    }

    function test_execute_revertsWhen_executed() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyExecuted.selector, caseId));
        slasher.execute(caseId);
    }

    function test_execute_revertsWhen_unknown() external {
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, bytes32(uint256(1))));
        slasher.execute(bytes32(uint256(1)));
    }

    /// A case has one name: who has it executed under another one would leave it open in the eyes of all who follow.
    function testFuzz_execute_revertsWhen_theNameIsAnother(uint256 bit) external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        bytes32 alias_ = bytes32(uint256(caseId) ^ (1 << bound(bit, 32, 255)));
        _warpTo(slasher.executableAt(caseId));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, alias_));
        slasher.execute(alias_);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, alias_));
        slasher.executableAt(alias_);
        assertEq(uint256(slasher.caseOf(alias_).status), uint256(CaseStatus.None));
        slasher.execute(caseId);
    }

    function test_execute_countsNeighbouringWindows() external {
        _begin(20);
        // Buckets b - 1, b, b + 1 and b + 2: the first three count for the case in b.
        bytes32 early = _reportVotes(0, HEIGHT);
        _nextWindow();
        bytes32 middle = _reportVotes(1, HEIGHT);
        _nextWindow();
        bytes32 late = _reportVotes(2, HEIGHT);
        _nextWindow();
        bytes32 after_ = _reportVotes(3, HEIGHT);
        _warpTo(slasher.executableAt(after_));

        // Each is a twentieth of the weight: 5 % + 3 x 5 % for each that counts.
        _expectSlashed(early, 5 + 2 * 15);
        _expectSlashed(middle, 5 + 3 * 15);
        _expectSlashed(late, 5 + 3 * 15);
        _expectSlashed(after_, 5 + 2 * 15);
    }

    function test_execute_neverTakesMoreThanAll() external {
        bytes32 a = _reportVotes(0, HEIGHT);
        bytes32 b = _reportVotes(1, HEIGHT);
        _warpTo(slasher.executableAt(a));
        _expectSlashed(a, 100);
        _expectSlashed(b, 100);
    }

    function test_execute_countsAnOffenderOnceInTheCorrelation() external {
        _begin(20);
        bytes32 caseId = _reportVotes(0, HEIGHT);
        _reportVotes(0, HEIGHT + 1);
        _reportVotes(0, HEIGHT + 2);
        _warpTo(slasher.executableAt(caseId));
        _expectSlashed(caseId, 5 + 15);
    }

    /// The cases of one offender that were open together cost it what the largest costs, in whatever order they execute.
    function test_execute_countsOpenCasesOnceTheLargest() external {
        _begin(20);
        uint32 id = _idAt(0);
        bytes32 small = _reportVotes(0, HEIGHT);
        _nextWindow();
        _nextWindow();
        // Two others join in near the second case, of which the first sees neither.
        bytes32 large = _reportVotes(0, HEIGHT + 1);
        _reportVotes(1, HEIGHT);
        _reportVotes(2, HEIGHT);
        _warpTo(slasher.executableAt(large));

        slasher.execute(small);
        uint256 afterSmall = registry.assetsOf(id);
        slasher.execute(large);
        assertEq(afterSmall, STAKE_WEI * 80 / 100);
        // 5 %, and 3 times 5 % for itself and for each of the others.
        assertEq(registry.assetsOf(id), STAKE_WEI * (100 - 5 - 3 * 15) / 100);
    }

    function test_execute_smallerCaseAfterTheLargerTakesNothing() external {
        bytes32 a = _reportVotes(OFFENDER, HEIGHT);
        bytes32 b = _reportVotes(OFFENDER, HEIGHT + 1);
        _warpTo(slasher.executableAt(a));
        _expectSlashed(a, 80);
        _expectSlashed(b, 0);
    }

    function test_execute_slashesExitsOnTheirWay() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        vm.prank(owner);
        uint256 exitId = registry.requestExit(id, shares);

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);

        _startEpoch(_epoch() + 1);
        _sealSet(_epoch() + 1);
        (bool known, uint64 claimableAt) = registry.claimableAt(exitId);
        assertTrue(known);
        _warpTo(claimableAt);
        vm.prank(owner);
        assertApproxEqAbs(registry.claim(exitId), STAKE_WEI * 20 / 100, 1);
    }

    /* GUARDIAN */

    function test_delay_putsAnExecutionOffOnce() external {
        address guardian = _beginWithGuardian();
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        uint64 due = slasher.executableAt(caseId) + 120;

        vm.expectEmit(address(slasher));
        emit ISlasher.Delayed(caseId, due);
        vm.prank(guardian);
        slasher.delay(caseId);

        assertEq(slasher.executableAt(caseId), due);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyDelayed.selector, caseId));
        vm.prank(guardian);
        slasher.delay(caseId);

        _warpTo(due);
        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyExecuted.selector, caseId));
        vm.prank(guardian);
        slasher.delay(caseId);
    }

    function test_delay_revertsWhen_notTheGuardian() external {
        address guardian = _beginWithGuardian();
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotGuardian.selector, guardian, address(this)));
        slasher.delay(caseId);
    }

    function test_delay_revertsWhen_thereIsNoCase() external {
        address guardian = _beginWithGuardian();
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, bytes32(uint256(1))));
        vm.prank(guardian);
        slasher.delay(bytes32(uint256(1)));
    }

    /* BOUNTY */

    function test_claimBounty_paysOnce() external {
        bytes32 caseId = _reportVotesAs(_reporter, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        uint256 bountyWei = slasher.bountyOf(_reporter);

        vm.expectEmit(address(slasher));
        emit ISlasher.BountyClaimed(_reporter, address(9), bountyWei);
        vm.prank(_reporter);
        assertEq(slasher.claimBounty(address(9)), bountyWei);

        assertEq(token.balanceOf(address(9)), bountyWei);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NoBounty.selector, _reporter));
        vm.prank(_reporter);
        slasher.claimBounty(_reporter);
    }

    function test_claimBounty_revertsWhen_toNobody() external {
        vm.expectRevert(ISlasher.RecipientIsZero.selector);
        slasher.claimBounty(address(0));
    }

    /* SWEEP */

    function test_sweep_burnsWhatWasBookedOnce() external {
        vm.expectRevert(ISlasher.NothingToSweep.selector);
        slasher.sweep();

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        uint256 burnWei = STAKE_WEI * 72 / 100;

        vm.expectEmit(address(slasher));
        emit ISlasher.Swept(burnWei);
        assertEq(slasher.sweep(), burnWei);
        assertEq(token.balanceOf(0x000000000000000000000000000000000000dEaD), burnWei);
        vm.expectRevert(ISlasher.NothingToSweep.selector);
        slasher.sweep();
    }

    /* PARTS */

    function _beginWithGuardian() private returns (address guardian) {
        guardian = makeAddr("guardian");
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.guardian = guardian;
        config.params.guardianDelaySeconds = 120;
        _deploy(config);
        _joinMany(4);
        _sealFirst();
        _sealThrough(1);
    }

    /// @dev Executing `caseId` takes `percent` of a full pool.
    function _expectSlashed(bytes32 caseId, uint256 percent) private {
        uint32 id = slasher.caseOf(caseId).sequencer;
        uint256 before = registry.assetsOf(id);
        slasher.execute(caseId);
        assertEq(before - registry.assetsOf(id), STAKE_WEI * percent / 100);
    }
}

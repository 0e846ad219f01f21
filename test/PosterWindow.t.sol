// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../contracts/interfaces/IBatchInbox.sol";
import {BatchHeader, Signature} from "../contracts/types/Wire.sol";
import {Chain} from "./utils/Chain.sol";

/// Who may post (R28), with t the timestamp of the batch
/// ├── before t + takeover: the turn's leader, and its poster address
/// ├── before t + 2 takeovers: draw 1 of the turn too, and its poster address
/// ├── before t + 5 takeovers: any member too, and its poster address
/// └── then: anyone
contract PosterWindowTest is Chain {
    BatchHeader private _header;
    address private _stranger = makeAddr("stranger");

    function setUp() external {
        _begin(4);
        _header = _nextHeader(8);
    }

    function test_leaderPostsAtOnce() external {
        _settleAs(_draw(0), _header);
    }

    function test_posterOfTheLeaderPostsAtOnce() external {
        _settleAs(_posterOf(_draw(0)), _header);
    }

    function test_formerPosterOfTheLeaderDoesNot() external {
        address former = _posterOf(_draw(0));
        _dropPoster(registry.idOf(_draw(0)));
        _expectNotAdmitted(former);
    }

    function test_nextInLineWaitsForTheTakeover() external {
        _advance(p.takeoverSeconds - 1);
        _expectNotAdmitted(_draw(1));
        _advance(1);
        _settleAs(_draw(1), _header);
    }

    function test_posterOfTheNextInLinePostsAfterTheTakeover() external {
        address poster = _posterOf(_draw(1));
        _advance(p.takeoverSeconds - 1);
        _expectNotAdmitted(poster);
        _advance(1);
        _settleAs(poster, _header);
    }

    function test_otherMembersWaitForTwoTakeovers() external {
        _advance(2 * p.takeoverSeconds - 1);
        _expectNotAdmitted(_draw(2));
        _expectNotAdmitted(_draw(3));
        _advance(1);
        _settleAs(_draw(3), _header);
    }

    function test_posterOfAnyMemberPostsAfterTwoTakeovers() external {
        address poster = _posterOf(_draw(2));
        _advance(2 * p.takeoverSeconds - 1);
        _expectNotAdmitted(poster);
        _advance(1);
        _settleAs(poster, _header);
    }

    function test_strangerWaitsForFiveTakeovers() external {
        _advance(5 * p.takeoverSeconds - 1);
        _expectNotAdmitted(_stranger);
        _advance(1);
        _settleAs(_stranger, _header);
    }

    function test_leaderPostsAtAnyTime() external {
        _advance(3 * p.takeoverSeconds);
        _settleAs(_draw(0), _header);
    }

    /// With since as the time from which the batch was known to be the regular one, if that was later than its last block.
    function test_windowsCountFromWhenTheEndWasKnown() external {
        _advance(3 * p.takeoverSeconds);
        _header.regularSince = uint64(block.timestamp);
        uint64 open = _header.regularSince + 5 * p.takeoverSeconds;
        _advance(p.takeoverSeconds - 1);
        Signature[] memory signatures = _attest(_header, _first(3));
        address next = _draw(1);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.PosterNotAdmitted.selector, _draw(0), next, open));
        vm.prank(next, next);
        settlement.settle(_header, _first(3), signatures, PAYLOAD);
        _advance(1);
        _settleAs(next, _header);
    }

    function test_whatIsNotRegularAnyonePostsAfterFiveTakeovers() external {
        _header.regularSince = 0;
        _advance(5 * p.takeoverSeconds);
        _settleAs(_stranger, _header);
        assertFalse(_settledBatches[0].led);
    }

    function _draw(uint32 a) private view returns (address) {
        return _memberDrawn(_header.epoch, _header.lastHeight / p.turnLength, a);
    }

    function _posterOf(address signer) private returns (address poster) {
        return _namePoster(registry.idOf(signer), "poster");
    }

    function _expectNotAdmitted(address poster) private {
        uint64 open = _header.timestamp + 5 * p.takeoverSeconds;
        Signature[] memory signatures = _attest(_header, _first(3));
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.PosterNotAdmitted.selector, _draw(0), poster, open));
        vm.prank(poster, poster);
        settlement.settle(_header, _first(3), signatures, PAYLOAD);
    }
}

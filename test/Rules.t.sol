// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Offences} from "./utils/Offences.sol";

/// The example of docs/RULES.md: one rule, from what it should do to a test that holds the contracts to it.
contract RulesTest is Offences {
    function test_offendingTogetherCostsMoreThanAlone() external {
        assertEq(_costOfOneAmong(1), STAKE_WEI * 4250 / 10_000, "5 % + 3 x 1/8");
        assertEq(_costOfOneAmong(2), STAKE_WEI * 8000 / 10_000, "5 % + 3 x 2/8");
        assertEq(_costOfOneAmong(3), STAKE_WEI, "a third breaks safety: everything");
    }

    /// @dev What the last of `offenders` loses, out of eight equal sequencers.
    function _costOfOneAmong(uint256 offenders) private returns (uint256 lostWei) {
        _begin(8);
        bytes32 caseId;
        for (uint256 i = 0; i < offenders; ++i) {
            caseId = _reportVotes(i, HEIGHT);
        }
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        lostWei = STAKE_WEI - registry.assetsOf(_idAt(offenders - 1));
    }
}

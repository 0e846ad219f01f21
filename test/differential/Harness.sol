// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IBatchInbox, Submission} from "../../contracts/interfaces/IBatchInbox.sol";
import {DigestLib} from "../../contracts/lib/DigestLib.sol";
import {DrawLib} from "../../contracts/lib/DrawLib.sol";
import {FeeLib} from "../../contracts/lib/FeeLib.sol";
import {MerkleLib} from "../../contracts/lib/MerkleLib.sol";
import {PenaltyLib} from "../../contracts/lib/PenaltyLib.sol";
import {Pool} from "../../contracts/lib/PoolLib.sol";
import {FrozenSet, SetLib} from "../../contracts/lib/SetLib.sol";
import {SortLib} from "../../contracts/lib/SortLib.sol";
import {
    BatchHeader,
    BlockHeader,
    OrderReceipt,
    Proposal,
    Signature,
    Vote,
    VoteType
} from "../../contracts/types/Wire.sol";

/// Members in any order, and the draws that are asked for.
struct SetCase {
    uint256[] members;
    bytes32 seed;
    uint32 generation;
    uint64[] turns;
    uint32[] draws;
}

/// The code that holds the set; for each turn the first draw, and the one that was asked for.
struct SetAnswer {
    bytes code;
    uint256[] first;
    uint256[] drawn;
}

/// What is said to be in a tree. The leaf is a block's, or a transaction's of `rollup`.
struct ProofCase {
    bool ofBlock;
    uint64 rollup;
    bytes32 content;
    uint256 index;
    uint256 size;
    bytes32[] siblings;
}

/// The root that a proof leads to, or the error.
struct ProofAnswer {
    bytes32 root;
    bytes error;
}

enum Kind {
    Deposit,
    Wait,
    Wake,
    Retire,
    Redeem,
    Reward,
    Slash
}

struct Step {
    Kind kind;
    uint256 amount;
}

struct PenaltyCase {
    uint256 baseBps;
    uint256 factor;
    uint256 correlated;
    uint256 total;
}

struct FeeCase {
    uint256 feeWei;
    uint256 doublingEntries;
    uint256 maxDoublings;
    uint256 entries;
}

/// What a step gave, and what it left. A step that is not `done` reverted.
struct StepAnswer {
    bool done;
    uint256 result;
    uint256 assetsWei;
    uint256 shares;
    uint256 restingWei;
    uint256 restingShares;
    uint256 waitingShares;
    uint256 workingWorthWei;
    uint256 stakeWei;
    uint256 restingForAThird;
}

/// @title The contracts' libraries, many cases a call
/// @notice What the test of the agent's library compares it with. Ships nowhere.
contract Harness {
    Pool private _pool;

    /* SETS */

    /// @notice Sorts and freezes each set as a seal does, and draws from what was frozen.
    function freeze(SetCase[] calldata cases) external returns (SetAnswer[] memory answers) {
        answers = new SetAnswer[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            uint256[] memory members = cases[i].members;
            SortLib.sort(members);
            (address pointer,) = SetLib.store(members, cases[i].seed, cases[i].generation);
            answers[i].code = pointer.code;
            (answers[i].first, answers[i].drawn) = _draw(SetLib.load(pointer), cases[i].turns, cases[i].draws);
        }
    }

    function _draw(FrozenSet set, uint64[] calldata turns, uint32[] calldata draws)
        private
        pure
        returns (uint256[] memory first, uint256[] memory drawn)
    {
        first = new uint256[](turns.length);
        drawn = new uint256[](turns.length);
        for (uint256 i = 0; i < turns.length; ++i) {
            first[i] = DrawLib.draw0(set, turns[i]);
            drawn[i] = DrawLib.draw(set, turns[i], draws[i]);
        }
    }

    /* TREES */

    function rootsOf(ProofCase[] calldata cases) external view returns (ProofAnswer[] memory answers) {
        answers = new ProofAnswer[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            try this.rootOf(cases[i]) returns (bytes32 root) {
                answers[i].root = root;
            } catch (bytes memory error) {
                answers[i].error = error;
            }
        }
    }

    function rootOf(ProofCase calldata one) external pure returns (bytes32) {
        bytes32 leaf =
            one.ofBlock ? MerkleLib.blockLeaf(one.content) : MerkleLib.transactionLeaf(one.rollup, one.content);
        return MerkleLib.rootOf(leaf, one.index, one.size, one.siblings);
    }

    /* DIGESTS */

    function separators(uint256[] calldata chainIds, address[] calldata settlements)
        external
        pure
        returns (bytes32[] memory answers)
    {
        answers = new bytes32[](chainIds.length);
        for (uint256 i = 0; i < chainIds.length; ++i) {
            answers[i] = DigestLib.domainSeparator(chainIds[i], settlements[i]);
        }
    }

    function blockHashes(BlockHeader[] calldata headers) external pure returns (bytes32[] memory answers) {
        answers = new bytes32[](headers.length);
        for (uint256 i = 0; i < headers.length; ++i) {
            answers[i] = DigestLib.blockHash(headers[i]);
        }
    }

    /// @notice As the deployed settlement contract answers.
    function batchDigests(IBatchInbox settlement, BatchHeader[] calldata headers)
        external
        view
        returns (bytes32[] memory answers)
    {
        answers = new bytes32[](headers.length);
        for (uint256 i = 0; i < headers.length; ++i) {
            answers[i] = settlement.batchDigest(headers[i]);
        }
    }

    function voteDigests(bytes32 domain, VoteType[] calldata types, Vote[] calldata votes)
        external
        pure
        returns (bytes32[] memory answers)
    {
        answers = new bytes32[](votes.length);
        for (uint256 i = 0; i < votes.length; ++i) {
            answers[i] = DigestLib.digest(domain, DigestLib.structHash(votes[i], types[i]));
        }
    }

    function proposalDigests(bytes32 domain, Proposal[] calldata proposals)
        external
        pure
        returns (bytes32[] memory answers)
    {
        answers = new bytes32[](proposals.length);
        for (uint256 i = 0; i < proposals.length; ++i) {
            answers[i] = DigestLib.digest(domain, DigestLib.structHash(proposals[i]));
        }
    }

    function receiptDigests(bytes32 domain, OrderReceipt[] calldata receipts)
        external
        pure
        returns (bytes32[] memory answers)
    {
        answers = new bytes32[](receipts.length);
        for (uint256 i = 0; i < receipts.length; ++i) {
            answers[i] = DigestLib.digest(domain, DigestLib.structHash(receipts[i]));
        }
    }

    /* RULES */

    /// @notice R34, of one offender each.
    function penaltiesOf(PenaltyCase[] calldata cases) external pure returns (uint64[] memory bps) {
        bps = new uint64[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            bps[i] = PenaltyLib.shareOf(cases[i].baseBps, cases[i].factor, cases[i].correlated, cases[i].total);
        }
    }

    /// @notice R31: what entry 0 to `entries` - 1 of an empty queue cost together.
    function feesOf(FeeCase[] calldata cases) external pure returns (uint256[] memory sums) {
        sums = new uint256[](cases.length);
        for (uint256 i = 0; i < cases.length; ++i) {
            for (uint256 length = 0; length < cases[i].entries; ++length) {
                FeeCase calldata one = cases[i];
                uint256 feeWei = FeeLib.forced(one.feeWei, length, one.doublingEntries, one.maxDoublings);
                sums[i] = Math.saturatingAdd(sums[i], feeWei);
            }
        }
    }

    /* POOLS */

    /// @notice Plays sequences of steps, each on an empty pool.
    function play(Step[][] calldata sequences) external returns (StepAnswer[][] memory answers) {
        answers = new StepAnswer[][](sequences.length);
        for (uint256 i = 0; i < sequences.length; ++i) {
            delete _pool;
            answers[i] = new StepAnswer[](sequences[i].length);
            for (uint256 j = 0; j < sequences[i].length; ++j) {
                answers[i][j] = _play(sequences[i][j]);
            }
        }
    }

    function _play(Step calldata one) private returns (StepAnswer memory answer) {
        try this.step(one) returns (uint256 result) {
            answer.done = true;
            answer.result = result;
        } catch {}
        answer.assetsWei = _pool.assetsWei;
        answer.shares = _pool.shares;
        answer.restingWei = _pool.restingWei;
        answer.restingShares = _pool.restingShares;
        answer.waitingShares = _pool.waitingShares;
        answer.workingWorthWei = _pool.worth(_pool.shares);
        answer.stakeWei = _pool.stakeWei();
        answer.restingForAThird = _pool.restingFor(_pool.restingWei / 3);
    }

    function step(Step calldata one) external returns (uint256 result) {
        if (one.kind == Kind.Deposit) return _pool.deposit(one.amount);
        if (one.kind == Kind.Redeem) {
            // As the registry does: it redeems exits alone.
            require(one.amount <= _pool.restingShares - _pool.waitingShares);
            return _pool.redeem(one.amount);
        }
        if (one.kind == Kind.Slash) return _pool.slash(one.amount);
        if (one.kind == Kind.Wait) return _pool.wait(one.amount);
        if (one.kind == Kind.Wake) return _pool.wake(one.amount);
        if (one.kind == Kind.Retire) return _pool.retire(one.amount);
        _pool.reward(one.amount);
    }

    /* INPUTS OF SETTLEMENTS */

    /// @notice What each input says, as the compiler's own decoder reads it; empty for what it reverts on.
    function readMany(bytes[] calldata inputs) external returns (bytes[] memory answers) {
        answers = new bytes[](inputs.length);
        for (uint256 i = 0; i < inputs.length; ++i) {
            (bool done, bytes memory answer) = address(this).call(inputs[i]);
            if (done) answers[i] = abi.decode(answer, (bytes));
        }
    }

    /// @notice As `settle` and `settleMany` read their input before they judge it, without what they refuse of its form.
    function settle(
        BatchHeader calldata header,
        uint128 signers,
        Signature[] calldata signatures,
        bytes calldata payload
    ) external pure returns (bytes memory) {
        return abi.encode(_digest(header, signers, signatures, payload));
    }

    function settleMany(Submission[] calldata submissions) external pure returns (bytes memory answer) {
        for (uint256 i = 0; i < submissions.length; ++i) {
            Submission calldata one = submissions[i];
            answer = bytes.concat(answer, _digest(one.header, one.signers, one.signatures, one.payload));
        }
    }

    function _digest(
        BatchHeader calldata header,
        uint128 signers,
        Signature[] calldata signatures,
        bytes calldata payload
    ) private pure returns (bytes32) {
        // Read as settlement reads it: each number by itself, so that one wider than its type reverts, and the hash from the
        // words as they stand.
        uint256 sum = uint256(header.generation) + header.epoch + header.firstHeight + header.lastHeight;
        sum += uint256(header.forcedThrough) + header.l1OriginNumber + header.timestamp + header.regularSince;
        return keccak256(
            abi.encodePacked(
                DigestLib.structHash(header), sum, signers, keccak256(abi.encode(signatures)), keccak256(payload)
            )
        );
    }
}

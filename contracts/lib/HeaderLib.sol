// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Reading an L1 block header
/// @notice A header is an RLP list. Its first fourteen items are the same under every fork of Ethereum; forks add theirs at
/// the end, which nothing here looks at:
///
///     parent, ommers, coinbase, state, transactions, receipts, bloom, difficulty, number, gas limit, gas used, time,
///     extra data, **mix hash**, nonce, …
///
/// Since the merge the mix hash is prevrandao.
library HeaderLib {
    /// Items in front of the mix hash.
    uint256 private constant ITEMS_BEFORE = 13;

    /// @notice These bytes are no header: the RLP ends early, or something is no item of the kind that stands there.
    /// @param offset Where the item begins that cannot be read.
    error HeaderUnreadable(uint256 offset);

    /// @notice prevrandao of the block with this header.
    /// @dev Total: for every input it ends, within 14 items, with an answer or the error. Whether this *is* the header of
    /// some block is the caller's question, which a hash answers. That an item's length could have been written shorter does
    /// not matter then.
    function mixHash(bytes calldata header) internal pure returns (bytes32 value) {
        require(header.length != 0 && _byte(header, 0) >= 0xc0, HeaderUnreadable(0));
        uint256 at = 1;
        if (_byte(header, 0) > 0xf7) at += _byte(header, 0) - 0xf7;

        for (uint256 i = 0; i < ITEMS_BEFORE; ++i) {
            at = _skip(header, at);
        }
        require(at + 33 <= header.length && _byte(header, at) == 0xa0, HeaderUnreadable(at));
        return bytes32(header[at + 1:at + 33]);
    }

    /// @dev The end of the string that begins at `at`; it may lie behind the input, where nothing more is read.
    function _skip(bytes calldata header, uint256 at) private pure returns (uint256) {
        require(at < header.length, HeaderUnreadable(at));
        uint256 first = _byte(header, at);

        if (first < 0x80) return at + 1;
        if (first <= 0xb7) return at + 1 + (first - 0x80);
        // No list stands before the mix hash; and what needs more than two bytes for its length fits into no header.
        require(first <= 0xb9 && at + 2 < header.length, HeaderUnreadable(at));
        if (first == 0xb8) return at + 2 + _byte(header, at + 1);
        return at + 3 + ((_byte(header, at + 1) << 8) | _byte(header, at + 2));
    }

    function _byte(bytes calldata header, uint256 at) private pure returns (uint256) {
        return uint8(header[at]);
    }
}

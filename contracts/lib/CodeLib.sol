// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Data kept as the code of a contract
/// @notice What is written once and read whole is cheaper as code than in slots. A STOP byte stands in front, so that
/// the data can never run, whatever it holds.
library CodeLib {
    /// @notice The node could not deposit the data as code (out of gas, or more than 24,575 bytes).
    error CodeDepositFailed(uint256 bytesLength);

    /// @notice Stores `data` behind a STOP byte; its code is `0x00 ‖ data`.
    function store(bytes memory data) internal returns (address pointer) {
        // PUSH2 size, DUP1, PUSH1 10, RETURNDATASIZE (= 0), CODECOPY, RETURNDATASIZE (= 0), RETURN; then the code.
        // Casting is safe: a longer code than 24,576 bytes is refused by the node in `create`.
        bytes memory creation =
            abi.encodePacked(hex"61", uint16(data.length + 1), hex"80600a3d393df3", bytes1(0x00), data);

        // Memory-safe: only reads `creation`.
        assembly ("memory-safe") {
            pointer := create(0, add(creation, 0x20), mload(creation))
        }
        require(pointer != address(0) && pointer.code.length == data.length + 1, CodeDepositFailed(data.length));
    }

    /// @notice What {store} was given.
    function load(address pointer) internal view returns (bytes memory data) {
        uint256 length = pointer.code.length - 1;
        data = new bytes(length);

        // Memory-safe: writes the `length` bytes that were just allocated.
        assembly ("memory-safe") {
            extcodecopy(pointer, add(data, 0x20), 1, length)
        }
    }
}

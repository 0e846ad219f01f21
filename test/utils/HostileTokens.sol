// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {ISequencerRegistry} from "../../contracts/interfaces/ISequencerRegistry.sol";

/// Keeps one percent of every transfer, unless it is told not to.
contract FeeToken is ERC20("Fee", "FEE") {
    bool private _free;

    function setFree(bool free) external {
        _free = free;
    }

    function mint(address to, uint256 amountWei) external {
        _mint(to, amountWei);
    }

    function _update(address from, address to, uint256 amountWei) internal override {
        super._update(from, to, amountWei);
        if (from != address(0) && to != address(0) && !_free) super._update(to, address(0xfee), amountWei / 100);
    }
}

/// Takes balances away, as a rebase does.
contract ShrinkingToken is ERC20("Shrinking", "SHR") {
    function mint(address to, uint256 amountWei) external {
        _mint(to, amountWei);
    }

    function shrink(address from, uint256 amountWei) external {
        _burn(from, amountWei);
    }
}

/// Refuses to pay one address.
contract BlockingToken is ERC20("Blocking", "BLK") {
    error Blocked(address to);

    address public blocked;

    function mint(address to, uint256 amountWei) external {
        _mint(to, amountWei);
    }

    function setBlocked(address to) external {
        blocked = to;
    }

    function _update(address from, address to, uint256 amountWei) internal override {
        require(to != blocked || to == address(0), Blocked(to));
        super._update(from, to, amountWei);
    }
}

/// Calls whoever is paid, as ERC-777 does.
contract HookToken is ERC20("Hook", "HOK") {
    function mint(address to, uint256 amountWei) external {
        _mint(to, amountWei);
    }

    function _update(address from, address to, uint256 amountWei) internal override {
        super._update(from, to, amountWei);
        if (to.code.length != 0 && from != address(0)) {
            (bool ok,) = to.call(abi.encodeWithSignature("tokensReceived()"));
            ok;
        }
        if (from.code.length != 0) {
            (bool ok,) = from.call(abi.encodeWithSignature("tokensSent()"));
            ok;
        }
    }
}

/// Calls somebody once, in the next transfer, and remembers how that ended.
contract CallbackToken is ERC20("Callback", "CBK") {
    address private _target;
    bytes private _call;
    bytes public answer;
    uint256 public attempts;

    function mint(address to, uint256 amountWei) external {
        _mint(to, amountWei);
    }

    function arm(address target, bytes calldata call_) external {
        (_target, _call) = (target, call_);
    }

    function _update(address from, address to, uint256 amountWei) internal override {
        super._update(from, to, amountWei);
        if (_target == address(0)) return;
        address target = _target;
        _target = address(0);
        ++attempts;
        (, answer) = target.call(_call);
    }
}

/// An owner that calls the registry back whenever its tokens move, and remembers how that ended.
contract Reentrant {
    ISequencerRegistry private immutable REGISTRY;
    bytes private _call;
    bytes public answer;
    uint256 public attempts;

    constructor(ISequencerRegistry registry) {
        REGISTRY = registry;
        ERC20(registry.stakeToken()).approve(address(registry), type(uint256).max);
    }

    /// @notice What to call when tokens move.
    function arm(bytes calldata call_) external {
        _call = call_;
    }

    function run(bytes calldata call_) external returns (bytes memory) {
        (bool ok, bytes memory returned) = address(REGISTRY).call(call_);
        require(ok, string(returned));
        return returned;
    }

    function tokensReceived() external {
        _reenter();
    }

    function tokensSent() external {
        _reenter();
    }

    function _reenter() private {
        if (_call.length == 0) return;
        ++attempts;
        (, answer) = address(REGISTRY).call(_call);
    }
}

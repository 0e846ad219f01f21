//! Numbers that must not be mixed up.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Declares a newtype over an unsigned integer: ordered, hashable, encodable, printed as the bare number. There is no
/// `From`: `new` and `get` make each crossing visible.
macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
            Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the bare number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The next one; stays at the largest.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The one before; `None` at zero.
            #[must_use]
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit! {
    /// A position in the agreed chain. Height 0 is the genesis block.
    Height(u64)
}
unit! {
    /// A span of L1 time with one frozen leader set (R1).
    Epoch(u64)
}
unit! {
    /// A run of `turn_length` heights with one leader (R10); counted from height 0, also across generations.
    Turn(u64)
}
unit! {
    /// Raised by a restart (R33). Messages of different generations never conflict.
    Generation(u32)
}
unit! {
    /// A round of agreement within a height.
    Round(u32)
}
unit! {
    /// The number that L1 gives a batch when it settles; the first has number 1.
    BatchNumber(u64)
}
unit! {
    /// What the registry calls a sequencer, whatever keys it takes; the first has number 1.
    SequencerId(u32)
}
unit! {
    /// The chain id of a rollup.
    RollupId(u64)
}
unit! {
    /// Milliseconds since the Unix epoch, as in block headers.
    Millis(u64)
}
unit! {
    /// Seconds since the Unix epoch, as in L1 blocks and batch headers.
    Seconds(u64)
}

impl Millis {
    /// Rounds down to seconds, as a batch's timestamp does.
    #[must_use]
    pub const fn to_seconds(self) -> Seconds {
        Seconds(self.0 / 1000)
    }
}

impl Seconds {
    /// The same instant in milliseconds; stays at the largest.
    #[must_use]
    pub const fn to_millis(self) -> Millis {
        Millis(self.0.saturating_mul(1000))
    }
}

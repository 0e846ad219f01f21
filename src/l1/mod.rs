//! L1, the one place that knows alloy's providers and the generated contract types.

mod bindings;
mod mirror;

pub use mirror::{Mirror, MirrorHandle};

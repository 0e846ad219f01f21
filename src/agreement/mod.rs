//! Agreement on one order of blocks: the adapter of the BFT engine. No type of the engine leaves this module.

mod source;

pub use source::BlockSource;

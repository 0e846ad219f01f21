//! The vectors that both languages read (see README.md in this folder).
//!
//! Each file is what the library gives for fixed inputs. The tests here fail when the library gives anything else than
//! what is committed, and read the committed bytes back where there is a way back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a vector that does not hold should fail its test loudly"
)]

mod derivation;
mod digests;
mod draw;
mod json;
mod order;
mod payload;
mod trees;

use serde_json::Value;
use std::path::PathBuf;

/// Compares a vector file with what the library gives now, or writes it if `REGENERATE_VECTORS=1`.
#[track_caller]
fn hold(name: &str, now: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("test/vectors").join(name);
    if std::env::var("REGENERATE_VECTORS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, format!("{now:#}\n")).unwrap();
    }
    let committed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (key, list) in now.as_object().unwrap() {
        let (expected, actual) = (&committed[key], list);
        if let (Some(expected), Some(actual)) = (expected.as_array(), actual.as_array()) {
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                assert_eq!(expected, actual, "{name}: {key}[{index}]");
            }
        }
        assert_eq!(expected, actual, "{name}: {key}");
    }
    assert_eq!(&committed, now, "{name}");
}

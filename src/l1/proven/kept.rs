//! Answers that were checked, kept in a file, so that the next run asks only for what is new.
//!
//! The file is believed no more than a node: what comes from it passes the same checks, and what does not is asked for again.
//! A line is one answer; one that was cut off by the end of the process is forgotten.

use alloy::primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

#[derive(Serialize, Deserialize)]
struct Line {
    method: String,
    params: Value,
    result: Value,
}

/// Answers in a file.
#[derive(Debug)]
pub struct KeptAnswers {
    file: File,
    /// Where each answer stands.
    index: HashMap<B256, (u64, usize)>,
    end: u64,
}

impl KeptAnswers {
    /// Opens the file, or begins it. No other process may use it at the same time.
    ///
    /// # Errors
    ///
    /// What keeps the file from being read or written, and another process that has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| io::Error::other(error.to_string()))?;
        let mut index = HashMap::new();
        let mut end = 0_u64;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 || line.last() != Some(&b'\n') {
                break;
            }
            if let Ok(Line { method, params, .. }) = serde_json::from_slice(&line) {
                index.insert(key(&method, &params), (end, length));
            }
            end = end.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        }
        file.set_len(end)?;
        Ok(Self { file, index, end })
    }

    /// The answer to this, if there is one.
    pub(super) fn get(&self, method: &str, params: &Value) -> Option<Value> {
        let (at, length) = *self.index.get(&key(method, params))?;
        let mut line = vec![0; length];
        self.file.read_exact_at(&mut line, at).ok()?;
        let line: Line = serde_json::from_slice(&line).ok()?;
        Some(line.result)
    }

    /// Keeps an answer; a later one takes the place of an earlier one.
    pub(super) fn put(&mut self, method: &str, params: &Value, result: Value) -> io::Result<()> {
        let key = key(method, params);
        let mut line = serde_json::to_vec(&Line {
            method: method.to_owned(),
            params: params.clone(),
            result,
        })?;
        line.push(b'\n');
        self.file.write_all_at(&line, self.end)?;
        self.index.insert(key, (self.end, line.len()));
        self.end = self.end.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        self.file.flush()
    }
}

fn key(method: &str, params: &Value) -> B256 {
    keccak256(format!("{method}{params}"))
}

#[cfg(test)]
mod tests {
    use super::KeptAnswers;
    use serde_json::json;

    #[test]
    fn answers_come_back_and_a_line_that_was_cut_off_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (one, two) = (json!(["0x1", false]), json!(["0x2", false]));
        {
            let mut kept = KeptAnswers::open(&path).unwrap();
            assert!(KeptAnswers::open(&path).is_err(), "one process at a time");
            kept.put("m", &one, json!({ "a": "line\nbreak" })).unwrap();
            kept.put("m", &one, json!(3)).unwrap();
            kept.put("m", &two, json!("x".repeat(1_000))).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len(), whole.len().saturating_sub(1), whole.len().saturating_sub(900)] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut kept = KeptAnswers::open(&path).unwrap();
            assert_eq!(kept.get("m", &one), Some(json!(3)));
            assert_eq!(kept.get("m", &two).is_some(), cut == whole.len());
            assert_eq!(kept.get("n", &one), None);
            kept.put("n", &one, json!(4)).unwrap();
            assert_eq!(kept.get("n", &one), Some(json!(4)));
        }
    }
}

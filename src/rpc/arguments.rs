//! Reading the arguments of a call. Each refusal names the argument, its place and what was expected.

use crate::domain::Height;
use crate::rpc::RpcError;
use alloy::primitives::{Address, B256, Bytes};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// Characters of a wrong argument that an error repeats.
const SHOWN: usize = 80;

/// The arguments of a call, in their order, whether the client gave them by position or by name. `null` is the same as none.
#[derive(Debug)]
pub(super) struct Arguments(Vec<Value>);

/// A block, as a client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockReference {
    /// Block 0.
    Earliest,
    /// The last decided block.
    Latest,
    /// The same: an order has no pending block.
    Pending,
    /// The last block that is settled on L1.
    Safe,
    /// The last block whose settlement is final.
    Finalized,
    /// A height.
    Height(Height),
    /// A block hash.
    Hash(B256),
}

impl Arguments {
    /// Reads the arguments of a method that has these: an array in their order, or an object with their names.
    pub(super) fn read(
        params: Option<&RawValue>,
        names: &'static [&'static str],
    ) -> Result<Self, RpcError> {
        let invalid = |actual: String| RpcError::InvalidParams { names, actual };
        let Some(text) = params else { return Ok(Self(Vec::new())) };
        // Deeper nesting than any argument has is an error here.
        let values = match serde_json::from_str(text.get()) {
            Ok(Value::Array(values)) => values,
            Ok(Value::Object(mut named)) => {
                let mut values: Vec<_> =
                    names.iter().map(|name| named.remove(*name).unwrap_or(Value::Null)).collect();
                if let Some(unknown) = named.keys().next() {
                    return Err(invalid(format!("\"{}\"", cut(unknown))));
                }
                while values.last().is_some_and(Value::is_null) {
                    values.pop();
                }
                values
            }
            Ok(_) => return Err(invalid(cut(text.get()))),
            Err(error) => return Err(invalid(error.to_string())),
        };
        if values.len() > names.len() {
            return Err(invalid(format!("{} arguments", values.len())));
        }
        Ok(Self(values))
    }

    fn get(&self, position: usize) -> Option<&Value> {
        self.0.get(position).filter(|value| !value.is_null())
    }

    /// The error for an argument that is not as it should be.
    pub(super) fn invalid(
        &self,
        position: usize,
        field: &'static str,
        expected: impl ToString,
    ) -> RpcError {
        let actual = self.get(position).map_or("nothing".to_owned(), shown);
        RpcError::InvalidArgument { position, field, expected: expected.to_string(), actual }
    }

    /// An argument that may be left out.
    pub(super) fn optional<T>(
        &self,
        position: usize,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, RpcError> {
        let Some(value) = self.get(position) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.invalid(position, field, expected))
    }

    pub(super) fn required<T>(
        &self,
        position: usize,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, RpcError> {
        self.optional(position, field, expected, read)?
            .ok_or_else(|| self.invalid(position, field, expected))
    }

    /// A hash.
    pub(super) fn hash(&self, position: usize, field: &'static str) -> Result<B256, RpcError> {
        self.required(position, field, "32 bytes, 0x and 64 hexadecimal digits", |value| {
            prefixed(value)?.parse().ok()
        })
    }

    /// An address, in any case.
    pub(super) fn address(
        &self,
        position: usize,
        field: &'static str,
    ) -> Result<Address, RpcError> {
        self.required(position, field, "an address, 0x and 40 hexadecimal digits", |value| {
            prefixed(value)?.parse().ok()
        })
    }

    /// Bytes.
    pub(super) fn bytes(&self, position: usize, field: &'static str) -> Result<Bytes, RpcError> {
        self.required(position, field, "bytes, 0x and two hexadecimal digits each", |value| {
            prefixed(value)?.parse().ok()
        })
    }

    /// A number, as 0x-hex, decimal text or a JSON number.
    pub(super) fn number(
        &self,
        position: usize,
        field: &'static str,
    ) -> Result<Option<u64>, RpcError> {
        self.optional(position, field, "a number, 0x-hex or decimal", number)
    }

    /// A number from 1 to `most`.
    pub(super) fn count(
        &self,
        position: usize,
        field: &'static str,
        most: u64,
    ) -> Result<u64, RpcError> {
        self.number(position, field)?
            .filter(|count| (1..=most).contains(count))
            .ok_or_else(|| self.invalid(position, field, format_args!("a number from 1 to {most}")))
    }

    /// A truth value; false when left out.
    pub(super) fn flag(&self, position: usize, field: &'static str) -> Result<bool, RpcError> {
        let read = self.optional(position, field, "true or false", Value::as_bool)?;
        Ok(read.unwrap_or(false))
    }

    /// A block; the last decided one when left out.
    pub(super) fn block(&self, position: usize) -> Result<BlockReference, RpcError> {
        const EXPECTED: &str = "a block: a number, a hash, latest, pending, safe, finalized, earliest, or {blockNumber} or {blockHash}";
        let read = self.optional(position, "block", EXPECTED, block_reference)?;
        Ok(read.unwrap_or(BlockReference::Latest))
    }

    /// The error for a block that is not decided here, with the name that the client gave it.
    pub(super) fn no_block(&self, position: usize) -> RpcError {
        RpcError::NoBlock { block: self.get(position).map_or("latest".to_owned(), shown) }
    }

    /// The error for a batch that is not named by its number.
    pub(super) fn no_batch(&self, position: usize) -> RpcError {
        self.invalid(position, "batch", "a batch number, or latest")
    }

    /// An object with a known shape.
    pub(super) fn object<T: DeserializeOwned>(
        &self,
        position: usize,
        field: &'static str,
    ) -> Result<T, RpcError> {
        let value = self.get(position).ok_or_else(|| self.invalid(position, field, "an object"))?;
        T::deserialize(value).map_err(|error| self.invalid(position, field, error))
    }

    /// Percentiles of a fee history: ascending, from 0 to 100, at most 100 of them.
    pub(super) fn percentiles(&self, position: usize) -> Result<Vec<f64>, RpcError> {
        const EXPECTED: &str = "at most 100 ascending numbers from 0 to 100";
        let read = self.optional(position, "rewardPercentiles", EXPECTED, |value| {
            let values = value.as_array()?;
            let numbers: Vec<f64> = values.iter().map(Value::as_f64).collect::<Option<_>>()?;
            let fits = numbers.len() <= 100
                && numbers.is_sorted()
                && numbers.iter().all(|number| (0.0..=100.0).contains(number));
            fits.then_some(numbers)
        })?;
        Ok(read.unwrap_or_default())
    }
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

pub(super) fn prefixed(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text.starts_with("0x"))
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) if hex.starts_with('+') => None,
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None if text.starts_with('+') => None,
            None => text.parse().ok(),
        },
        _ => None,
    }
}

pub(super) fn block_reference(value: &Value) -> Option<BlockReference> {
    match value {
        // EIP-1898. Whether only a canonical block will do makes no difference: there are no others to be found.
        Value::Object(parts) => {
            if parts.get("requireCanonical").is_some_and(|only| !only.is_boolean()) {
                return None;
            }
            let given = |name| parts.get(name).filter(|value| !value.is_null());
            match (given("blockHash"), given("blockNumber")) {
                (Some(hash), None) => prefixed(hash)?.parse().ok().map(BlockReference::Hash),
                (None, Some(tag @ Value::String(_))) => {
                    block_reference(tag).filter(|one| !matches!(one, BlockReference::Hash(_)))
                }
                (None, Some(height)) => {
                    number(height).map(|n| BlockReference::Height(Height::new(n)))
                }
                _ => None,
            }
        }
        Value::String(text) => Some(match text.as_str() {
            "earliest" => BlockReference::Earliest,
            "latest" => BlockReference::Latest,
            "pending" => BlockReference::Pending,
            "safe" => BlockReference::Safe,
            "finalized" => BlockReference::Finalized,
            text if text.len() == 66 => BlockReference::Hash(prefixed(value)?.parse().ok()?),
            _ => BlockReference::Height(Height::new(number(value)?)),
        }),
        _ => number(value).map(|n| BlockReference::Height(Height::new(n))),
    }
}

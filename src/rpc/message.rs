//! JSON-RPC 2.0 by the letter of its specification: from bytes to calls, and from answers to bytes. Pure.
//!
//! Nothing is built from a message before its bounds are known: a batch is cut into the texts of its entries, at most as many
//! as one may hold, and each is read when its turn comes.

use crate::rpc::RpcError;
use jsonrpc::Fields;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What came in.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// One entry.
    One(Entry),
    /// The texts of a batch's entries, none of them read yet.
    Batch(Vec<&'a RawValue>),
}

/// One entry of a message.
#[derive(Debug)]
pub(super) enum Entry {
    /// Wants an answer.
    Call(Id, Call),
    /// Wants none, whatever becomes of it.
    Notification(Call),
    /// No request: what is wrong, to be told with this id.
    Invalid(Id, RpcError),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The method's name.
    pub(super) method: String,
    /// An array, an object, or nothing.
    pub(super) params: Option<Box<RawValue>>,
}

/// The id of a call, exactly as the client wrote it: a text, a number of any form, or null.
#[derive(Clone, Debug)]
pub(super) struct Id(Option<Box<RawValue>>);

impl Id {
    /// The id of what could not be told apart.
    pub(super) const NULL: Self = Self(None);

    fn text(&self) -> &str {
        self.0.as_deref().map_or("null", RawValue::get)
    }
}

mod jsonrpc {
    use serde::{Deserialize, Deserializer};
    use serde_json::value::RawValue;

    /// The members of a request that have a meaning. Others are allowed and ignored.
    #[derive(Deserialize)]
    pub(super) struct Fields<'a> {
        #[serde(default, borrow, deserialize_with = "present")]
        pub(super) jsonrpc: Option<&'a RawValue>,
        #[serde(default, borrow, deserialize_with = "present")]
        pub(super) id: Option<&'a RawValue>,
        #[serde(default, borrow, deserialize_with = "present")]
        pub(super) method: Option<&'a RawValue>,
        #[serde(default, borrow, deserialize_with = "present")]
        pub(super) params: Option<&'a RawValue>,
    }

    /// Tells a member that is null from one that is not there: a call with the id null wants an answer.
    fn present<'de: 'a, 'a, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<&'a RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }
}

/// Reads a message of at most `most` calls.
///
/// # Errors
///
/// [`RpcError::NoJson`], [`RpcError::NoRequest`] for an empty batch, [`RpcError::BatchTooLong`]: the answer to all of it, with
/// the id null.
pub(super) fn read(bytes: &[u8], most: usize) -> Result<Message<'_>, RpcError> {
    let whole: &RawValue = serde_json::from_slice(bytes)
        .map_err(|error| RpcError::NoJson { reason: error.to_string() })?;
    if !whole.get().starts_with('[') {
        return Ok(Message::One(entry(whole)));
    }
    let mut deserializer = serde_json::Deserializer::from_str(whole.get());
    let (entries, actual) = UpTo(most)
        .deserialize(&mut deserializer)
        .map_err(|error| RpcError::NoJson { reason: error.to_string() })?;
    if actual > most {
        return Err(RpcError::BatchTooLong { limit: most, actual });
    }
    if entries.is_empty() {
        return Err(RpcError::NoRequest { member: "batch", expected: "at least one request" });
    }
    Ok(Message::Batch(entries))
}

/// Reads one entry.
pub(super) fn entry(text: &RawValue) -> Entry {
    let invalid =
        |id, member, expected| Entry::Invalid(id, RpcError::NoRequest { member, expected });
    if !text.get().starts_with('{') {
        return invalid(Id::NULL, "request", "an object");
    }
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(text.get()) else {
        return invalid(Id::NULL, "request", "each of its members once");
    };
    let id = match fields.id {
        None => None,
        Some(id) => match id.get().as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9' | b'n') => Some(Id(Some(id.to_owned()))),
            _ => return invalid(Id::NULL, "id", "a text, a number or null"),
        },
    };
    let known = id.clone().unwrap_or(Id::NULL);
    if fields.jsonrpc.map(RawValue::get).map(str_of) != Some(Some("2.0".to_owned())) {
        return invalid(known, "jsonrpc", "\"2.0\"");
    }
    let Some(method) = fields.method.map(RawValue::get).and_then(str_of) else {
        return invalid(known, "method", "a text");
    };
    let params = match fields.params {
        None => None,
        Some(params) => match params.get().as_bytes().first() {
            Some(b'[' | b'{') => Some(params.to_owned()),
            // Not of the specification, but sent by clients that have nothing to say.
            Some(b'n') => None,
            _ => return invalid(known, "params", "an array or an object"),
        },
    };
    let call = Call { method, params };
    match id {
        Some(id) => Entry::Call(id, call),
        None => Entry::Notification(call),
    }
}

fn str_of(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// Cuts an array into at most so many texts, and counts the rest.
struct UpTo(usize);

impl<'de> DeserializeSeed<'de> for UpTo {
    type Value = (Vec<&'de RawValue>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for UpTo {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.0
            && let Some(entry) = entries.next_element::<&RawValue>()?
        {
            kept.push(entry);
        }
        let mut count = kept.len();
        while entries.next_element::<IgnoredAny>()?.is_some() {
            count = count.saturating_add(1);
        }
        Ok((kept, count))
    }
}

/// Writes the answer to one call: the JSON of its result, or its error.
pub(super) fn answer(id: &Id, outcome: Result<String, RpcError>) -> String {
    let id = id.text();
    match outcome {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.to_json()),
    }
}

/// Writes what a subscription tells.
pub(super) fn notification(subscription: &str, result: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{subscription}","result":{result}}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::{Entry, Id, Message, answer, entry, read};

    fn one(text: &str) -> Entry {
        match read(text.as_bytes(), 10).unwrap() {
            Message::One(entry) => entry,
            Message::Batch(_) => panic!("{text}"),
        }
    }

    #[test]
    fn an_id_comes_back_exactly_as_it_was_written() {
        let long = format!("\"{}\"", "x".repeat(10_000));
        let ids = [
            "0",
            "-1",
            "1.5",
            "1e3",
            "18446744073709551616",
            "1.00",
            "null",
            "\"\"",
            "\"1\"",
            "\"a\\u0000\\\"b\"",
            long.as_str(),
        ];
        for id in ids {
            let text = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"m"}}"#);
            let Entry::Call(kept, call) = one(&text) else { panic!("{id}") };
            assert_eq!((kept.text(), call.method.as_str()), (id, "m"));
        }
    }

    #[test]
    fn without_an_id_it_is_a_notification() {
        assert!(matches!(one(r#"{"jsonrpc":"2.0","method":"m"}"#), Entry::Notification(_)));
    }

    #[test]
    fn what_is_json_and_no_request_says_which_member_is_wrong() {
        let cases = [
            ("1", "request", "null"),
            ("\"text\"", "request", "null"),
            ("null", "request", "null"),
            ("{}", "jsonrpc", "null"),
            (r#"{"id":1,"method":"m"}"#, "jsonrpc", "1"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, "jsonrpc", "1"),
            (r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#, "jsonrpc", "1"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "method", "1"),
            (r#"{"jsonrpc":"2.0","id":"a","method":1}"#, "method", "\"a\""),
            (r#"{"jsonrpc":"2.0","method":null}"#, "method", "null"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, "id", "null"),
            (r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#, "id", "null"),
            (r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#, "id", "null"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":"p"}"#, "params", "1"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":7}"#, "params", "1"),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#, "request", "null"),
        ];
        for (text, member, id) in cases {
            let Entry::Invalid(told, error) = one(text) else { panic!("{text}") };
            assert_eq!((error.code(), told.text()), (-32600, id), "{text}");
            assert!(error.to_string().contains(member), "{text}: {error}");
        }
    }

    #[test]
    fn a_batch_is_counted_before_it_is_kept() {
        let refused = |text: &str| read(text.as_bytes(), 3).unwrap_err().code();
        assert_eq!(refused("[1,2,3,4]"), -32030);
        assert_eq!(refused("[]"), -32600);
        assert_eq!(refused(" [ ] "), -32600);
        for broken in ["", " ", "{", "[1,", "[1 2]", "{]", "\u{feff}{}", "{} {}", "nul", "'a'"] {
            assert_eq!(refused(broken), -32700, "{broken}");
        }
        assert_eq!(read(b"\xff\xfe", 3).unwrap_err().code(), -32700);
        let Message::Batch(entries) = read(b"\n\t[ {}, 7,\"x\" ] ", 3).unwrap() else { panic!() };
        assert_eq!(entries.len(), 3);
        assert!(entries.into_iter().all(|text| matches!(entry(text), Entry::Invalid(..))));
    }

    #[test]
    fn deep_nesting_is_refused_or_passed_on_but_never_followed() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(matches!(read(deep.as_bytes(), 3), Ok(Message::Batch(one)) if one.len() == 1));
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{deep}}}"#);
        assert!(matches!(one(&deep), Entry::Call(..)));
    }

    #[test]
    fn an_answer_is_a_result_or_an_error() {
        let id = Id::NULL;
        assert_eq!(answer(&id, Ok("7".to_owned())), r#"{"jsonrpc":"2.0","id":null,"result":7}"#);
        let error = super::RpcError::NoRequest { member: "id", expected: "x" };
        let told: serde_json::Value = serde_json::from_str(&answer(&id, Err(error))).unwrap();
        assert_eq!(told["error"]["code"], -32600);
        assert!(told.get("result").is_none());
    }
}

//! Which field of a transaction that does not decode is the wrong one: for whoever made it. Pure, and without a say in what
//! is taken: that is the decoder's alone.

use alloy::rlp::Header;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A number of so many bytes at most.
    Number(usize),
    /// 20 bytes, or none if a contract may be created.
    Address { may_create: bool },
    /// Any bytes.
    Bytes,
    /// A list of whatever.
    List,
    /// A list of authorizations.
    Authorizations,
}

type Field = (&'static str, Kind);

const CHAIN_ID: Field = ("chainId", Kind::Number(8));
const NONCE: Field = ("nonce", Kind::Number(8));
const GAS_PRICE: Field = ("gasPrice", Kind::Number(16));
const TIP: Field = ("maxPriorityFeePerGas", Kind::Number(16));
const MAX_FEE: Field = ("maxFeePerGas", Kind::Number(16));
const GAS_LIMIT: Field = ("gas", Kind::Number(8));
const TO: Field = ("to", Kind::Address { may_create: true });
const VALUE: Field = ("value", Kind::Number(32));
const INPUT: Field = ("input", Kind::Bytes);
const ACCESS_LIST: Field = ("accessList", Kind::List);
const PARITY: Field = ("yParity", Kind::Number(1));
const R: Field = ("r", Kind::Number(32));
const S: Field = ("s", Kind::Number(32));

const LEGACY: &[Field] =
    &[NONCE, GAS_PRICE, GAS_LIMIT, TO, VALUE, INPUT, ("v", Kind::Number(16)), R, S];
const LISTED: &[Field] =
    &[CHAIN_ID, NONCE, GAS_PRICE, GAS_LIMIT, TO, VALUE, INPUT, ACCESS_LIST, PARITY, R, S];
const DYNAMIC: &[Field] =
    &[CHAIN_ID, NONCE, TIP, MAX_FEE, GAS_LIMIT, TO, VALUE, INPUT, ACCESS_LIST, PARITY, R, S];
const DELEGATING: &[Field] = &[
    CHAIN_ID,
    NONCE,
    TIP,
    MAX_FEE,
    GAS_LIMIT,
    ("to", Kind::Address { may_create: false }),
    VALUE,
    INPUT,
    ACCESS_LIST,
    ("authorizationList", Kind::Authorizations),
    PARITY,
    R,
    S,
];
const AUTHORIZATION: &[Field] = &[
    ("chainId", Kind::Number(32)),
    ("address", Kind::Address { may_create: false }),
    NONCE,
    PARITY,
    R,
    S,
];

/// What is wrong with the first field that is, in words; `None` if each field by itself is what it should be.
pub(super) fn wrong(raw: &[u8]) -> Option<String> {
    let (fields, content) = match raw.split_first()? {
        (1, content) => (LISTED, content),
        (2, content) => (DYNAMIC, content),
        (4, content) => (DELEGATING, content),
        _ => (LEGACY, raw),
    };
    wrong_in(fields, content, "")
}

fn wrong_in(fields: &[Field], mut content: &[u8], within: &str) -> Option<String> {
    let Ok(mut rest) = Header::decode_bytes(&mut content, true) else {
        return Some(format!("{within}it is no list of fields, or is cut off"));
    };
    for (name, kind) in fields {
        if rest.is_empty() {
            return Some(format!("{within}{name} is missing"));
        }
        let Ok(header) = Header::decode(&mut rest) else {
            return Some(format!("{within}{name} is cut off, or has not the shortest length"));
        };
        // A single byte is its own header, and still there.
        let (payload, after) = rest.split_at_checked(header.payload_length)?;
        if let Some(problem) = problem_of(*kind, header.list, payload) {
            return Some(format!("{within}{name} {problem}"));
        }
        if let Kind::Authorizations = kind
            && let Some(problem) = wrong_authorization(payload)
        {
            return Some(problem);
        }
        rest = after;
    }
    (!rest.is_empty()).then(|| format!("{within}there are more fields than its type has"))
}

fn problem_of(kind: Kind, is_list: bool, payload: &[u8]) -> Option<String> {
    let wants_list = matches!(kind, Kind::List | Kind::Authorizations);
    if is_list != wants_list {
        let problem = if wants_list { "is no list" } else { "is a list" };
        return Some(problem.to_owned());
    }
    let length = payload.len();
    match kind {
        Kind::Number(most) if length > most => {
            Some(format!("has {length} bytes, a number of at most {most} is expected"))
        }
        Kind::Number(_) if payload.first() == Some(&0) => Some("has zeros in front".to_owned()),
        Kind::Address { may_create: true } if length != 20 && length != 0 => {
            Some(format!("has {length} bytes, 20 or none are expected"))
        }
        Kind::Address { may_create: false } if length != 20 => {
            Some(format!("has {length} bytes, 20 are expected"))
        }
        _ => None,
    }
}

fn wrong_authorization(mut list: &[u8]) -> Option<String> {
    for index in 0_usize.. {
        if list.is_empty() {
            break;
        }
        let before = list;
        let header = Header::decode(&mut list).ok()?;
        let after = list.get(header.payload_length..)?;
        let length = before.len().checked_sub(after.len())?;
        let one = before.get(..length)?;
        let within = format!("authorizationList[{index}].");
        if let Some(problem) = wrong_in(AUTHORIZATION, one, &within) {
            return Some(problem);
        }
        list = after;
    }
    None
}

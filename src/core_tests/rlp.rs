//! Transactions field by field, so that each can be what no library would write.

use crate::crypto::SecretKey;
use alloy::primitives::{Bytes, keccak256};

/// An item of RLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rlp {
    Bytes(Vec<u8>),
    List(Vec<Rlp>),
}

/// A number as RLP has it: without leading zeros.
pub(super) fn number(value: u128) -> Rlp {
    bytes(&value.to_be_bytes()[value.leading_zeros() as usize / 8..])
}

pub(super) fn bytes(bytes: &[u8]) -> Rlp {
    Rlp::Bytes(bytes.to_vec())
}

/// The numbers at the ends of a type of so many bytes, and one beyond it.
pub(super) fn ends(width: usize) -> Vec<Rlp> {
    let mut almost = vec![0xff; width];
    almost[width - 1] = 0xfe;
    let mut beyond = vec![0; width + 1];
    beyond[0] = 1;
    vec![bytes(&[]), bytes(&[1]), bytes(&almost), bytes(&vec![0xff; width]), bytes(&beyond)]
}

impl Rlp {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bytes(one) if one.len() == 1 && one[0] < 0x80 => one.clone(),
            Self::Bytes(all) => headed(0x80, all),
            Self::List(items) => {
                headed(0xc0, &items.iter().flat_map(Self::encode).collect::<Vec<u8>>())
            }
        }
    }
}

fn headed(base: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    if length < 56 {
        return [&[base + u8::try_from(length).unwrap()][..], content].concat();
    }
    let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&[base + 55 + u8::try_from(digits.len()).unwrap()][..], &digits, content].concat()
}

/// A transaction type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Legacy,
    Type1,
    Type2,
    Type4,
}

pub(super) const KINDS: [Kind; 4] = [Kind::Legacy, Kind::Type1, Kind::Type2, Kind::Type4];

/// A field of a transaction before it is signed, and its width in bytes if it is a number.
pub(super) const fn fields(kind: Kind) -> &'static [(&'static str, usize)] {
    match kind {
        Kind::Legacy => {
            &[("nonce", 8), ("gasPrice", 16), ("gas", 8), ("to", 0), ("value", 32), ("data", 0)]
        }
        Kind::Type1 => &[
            ("chainId", 8),
            ("nonce", 8),
            ("gasPrice", 16),
            ("gas", 8),
            ("to", 0),
            ("value", 32),
            ("data", 0),
            ("accessList", 0),
        ],
        Kind::Type2 => &[
            ("chainId", 8),
            ("nonce", 8),
            ("tip", 16),
            ("maxFee", 16),
            ("gas", 8),
            ("to", 0),
            ("value", 32),
            ("data", 0),
            ("accessList", 0),
        ],
        Kind::Type4 => &[
            ("chainId", 8),
            ("nonce", 8),
            ("tip", 16),
            ("maxFee", 16),
            ("gas", 8),
            ("to", 0),
            ("value", 32),
            ("data", 0),
            ("accessList", 0),
            ("authorizationList", 0),
        ],
    }
}

/// A transaction that is being written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) chain_id: u64,
    pub(super) content: Vec<Rlp>,
}

impl Draft {
    /// A plain one.
    pub(super) fn plain(kind: Kind, by: &SecretKey, chain_id: u64, nonce: u64) -> Self {
        let content = fields(kind).iter().map(|(field, _)| match *field {
            "chainId" => number(chain_id.into()),
            "nonce" => number(nonce.into()),
            "gas" => number(21_000),
            "to" => bytes(&[0xaa; 20]),
            "value" | "tip" => number(1),
            "data" => bytes(&[]),
            "accessList" => Rlp::List(Vec::new()),
            "authorizationList" => Rlp::List(vec![authorization(by, chain_id, nonce + 1, None)]),
            _ => number(2_000_000_000),
        });
        Self { kind, chain_id, content: content.collect() }
    }

    pub(super) fn with(mut self, field: &str, value: Rlp) -> Self {
        let at = fields(self.kind).iter().position(|(name, _)| *name == field).unwrap();
        self.content[at] = value;
        self
    }

    /// Signs what there is, and encodes it with the signature's parts as they are after `spoil`.
    pub(super) fn sign(&self, by: &SecretKey, spoil: impl FnOnce(&mut [Rlp; 3])) -> Bytes {
        let mut signed = self.content.clone();
        if self.kind == Kind::Legacy {
            signed.extend([number(self.chain_id.into()), bytes(&[]), bytes(&[])]);
        }
        let rsv = by.sign(keccak256(self.typed(signed))).to_rsv();
        let odd = u128::from(rsv[64] - 27);
        let v = match self.kind {
            Kind::Legacy => u128::from(self.chain_id) * 2 + 35 + odd,
            _ => odd,
        };
        let stripped = |part: &[u8]| {
            bytes(&part.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>())
        };
        let mut parts = [number(v), stripped(&rsv[..32]), stripped(&rsv[32..64])];
        spoil(&mut parts);
        let mut all = self.content.clone();
        all.extend(parts);
        self.typed(all).into()
    }

    fn typed(&self, items: Vec<Rlp>) -> Vec<u8> {
        let list = Rlp::List(items).encode();
        match self.kind {
            Kind::Legacy => list,
            Kind::Type1 => [&[1][..], &list].concat(),
            Kind::Type2 => [&[2][..], &list].concat(),
            Kind::Type4 => [&[4][..], &list].concat(),
        }
    }
}

/// An authorization, with one of its fields (chain id, address, nonce, y, r, s) put in place of the right one.
pub(super) fn authorization(
    by: &SecretKey,
    chain_id: u64,
    nonce: u64,
    spoilt: Option<(usize, Rlp)>,
) -> Rlp {
    let mut parts = vec![number(chain_id.into()), bytes(&[0xbb; 20]), number(nonce.into())];
    if let Some((at @ 0..3, value)) = &spoilt {
        parts[*at] = value.clone();
    }
    let signed = [&[5][..], &Rlp::List(parts.clone()).encode()].concat();
    let rsv = by.sign(keccak256(signed)).to_rsv();
    let stripped = |part: &[u8]| {
        bytes(&part.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>())
    };
    parts.push(number(u128::from(rsv[64] - 27)));
    parts.extend([stripped(&rsv[..32]), stripped(&rsv[32..64])]);
    if let Some((at @ 3..6, value)) = spoilt {
        parts[at] = value;
    }
    Rlp::List(parts)
}

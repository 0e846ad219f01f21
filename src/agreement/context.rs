//! The protocol's words as the engine wants to hear them. Consensus-critical where a type is signed or compared.
//!
//! What a member signs depends on the generation and on (type, height, round, block hash) alone: the engine builds votes
//! again from certificates and compares them. So each generation has an engine of its own, and everything else stands in
//! the header behind the block hash.

use crate::crypto::Signature;
use crate::domain::{self, BlockHeader, Generation, Height, LeaderSet, Signer};
use alloy::primitives::B256;
use borsh::{BorshDeserialize, BorshSerialize};
use malachitebft_core_types::{
    self as engine, LinearTimeouts, NilOrVal, Round, SignedExtension, SigningScheme, VoteType,
};
use std::fmt;
use std::sync::Arc;

/// The engine's view of the protocol. The generation is known to those who sign and verify.
#[derive(Clone, Copy, Debug)]
pub(super) struct RotaContext;

/// A block hash: what votes are about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub(super) struct BlockId(pub(super) [u8; 32]);

impl BlockId {
    pub(super) const fn hash(self) -> B256 {
        B256::new(self.0)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash().fmt(f)
    }
}

/// The value agreed on: a whole block header (R13). Its hash is computed once.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HeaderValue {
    id: BlockId,
    header: Arc<BlockHeader>,
}

impl HeaderValue {
    pub(super) fn new(header: BlockHeader) -> Self {
        Self { id: BlockId(header.hash().0), header: Arc::new(header) }
    }

    pub(super) fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The block hash.
    pub(super) const fn hash(&self) -> B256 {
        self.id.hash()
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl PartialOrd for HeaderValue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderValue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl BorshSerialize for HeaderValue {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.header.serialize(writer)
    }
}

impl BorshDeserialize for HeaderValue {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        BlockHeader::deserialize_reader(reader).map(Self::new)
    }
}

impl engine::Value for HeaderValue {
    type Id = BlockId;

    fn id(&self) -> BlockId {
        self.id
    }
}

impl engine::Height for Height {
    const ZERO: Self = Self::new(0);
    const INITIAL: Self = Self::new(1);

    fn increment_by(&self, n: u64) -> Self {
        Self::new(self.get().saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.get().checked_sub(n).map(Self::new)
    }

    fn as_u64(&self) -> u64 {
        self.get()
    }
}

impl engine::Address for Signer {}

/// A vote and who claims to have cast it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Vote {
    vote_type: VoteType,
    height: Height,
    round: Round,
    value: NilOrVal<BlockId>,
    voter: Signer,
}

impl Vote {
    /// The vote as it is signed; `None` at no round, where nothing is.
    pub(super) fn to_domain(
        &self,
        generation: Generation,
    ) -> Option<(domain::VoteType, domain::Vote)> {
        let vote_type = match self.vote_type {
            VoteType::Prevote => domain::VoteType::Prevote,
            VoteType::Precommit => domain::VoteType::Precommit,
        };
        let vote = domain::Vote {
            generation,
            height: self.height,
            round: domain::Round::new(self.round.as_u32()?),
            block_hash: match self.value {
                NilOrVal::Nil => B256::ZERO,
                NilOrVal::Val(id) => id.hash(),
            },
        };
        Some((vote_type, vote))
    }
}

impl engine::Vote<RotaContext> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.vote_type
    }

    fn validator_address(&self) -> &Signer {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedExtension<RotaContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<RotaContext>> {
        None
    }

    /// Extensions are off at every height: there is nothing to carry.
    fn extend(self, _extension: SignedExtension<RotaContext>) -> Self {
        self
    }
}

/// A proposal and who claims to have made it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Proposal {
    height: Height,
    round: Round,
    value: HeaderValue,
    pol_round: Round,
    proposer: Signer,
}

impl Proposal {
    /// The proposal as it is signed; `None` at no round, where nothing is.
    pub(super) fn to_domain(&self, generation: Generation) -> Option<domain::Proposal> {
        Some(domain::Proposal {
            generation,
            height: self.height,
            round: domain::Round::new(self.round.as_u32()?),
            pol_round: match self.pol_round {
                Round::Nil => -1,
                Round::Some(round) => i32::try_from(round).ok()?,
            },
            block_hash: self.value.id.hash(),
        })
    }

    pub(super) fn header(&self) -> &BlockHeader {
        self.value.header()
    }

    /// Hash of the proposed block.
    pub(super) const fn hash(&self) -> B256 {
        self.value.id.hash()
    }

    /// The round, as a number; 0 at no round, where nothing is signed.
    pub(super) fn round_number(&self) -> u32 {
        self.round.as_u32().unwrap_or_default()
    }
}

impl engine::Proposal<RotaContext> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &HeaderValue {
        &self.value
    }

    fn take_value(self) -> HeaderValue {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Signer {
        &self.proposer
    }
}

/// One message of the stream that carries a block beside its proposal. Nothing of it is believed before the signature of
/// the first one was checked.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Part {
    /// First: the proposal that the block belongs to, with its header, as the round's proposer signed it; not always whose
    /// block it is, and not always who sends it.
    Init {
        /// What was signed.
        proposal: Box<Proposal>,
        /// By whom it says that it is.
        signature: Signature,
    },
    /// Then: a piece of the encoded body.
    Body(Vec<u8>),
}

impl engine::ProposalPart<RotaContext> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Self::Init { .. })
    }

    /// The stream says where it ends.
    fn is_last(&self) -> bool {
        false
    }
}

/// A member as the engine counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    signer: Signer,
    weight: u64,
}

impl engine::Validator<RotaContext> for Member {
    fn address(&self) -> &Signer {
        &self.signer
    }

    /// Signatures are checked by recovery: the address is all that is known of a key.
    fn public_key(&self) -> &Signer {
        &self.signer
    }

    fn voting_power(&self) -> u64 {
        self.weight
    }
}

/// The leader set of one height, with the order in which its members propose (R12). Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeightSet(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    members: Vec<Member>,
    total: u64,
    order: Vec<usize>,
}

impl HeightSet {
    /// `None` when the set has no member or `order` is not one place for each of them.
    pub(super) fn new(set: &LeaderSet, order: Vec<usize>) -> Option<Self> {
        let members: Vec<_> = set
            .members()
            .iter()
            .map(|member| Member { signer: Signer(member.signer.0.0), weight: member.weight })
            .collect();
        let fits = order.len() == members.len() && order.iter().all(|place| *place < members.len());
        (fits && !members.is_empty())
            .then(|| Self(Arc::new(Inner { members, total: set.total(), order })))
    }

    /// Who proposes in a round.
    pub(super) fn proposer(&self, round: u32) -> &Member {
        let round = usize::try_from(round).unwrap_or_default();
        round
            .checked_rem(self.0.order.len())
            .and_then(|turn| self.0.order.get(turn))
            .and_then(|place| self.0.members.get(*place))
            .expect("the order of a height holds places of its members")
    }

    /// Whether `signer` is the proposer of `round`.
    pub(super) fn proposes(&self, signer: &Signer, round: u32) -> bool {
        self.proposer(round).signer == *signer
    }

    /// The signers of all members.
    pub(super) fn signers(&self) -> impl Iterator<Item = Signer> {
        self.0.members.iter().map(|member| member.signer)
    }

    /// Whether `signer` proposes in `round` or has proposed in an earlier one.
    pub(super) fn has_proposed(&self, signer: &Signer, round: u32) -> bool {
        let rounds = usize::try_from(round).unwrap_or(usize::MAX).saturating_add(1);
        self.0
            .order
            .iter()
            .take(rounds)
            .filter_map(|place| self.0.members.get(*place))
            .any(|member| member.signer == *signer)
    }

    /// All members.
    pub(super) fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// Whether `signer` is a member.
    pub(super) fn contains(&self, signer: &Signer) -> bool {
        self.0.members.binary_search_by_key(signer, |member| member.signer).is_ok()
    }
}

impl engine::ValidatorSet<RotaContext> for HeightSet {
    fn count(&self) -> usize {
        self.0.members.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.total
    }

    fn get_by_address(&self, address: &Signer) -> Option<&Member> {
        let place = self.0.members.binary_search_by_key(address, |member| member.signer).ok()?;
        self.0.members.get(place)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.members.get(index)
    }
}

/// secp256k1, with addresses for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secp256k1;

/// Bytes that are no address or signature.
#[derive(Debug, thiserror::Error)]
#[error("{actual} bytes, expected {expected}")]
pub(super) struct WrongLength {
    expected: usize,
    actual: usize,
}

impl SigningScheme for Secp256k1 {
    type DecodingError = WrongLength;
    type Signature = Signature;
    type PublicKey = Signer;
    /// Keys stay behind the guard.
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, WrongLength> {
        <[u8; 64]>::try_from(bytes)
            .map(Signature::from_compact)
            .map_err(|_| WrongLength { expected: 64, actual: bytes.len() })
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.to_compact().to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Signer, WrongLength> {
        <[u8; 20]>::try_from(bytes)
            .map(Signer)
            .map_err(|_| WrongLength { expected: 20, actual: bytes.len() })
    }

    fn encode_public_key(key: &Signer) -> Vec<u8> {
        key.0.to_vec()
    }
}

impl engine::Context for RotaContext {
    type Address = Signer;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Member;
    type ValidatorSet = HeightSet;
    type Timeouts = LinearTimeouts;
    type Value = HeaderValue;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Secp256k1;

    fn select_proposer<'a>(&self, set: &'a HeightSet, _height: Height, round: Round) -> &'a Member {
        set.proposer(round.as_u32().unwrap_or_default())
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: HeaderValue,
        pol_round: Round,
        proposer: Signer,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<BlockId>,
        voter: Signer,
    ) -> Vote {
        Vote { vote_type: VoteType::Prevote, height, round, value, voter }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<BlockId>,
        voter: Signer,
    ) -> Vote {
        Vote { vote_type: VoteType::Precommit, height, round, value, voter }
    }
}

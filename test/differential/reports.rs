//! Evidence to the deployed slasher: what it recovers from a random signature, and from which message (R9).

use crate::chain::Chain;
use crate::digests::{proposal, sol_proposal, sol_vote, vote};
use crate::harness::{self, Slasher};
use crate::inputs;
use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolError as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rota::crypto::{SecretKey, Signature, SigningDomain};
use rota::domain::{Round, Vote};

const REPORTS: usize = 128;

pub(crate) fn sol_signature(signature: &Signature) -> harness::Signature {
    let bytes = signature.to_compact();
    harness::Signature { r: B256::from_slice(&bytes[..32]), vs: B256::from_slice(&bytes[32..]) }
}

/// The member's signature of a digest, or one of something else, of somebody else, or of nothing.
fn signature(random: &mut StdRng, member: &SecretKey, digest: B256, other: B256) -> Signature {
    let mut bytes = member.sign(digest).to_compact();
    match random.gen_range(0..6) {
        0 => return SecretKey::from_bytes(random.r#gen()).unwrap().sign(digest),
        1 => return member.sign(other),
        2 => random.fill(&mut bytes[..]),
        // The other parity of y: another key's signature, if anybody's.
        3 => bytes[32] ^= 0x80,
        _ => {}
    }
    Signature::from_compact(bytes)
}

/// What the slasher has to answer, given what the agent recovers.
fn due(member: Address, digest: B256, signature: &Signature) -> Result<(), Vec<u8>> {
    let actual = signature.recover(digest).unwrap_or(Address::ZERO);
    if actual == member {
        return Ok(());
    }
    Err(Slasher::NotSignedBy { expected: member, actual }.abi_encode())
}

#[tokio::test]
async fn the_deployed_slasher_recovers_from_random_evidence_whom_the_agent_does() {
    let mut random = inputs::generator();
    let random = &mut random;
    let chain = Chain::start().await;
    let bytes = random.r#gen();
    let member = SecretKey::from_bytes(bytes).unwrap();
    let joining = SecretKey::from_bytes(bytes).unwrap();
    let stake_wei = U256::from(10).pow(U256::from(21));
    let deployed = chain.deploy(&[(joining, stake_wei)]).await;
    let deployment = deployed.deployment;
    let domain = SigningDomain::new(deployment.chain_id, deployment.settlement);
    // The only place of the sealed set, as `KeyLib` draws it.
    let key = (U256::from(1) << 255) | (U256::from(deployed.epoch.get()) << 8);

    let mut taken = 0;
    for number in 0..REPORTS {
        let (vote_type, a) = vote(random);
        let b = Vote { block_hash: B256::new(random.r#gen()), ..a.clone() };
        let signature_a = member.sign(domain.vote(vote_type, &a));
        let digest = domain.vote(vote_type, &b);
        let other = Vote { round: Round::new(!b.round.get()), ..b.clone() };
        let signature_b = signature(random, &member, digest, domain.vote(vote_type, &other));
        let call = Slasher::reportDoubleVoteCall {
            key,
            voteType: vote_type as u8,
            a: sol_vote(&a),
            signatureA: sol_signature(&signature_a),
            b: sol_vote(&b),
            signatureB: sol_signature(&signature_b),
        };
        let expected = due(member.address(), digest, &signature_b);
        let actual = chain.ask(deployment.slasher, call).await;
        taken += usize::from(actual.is_ok());
        let actual = actual.map(|_| ()).map_err(|error| error.to_vec());
        assert_eq!(expected, actual, "vote {number}: {vote_type:?} {b:?}, {signature_b:?}");

        let a = proposal(random);
        let b =
            rota::domain::Proposal { block_hash: B256::new(random.r#gen()), ..proposal(random) };
        let b = rota::domain::Proposal {
            generation: a.generation,
            height: a.height,
            round: a.round,
            ..b
        };
        let signature_a = member.sign(domain.proposal(&a));
        let digest = domain.proposal(&b);
        let other = rota::domain::Proposal { pol_round: !b.pol_round, ..b.clone() };
        let signature_b = signature(random, &member, digest, domain.proposal(&other));
        let call = Slasher::reportDoubleProposalCall {
            key,
            a: sol_proposal(&a),
            signatureA: sol_signature(&signature_a),
            b: sol_proposal(&b),
            signatureB: sol_signature(&signature_b),
        };
        let expected = due(member.address(), digest, &signature_b);
        let actual = chain.ask(deployment.slasher, call).await;
        taken += usize::from(actual.is_ok());
        let actual = actual.map(|_| ()).map_err(|error| error.to_vec());
        assert_eq!(expected, actual, "proposal {number}: {b:?}, {signature_b:?}");
    }
    assert!(taken > 0 && taken < 2 * REPORTS, "of {} reports, {taken} were taken", 2 * REPORTS);
}

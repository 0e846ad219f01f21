//! Which set agrees on which height (R12, R15): a function of the block before and of what L1 shows.

use super::context::HeightSet;
use crate::domain::{
    BlockHeader, Epoch, Generation, GenerationStart, Height, L1Block, LeaderSet, Signer,
};
use crate::l1::Mirror;
use crate::rota;
use alloy::primitives::B256;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// The terms on which a height is agreed.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// The running generation.
    pub(super) generation: Generation,
    /// The height.
    pub(super) height: Height,
    /// Its epoch.
    pub(super) epoch: Epoch,
    /// The block before.
    pub(super) parent: BlockHeader,
    /// Hash of it.
    pub(super) parent_hash: B256,
    /// The earliest L1 block that it can name as origin: that of the block before, or the one in which the generation began.
    pub(super) earliest_origin: L1Block,
    /// Who agrees.
    pub(super) set: HeightSet,
}

/// Why the terms of a height are not known. Each can pass when L1 is read further; none is the fault of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    /// The L1 block that the parent names as origin, or in which the generation began, has not been seen, or is no longer
    /// kept.
    #[error("L1 block {number}, the earliest origin of the next block, is not in view")]
    Origin {
        /// Its number.
        number: u64,
    },
    /// No set is sealed for the epoch or an earlier one.
    #[error("no leader set is known for epoch {epoch}")]
    Set {
        /// The epoch.
        epoch: Epoch,
    },
    /// The set in force has no member: nothing is ordered (R5).
    #[error("the leader set of epoch {epoch} is empty")]
    Empty {
        /// The epoch.
        epoch: Epoch,
    },
}

impl Term {
    /// The terms of the height after `parent`. `start` is how the running generation began.
    pub(super) fn after(
        mirror: &Mirror,
        start: Option<&GenerationStart>,
        parent: &BlockHeader,
        parent_hash: B256,
    ) -> Result<Self, Unknown> {
        let beginning = rota::beginning_after(start, parent);
        let (number, hash) = match beginning {
            Some(start) => (start.finished_in.number, start.finished_in.hash),
            None => (parent.l1_origin_number, parent.l1_origin_hash),
        };
        let origin = mirror
            .blocks
            .get(&number)
            .filter(|block| block.hash == hash)
            .ok_or(Unknown::Origin { number })?;
        let (generation, epoch) = match beginning {
            Some(start) => (start.generation, start.epoch),
            None => {
                let epoch = rota::epoch_of_next(&mirror.params, parent, origin.timestamp);
                (parent.generation, epoch)
            }
        };
        let set: Arc<LeaderSet> =
            mirror.set_for(generation, epoch).ok_or(Unknown::Set { epoch })?;
        let order = rota::order(&mirror.params, parent, epoch, &set);
        Ok(Self {
            generation,
            height: parent.height.next(),
            epoch,
            parent: parent.clone(),
            parent_hash,
            earliest_origin: *origin,
            set: HeightSet::new(&set, order).ok_or(Unknown::Empty { epoch })?,
        })
    }
}

/// The sets of the last heights, and who may be in those of the next ones; shared with those who check signatures.
#[derive(Clone, Debug, Default)]
pub(super) struct Heights(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What was decided before the first height begins here, and who may sign at those after it.
    beginning: Option<(Height, BTreeSet<Signer>)>,
    sets: BTreeMap<Height, HeightSet>,
    expected: BTreeSet<Signer>,
}

impl Heights {
    /// How many heights back a late message can still be judged.
    pub(super) const KEPT: usize = 256;

    /// How many heights ahead of the running one a message is taken in: honest agents are at most one ahead of those whom
    /// they need.
    pub(super) const AHEAD: u64 = 2;

    /// Notes what was decided last, and who may be a member of anything, before the first height begins here.
    pub(super) fn begin_after(&self, decided: Height, signers: impl Iterator<Item = Signer>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.beginning = Some((decided, signers.collect()));
    }

    /// Whether a message that comes before the first height has begun here may be of use once it has.
    pub(super) fn may_begin(&self, height: Height, signer: &Signer) -> bool {
        self.read().beginning.as_ref().is_some_and(|(decided, signers)| {
            let ahead = height.get().saturating_sub(decided.get());
            (1..=Self::AHEAD).contains(&ahead) && signers.contains(signer)
        })
    }

    /// Notes who agrees on a height that begins, and who else may on the next ones: the members of `next`, the set of the
    /// epoch after this.
    pub(super) fn note(&self, term: &Term, next: Option<&LeaderSet>) {
        let coming = next.into_iter().flat_map(LeaderSet::members);
        let coming = coming.map(|member| Signer(member.signer.0.0));
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.expected = term.set.signers().chain(coming).collect();
        known.sets.insert(term.height, term.set.clone());
        while known.sets.len() > Self::KEPT {
            known.sets.pop_first();
        }
    }

    /// Who agrees on a height, if it is a recent one that has begun.
    pub(super) fn set_of(&self, height: Height) -> Option<HeightSet> {
        self.read().sets.get(&height).cloned()
    }

    /// Whether `signer` is a member of the running height's set, or of the one that follows.
    pub(super) fn expects(&self, signer: &Signer) -> bool {
        self.read().expected.contains(signer)
    }

    /// The height that began last.
    pub(super) fn running(&self) -> Option<Height> {
        self.read().sets.last_key_value().map(|(height, _)| *height)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

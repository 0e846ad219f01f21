//! Whether a batch that says it is regular is so (R23), seen from L1 alone. Pure.
//!
//! Only regular batches blame a turn and pay a margin, and L1 cannot tell one from another: it believes a quorum. The
//! derived chain tells: a regular batch is the cut of R20 above what settled before it, in the epoch of R22, and
//! `regularSince` is the time of the block that showed its end. Where that block is the one behind it, it is judged once
//! that has settled. What nobody can know is not judged: above a payload that does not decode, and where what came behind
//! was undone by a restart.

use crate::batch::Splitter;
use crate::batch::body::body_bytes;
use crate::domain::{Block, BlockHeader, Epoch, Generation, Height, Params, Seconds, SettledBatch};

/// What is wrong with a batch that says it is regular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotRegular {
    /// The batch.
    pub(super) batch: u64,
    /// The L1 block that settled it.
    pub(super) l1_block: u64,
    /// What is wrong.
    pub(super) what: String,
}

/// A regular batch whose end the block behind it has to show.
#[derive(Debug)]
struct Waiting {
    batch: u64,
    l1_block: u64,
    generation: Generation,
    last: Height,
    since: Seconds,
    splitter: Splitter,
}

/// The batches so far, as far as the next one is judged by them.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    waiting: Option<Waiting>,
    /// Epoch of the batch before, if that was regular, or block 0.
    before: Option<Epoch>,
}

impl Cuts {
    /// Takes note of block 0, which counts as a regular batch.
    pub(super) fn begin(&mut self, genesis: &BlockHeader) {
        self.before = Some(genesis.epoch);
    }

    /// Takes the next batch with its blocks (none if they are not known) and the header that they follow, if it is known.
    /// `began` is the epoch in which its generation began, if nothing of that settled before.
    pub(super) fn take(
        &mut self,
        batch: &SettledBatch,
        blocks: &[Block],
        parent: Option<&BlockHeader>,
        began: Option<Epoch>,
        params: &Params,
    ) -> Vec<NotRegular> {
        let mut found = Vec::new();
        self.judge_waiting(blocks.first(), &mut found);
        let header = &batch.header;
        if header.is_regular() {
            let mut tell = |what: String| {
                let (batch, l1_block) = (batch.number.get(), batch.block.number);
                found.push(NotRegular { batch, l1_block, what });
            };
            let before = began.or(self.before);
            if let (Some(before), Some(last)) = (before, blocks.last()) {
                let expected = last.header.epoch.max(before);
                if header.epoch != expected {
                    tell(format!("is attested in epoch {}, expected {expected}", header.epoch));
                }
            }
            if let Some(parent) =
                parent.filter(|parent| parent.height.next() == header.first_height)
            {
                self.waiting = judge_cut(batch, blocks, Splitter::new(params, parent), &mut tell);
            }
        }
        self.before = header.is_regular().then_some(header.epoch);
        found
    }

    /// Judges the end of the batch before by the block behind it.
    fn judge_waiting(&mut self, next: Option<&Block>, found: &mut Vec<NotRegular>) {
        let (Some(mut waiting), Some(next)) = (self.waiting.take(), next) else { return };
        let header = &next.header;
        if header.generation != waiting.generation || header.height != waiting.last.next() {
            return;
        }
        let Ok(shown) = waiting.splitter.push(header, body_bytes(&next.transactions)) else {
            return;
        };
        let what = match shown {
            Some(cut) if cut.last == waiting.last && cut.since == waiting.since => return,
            Some(cut) if cut.last == waiting.last => {
                format!("says that its end was known at {}, expected {}", waiting.since, cut.since)
            }
            _ => format!("ends at height {}, where the cut goes on", waiting.last),
        };
        found.push(NotRegular { batch: waiting.batch, l1_block: waiting.l1_block, what });
    }
}

/// Cuts the blocks of a batch. What is left to be shown by the block behind it, if anything.
fn judge_cut(
    batch: &SettledBatch,
    blocks: &[Block],
    mut splitter: Splitter,
    tell: &mut dyn FnMut(String),
) -> Option<Waiting> {
    let (header, since) = (&batch.header, batch.header.regular_since);
    for block in blocks {
        // Blocks that do not follow each other are no payload that decodes.
        let cut = splitter.push(&block.header, body_bytes(&block.transactions)).ok()?;
        let Some(cut) = cut else { continue };
        if cut.last != header.last_height {
            tell(format!("ends at height {}, the cut at {}", header.last_height, cut.last));
        } else if cut.since != since {
            tell(format!("says that its end was known at {since}, expected {}", cut.since));
        }
        return None;
    }
    blocks.last().map(|last| Waiting {
        batch: batch.number.get(),
        l1_block: batch.block.number,
        generation: last.header.generation,
        last: header.last_height,
        since,
        splitter,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{Cuts, NotRegular};
    use crate::domain::{
        BatchHeader, BatchNumber, Block, BlockHeader, Epoch, Generation, L1Block, Millis, Seconds,
        SettledBatch,
    };
    use crate::testing::{batch_header, header, key, params, transaction};
    use alloy::primitives::{Address, B256};

    const START: u64 = 1_700_000_000;

    /// A block at a height, so many seconds after the start, with a transaction if it is to have one.
    fn block(height: u64, seconds: u64, has_content: bool) -> Block {
        let transactions =
            if has_content { vec![transaction(&key(1), height).transaction] } else { Vec::new() };
        let header = BlockHeader {
            timestamp: Millis::new((START + seconds) * 1_000),
            tx_count: u32::from(has_content),
            epoch: Epoch::new(3),
            generation: Generation::new(0),
            ..header(height, B256::ZERO)
        };
        Block { header, transactions }
    }

    fn batch(number: u64, blocks: &[Block], change: impl FnOnce(&mut BatchHeader)) -> SettledBatch {
        let (first, last) = (&blocks[0].header, &blocks[blocks.len() - 1].header);
        let mut header = BatchHeader {
            first_height: first.height,
            last_height: last.height,
            timestamp: last.timestamp.to_seconds(),
            regular_since: last.timestamp.to_seconds(),
            epoch: Epoch::new(3),
            ..batch_header(last.height.get())
        };
        change(&mut header);
        SettledBatch {
            number: BatchNumber::new(number),
            header,
            poster: Address::ZERO,
            signers: 1,
            block: L1Block { number: 100 + number, hash: B256::ZERO, timestamp: Seconds::new(1) },
            tx_hash: B256::ZERO,
            parent_settled_at: Seconds::new(0),
            payload_bytes: 0,
            refund_wei: 0,
            late: false,
            led: true,
        }
    }

    /// Two blocks that are old enough together; the second one shows it.
    fn old_enough() -> Vec<Block> {
        let age = params().max_batch_age_seconds;
        vec![block(1, 0, true), block(2, age, false)]
    }

    fn judge(blocks: &[Block], change: impl FnOnce(&mut BatchHeader)) -> Vec<NotRegular> {
        let mut cuts = Cuts::default();
        let genesis = block(0, 0, false).header;
        cuts.begin(&genesis);
        cuts.take(&batch(1, blocks, change), blocks, Some(&genesis), None, &params())
    }

    #[test]
    fn a_cut_that_its_last_block_shows_is_regular_and_nothing_else_of_it() {
        let since = |seconds: u64| Seconds::new(START + params().max_batch_age_seconds + seconds);
        assert_eq!(judge(&old_enough(), |_| ()), []);
        for (wrong, words) in [(since(1), "its end was known"), (Seconds::new(1), "expected")] {
            let told = judge(&old_enough(), |header| header.regular_since = wrong);
            assert!(told[0].what.contains(words), "{told:?}");
            assert_eq!((told.len(), told[0].batch, told[0].l1_block), (1, 1, 101));
        }
        let told = judge(&old_enough(), |header| header.epoch = Epoch::new(4));
        assert!(told[0].what.contains("epoch 4, expected 3"), "{told:?}");
        let mut longer = old_enough();
        longer.push(block(3, 1_000, false));
        let told = judge(&longer, |_| ());
        assert!(told[0].what.contains("ends at height 3, the cut at 2"), "{told:?}");
        // What does not say that it is regular may be anything.
        assert_eq!(judge(&longer, |header| header.regular_since = Seconds::new(0)), []);
    }

    /// A batch of one block, which is not old enough, and the batch behind it.
    fn followed_by(next: &[Block], since: u64) -> Vec<NotRegular> {
        let mut cuts = Cuts::default();
        let genesis = block(0, 0, false).header;
        cuts.begin(&genesis);
        let first = [block(1, 0, true)];
        let claim = |header: &mut BatchHeader| header.regular_since = Seconds::new(START + since);
        let told = cuts.take(&batch(1, &first, claim), &first, Some(&genesis), None, &params());
        assert_eq!(told, [], "its last block alone does not say");
        cuts.take(&batch(2, next, |_| ()), next, Some(&first[0].header), None, &params())
    }

    /// A block whose body does not fit behind the other one.
    fn large(height: u64, seconds: u64) -> Block {
        let mut block = block(height, seconds, true);
        let most = usize::try_from(params().max_batch_bytes).unwrap();
        block.transactions[0].raw = vec![1; most - 200].into();
        block
    }

    #[test]
    fn an_end_that_the_block_behind_shows_is_judged_when_that_has_settled() {
        let of_first = |told: Vec<NotRegular>| -> Vec<String> {
            told.into_iter().filter(|one| one.batch == 1).map(|one| one.what).collect()
        };
        assert_eq!(of_first(followed_by(&[large(2, 1)], 1)), [""; 0]);
        let told = of_first(followed_by(&[large(2, 1)], 0));
        assert!(told[0].contains("its end was known at"), "{told:?}");
        let told = of_first(followed_by(&[block(2, 0, true)], 1));
        assert_eq!(told, ["ends at height 1, where the cut goes on"]);
        // Behind a restart, and without blocks, nobody knows.
        let mut other = block(2, 0, true);
        other.header.generation = Generation::new(1);
        assert_eq!(of_first(followed_by(&[other], 1)), [""; 0]);
    }

    #[test]
    fn behind_what_is_not_regular_the_epoch_is_not_judged() {
        let mut cuts = Cuts::default();
        let genesis = block(0, 0, false).header;
        cuts.begin(&genesis);
        let (first, age) = (old_enough(), params().max_batch_age_seconds);
        let irregular = batch(1, &first, |header| header.regular_since = Seconds::new(0));
        assert_eq!(cuts.take(&irregular, &first, Some(&genesis), None, &params()), []);
        let second = [block(3, age, true), block(4, age * 2, false)];
        let later = batch(2, &second, |header| header.epoch = Epoch::new(4));
        let told = cuts.take(&later, &second, Some(&first[1].header), None, &params());
        assert_eq!(told, [], "a member that signed it had a regular one of epoch 4 below it");
        let third = [block(5, age * 2, true), block(6, age * 3, false)];
        let back = batch(3, &third, |header| header.epoch = Epoch::new(5));
        let told = cuts.take(&back, &third, Some(&second[1].header), None, &params());
        assert!(told[0].what.contains("epoch 5, expected 4"), "{told:?}");
        // The first of a generation follows on its beginning.
        let fourth = [block(7, age * 3, true), block(8, age * 4, false)];
        let begun = batch(4, &fourth, |header| header.epoch = Epoch::new(9));
        let began = Some(Epoch::new(9));
        let told = cuts.take(&begun, &fourth, Some(&third[1].header), began, &params());
        assert_eq!(told, []);
    }
}

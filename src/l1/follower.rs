//! Follows L1: the canonical chain block by block, and what its events say, into the mirror and the store.
//!
//! A start goes on from the picture that is kept ([`Picture`]): the mirror shows it before any node was asked, and only
//! what came after it is read. The beginning of a deployment, and a long absence, are read in ranges; what was read is kept
//! as it goes, so that an error, or the end of the process, costs one range at most.
//!
//! Blocks are tied together by parent hash. L1 has reorganised when a node tells *another* hash at a number that is known
//! here; a head that is lower than before, or a block that a node does not have, is a node that lags, and nothing is undone
//! for it. The follower goes back to the last block that both chains share, rebuilds the mirror from the events up to there,
//! and goes on. Where they share none of the blocks that are kept, and L1 says so several times, it goes on from the older
//! picture, or from the deployment. When no node answers, the mirror stays as it is and the follower keeps trying.

use super::audit::{self, Folded};
use super::chain::{Chain, WINDOW_BLOCKS};
use super::client::Client;
use super::depth::{Depth, SAY_EVERY, Said};
use super::error::L1Error;
use super::facts::Fact;
use super::mirror::MirrorHandle;
use super::nodes::{Heard, Nodes};
use super::picture::{self, Picture};
use super::reader::Reader;
use crate::blocking::blocking;
use crate::domain::{Deployment, ForcedEntry, ForcedEscape, L1Block, Params, SettledBatch};
use crate::storage::{Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// Up to so many new blocks are asked for one by one, with their events by hash.
const FEW_BLOCKS: u64 = 4;
/// New blocks that are read at once, headers and all.
const STRETCH_BLOCKS: u64 = 256;
/// Headers that are read at once when the origins of old blocks are looked up.
const HEADERS: u64 = 1_024;
/// The picture is kept again after so many blocks, or so long.
const KEEP_BLOCKS: u64 = 16;
const KEEP_AFTER: Duration = Duration::from_secs(30);
/// How often L1 must deny all blocks that are kept before that is believed.
const DENIALS: u32 = 5;
/// How often what was read is held against the contracts.
const AUDIT_EVERY: Duration = Duration::from_secs(300);
/// How often it must have been found incomplete in a row, and read again from the deployment each time, before the agent goes
/// on with what it has.
const MISSES: u32 = 3;
/// How far L1's time may be from this machine's without a word.
const CLOCK_TOLERANCE_SECONDS: u64 = 900;
/// How often progress is said.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to reach L1.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Why following stops or pauses.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another hash at every block that is kept.
    #[error(
        "l1 has other blocks than all that are kept, from {number} on: told {times} times, believed after {DENIALS}"
    )]
    Denied { number: u64, times: u32 },
    /// The contracts say more than the events that were told.
    #[error("l1 nodes left out events, all is read again from the deployment: {missing}")]
    Incomplete { missing: String },
}

/// The parameters of `deployment` as a start before this one read them, if the store has a picture of it.
///
/// # Errors
///
/// [`StoreError`] when the store cannot be read.
pub fn kept_params(store: &Store, deployment: &Deployment) -> Result<Option<Params>, StoreError> {
    let kept = store.l1_pictures()?;
    Ok(kept.iter().find_map(|bytes| picture::decode(bytes, deployment)).map(|kept| kept.params))
}

/// Follows until `shutdown`. `poll` is the pause between two looks at L1 while nothing happens.
pub async fn run(
    client: Client,
    deployment: Deployment,
    mirror: MirrorHandle,
    store: Store,
    poll: Duration,
    shutdown: CancellationToken,
) {
    let mut follower = Follower::new(client, deployment, mirror, store);
    // Outside of the step: what a step that is cut short has read is kept all the same.
    let mut chain = None;
    let mut pause = poll;
    loop {
        let step = tokio::select! {
            () = shutdown.cancelled() => break,
            step = follower.step(&mut chain) => step,
        };
        pause = match step {
            Ok(()) => poll,
            Err(error) => {
                warn!(%error, retry_in = ?pause, "l1 not followed");
                pause.saturating_mul(2).min(MAX_PAUSE)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = sleep(pause) => {}
        }
    }
    if let Some(chain) = chain
        && let Err(error) = follower.keep(&chain).await
    {
        warn!(%error, "the picture of l1 is not kept, the next start reads more");
    }
}

struct Follower {
    reader: Reader,
    mirror: MirrorHandle,
    store: Store,
    /// Whether the mirror shows the chain: its beginning is read.
    is_whole: bool,
    /// Headers that the end of the beginning needs, as far as they are read.
    known: Vec<L1Block>,
    /// Anchor and time of the picture that was kept last, and the anchor of the older one.
    kept: Option<(u64, Instant)>,
    older: Option<u64>,
    /// How often L1 denied all blocks that are kept.
    denials: u32,
    /// The block that was not followed by what a node told as the next one.
    astray: Option<L1Block>,
    /// When what was read was held against the contracts last, and how often in a row something was missing.
    audited: Option<Instant>,
    misses: u32,
    depth: Depth,
    clock: Said,
    progress: Said,
}

impl Follower {
    fn new(client: Client, deployment: Deployment, mirror: MirrorHandle, store: Store) -> Self {
        Self {
            reader: Reader::new(client, deployment),
            mirror,
            store,
            is_whole: false,
            known: Vec::new(),
            kept: None,
            older: None,
            denials: 0,
            astray: None,
            audited: None,
            misses: 0,
            depth: Depth::default(),
            clock: Said::default(),
            progress: Said::default(),
        }
    }

    /// Brings mirror and store to what L1 says now. `chain` is `None` before anything was loaded.
    async fn step(&mut self, chain: &mut Option<Chain>) -> Result<(), FollowError> {
        let known = match chain {
            Some(known) => known,
            None => chain.insert(self.load().await?),
        };
        let result = self.advance(known).await;
        if matches!(result, Err(FollowError::Incomplete { .. })) {
            *chain = None;
            // The older picture was kept on the way to this one: what is missing may be missing there too.
            self.discard().await?;
            self.discard().await?;
        }
        if let Err(FollowError::Denied { times, .. }) = &result
            && *times >= DENIALS
        {
            // What was kept is of an L1 that is no more.
            *chain = None;
            self.discard().await?;
        }
        result
    }

    async fn advance(&mut self, chain: &mut Chain) -> Result<(), FollowError> {
        let head = self.reader.client().head().await?;
        self.compare_clocks(head);
        if self.is_whole {
            self.go_back(chain, head).await?;
        } else {
            self.read_beginning(chain, head).await?;
        }
        self.read_on(chain, head).await?;
        self.audit(chain, head).await?;
        self.mirror.update_if(|mirror| {
            let is_new = !mirror.is_ready();
            mirror.read_through = Some((head.number, head.number));
            is_new
        });
        self.look_at_depth().await?;
        Ok(self.keep_if_due(chain).await?)
    }

    /// Holds what was read up to the head against the contracts, now and then.
    async fn audit(&mut self, chain: &Chain, head: L1Block) -> Result<(), FollowError> {
        let is_due = self.audited.is_none_or(|at| at.elapsed() >= AUDIT_EVERY);
        if !is_due || !self.is_whole || chain.tip().map(|tip| tip.hash) != Some(head.hash) {
            return Ok(());
        }
        let folded = Folded::of(&self.mirror.read(), head);
        let (client, deployment) = (self.reader.client(), self.reader.deployment());
        let missing = match audit::missing(client, deployment, &folded, head).await {
            Ok(missing) => missing,
            // Not every node has the state of every block; and L1 may have gone on.
            Err(error) => {
                debug!(%error, "what was read is not held against the contracts");
                return Ok(());
            }
        };
        self.audited = Some(Instant::now());
        let Some(missing) = missing else {
            self.misses = 0;
            self.mirror.update_if(|mirror| mirror.doubt.take().is_some());
            return Ok(());
        };
        self.reader.client().distrust("events are missing in what it told");
        self.misses = self.misses.saturating_add(1);
        if self.misses > MISSES {
            error!(%missing, "l1 nodes leave out events whenever they are asked: going on without");
            self.mirror.update(|mirror| mirror.doubt = Some(missing));
            return Ok(());
        }
        self.audited = None;
        Err(FollowError::Incomplete { missing })
    }

    /// Goes on from what is kept, if anything is: store and mirror say what that says.
    async fn load(&mut self) -> Result<Chain, FollowError> {
        let pictures = self.store.l1_pictures()?;
        let deployment = self.reader.deployment();
        let mut found = pictures.iter().map(|bytes| picture::decode(bytes, deployment));
        let (newest, older) = (found.next().flatten(), found.next().flatten());
        self.older = older.as_ref().map(picture::anchor);
        let Some(picture) = newest.or(older) else {
            (self.is_whole, self.known, self.kept) = (false, Vec::new(), None);
            return Ok(Chain::default());
        };
        let anchor = picture::anchor(&picture);
        self.kept = Some((anchor, Instant::now()));
        self.depth.has_finality |= picture.has_finality;
        self.is_whole = picture.is_whole;
        if picture.is_whole {
            self.truncate(&picture.chain).await?;
            self.mirror.update(|mirror| picture::show(&picture, mirror));
            info!(l1_block = anchor, "going on from the picture of l1 that was kept");
        } else {
            self.known = picture.known;
            info!(l1_block = anchor, "going on with reading l1 from where it was kept");
        }
        Ok(picture.chain)
    }

    /// Drops the picture that L1 denies.
    async fn discard(&mut self) -> Result<(), FollowError> {
        error!(
            "what is kept of l1 is not so: going on from an older picture, or from the deployment"
        );
        self.denials = 0;
        (self.is_whole, self.known) = (false, Vec::new());
        let store = self.store.clone();
        blocking(move || store.drop_l1_picture()).await?;
        self.mirror.update(|mirror| (mirror.at_depth, mirror.read_through) = (None, None));
        Ok(())
    }

    /// Reads what came before the newest blocks, from the deployment or from where it was left, in ranges; then shows it.
    async fn read_beginning(
        &mut self,
        chain: &mut Chain,
        head: L1Block,
    ) -> Result<(), FollowError> {
        let start = self.reader.deployment().block.min(head.number);
        let to = head.number.saturating_sub(WINDOW_BLOCKS).max(start);
        if let Some(tip) = chain.tip()
            && tip.number <= head.number
            && self.reader.block(tip.number).await?.0.hash != tip.hash
        {
            return Err(self.deny(tip.number));
        }
        let mut from = chain.tip().map_or(start, |tip| tip.number.saturating_add(1));
        while from <= to {
            let store = self.store.clone();
            let (end, read) = self.reader.facts(from, to, &store).await?;
            self.take_range(chain, from, read).await?;
            chain.blocks.insert(end.number, end);
            let needed = self.oldest_origin(chain)?.min(end.number);
            chain.prune(needed);
            self.say_progress(end.number, head.number);
            self.keep_if_due(chain).await?;
            // At the end of its type a number has no next one: else this would go on for ever.
            let Some(next) = end.number.checked_add(1) else { break };
            from = next;
        }
        let Some(anchor) = chain.tip() else { return Ok(()) };

        // Decided blocks that are not settled yet name origins from the settled one on: those are still of use. An agent
        // that is behind goes through the origins after that of its own tip (R15), the first time after that of block 0.
        let oldest = self.oldest_origin(chain)?.min(anchor.number);
        if self.known.first().is_none_or(|first| first.number > oldest) {
            self.known.clear();
        }
        loop {
            let next = self.known.last().map_or(oldest, |last| last.number.saturating_add(1));
            if next > anchor.number {
                break;
            }
            let end = next.saturating_add(HEADERS).saturating_sub(1).min(anchor.number);
            let headers = self.reader.headers(next..=end).await?;
            self.known.extend(headers);
            self.say_progress(end.min(anchor.number), head.number);
            self.keep_if_due(chain).await?;
        }
        if self.known.last().map(|last| last.hash) != Some(anchor.hash) {
            self.known.clear();
            self.reader.client().distrust("it told two blocks at one number");
            return Err(L1Error::BadAnswer { what: "block" }.into());
        }
        self.truncate(chain).await?;
        let known = std::mem::take(&mut self.known);
        let picture = self.picture(chain, known);
        self.mirror.update(|mirror| picture::show(&picture, mirror));
        self.is_whole = true;
        info!(from = start, to = anchor.number, facts = chain.facts.len(), "l1 read");
        Ok(self.keep_as(chain, picture).await?)
    }

    /// Takes what a range of old blocks says, from block `from` on.
    async fn take_range(
        &self,
        chain: &mut Chain,
        from: u64,
        read: Vec<(L1Block, Vec<Fact>)>,
    ) -> Result<(), FollowError> {
        let mut forced = Forced::default();
        let mut settled = Vec::new();
        for (block, mut facts) in read {
            chain.complete(&mut facts);
            forced.take_out(&mut facts);
            settled.extend(settled_in(&facts));
            chain.note(block, facts);
        }
        let store = self.store.clone();
        Ok(blocking(move || {
            store.force_from(from, forced.entries.iter().map(Arc::as_ref), &forced.escapes)?;
            store.settle(&settled)
        })
        .await?)
    }

    /// Reads on from the chain's tip to `head`.
    async fn read_on(&mut self, chain: &mut Chain, head: L1Block) -> Result<(), FollowError> {
        while let Some(tip) = chain.tip()
            && tip.number < head.number
        {
            let next = tip.number.saturating_add(1);
            let store = self.store.clone();
            let is_near = head.number.saturating_sub(tip.number) <= FEW_BLOCKS;
            let read = async {
                Ok::<_, L1Error>(if is_near {
                    vec![self.reader.one(next, &store).await?]
                } else {
                    self.reader.blocks(next, head.number, STRETCH_BLOCKS, &store).await?
                })
            };
            let (read, heard) = Nodes::hear(read).await;
            let mut parent = tip;
            for (block, parent_hash, facts) in read? {
                if parent_hash != parent.hash {
                    debug!(number = block.number, "l1 changed while it was read");
                    return Ok(self.go_astray(parent, &heard)?);
                }
                parent = block;
                self.take(chain, block, facts).await?;
            }
            let now = chain.tip().map_or(0, |tip| tip.number);
            if now < head.number && !is_near {
                self.say_progress(now, head.number);
                self.keep_if_due(chain).await?;
            }
        }
        Ok(())
    }

    /// What was told as the block after `parent` does not follow it. L1 may have changed while it was read: the next step goes
    /// back first. Where that finds nothing to go back for, and it is so again, whoever told it made it up.
    fn go_astray(&mut self, parent: L1Block, heard: &Heard) -> Result<(), L1Error> {
        if self.astray.replace(parent) != Some(parent) {
            return Ok(());
        }
        self.astray = None;
        self.reader.client().leave(heard, "its blocks do not follow each other");
        Err(L1Error::BadAnswer { what: "block that follows the one before it" })
    }

    /// Drops blocks that are not canonical any more, if there are any.
    async fn go_back(&mut self, chain: &mut Chain, head: L1Block) -> Result<(), FollowError> {
        let known: Vec<L1Block> =
            chain.blocks.range(..=head.number).map(|(_, block)| *block).collect();
        // The node is behind all that is kept.
        let Some((newest, before)) = known.split_last() else { return Ok(()) };
        if self.is_canonical(newest, head).await? {
            self.denials = 0;
            return Ok(());
        }
        // What is canonical has canonical blocks before it only: the last one is found by halving.
        let (mut low, mut high) = (0, before.len());
        while low < high {
            let middle = low.midpoint(high);
            match before.get(middle) {
                Some(block) if self.is_canonical(block, head).await? => {
                    low = middle.saturating_add(1)
                }
                _ => high = middle,
            }
        }
        let Some(shared) = low.checked_sub(1).and_then(|index| before.get(index)) else {
            return Err(self.deny(known.first().map_or(0, |block| block.number)));
        };
        self.denials = 0;
        info!(to = shared.number, "l1 reorganised");
        chain.go_back_to(shared.number);
        self.rebuild(chain).await
    }

    fn deny(&mut self, number: u64) -> FollowError {
        // Another one may not.
        self.reader.client().distrust("it denies all blocks that are kept");
        self.denials = self.denials.saturating_add(1);
        FollowError::Denied { number, times: self.denials }
    }

    /// Whether L1 has this very block.
    async fn is_canonical(&self, block: &L1Block, head: L1Block) -> Result<bool, L1Error> {
        if block.number == head.number {
            return Ok(block.hash == head.hash);
        }
        Ok(self.reader.block(block.number).await?.0.hash == block.hash)
    }

    /// Makes store and mirror say what `chain` says, and nothing else.
    async fn rebuild(&self, chain: &Chain) -> Result<(), FollowError> {
        self.truncate(chain).await?;
        let end = chain.tip().map_or(0, |tip| tip.number.saturating_add(1));
        self.mirror.update(|mirror| {
            mirror.forget_facts();
            for (block, fact) in &chain.facts {
                mirror.apply(block, fact);
            }
            mirror.head = chain.tip();
            mirror.blocks.split_off(&end);
        });
        Ok(())
    }

    /// Makes the store forget what `chain` does not say.
    async fn truncate(&self, chain: &Chain) -> Result<(), FollowError> {
        let last = chain.facts.iter().rev().find_map(|(_, fact)| match fact {
            Fact::Settled(batch) => Some(batch.number),
            _ => None,
        });
        let end = chain.tip().map_or(0, |tip| tip.number.saturating_add(1));
        let store = self.store.clone();
        Ok(blocking(move || {
            store.settle_from(last.unwrap_or_default().next(), &[])?;
            store.force_from(end, [], &[])
        })
        .await?)
    }

    /// Takes one block and its facts: the store first, then the mirror.
    async fn take(
        &self,
        chain: &mut Chain,
        block: L1Block,
        mut facts: Vec<Fact>,
    ) -> Result<(), FollowError> {
        chain.complete(&mut facts);
        let mut forced = Forced::default();
        forced.take_out(&mut facts);
        let settled = settled_in(&facts);
        if forced.is_any() || !settled.is_empty() {
            let store = self.store.clone();
            blocking(move || {
                if forced.is_any() {
                    let entries = forced.entries.iter().map(Arc::as_ref);
                    store.force_from(block.number, entries, &forced.escapes)?;
                }
                match settled.first().map(|batch| batch.number) {
                    Some(first) => store.settle_from(first, &settled),
                    None => Ok(()),
                }
            })
            .await?;
        }
        let decided = self.decided_origin()?.unwrap_or(0);
        let oldest = self.mirror.update(|mirror| {
            for fact in &facts {
                mirror.apply(&block, fact);
            }
            mirror.head = Some(block);
            mirror.blocks.insert(block.number, block);
            let settled =
                mirror.last_settled.as_ref().map_or(0, |batch| batch.header.l1_origin_number);
            let oldest = settled.min(decided).min(block.number.saturating_sub(WINDOW_BLOCKS));
            mirror.forget_before(oldest);
            oldest
        });
        chain.push(block, facts, oldest);
        Ok(())
    }

    /// L1 origin of this agent's own last decided block.
    fn decided_origin(&self) -> Result<Option<u64>, StoreError> {
        let Some((height, _)) = self.store.decided_tip()? else { return Ok(None) };
        Ok(self.store.header(height)?.map(|(_, header)| header.l1_origin_number))
    }

    /// The oldest L1 block that a block which is not settled, or not decided here yet, may name as its origin.
    fn oldest_origin(&self, chain: &Chain) -> Result<u64, StoreError> {
        let decided = self.decided_origin()?.or_else(|| chain.genesis_origin());
        Ok([chain.settled_origin(), decided].into_iter().flatten().fold(u64::MAX, u64::min))
    }

    /// Where the newest block at depth is (R16): by finality where L1 has it, else by number. Never goes back.
    async fn look_at_depth(&mut self) -> Result<(), FollowError> {
        let told = self.reader.client().finality().await?;
        let (head, blocks) = {
            let mirror = self.mirror.read();
            (mirror.head, mirror.params.origin_depth_blocks)
        };
        let Some(head) = head else { return Ok(()) };
        let Some(number) = self.depth.number(told, head, blocks, Instant::now()) else {
            return Ok(());
        };
        let deeper = {
            let mirror = self.mirror.read();
            let block = mirror.blocks.get(&number).copied();
            block.filter(|block| mirror.at_depth.is_none_or(|known| known.number < block.number))
        };
        if let Some(block) = deeper {
            self.mirror.update(|mirror| mirror.at_depth = Some(block));
        }
        Ok(())
    }

    /// Says when L1's time is far from this machine's: one of both is wrong, and what is judged by L1's time (R22, R26)
    /// will not look right here.
    fn compare_clocks(&mut self, head: L1Block) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let apart = now.abs_diff(head.timestamp.get());
        if apart > CLOCK_TOLERANCE_SECONDS && self.clock.is_due(SAY_EVERY) {
            let l1_is = if head.timestamp.get() < now { "behind" } else { "ahead" };
            warn!(
                seconds = apart,
                l1_is,
                l1_block = head.number,
                "l1's time is far from this machine's"
            );
        }
    }

    fn say_progress(&mut self, through: u64, head: u64) {
        self.mirror.update_if(|mirror| {
            mirror.read_through = Some((through, head));
            false
        });
        if self.progress.is_due(PROGRESS_EVERY) {
            let start = self.reader.deployment().block;
            let done = through.saturating_sub(start).saturating_mul(100);
            let percent = done.checked_div(head.saturating_sub(start)).unwrap_or(100);
            info!(through, head, percent, "reading l1");
        }
    }

    fn picture(&self, chain: &Chain, known: Vec<L1Block>) -> Picture {
        let mirror = self.mirror.read();
        Picture {
            params: mirror.params.clone(),
            chain: chain.clone(),
            known,
            at_depth: mirror.at_depth,
            has_finality: self.depth.has_finality,
            is_whole: self.is_whole,
        }
    }

    async fn keep_if_due(&mut self, chain: &Chain) -> Result<(), StoreError> {
        let Some(tip) = chain.tip() else { return Ok(()) };
        let is_due = match self.kept {
            None => true,
            Some((anchor, at)) => {
                let new = tip.number.saturating_sub(anchor);
                // A range is thousands of blocks: while the beginning is read, time decides.
                at.elapsed() >= KEEP_AFTER || (self.is_whole && new >= KEEP_BLOCKS)
            }
        };
        if is_due { self.keep(chain).await } else { Ok(()) }
    }

    /// Keeps the picture as it is now.
    async fn keep(&mut self, chain: &Chain) -> Result<(), StoreError> {
        let known = if self.is_whole {
            self.mirror.read().blocks.values().copied().collect()
        } else {
            self.known.clone()
        };
        let mut picture = self.picture(chain, known);
        picture.is_whole = self.is_whole;
        self.keep_as(chain, picture).await
    }

    async fn keep_as(&mut self, chain: &Chain, mut picture: Picture) -> Result<(), StoreError> {
        let Some(tip) = chain.tip() else { return Ok(()) };
        picture.is_whole = self.is_whole;
        let bytes = picture::encode(&picture, self.reader.deployment());
        // The older one lies a window or more below what the newest one can go back to.
        let before = self.kept.map(|(anchor, _)| anchor);
        let far = WINDOW_BLOCKS.saturating_mul(2);
        let aside = before.is_some_and(|anchor| {
            self.older.is_none_or(|older| older.saturating_add(far) <= anchor)
        });
        let store = self.store.clone();
        blocking(move || store.keep_l1_picture(&bytes, aside)).await?;
        if aside {
            self.older = before;
        }
        self.kept = Some((tip.number, Instant::now()));
        Ok(())
    }
}

/// What facts say of the forced queue.
#[derive(Default)]
struct Forced {
    entries: Vec<Arc<ForcedEntry>>,
    escapes: Vec<ForcedEscape>,
}

impl Forced {
    /// Takes the bytes of entries out of facts: those are for the store alone.
    fn take_out(&mut self, facts: &mut [Fact]) {
        for fact in facts {
            match fact {
                Fact::Forced(entry) => {
                    let mut bare = ForcedEntry::clone(entry);
                    bare.transaction.raw.clear();
                    self.entries.push(std::mem::replace(entry, Arc::new(bare)));
                }
                Fact::Escaped(escape) => self.escapes.push(*escape),
                _ => {}
            }
        }
    }

    const fn is_any(&self) -> bool {
        !self.entries.is_empty() || !self.escapes.is_empty()
    }
}

fn settled_in(facts: &[Fact]) -> Vec<SettledBatch> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Settled(batch) => Some(SettledBatch::clone(batch)),
            _ => None,
        })
        .collect()
}

/// Following one step at a time, for who has a clock of their own.
#[cfg(test)]
pub(crate) struct Steps {
    follower: Follower,
    chain: Option<Chain>,
}

#[cfg(test)]
impl Steps {
    /// A start.
    pub(crate) fn new(
        client: Client,
        deployment: Deployment,
        mirror: MirrorHandle,
        store: Store,
    ) -> Self {
        Self { follower: Follower::new(client, deployment, mirror, store), chain: None }
    }

    /// The block of the newest picture of L1 that a store holds whole: a start reads what came after it.
    pub(crate) fn anchor(store: &Store, deployment: &Deployment) -> Option<u64> {
        let pictures = store.l1_pictures().ok()?;
        let newest = picture::decode(pictures.first()?, deployment)?;
        newest.is_whole.then(|| picture::anchor(&newest))
    }

    /// Undoes what is above the head that a node tells, as if L1 had gone back.
    pub(crate) async fn believe_head(&mut self) -> Result<(), String> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let told = self.follower.reader.client().head().await;
        if let Ok(head) = told
            && chain.tip().is_some_and(|tip| tip.number > head.number)
            && chain.blocks.first_key_value().is_some_and(|(oldest, _)| *oldest <= head.number)
        {
            chain.go_back_to(head.number);
            self.follower.rebuild(chain).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// One look at L1, and what was in its way.
    pub(crate) async fn step(&mut self) -> Result<(), String> {
        self.follower.step(&mut self.chain).await.map_err(|error| error.to_string())
    }
}

//! `rota verify`: the ordered transactions of a rollup from L1 alone.

mod records;
mod tell;

use crate::cli::Chain;
use crate::cli::output::{self, Output};
use crate::config::{Settings, whole};
use crate::domain::{Deployment, L1Block};
use crate::l1::proven::{
    Anchor, Http, KeptAnswers, Nodes, Progress, Proven, ProvenBlock, ProvenError, Verified,
    Verifier, Wire,
};
use alloy::primitives::B256;
use clap::Args;
use eyre::WrapErr as _;
use futures::StreamExt as _;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;
use tell::Teller;

/// Rebuild a rollup's ordered transactions from L1 alone, and check everything on the way
///
/// Takes the hash of one recent block from the L1 node (or from --l1-hash), and believes nothing else that does not follow
/// from it. Asks no agent. All is read from the deployment on; --from and --to choose which batches are told. A batch whose
/// payload is not what was signed counts for its forced entries only; it is named, as are rules that settled blocks break,
/// and the command then ends with code 8. A node that lies is named, and the code is 9.
///
/// With --json, each line is one object, told as soon as it is known; the last one, and only that one, is the summary. The
/// format is in docs/VERIFY.md.
#[derive(Args)]
pub(super) struct Options {
    /// Chain id of the rollup
    #[arg(long, value_name = "CHAIN ID", value_parser = whole::<u64>)]
    rollup: u64,
    /// First batch to tell
    #[arg(long, value_name = "BATCH", default_value_t = 1, value_parser = whole::<u64>)]
    from: u64,
    /// Last batch to tell [default: the last one]
    #[arg(long, value_name = "BATCH", value_parser = whole::<u64>)]
    to: Option<u64>,
    /// Read L1 up to this block [default: the newest, less the depth of an L1 origin]
    #[arg(long, value_name = "NUMBER", value_parser = whole::<u64>, conflicts_with = "l1_hash")]
    l1_block: Option<u64>,
    /// Read L1 up to the block with this hash, known from elsewhere: then nothing is taken from a node unproven
    #[arg(long, value_name = "HASH")]
    l1_hash: Option<B256>,
    /// Go on as L1 does, until interrupted; a reorg of L1 is told, and what it takes back
    #[arg(long, conflicts_with_all = ["l1_block", "l1_hash", "to"])]
    follow: bool,
    /// File that keeps what was read, so that the next run asks for what is new alone; it is checked like a node's answers
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    chain: Chain,
}

/// Something that settled should not have been signed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Faulty(String);

/// It failed, and that is told already.
#[derive(Debug, thiserror::Error)]
#[error("told already")]
pub(super) struct Told {
    /// The exit code.
    pub(super) code: u8,
}

/// What is read, and how.
pub(super) struct Task {
    rollup: u64,
    from: u64,
    to: u64,
    end: Anchor,
    follow: bool,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let mut teller = Teller::new(io::stdout(), output.json(), options.rollup);
    let result = attempt(options, &mut teller).await;
    let error = match result {
        Ok(()) => teller.fault().map(|fault| eyre::Report::new(Faulty(fault))),
        Err(error) => Some(error),
    };
    let code = error.as_ref().map_or(0, super::exit_code::code_of);
    let message = error.as_ref().map(super::exit_code::message);
    if teller.finish(message.as_deref(), code).is_err() {
        // Nobody reads any more; who closed standard output early knows.
        return Err(Told { code: code.max(1) }.into());
    }
    match error {
        Some(_) if output.json() => Err(Told { code }.into()),
        Some(error) => Err(error),
        None => Ok(()),
    }
}

async fn attempt(options: Options, teller: &mut Teller<impl Write>) -> eyre::Result<()> {
    let settings = Settings {
        l1_rpc: options.chain.l1_rpc.clone(),
        deployment: options.chain.deployment.clone(),
        ..Settings::default()
    };
    let deployment = settings.deployment()?;
    let mut nodes = Nodes::new(Http::new(&settings.l1_rpc()?)?);
    if let Some(path) = &options.state {
        let kept = KeptAnswers::open(path).wrap_err_with(|| format!("state {}", path.display()))?;
        nodes = nodes.keeping(kept);
    }
    let end = match (options.l1_block, options.l1_hash) {
        (Some(number), _) => Anchor::Number(number),
        (None, Some(hash)) => Anchor::Hash(hash),
        (None, None) => Anchor::AtDepth,
    };
    let task = Task {
        rollup: options.rollup,
        from: options.from,
        to: options.to.unwrap_or(u64::MAX),
        end,
        follow: options.follow,
    };
    let progress = output::progress("reading L1");
    let interrupted = tokio::signal::ctrl_c();
    let show = |step| progress.set_message(words(step));
    let done = tokio::select! {
        done = verify(&task, nodes, &deployment, teller, &show) => done,
        // Who follows has seen enough.
        _ = interrupted, if task.follow => Ok(()),
    };
    progress.finish_and_clear();
    Ok(done?)
}

fn words(step: Progress) -> String {
    match step {
        Progress::Headers(done, all) => format!("proving L1 headers: {done} of {all}"),
        Progress::Blocks(done, all) => format!("reading L1 blocks with events: {done} of {all}"),
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    /// L1 could not be read, or does not derive.
    #[error(transparent)]
    Proven(#[from] ProvenError),
    /// What is told could not be written.
    #[error("standard output: {0}")]
    Write(#[from] io::Error),
    /// Nobody registered it.
    #[error("rollup {rollup} is not registered up to L1 block {l1_block}")]
    NoSuchRollup {
        /// Its chain id.
        rollup: u64,
        /// The last block that was read.
        l1_block: u64,
    },
}

/// How far a run has told.
struct Run<W> {
    proven: Proven<W>,
    verifier: Verifier,
    /// Blocks that were told, by number, with the last batch up to them: what a reorg may take back.
    told: BTreeMap<u64, (L1Block, u64)>,
}

async fn verify<W: Wire>(
    task: &Task,
    nodes: Nodes<W>,
    deployment: &Deployment,
    teller: &mut Teller<impl Write>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), VerifyError> {
    let mut run = open(task, nodes, deployment, progress).await?;
    teller.start(deployment, &run.proven)?;
    if let Err(error) = run.read(deployment.block, 0, task, teller, progress).await {
        let error = run.judged(error).await;
        teller.read(&run.proven);
        if !task.follow || !is_reorg(&error) {
            return Err(error);
        }
        run = again(run, task, deployment, teller, progress).await?;
    }
    let is_known = run.verifier.mirror().rollups.keys().any(|rollup| rollup.get() == task.rollup);
    if !is_known && !task.follow {
        let l1_block = run.proven.anchor_block().number;
        return Err(VerifyError::NoSuchRollup { rollup: task.rollup, l1_block });
    }
    if task.follow { follow(run, task, deployment, teller, progress).await } else { Ok(()) }
}

/// Goes on as L1 does.
async fn follow<W: Wire>(
    mut run: Run<W>,
    task: &Task,
    deployment: &Deployment,
    teller: &mut Teller<impl Write>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), VerifyError> {
    loop {
        let pause = run.verifier.mirror().params.l1_block_seconds.clamp(1, 60);
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let before = run.proven.anchor_block().number;
        let read = match run.proven.advance(Anchor::AtDepth, progress).await {
            Ok(false) => Ok(()),
            Ok(true) => run.read(before.saturating_add(1), before, task, teller, progress).await,
            // Who follows waits.
            Err(ProvenError::Silence(silence)) => {
                tracing::warn!(%silence, "no L1 node answers");
                Ok(())
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = read {
            let error = run.judged(error).await;
            if !is_reorg(&error) {
                return Err(error);
            }
            run = again(run, task, deployment, teller, progress).await?;
        }
    }
}

const fn is_reorg(error: &VerifyError) -> bool {
    matches!(error, VerifyError::Proven(ProvenError::Reorganised { .. }))
}

async fn open<W: Wire>(
    task: &Task,
    nodes: Nodes<W>,
    deployment: &Deployment,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Run<W>, VerifyError> {
    let (proven, params) = Proven::open(nodes, deployment.clone(), task.end, progress).await?;
    let verifier = Verifier::new(deployment.clone(), params);
    Ok(Run { proven, verifier, told: BTreeMap::new() })
}

/// After a reorg: all is read again, and what comes after the last block that was told and still stands is told again.
async fn again<W: Wire>(
    run: Run<W>,
    task: &Task,
    deployment: &Deployment,
    teller: &mut Teller<impl Write>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Run<W>, VerifyError> {
    let told = run.told;
    let mut run = open(task, run.proven.into_nodes(), deployment, progress).await?;
    let kept: BTreeMap<u64, (L1Block, u64)> = told
        .into_iter()
        .take_while(|(number, (block, _))| run.proven.block(*number).as_ref() == Some(block))
        .collect();
    let (through, batch) = kept
        .last_key_value()
        .map_or((deployment.block, 0), |(number, (_, batch))| (*number, *batch));
    teller.reorganised(through, batch)?;
    run.told = kept;
    run.read(deployment.block, through, task, teller, progress).await?;
    Ok(run)
}

impl<W: Wire> Run<W> {
    /// What an error means once L1 was looked at again.
    async fn judged(&self, error: VerifyError) -> VerifyError {
        match error {
            VerifyError::Proven(error) => self.proven.judged(error).await.into(),
            other => other,
        }
    }

    /// Reads from L1 block `from` on; what is in blocks up to `known` was told before.
    async fn read(
        &mut self,
        from: u64,
        known: u64,
        task: &Task,
        teller: &mut Teller<impl Write>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), VerifyError> {
        let l1 = |number| self.proven.block(number);
        let mut blocks = std::pin::pin!(self.proven.blocks(from, progress));
        while let Some(block) = blocks.next().await {
            let block: ProvenBlock = block?;
            let verified: Verified = self.verifier.take(&block, &l1).await?;
            if block.block.number > known {
                let tip = self.verifier.mirror().tip.as_ref();
                let batch = tip.map_or(0, |tip| tip.number.get());
                teller.tell(verified, &(task.from..=task.to))?;
                if task.follow {
                    teller.mark(block.block.number);
                    self.told.insert(block.block.number, (block.block, batch));
                }
            }
        }
        teller.read(&self.proven);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

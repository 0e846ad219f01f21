//! The duty to report offences.

use super::duty::{Agent, Duty, DutyError};
use super::turns::patience;
use crate::domain::Evidence;
use crate::l1::duties::{self, KeyReference};
use crate::l1::{L1Error, Mirror};
use crate::storage::StoreError;
use alloy::primitives::{Address, B256};
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info};

/// Offences that are reported at the same time.
const AT_ONCE: usize = 4;

/// Reports offences, each in its turn.
#[derive(Debug)]
pub(super) struct Report {
    /// Tells of evidence that the agreement and the attester put into the store.
    found: mpsc::Receiver<Evidence>,
    is_news: bool,
    /// Offences that are not on L1 for good; all of them are in the store too, which bounds them.
    offences: Vec<Offence>,
}

/// An offence on its way to L1.
#[derive(Debug)]
struct Offence {
    evidence: Evidence,
    seen: Instant,
    /// The newest L1 block when L1 took or refused it. Once that block is at depth it is tried again, in case a reorg undid
    /// the report, this agent's or another's; a second refusal is the end of it.
    answered: Option<u64>,
}

impl Report {
    pub(super) const fn new(found: mpsc::Receiver<Evidence>) -> Self {
        Self { found, is_news: true, offences: Vec::new() }
    }

    /// Takes in what was found, also in an earlier run of the agent: whoever finds an offence puts it into the store, which
    /// bounds what is kept.
    fn accept(&mut self, agent: &Agent) -> Result<(), StoreError> {
        for evidence in agent.store.evidence()? {
            let known = |offence: &Offence| {
                let other = &offence.evidence;
                other.offender() == evidence.offender() && other.position() == evidence.position()
            };
            if !self.offences.iter().any(known) {
                let (offender, position) = (evidence.offender(), evidence.position());
                info!(%offender, ?position, "offence to be reported");
                self.offences.push(Offence { evidence, seen: Instant::now(), answered: None });
            }
        }
        Ok(())
    }
}

impl Duty for Report {
    const NAME: &'static str = "report";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        while self.found.try_recv().is_ok() {
            self.is_news = true;
        }
        if self.is_news {
            self.accept(agent)?;
            self.is_news = false;
        }
        let (params, head, depth) = {
            let mirror = agent.mirror.read();
            (mirror.params.clone(), mirror.head, mirror.at_depth)
        };
        let (Some(head), Some(depth)) = (head, depth) else { return Ok(()) };
        let due: Vec<(KeyReference, Evidence)> = self
            .offences
            .iter()
            .filter(|offence| {
                let rank = agent.rank(offence.evidence.position().height.get());
                offence.seen.elapsed() >= patience(&params, rank)
                    && offence.answered.is_none_or(|block| block <= depth.number)
            })
            .filter_map(|offence| {
                let place = key_place(&agent.mirror.read(), offence.evidence.offender())?;
                Some((place, offence.evidence.clone()))
            })
            .collect();
        let reported: Vec<(Evidence, Result<B256, L1Error>)> = stream::iter(due)
            .map(|(place, evidence)| async move {
                let reported = report_under(agent, place, &evidence).await;
                (evidence, reported)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut result = Ok(());
        for (evidence, reported) in reported {
            // One that fails keeps no other from L1.
            if let Err(error) = self.answered(agent, &evidence, reported, head.number) {
                result = Err(error);
            }
        }
        result
    }
}

impl Report {
    fn answered(
        &mut self,
        agent: &Agent,
        evidence: &Evidence,
        reported: Result<B256, L1Error>,
        head: u64,
    ) -> Result<(), DutyError> {
        let offender = evidence.offender();
        let Some(index) = self.offences.iter().position(|one| one.evidence == *evidence) else {
            return Ok(());
        };
        let again = self.offences.get(index).is_some_and(|offence| offence.answered.is_some());
        let is_final = match reported {
            Ok(case) => {
                info!(%offender, %case, "offence reported");
                false
            }
            // Somebody was faster, or it is too old.
            Err(L1Error::Reverted { reason, .. }) => {
                info!(%offender, %reason, again, "offence not taken by L1");
                again
            }
            Err(error) => return Err(error.into()),
        };
        if is_final {
            agent.store.drop_evidence(evidence)?;
            self.offences.remove(index);
        } else if let Some(offence) = self.offences.get_mut(index) {
            offence.answered = Some(head);
        }
        Ok(())
    }
}

/// Reports under the offender's current key, which costs least; under its place in a set if L1 does not take that.
async fn report_under(
    agent: &Agent,
    place: KeyReference,
    evidence: &Evidence,
) -> Result<B256, L1Error> {
    let (account, deployment) = (&agent.account, &agent.deployment);
    let offender = evidence.offender();
    if let Some(key) = duties::current_key(account.client(), deployment, offender).await? {
        match duties::report(account, deployment, key, evidence).await {
            Err(L1Error::Reverted { reason, .. }) => {
                debug!(%offender, %reason, "not taken under the current key");
            }
            result => return result,
        }
    }
    duties::report(account, deployment, place, evidence).await
}

/// A set in force now or earlier that holds a key.
fn key_place(mirror: &Mirror, offender: Address) -> Option<KeyReference> {
    let now = mirror.params.epoch_at(mirror.head?.timestamp);
    mirror.sets.iter().rev().find_map(|(&(generation, epoch), set)| {
        let index = u8::try_from(set.index_of(offender)?).ok()?;
        (epoch <= now).then_some(KeyReference::InSet { generation, epoch, index })
    })
}

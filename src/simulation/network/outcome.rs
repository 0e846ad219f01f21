//! What must have come of it, once all is well again.

use super::Network;
use crate::domain::Height;
use crate::l1::simulated::GWEI;
use alloy::primitives::B256;
use std::collections::BTreeSet;

impl Network {
    /// Whether every honest member is there, has decided what was decided, and has posted since.
    pub(super) fn is_well(&self, goal: Height, since: u64) -> Result<(), String> {
        for (index, agent) in self.agents.iter().enumerate() {
            let Some(process) = &agent.process else { return Err(format!("{index} is away")) };
            if let Some(silence) = process.member.silence() {
                return Err(format!("{index} {silence}"));
            }
            if process.tip() < goal {
                return Err(format!("{index} is at {} of {goal}", process.tip()));
            }
        }
        let world = self.world.lock();
        if world.settled() < goal {
            return Err(format!("{} of {goal} has settled", world.settled()));
        }
        let set = world.set().unwrap();
        for agent in &self.agents {
            let key = agent.key();
            if set.index_of(key).is_none() {
                return Err(format!("{} is not in the set with its key", agent.id));
            }
            if !world.posters.range(since..).any(|(_, poster)| *poster == key) {
                return Err(format!("{} has posted nothing", agent.id));
            }
        }
        Ok(())
    }

    /// Where everybody is, for whoever reads of a failure.
    pub(super) fn describe(&self) -> String {
        let mut text = {
            let world = self.world.lock();
            format!(
                "l1 {} settled {} reverted {} base {}",
                world.head().number,
                world.settled(),
                world.reverted,
                world.base / GWEI
            )
        };
        for agent in &self.agents {
            let Some(process) = &agent.process else { continue };
            let (head, settled) = {
                let mirror = process.mirror.read();
                (
                    mirror.head.map(|head| head.number),
                    mirror.tip.as_ref().map(|tip| tip.last_height),
                )
            };
            text += &format!(
                "\n{}: tip {} head {head:?} settled {settled:?} silence {:?} flights {:?} {}",
                agent.id,
                process.tip(),
                process.member.silence(),
                process
                    .account
                    .flights()
                    .waiting()
                    .map(|flight| (flight.nonce, flight.fees()))
                    .collect::<Vec<_>>(),
                process.member.describe(),
            );
            let ways: Vec<bool> = self
                .agents
                .iter()
                .map(|other| process.links.way_to_key(other.key()).is_some())
                .collect();
            text += &format!(
                " {} ways {ways:?} open {} certified {:?} account {:?}",
                process.lacks,
                process.ledger.open(),
                process.ledger.lock().as_ref().and_then(|ledger| {
                    let set_of = |epoch| process.mirror.read().set_for(Default::default(), epoch);
                    let newest = crate::domain::Epoch::new(u64::MAX);
                    let certificate = ledger.certificate(0, Default::default(), newest, set_of)?;
                    Some((certificate.header.first_height, certificate.header.is_regular()))
                }),
                process.account.state(),
            );
        }
        text
    }

    /// All have the same blocks up to here.
    pub(super) fn assert_one_chain(&self, goal: Height) {
        let chains: Vec<_> =
            self.agents.iter().filter_map(|agent| agent.process.as_ref()).collect();
        for height in 1..=goal.get() {
            let of =
                |at: usize| chains[at].store.header(Height::new(height)).unwrap().map(|one| one.0);
            let known: BTreeSet<B256> = (0..chains.len()).filter_map(of).collect();
            assert_eq!(known.len(), 1, "height {height}");
        }
    }
}

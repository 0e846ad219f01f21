//! A real Anvil with a real deployment, for tests.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

pub(crate) mod hostile;

use super::actions::SealStep;
use super::{Account, Client, Mirror, MirrorHandle, actions, deploy, follower};
use crate::crypto::{SecretKey, SigningDomain};
use crate::domain::{
    BatchHeader, Block, BlockHeader, Deployment, Epoch, Height, LeaderSet, Millis, Params,
    RollupId, tx_root,
};
use crate::storage::Store;
use alloy::node_bindings::{Anvil, AnvilInstance};
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::ext::AnvilApi as _;
use alloy::rpc::types::anvil::ReorgOptions;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// One ETH, and one stake token.
pub(crate) const ONE: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// An L1 of our own with the devnet's parameters and four sequencers. Anvil mines a block per transaction; it ends with
/// the world.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) deployment: Deployment,
    pub(crate) params: Params,
    pub(crate) domain: SigningDomain,
    anvil: AnvilInstance,
}

impl World {
    /// Deploys, with `change` applied to the devnet's configuration.
    pub(crate) async fn deploy(change: impl FnOnce(String) -> String) -> Self {
        let anvil = patient_anvil()
            .args(["--hardfork", "prague", "--gas-limit", "60000000"])
            .try_spawn()
            .expect("anvil starts: `make setup` installs it");
        let client = Client::connect(&[anvil.endpoint_url()]).await.unwrap();
        let config = include_str!("../../script/config/devnet.json")
            .replace("\"genesisDelaySeconds\": 8", "\"genesisDelaySeconds\": 200");
        let rich = account(&client, &anvil, 0);
        let deployment = deploy(&rich, &change(config)).await.unwrap();
        let params = client.verify(&deployment).await.unwrap();
        let domain = SigningDomain::new(deployment.chain_id, deployment.settlement);
        Self { client, deployment, params, domain, anvil }
    }

    /// Deploys, lets `count` sequencers with equal stake join, and seals the first epoch.
    pub(crate) async fn with_members(count: usize) -> Self {
        let world = Self::deploy(|config| config).await;
        for index in 0..count {
            world.join(index).await;
        }
        let rollup = RollupId::new(77);
        actions::register_rollup(&world.rich(), &world.deployment, rollup, ONE).await.unwrap();
        actions::fund_pool(&world.rich(), &world.deployment, ONE, U256::ZERO).await.unwrap();
        // Whoever joined before genesis counts in the first set.
        world.skip_to(world.params.genesis).await;
        let epoch = world.params.epoch_at(world.client.head().await.unwrap().timestamp);
        world.seal(epoch).await;
        world
    }

    /// Seals the set of `epoch`, in two calls.
    pub(crate) async fn seal(&self, epoch: Epoch) {
        let rich = self.rich();
        while actions::seal(&rich, &self.deployment, epoch, true, 0).await.unwrap()
            != SealStep::Sealed
        {
            self.mine(1, 1).await;
        }
    }

    /// The rich account, through another client.
    pub(crate) fn rich_through(&self, client: Client) -> Account {
        account(&client, &self.anvil, 0)
    }

    /// Where its Anvil listens.
    pub(crate) fn url(&self) -> url::Url {
        self.anvil.endpoint_url()
    }

    async fn join(&self, index: usize) {
        let owner = self.owner(index);
        let stake_wei = ONE * U256::from(100);
        actions::mint(&owner, &self.deployment, owner.address(), stake_wei).await.unwrap();
        let signer = signer(index);
        let joining = actions::Joining {
            signer: &signer,
            endpoint: format!("/ip4/127.0.0.1/tcp/{index},/ip4/127.0.0.1/tcp/{}", index + 1_000),
            stake_wei,
        };
        let id = actions::join(&owner, &self.deployment, joining).await.unwrap();
        assert_eq!(usize::try_from(id).unwrap(), index + 1);
        actions::send_eth(&self.rich(), signer.address(), ONE).await.unwrap();
    }

    /// The account that owns the sequencer which joined as number `index`.
    pub(crate) fn owner(&self, index: usize) -> Account {
        account(&self.client, &self.anvil, index + 1)
    }

    /// An account with ETH that is no sequencer.
    pub(crate) fn rich(&self) -> Account {
        account(&self.client, &self.anvil, 0)
    }

    /// An empty block on top of `parent`.
    pub(crate) fn block(&self, set: &LeaderSet, parent: &BlockHeader, seconds: u64) -> Block {
        let header = BlockHeader {
            height: parent.height.next(),
            proposer: set.members()[0].signer,
            timestamp: Millis::new(parent.timestamp.get() + 1_000 * seconds),
            parent_hash: parent.hash(),
            tx_count: 0,
            tx_root: tx_root(&[]),
            ..parent.clone()
        };
        Block { header, transactions: Vec::new() }
    }

    /// The L1 account of a member's signer.
    pub(crate) fn poster(&self, signer: Address) -> Account {
        let index = (0..8).find(|index| self::signer(*index).address() == signer).unwrap();
        Account::new(self.client.clone(), &signer_bytes(index)).unwrap()
    }

    pub(crate) async fn mine(&self, blocks: u64, seconds: u64) {
        self.client.provider().anvil_mine(Some(blocks), Some(seconds)).await.unwrap();
    }

    /// Mines a block with this timestamp.
    pub(crate) async fn skip_to(&self, seconds: u64) {
        self.client.provider().anvil_set_next_block_timestamp(seconds).await.unwrap();
        self.mine(1, 1).await;
    }

    pub(crate) async fn reorg(&self, depth: u64) {
        let options = ReorgOptions { depth, tx_block_pairs: Vec::new() };
        self.client.provider().anvil_reorg(options).await.unwrap();
    }

    pub(crate) async fn rollback(&self, depth: u64) {
        self.client.provider().anvil_rollback(Some(depth)).await.unwrap();
    }

    /// A batch of one block without transactions on top of `parent`, signed by all members of `set`.
    pub(crate) fn batch(
        &self,
        set: &LeaderSet,
        parent: &BlockHeader,
        seconds: u64,
    ) -> (Block, super::Certified) {
        let block = self.block(set, parent, seconds);
        let blocks = [block.clone()];
        let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
        let header = crate::batch::build_header(&blocks, parent.epoch, &payload).unwrap();
        let header = crate::testing::regular(header);
        (block, self.certify(set, header, payload))
    }

    /// Signatures of all members over a header.
    pub(crate) fn certify(
        &self,
        set: &LeaderSet,
        header: BatchHeader,
        payload: Bytes,
    ) -> super::Certified {
        let digest = self.domain.batch(&header);
        let keys: Vec<SecretKey> = (0..8).map(signer).collect();
        let signatures = set
            .members()
            .iter()
            .map(|m| keys.iter().find(|key| key.address() == m.signer).unwrap().sign(digest))
            .collect();
        let members = set.members().len();
        super::Certified { header, signers: (1 << members) - 1, signatures, members, payload }
    }

    /// The member whose turn it is to post a batch that ends at `last`.
    pub(crate) fn turn_of(&self, set: &LeaderSet, last: Height) -> Address {
        let place = crate::rota::draw(set, self.params.turn_of(last), 0).unwrap();
        set.members()[place].signer
    }
}

/// A follower that runs until the end of the test.
pub(crate) struct Following {
    pub(crate) mirror: MirrorHandle,
    pub(crate) store: Store,
    folder: tempfile::TempDir,
    running: tokio::task::JoinHandle<()>,
    stop: DropGuard,
}

/// The store of a follower that was stopped.
pub(crate) struct Kept {
    store: Store,
    folder: tempfile::TempDir,
}

impl Following {
    pub(crate) fn start(world: &World) -> Self {
        Self::through(world, world.client.clone())
    }

    /// Through another client.
    pub(crate) fn through(world: &World, client: Client) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store.redb")).unwrap();
        Self::on(world, client, Kept { store, folder })
    }

    /// On a store that another one left behind.
    pub(crate) fn on(world: &World, client: Client, kept: Kept) -> Self {
        let Kept { store, folder } = kept;
        let mirror = MirrorHandle::new(Mirror::new(world.params.clone()));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(follower::run(
            client,
            world.deployment.clone(),
            mirror.clone(),
            store.clone(),
            Duration::from_millis(20),
            shutdown.clone(),
        ));
        Self { mirror, store, folder, running, stop: shutdown.drop_guard() }
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) -> Kept {
        let Self { store, folder, running, stop, .. } = self;
        drop(stop);
        running.await.unwrap();
        Kept { store, folder }
    }

    /// Waits until the mirror looks as it should.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Mirror) -> bool) {
        let mut changes = self.mirror.subscribe();
        let wait = async {
            while !condition(&self.mirror.read()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap_or_else(|_| {
            panic!("the mirror never showed: {what}; it has {:?}", self.mirror.read().tip)
        });
    }
}

fn signer_bytes(index: usize) -> [u8; 32] {
    [u8::try_from(index).unwrap() + 0x51; 32]
}

/// The hot key of the sequencer that joined as number `index`.
pub(crate) fn signer(index: usize) -> SecretKey {
    SecretKey::from_bytes(signer_bytes(index)).unwrap()
}

fn account(client: &Client, anvil: &AnvilInstance, index: usize) -> Account {
    let key: [u8; 32] = anvil.nth_key(index).unwrap().to_bytes().into();
    Account::new(client.clone(), &key).unwrap()
}

/// Anvil, which is waited for longer than alloy does: many start at a time, and the machine may be busy.
pub(crate) fn patient_anvil() -> Anvil {
    Anvil::at(anvil_path()).timeout(120_000)
}

/// The binary itself: npm's launcher would leave it running when it is killed.
pub(crate) fn anvil_path() -> PathBuf {
    if let Some(path) = std::env::var_os("ANVIL").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let os = if os == "macos" { "darwin" } else { os };
    let arch = if arch == "x86_64" { "amd64" } else { "arm64" };
    let local = root.join(format!("node_modules/@foundry-rs/anvil-{os}-{arch}/bin/anvil"));
    if local.exists() { local } else { PathBuf::from("anvil") }
}

//! Anvil with the harness on it, and with a deployment where a test asks for one.

use alloy::network::TransactionBuilder as _;
use alloy::node_bindings::{Anvil, AnvilInstance};
use alloy::primitives::{Address, Bytes, U256};
use alloy::providers::ext::AnvilApi as _;
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use rota::crypto::SecretKey;
use rota::devnet::find_anvil;
use rota::domain::{Deployment, Epoch, Seconds};
use rota::l1::actions::SealStep;
use rota::l1::{Account, Client, actions, deploy};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Creation code of the harness, compiled as the contracts are that ship, and with them: `tools/solc` knows the answer from the
/// agents' build. Kept between runs.
static HARNESS: LazyLock<Bytes> = LazyLock::new(|| {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential");
    let output = Command::new(forge())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("FOUNDRY_PROFILE")
        .args(["build", "--offline", "--quiet"])
        .args([
            "--skip",
            "test/**/*.t.sol",
            "--skip",
            "test/utils/**",
            "--skip",
            "test/invariant/**",
        ])
        .arg("--out")
        .arg(out.join("out"))
        .arg("--cache-path")
        .arg(out.join("cache"))
        .output()
        .expect("Forge starts: `make setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let artifact = std::fs::read(out.join("out/Harness.sol/Harness.json")).unwrap();
    let artifact: Value = serde_json::from_slice(&artifact).unwrap();
    artifact["bytecode"]["object"].as_str().unwrap().parse().unwrap()
});

/// Forge from `$FORGE`, else the binary that npm installed, else from the path. Not npm's `.bin/forge`, which hides a
/// failure.
fn forge() -> PathBuf {
    if let Some(named) = std::env::var_os("FORGE") {
        return named.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/@foundry-rs");
    std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/forge"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| "forge".into())
}

/// Anvil, which ends with it.
pub(crate) struct Chain {
    provider: DynProvider,
    harness: Address,
    anvil: AnvilInstance,
}

impl Chain {
    /// With room for a call of many cases.
    pub(crate) async fn start() -> Self {
        let code = HARNESS.clone();
        let anvil = Anvil::at(find_anvil().unwrap())
            .timeout(120_000)
            .args(["--hardfork", "prague", "--gas-limit", "100000000000"])
            .try_spawn()
            .expect("anvil starts: `make setup` installs it");
        let provider = ProviderBuilder::new().connect_http(anvil.endpoint_url()).erased();
        let creation = TransactionRequest::default()
            .with_from(anvil.addresses()[0])
            .with_gas_limit(30_000_000)
            .with_deploy_code(code);
        let receipt =
            provider.send_transaction(creation).await.unwrap().get_receipt().await.unwrap();
        assert!(receipt.status(), "the harness is deployed");
        Self { provider, harness: receipt.contract_address.unwrap(), anvil }
    }

    /// Asks a contract without a transaction. What it reverts with, if it does.
    pub(crate) async fn ask<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return, Bytes> {
        let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
        match self.provider.call(request).await {
            Ok(answer) => Ok(C::abi_decode_returns(&answer).unwrap()),
            Err(error) => {
                let revert = error.as_error_resp().and_then(|answer| answer.as_revert_data());
                Err(revert.unwrap_or_else(|| panic!("{}: {error}", C::SIGNATURE)))
            }
        }
    }

    /// Asks the harness, which does not revert.
    pub(crate) async fn harness<C: SolCall>(&self, call: C) -> C::Return {
        self.ask(self.harness, call).await.unwrap()
    }

    /// The code at an address.
    pub(crate) async fn code_at(&self, address: Address) -> Bytes {
        self.provider.get_code_at(address).await.unwrap()
    }

    fn account(&self, client: &Client, index: usize) -> Account {
        let key: [u8; 32] = self.anvil.nth_key(index).unwrap().to_bytes().into();
        Account::new(client.clone(), &key).unwrap()
    }

    /// Deploys the contracts, and seals a set of these members with this stake each.
    pub(crate) async fn deploy(&self, members: &[(SecretKey, U256)]) -> Deployed {
        let client = Client::connect(&[self.anvil.endpoint_url()]).await.unwrap();
        let config = include_str!("../../script/config/devnet.json")
            .replace("\"genesisDelaySeconds\": 8", "\"genesisDelaySeconds\": 200");
        let rich = self.account(&client, 0);
        let deployment = deploy(&rich, &config).await.unwrap();
        let params = client.verify(&deployment).await.unwrap();

        for (index, (signer, stake_wei)) in members.iter().enumerate() {
            let owner = self.account(&client, index + 1);
            actions::mint(&owner, &deployment, owner.address(), *stake_wei).await.unwrap();
            let joining = actions::Joining {
                signer,
                endpoint: format!(
                    "/ip4/127.0.0.1/tcp/{index},/ip4/127.0.0.1/tcp/{}",
                    index + 1_000
                ),
                stake_wei: *stake_wei,
            };
            actions::join(&owner, &deployment, joining).await.unwrap();
        }
        self.provider.anvil_set_next_block_timestamp(params.genesis).await.unwrap();
        self.provider.anvil_mine(Some(1), None).await.unwrap();
        let time: Seconds = client.head().await.unwrap().timestamp;
        let epoch = params.epoch_at(time);
        while actions::seal(&rich, &deployment, epoch, true, 0).await.unwrap() != SealStep::Sealed {
            self.provider.anvil_mine(Some(1), None).await.unwrap();
        }
        Deployed { deployment, epoch }
    }
}

/// A deployment, and the epoch whose set is sealed.
pub(crate) struct Deployed {
    pub(crate) deployment: Deployment,
    pub(crate) epoch: Epoch,
}

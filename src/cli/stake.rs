//! `rota join`, `stake`, `delegate`, `rotate`, `poster`, `endpoint`, `unjail`, `exit`, `claim`: what the owner of a sequencer does on L1.

use crate::cli::amount::{StakeToken, Written, units};
use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner};
use crate::config::{Config, ConfigError, Identity, Settings, open_key, read_password};
use crate::crypto::SecretKey;
use crate::domain::{Deployment, Epoch, SequencerId};
use crate::l1::{Client, actions};
use alloy::primitives::{Address, U256};
use clap::Args;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Stake and become a sequencer
///
/// The owner's account pays and owns the stake; keep its key cold. The agent's key signs while it runs. Both the agent's
/// settings and the owner's key are needed, as the registry asks for a proof that they belong together.
#[derive(Args)]
pub(super) struct Join {
    /// The agent's settings file
    #[arg(long, env = "ROTA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stake, in whole tokens (12.5)
    #[arg(long, value_name = "TOKENS")]
    stake: Written,
    /// The address under which other agents reach this one
    #[arg(long, value_name = "IP", value_parser = ip)]
    advertise: IpAddr,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    settings: Settings,
}

/// Add to a sequencer's stake
#[derive(Args)]
pub(super) struct TopUp {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// What to add, in whole tokens (12.5)
    #[arg(long, value_name = "TOKENS")]
    amount: Written,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Give a sequencer another hot key
///
/// It counts from the first set sealed for two epochs on; run the agent with the old key until then. Never run two agents
/// with one key: what they sign twice is slashed.
#[derive(Args)]
pub(super) struct Rotate {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// The new hot key, in Web3 Secret Storage form
    #[arg(long, value_name = "FILE")]
    new_keystore: PathBuf,
    /// File that holds the new key's password
    #[arg(long, value_name = "FILE")]
    new_password_file: PathBuf,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Let another account post a sequencer's batches besides its hot key
///
/// It proves that it agrees, so its key is needed too. An address belongs to one sequencer for ever, also once it posts no more.
#[derive(Args)]
pub(super) struct Poster {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// The account's key, in Web3 Secret Storage form
    #[arg(
        long,
        value_name = "FILE",
        requires = "poster_password_file",
        required_unless_present = "none"
    )]
    poster_keystore: Option<PathBuf>,
    /// File that holds that key's password
    #[arg(long, value_name = "FILE", requires = "poster_keystore")]
    poster_password_file: Option<PathBuf>,
    /// Nobody but the hot key
    #[arg(long, conflicts_with = "poster_keystore")]
    none: bool,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Send stake on its way out
///
/// It stays slashable, and the agent must go on, until the last set that counts it has ended; `rota claim` pays it out after
/// the exit delay.
#[derive(Args)]
pub(super) struct Exit {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// Working shares of the pool to withdraw; without it all of the owner's, and what still waits to work
    #[arg(long)]
    shares: Option<U256>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Put stake into the pool of a sequencer that somebody else runs
///
/// It waits for its turn, which may take epochs; then it counts as the sequencer's weight and earns with it. It is slashed
/// with it from the start. `rota undelegate` takes it out again.
#[derive(Args)]
pub(super) struct Delegate {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// What to delegate, in whole tokens (12.5)
    #[arg(long, value_name = "TOKENS")]
    amount: Written,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Bring a jailed sequencer back
///
/// Once it has served its term, and with at least the minimum of its owner's own stake (`rota stake` adds to it). It enters
/// by the churn queue, like a newcomer.
#[derive(Args)]
pub(super) struct Unjail {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Change where other agents reach a sequencer
///
/// By its settings file and an address (--advertise), or as it is to be published (--set).
#[derive(Args)]
pub(super) struct Endpoint {
    /// The sequencer's number in the registry
    #[arg(value_name = "SEQUENCER")]
    id: u32,
    /// "<agreement multiaddr>,<link multiaddr>", each ending in /p2p/<PeerId>
    #[arg(
        long,
        value_name = "MULTIADDRS",
        value_parser = published,
        conflicts_with = "advertise",
        required_unless_present = "advertise"
    )]
    set: Option<String>,
    /// The address under which other agents reach the one of the settings file
    #[arg(long, value_name = "IP", value_parser = ip)]
    advertise: Option<IpAddr>,
    /// The agent's settings file
    #[arg(long, env = "ROTA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    settings: Settings,
}

/// Take out what is yours: stake that has left, a poster's refunds, a reporter's bounty
#[derive(Args)]
#[group(id = "what", required = true, multiple = false)]
pub(super) struct Claim {
    /// Stake that has left: the number that `rota exit` printed
    #[arg(long, group = "what", value_name = "EXIT")]
    exit: Option<U256>,
    /// Refunds and margins of a poster: name the key that posted, the agent's hot key, as the owner's
    #[arg(long, group = "what")]
    poster: bool,
    /// Bounties of a reporter
    #[arg(long, group = "what")]
    bounty: bool,
    /// Who is paid; the account that claims unless told otherwise
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn join(options: Join, output: Output) -> eyre::Result<()> {
    let settings = options.settings.with_file(options.config.as_deref())?;
    let endpoint = endpoint(
        options.advertise,
        fixed("agreement-listen", settings.agreement_listen())?,
        fixed("link-listen", settings.link_listen())?,
        &settings.identity()?,
    );
    let config = Config::try_from(settings)?;
    let client = Client::connect(&config.l1_rpc).await?;
    client.verify(&config.deployment).await?;
    warn_of_loopback(options.advertise, &client);
    let token = StakeToken::of(&client, &config.deployment).await?;
    let stake = token.units("--stake", &options.stake)?;
    let account = options.owner.account(client)?;
    let signer = SecretKey::from_bytes(config.signer.to_bytes().0)?;

    let joining =
        actions::Joining { signer: &signer, endpoint: endpoint.clone(), stake_wei: stake };
    let waiting = progress("staking");
    let joined = actions::join(&account, &config.deployment, joining).await;
    waiting.finish_and_clear();
    let id = joined?;
    output.print(
        format!(
            "sequencer {id} joined with {} tokens; it counts from the first set sealed for two epochs on\n\
             start its agent now: rota node",
            token.show(stake)
        ),
        &json!({
            "sequencer": id,
            "owner": account.address(),
            "signer": config.signer.address(),
            "stakeWei": stake.to_string(),
            "endpoint": endpoint,
        }),
    );
    Ok(())
}

pub(super) async fn top_up(options: TopUp, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let amount = token.units("--amount", &options.amount)?;
    let account = options.owner.account(client)?;
    actions::top_up(&account, &deployment, options.id, amount).await?;
    output.print(
        format!("sequencer {}: {} tokens added", options.id, token.show(amount)),
        &json!({ "sequencer": options.id, "addedWei": amount.to_string() }),
    );
    Ok(())
}

pub(super) async fn delegate(options: Delegate, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let amount = token.units("--amount", &options.amount)?;
    let account = options.owner.account(client)?;
    let shares = actions::delegate(&account, &deployment, options.id, amount).await?;
    output.print(
        format!(
            "sequencer {}: {} tokens delegated, of which {shares} shares work at once and the rest as the churn queue lets \
             it in; they count from the first set sealed for two epochs on\n\
             to take them out again: rota undelegate {}",
            options.id,
            token.show(amount),
            options.id
        ),
        &json!({
            "sequencer": options.id,
            "delegatedWei": amount.to_string(),
            "shares": shares.to_string(),
        }),
    );
    Ok(())
}

pub(super) async fn unjail(options: Unjail, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    actions::unjail(&account, &deployment, options.id).await?;
    output.print(
        format!(
            "sequencer {} is back; it counts from the first set sealed for two epochs on, or as the churn queue lets it in",
            options.id
        ),
        &json!({ "sequencer": options.id }),
    );
    Ok(())
}

pub(super) async fn set_endpoint(options: Endpoint, output: Output) -> eyre::Result<()> {
    let settings = options.settings.with_file(options.config.as_deref())?;
    let published = match (options.set, options.advertise) {
        (Some(set), _) => set,
        (None, Some(advertise)) => endpoint(
            advertise,
            fixed("agreement-listen", settings.agreement_listen())?,
            fixed("link-listen", settings.link_listen())?,
            &settings.identity()?,
        ),
        (None, None) => eyre::bail!("name --set or --advertise"),
    };
    let deployment = settings.deployment()?;
    let client = Client::connect(&settings.l1_rpc()?).await?;
    client.verify(&deployment).await?;
    if let Some(advertise) = options.advertise {
        warn_of_loopback(advertise, &client);
    }
    let account = options.owner.account(client)?;
    actions::set_endpoint(&account, &deployment, options.id, published.clone()).await?;
    output.print(
        format!("sequencer {} is reached at {published}", options.id),
        &json!({ "sequencer": options.id, "endpoint": published }),
    );
    Ok(())
}

pub(super) async fn rotate(options: Rotate, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    let password = read_password("new-password-file", &options.new_password_file)?;
    let key = open_key(&options.new_keystore, &password)?;
    let signer = SecretKey::from_bytes(key.to_bytes().0)?;
    actions::rotate(&account, &deployment, options.id, &signer).await?;
    output.print(
        format!(
            "sequencer {}: the new hot key is {}, from the first set sealed for two epochs on; run the agent with the \
             old key until then",
            options.id,
            key.address()
        ),
        &json!({ "sequencer": options.id, "signer": key.address() }),
    );
    Ok(())
}

pub(super) async fn set_poster(options: Poster, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    let key = match (&options.poster_keystore, &options.poster_password_file) {
        (Some(keystore), Some(password)) => {
            let password = read_password("poster-password-file", password)?;
            Some(SecretKey::from_bytes(open_key(keystore, &password)?.to_bytes().0)?)
        }
        _ => None,
    };
    actions::set_poster(&account, &deployment, SequencerId::new(options.id), key.as_ref()).await?;
    let poster = key.as_ref().map(SecretKey::address);
    let said = poster.map_or_else(
        || "nobody but its hot key posts".to_owned(),
        |poster| format!("{poster} posts besides its hot key"),
    );
    output.print(
        format!("sequencer {}: {said}", options.id),
        &json!({ "sequencer": options.id, "poster": poster }),
    );
    Ok(())
}

pub(super) async fn exit(options: Exit, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let account = options.owner.account(client)?;
    let (client, holder) = (account.client(), account.address());
    let (shares, waiting) = match options.shares {
        Some(shares) => (shares, U256::ZERO),
        None => {
            let working = actions::shares_of(client, &deployment, options.id, holder).await?;
            let waiting =
                actions::waiting_shares_of(client, &deployment, options.id, holder).await?;
            eyre::ensure!(
                !working.is_zero() || !waiting.is_zero(),
                "{holder} has no stake in sequencer {} that is not on its way out already",
                options.id
            );
            (working, waiting)
        }
    };
    let (exit, epoch) = actions::exit(&account, &deployment, options.id, shares, waiting).await?;
    output.print(
        format!(
            "exit {exit} was requested in epoch {epoch}; keep the agent running until its last set has ended\n\
             then: rota claim --exit {exit}"
        ),
        &json!({ "exit": exit.to_string(), "sequencer": options.id, "epoch": epoch }),
    );
    Ok(())
}

pub(super) async fn claim(options: Claim, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let account = options.owner.account(client.clone())?;
    let to = options.to.unwrap_or(account.address());
    eyre::ensure!(
        !to.is_zero(),
        "--to: expected an address, got the zero address, from which nothing comes back"
    );
    let (amount, unit) = if let Some(exit) = options.exit {
        explain_early_claim(&client, &deployment, exit).await?;
        (actions::claim(&account, &deployment, exit, to).await?, "tokens")
    } else if options.poster {
        (actions::claim_poster(&account, &deployment, to).await?, "ETH")
    } else {
        (actions::claim_bounty(&account, &deployment, to).await?, "tokens")
    };
    let shown = if options.poster { units(amount) } else { token.show(amount) };
    output.print(
        format!("{shown} {unit} paid to {to}"),
        &json!({ "paidWei": amount.to_string(), "unit": unit, "to": to }),
    );
    Ok(())
}

/// Says when, rather than which custom error, if an exit's clock still runs.
async fn explain_early_claim(
    client: &Client,
    deployment: &Deployment,
    exit: U256,
) -> eyre::Result<()> {
    let now = client.head().await?.timestamp;
    match actions::claimable_at(client, deployment, exit).await? {
        None => {
            let params = client.verify(deployment).await?;
            let Some(left) = actions::exit_epoch(client, deployment, exit).await? else {
                eyre::bail!(
                    "exit {exit}: waits in the churn queue, where only so much leaves in an epoch; agents move it on \
                     in every epoch"
                )
            };
            // Two epochs on is the first set without it; the delay runs from its start (R8).
            let epoch = Epoch::new(left.get().saturating_add(2));
            let time = params.start_of(epoch).get().saturating_add(params.exit_delay_seconds);
            eyre::bail!(
                "exit {exit}: claimable in {} s at the earliest: the delay begins with the set of epoch {epoch} or a \
                 later one, which is not sealed yet",
                time.saturating_sub(now.get())
            )
        }
        Some(time) if time > now => eyre::bail!(
            "exit {exit}: claimable in {} s, at L1 time {time}",
            time.get().saturating_sub(now.get())
        ),
        Some(_) => Ok(()),
    }
}

/// What the registry publishes: two multiaddrs that end in the same peer id.
pub(crate) fn endpoint(
    advertise: IpAddr,
    agreement: SocketAddr,
    link: SocketAddr,
    identity: &Identity,
) -> String {
    let family = if advertise.is_ipv4() { "ip4" } else { "ip6" };
    let peer = identity.peer_id();
    let address = |port| format!("/{family}/{advertise}/tcp/{port}/p2p/{peer}");
    format!("{},{}", address(agreement.port()), address(link.port()))
}

/// An endpoint as other agents dial it: two multiaddrs that end in the same peer id.
fn published(text: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "expected two multiaddrs, of agreement and of link, that end in the same \
        /p2p/<PeerId>, such as /ip4/203.0.113.7/tcp/27000/p2p/ID,/ip4/203.0.113.7/tcp/27001/p2p/ID";
    let (agreement, link) = text.split_once(',').ok_or(EXPECTED)?;
    let peer = |address: &str| -> Result<PeerId, &'static str> {
        let mut address: Multiaddr = address.trim().parse().map_err(|_| EXPECTED)?;
        let Some(Protocol::P2p(peer)) = address.pop() else { return Err(EXPECTED) };
        for part in &address {
            match part {
                Protocol::Ip4(ip) => dialable(ip.into())?,
                Protocol::Ip6(ip) => dialable(ip.into())?,
                Protocol::Tcp(0) => return Err(NO_PORT),
                _ => {}
            }
        }
        if address.iter().any(|part| matches!(part, Protocol::Tcp(_))) {
            Ok(peer)
        } else {
            Err(EXPECTED)
        }
    };
    if peer(agreement)? == peer(link)? { Ok(text.to_owned()) } else { Err(EXPECTED) }
}

const NO_PORT: &str = "expected a port that others can dial: 0 is none";

/// Refuses an address that nobody can dial, wherever they are.
fn dialable(ip: IpAddr) -> Result<(), &'static str> {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[0] == 0);
    match ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        true => {
            Err("expected the address under which others reach this machine, such as 203.0.113.7: \
             nobody can dial this one")
        }
        false => Ok(()),
    }
}

fn ip(text: &str) -> Result<IpAddr, &'static str> {
    let ip = text.parse().map_err(|_| "expected an IP address, such as 203.0.113.7")?;
    dialable(ip).map(|()| ip)
}

/// Ports of settings that take whatever is free are known to nobody before the agent runs.
fn fixed(setting: &'static str, address: SocketAddr) -> Result<SocketAddr, ConfigError> {
    match address.port() {
        0 => Err(ConfigError::Invalid { setting, expected: NO_PORT, found: address.to_string() }),
        _ => Ok(address),
    }
}

/// On a development chain all agents may be on one machine. Elsewhere, others would dial themselves.
fn warn_of_loopback(advertise: IpAddr, client: &Client) {
    if advertise.is_loopback() && !client.is_development_chain() {
        eprintln!("rota: --advertise {advertise}: only agents on this machine reach it there");
    }
}

#[cfg(test)]
mod tests {
    use super::{dialable, fixed, ip, published};

    #[test]
    fn an_address_that_nobody_can_dial_is_not_published() {
        for wrong in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "0.1.2.3"] {
            let refused = ip(wrong).unwrap_err();
            assert!(refused.contains("nobody can dial"), "{wrong}: {refused}");
        }
        for right in ["127.0.0.1", "::1", "203.0.113.7", "2001:db8::7", "10.0.0.1"] {
            assert_eq!(ip(right).map(dialable), Ok(Ok(())), "{right}");
        }
        assert!(ip("example.org").unwrap_err().contains("expected an IP address"));
    }

    #[test]
    fn a_published_endpoint_is_two_addresses_of_one_peer_that_can_be_dialled() {
        const A: &str = "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf";
        const B: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let pair = |a: &str, b: &str| published(&format!("{a}/p2p/{A},{b}/p2p/{A}"));
        assert!(pair("/ip4/203.0.113.7/tcp/27000", "/dns4/a.example/tcp/27001").is_ok());
        for (a, b) in [
            ("/ip4/0.0.0.0/tcp/27000", "/ip4/203.0.113.7/tcp/27001"),
            ("/ip4/203.0.113.7/tcp/27000", "/ip6/::/tcp/27001"),
            ("/ip4/203.0.113.7/tcp/0", "/ip4/203.0.113.7/tcp/27001"),
            ("/ip4/203.0.113.7", "/ip4/203.0.113.7/tcp/27001"),
            ("", "/ip4/203.0.113.7/tcp/27001"),
        ] {
            assert!(pair(a, b).is_err(), "{a} {b}");
        }
        let link = "/ip4/203.0.113.7/tcp/27001";
        assert!(published(&format!("{link}/p2p/{A},{link}/p2p/{B}")).is_err(), "two peers");
        assert!(published(&format!("{link}/p2p/{A}")).is_err(), "one address");
    }

    #[test]
    fn a_port_that_is_not_known_yet_is_not_published() {
        let refused = fixed("link-listen", "0.0.0.0:0".parse().unwrap()).unwrap_err().to_string();
        assert!(refused.starts_with("link-listen"), "{refused}");
        assert!(fixed("link-listen", "0.0.0.0:27001".parse().unwrap()).is_ok());
    }
}

//! `rota keys`: keys in Web3 Secret Storage form.

use crate::cli::Owner;
use crate::cli::output::Output;
use crate::config::{ConfigError, Settings, Strength, create_key, open_key, read_password};
use alloy::primitives::Address;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Create or show a key
#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a random key
    New {
        /// Where to write it; an existing key is never overwritten
        #[arg(long, value_name = "FILE")]
        keystore: PathBuf,
        /// File that holds the password to seal it with (or ROTA_PASSWORD)
        #[arg(long, env = "ROTA_PASSWORD_FILE", value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Seal it so that a password is cheap to try: for tests, and for keys that everybody knows
        #[arg(long)]
        light: bool,
    },
    /// Show the address of a key, and that the password opens it
    Show {
        /// The key
        #[arg(long, value_name = "FILE")]
        keystore: PathBuf,
        /// File that holds its password (or ROTA_PASSWORD)
        #[arg(long, env = "ROTA_PASSWORD_FILE", value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

pub(super) fn run(command: Command, output: Output) -> eyre::Result<()> {
    let address: Address = match command {
        Command::New { keystore, password_file, light } => {
            let strength = if light { Strength::Light } else { Strength::Standard };
            create_key(&keystore, &password(password_file)?, strength, None)?.address()
        }
        Command::Show { keystore, password_file } => {
            open_key(&keystore, &password(password_file)?)?.address()
        }
    };
    output.print(address, &json!({ "address": address }));
    Ok(())
}

fn password(file: Option<PathBuf>) -> Result<Zeroizing<String>, ConfigError> {
    Settings { password_file: file, ..Settings::default() }.with_file(None)?.password()
}

/// The bare key of the account that pays.
pub(super) fn secret(owner: &Owner) -> eyre::Result<Zeroizing<[u8; 32]>> {
    if let Some(keystore) = &owner.owner_keystore {
        let file = owner.owner_password_file.as_deref().ok_or(ConfigError::Missing {
            setting: "owner-password-file",
            expected: "the file that holds the password of owner-keystore",
        })?;
        let password = read_password("owner-password-file", file)?;
        return Ok(Zeroizing::new(open_key(keystore, &password)?.to_bytes().0));
    }
    let named = std::env::var("ROTA_OWNER_KEY").ok().filter(|key| !key.is_empty());
    let text = Zeroizing::new(named.ok_or(ConfigError::Missing {
        setting: "owner-keystore",
        expected: "the key of the account that pays, or ROTA_OWNER_KEY",
    })?);
    let mut key = Zeroizing::new([0; 32]);
    alloy::hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|error| {
        ConfigError::Invalid {
            setting: "ROTA_OWNER_KEY",
            expected: "64 hexadecimal digits",
            // The key itself is not to be printed.
            found: error.to_string(),
        }
    })?;
    Ok(key)
}

//! secp256k1 keys on disk: Web3 Secret Storage, as Geth, `cast wallet` and others write it.

use crate::config::web3_storage::{self, StorageError, Strength};
use alloy::signers::local::PrivateKeySigner;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a key is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file cannot be read or written.
    #[error("keystore {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Wrong password, or no Web3 Secret Storage.
    #[error("keystore {path}: {source}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Which of the two.
        source: StorageError,
    },
    /// What is sealed is no secp256k1 key.
    #[error("keystore {path}: what is sealed in it is no key")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A key that an empty password opens is not sealed.
    #[error("keystore {path}: the password to seal it with is empty")]
    EmptyPassword {
        /// The file.
        path: PathBuf,
    },
    /// A key is never overwritten.
    #[error("keystore {path} exists already; a key is never overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The path has no file name.
    #[error("keystore {path}: expected a path that ends in a file name")]
    NoFileName {
        /// The path.
        path: PathBuf,
    },
}

/// Opens the key at `path`.
///
/// # Errors
///
/// [`KeystoreError::Io`] when there is no such file, [`KeystoreError::Sealed`] when the password does not open it.
pub fn open_key(path: &Path, password: &str) -> Result<PrivateKeySigner, KeystoreError> {
    let text = fs::read_to_string(path)
        .map_err(|source| KeystoreError::Io { path: path.to_owned(), source })?;
    let secret = web3_storage::open(&text, password)
        .map_err(|source| KeystoreError::Sealed { path: path.to_owned(), source })?;
    PrivateKeySigner::from_slice(&secret)
        .map_err(|_| KeystoreError::NoKey { path: path.to_owned() })
}

/// Creates a key at `path`, readable by its owner alone. With `secret` it is that key, otherwise a random one.
///
/// # Errors
///
/// [`KeystoreError::Exists`] when something is there already; [`KeystoreError::EmptyPassword`];
/// [`KeystoreError::Io`] when the folder cannot be written.
pub fn create_key(
    path: &Path,
    password: &str,
    strength: Strength,
    secret: Option<[u8; 32]>,
) -> Result<PrivateKeySigner, KeystoreError> {
    let io = |source| KeystoreError::Io { path: path.to_owned(), source };
    let (Some(folder), Some(_)) = (path.parent(), path.file_name()) else {
        return Err(KeystoreError::NoFileName { path: path.to_owned() });
    };
    if password.is_empty() {
        return Err(KeystoreError::EmptyPassword { path: path.to_owned() });
    }
    // Before the work of sealing; that nobody was faster is seen when the file is created.
    if path.exists() {
        return Err(KeystoreError::Exists { path: path.to_owned() });
    }
    fs::create_dir_all(folder).map_err(io)?;

    let secret = Zeroizing::new(secret.unwrap_or_else(|| PrivateKeySigner::random().to_bytes().0));
    let signer = PrivateKeySigner::from_slice(secret.as_slice())
        .map_err(|_| KeystoreError::NoKey { path: path.to_owned() })?;
    let address = signer.address().to_string();
    let sealed = web3_storage::seal(&secret, password, strength, &address);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeystoreError::Exists { path: path.to_owned() },
        _ => io(source),
    })?;
    file.write_all(sealed.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn opens_what_it_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.json");

        let created = create_key(&path, "correct", Strength::Light, None).unwrap();

        assert_eq!(open_key(&path, "correct").unwrap().address(), created.address());
        assert!(matches!(open_key(&path, "wrong"), Err(KeystoreError::Sealed { .. })));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn never_overwrites_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.json");
        create_key(&path, "first", Strength::Light, None).unwrap();

        assert!(matches!(
            create_key(&path, "second", Strength::Light, None),
            Err(KeystoreError::Exists { .. })
        ));
        assert!(open_key(&path, "first").is_ok());
    }

    #[test]
    fn an_empty_password_seals_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.json");
        let refused = create_key(&path, "", Strength::Light, None).unwrap_err();
        assert!(refused.to_string().ends_with("the password to seal it with is empty"));
        assert!(!path.exists());
    }

    #[test]
    fn what_is_sealed_has_to_be_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.json");
        let zero = create_key(&path, "x", Strength::Light, Some([0; 32]));
        assert!(matches!(zero, Err(KeystoreError::NoKey { .. })));
        fs::write(&path, web3_storage::seal(&[0; 32], "x", Strength::Light, "")).unwrap();
        assert!(matches!(open_key(&path, "x"), Err(KeystoreError::NoKey { .. })));
    }
}

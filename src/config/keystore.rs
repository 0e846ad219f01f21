//! secp256k1 keys on disk: Web3 Secret Storage, as Geth, `cast wallet` and others write it.

use alloy::signers::local::{LocalSignerError, PrivateKeySigner};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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
        /// What the decoder said.
        source: LocalSignerError,
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
    fs::metadata(path).map_err(|source| KeystoreError::Io { path: path.to_owned(), source })?;
    PrivateKeySigner::decrypt_keystore(path, password)
        .map_err(|source| KeystoreError::Sealed { path: path.to_owned(), source })
}

/// Creates a key at `path`, readable by its owner alone. With `secret` it is that key, otherwise a random one.
///
/// # Errors
///
/// [`KeystoreError::Exists`] when something is there already; [`KeystoreError::Io`] when the folder cannot be written.
pub fn create_key(
    path: &Path,
    password: &str,
    secret: Option<[u8; 32]>,
) -> Result<PrivateKeySigner, KeystoreError> {
    let io = |source| KeystoreError::Io { path: path.to_owned(), source };
    let sealed = |source| KeystoreError::Sealed { path: path.to_owned(), source };
    if path.exists() {
        return Err(KeystoreError::Exists { path: path.to_owned() });
    }
    let (Some(folder), Some(name)) =
        (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(KeystoreError::NoFileName { path: path.to_owned() });
    };
    fs::create_dir_all(folder).map_err(io)?;

    let secret = Zeroizing::new(secret.unwrap_or_else(|| PrivateKeySigner::random().to_bytes().0));
    let (signer, _) = PrivateKeySigner::encrypt_keystore(
        folder,
        &mut rand::thread_rng(),
        secret.as_slice(),
        password,
        Some(name),
    )
    .map_err(sealed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.json");

        let created = create_key(&path, "correct", None).unwrap();

        assert_eq!(open_key(&path, "correct").unwrap().address(), created.address());
        assert!(matches!(open_key(&path, "wrong"), Err(KeystoreError::Sealed { .. })));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn never_overwrites_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.json");
        create_key(&path, "first", None).unwrap();

        assert!(matches!(create_key(&path, "second", None), Err(KeystoreError::Exists { .. })));
        assert!(open_key(&path, "first").is_ok());
    }
}

//! The agent's Ed25519 key in the peer-to-peer networks. Peers authenticate it by the peer id that the registry names.

use libp2p::PeerId;
use libp2p::identity::Keypair;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A peer-to-peer key. Prints as its peer id.
#[derive(Clone)]
pub struct Identity(Keypair);

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("identity {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("identity {path}: expected 64 hexadecimal digits, an Ed25519 seed")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Identity {
    /// Reads the key from `path`, or creates it there, readable by its owner alone.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the file cannot be read or written, or holds no seed.
    pub fn open_or_create(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::from_hex(&Zeroizing::new(text))
                .ok_or_else(|| IdentityError::Malformed { path: path.to_owned() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let seed = Zeroizing::new(rand::random::<[u8; 32]>());
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(io)?;
                }
                let text = Zeroizing::new(alloy::hex::encode(*seed));
                write_whole(path, text.as_bytes()).map_err(io)?;
                Self::from_hex(&text)
                    .ok_or_else(|| IdentityError::Malformed { path: path.to_owned() })
            }
            Err(error) => Err(io(error)),
        }
    }

    /// The key as libp2p takes it.
    pub fn keypair(&self) -> Keypair {
        self.0.clone()
    }

    /// The public name.
    pub fn peer_id(&self) -> PeerId {
        self.0.public().to_peer_id()
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        alloy::hex::decode_to_slice(text.trim(), seed.as_mut_slice()).ok()?;
        Keypair::ed25519_from_bytes(seed.as_mut_slice()).ok().map(Self)
    }
}

/// Writes a file that is there whole or not at all, whenever the process or the machine ends.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut from = path.as_os_str().to_owned();
    from.push(".new");
    let from = PathBuf::from(from);
    match fs::remove_file(&from) {
        // One that such an end left behind.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&from)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&from, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn is_created_once_and_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/identity.key");

        let created = Identity::open_or_create(&path).unwrap();
        let opened = Identity::open_or_create(&path).unwrap();

        assert_eq!(created.peer_id(), opened.peer_id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_end_while_it_is_created_leaves_nothing_that_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        // What is there of it at such an end: never the file itself, of any length.
        fs::write(folder.path().join("identity.key.new"), "ab").unwrap();
        let created = Identity::open_or_create(&path).unwrap();
        assert_eq!(Identity::open_or_create(&path).unwrap().peer_id(), created.peer_id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn never_prints_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let identity = Identity::open_or_create(&path).unwrap();

        let shown = format!("{identity:?}");

        assert!(!shown.contains(&fs::read_to_string(&path).unwrap()));
        assert!(shown.starts_with("12D3Koo"));
    }

    #[test]
    fn refuses_a_file_that_holds_no_seed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        fs::write(&path, "not a key").unwrap();

        let refusal = Identity::open_or_create(&path).unwrap_err().to_string();

        assert!(refusal.contains("expected 64 hexadecimal digits"), "{refusal}");
    }
}

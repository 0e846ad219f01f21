//! The form of keys on disk, Web3 Secret Storage version 3: read as Geth, Foundry, ethers and others write it, written as
//! they read it.

use alloy::hex;
use alloy::primitives::keccak256;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

type Aes128Ctr = ctr::Ctr128BE<aes::Aes128>;

/// Memory that opening a key may take: what a file asks for comes from outside.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// Rounds of PBKDF2 that opening a key may take.
const MAX_PBKDF2_ROUNDS: u32 = 1 << 24;
/// Passes of scrypt over its memory.
const MAX_SCRYPT_PASSES: u32 = 16;
/// Bytes of the derived key that are used: half encrypts, half authenticates.
const DERIVED_BYTES: usize = 32;
const SCRYPT_R: u32 = 8;

/// How much work it is to try one password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// About a second and 128 MiB: scrypt with n = 2^17, as other wallets seal keys.
    Standard,
    /// Next to none, n = 2^12: for tests, and for keys that everybody knows.
    Light,
}

impl Strength {
    const fn log_n(self) -> u8 {
        match self {
            Self::Standard => 17,
            Self::Light => 12,
        }
    }

    const fn n(self) -> u64 {
        match self {
            Self::Standard => 1 << 17,
            Self::Light => 1 << 12,
        }
    }
}

/// Why a sealed key does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The password is another one.
    #[error("wrong password")]
    WrongPassword,
    /// The file is no Web3 Secret Storage.
    #[error("expected Web3 Secret Storage, version 3: {field} is missing or wrong ({reason})")]
    Malformed {
        /// Where in the file.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Opening it takes more than any wallet asks for.
    #[error("{field}: {value} is more than any wallet asks for")]
    TooDear {
        /// Where in the file.
        field: &'static str,
        /// What it asks for.
        value: u64,
    },
}

#[derive(Deserialize)]
struct Scrypt {
    dklen: usize,
    n: u64,
    r: u32,
    p: u32,
    salt: String,
}

#[derive(Deserialize)]
struct Pbkdf2 {
    dklen: usize,
    c: u32,
    prf: String,
    salt: String,
}

/// Opens a sealed key.
///
/// # Errors
///
/// [`StorageError`].
pub(super) fn open(text: &str, password: &str) -> Result<Zeroizing<Vec<u8>>, StorageError> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| malformed("the file", error))?;
    // Some wallets write `Crypto`: names at the top are compared without case.
    let top = |name: &str| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let version = top("version").and_then(|(_, version)| version.as_u64());
    if version != Some(3) {
        return Err(malformed("version", "expected 3"));
    }
    let crypto = top("crypto").map_or(&Value::Null, |(_, crypto)| crypto);
    let part = |name: &str| crypto.get(name).cloned().unwrap_or_default();

    let cipher: String = read("crypto.cipher", part("cipher"))?;
    if cipher != "aes-128-ctr" {
        return Err(malformed("crypto.cipher", "expected aes-128-ctr"));
    }
    let ciphertext = Zeroizing::new(bytes("crypto.ciphertext", part("ciphertext"))?);
    let mac = bytes("crypto.mac", part("mac"))?;
    let iv = part("cipherparams").get("iv").cloned().unwrap_or_default();
    let iv = bytes("crypto.cipherparams.iv", iv)?;
    let kdf: String = read("crypto.kdf", part("kdf"))?;
    let derived = match kdf.as_str() {
        "scrypt" => by_scrypt(read("crypto.kdfparams", part("kdfparams"))?, password)?,
        "pbkdf2" => by_pbkdf2(read("crypto.kdfparams", part("kdfparams"))?, password)?,
        _ => return Err(malformed("crypto.kdf", "expected scrypt or pbkdf2")),
    };
    let (encrypting, authenticating) = halves(&derived);
    if keccak256([authenticating, &ciphertext].concat()).as_slice() != mac {
        return Err(StorageError::WrongPassword);
    }
    let mut key = ciphertext;
    Aes128Ctr::new_from_slices(encrypting, &iv)
        .map_err(|error| malformed("crypto.cipherparams.iv", error))?
        .apply_keystream(&mut key);
    Ok(key)
}

/// Seals a key.
pub(super) fn seal(secret: &[u8; 32], password: &str, strength: Strength, address: &str) -> String {
    let (salt, iv, id) =
        (rand::random::<[u8; 32]>(), rand::random::<[u8; 16]>(), rand::random::<u128>());
    let params = scrypt::Params::new(strength.log_n(), SCRYPT_R, 1)
        .expect("n is a power of two below 2^(16 r)");
    let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
    scrypt::scrypt(password.as_bytes(), &salt, &params, derived.as_mut_slice())
        .expect("32 bytes are a length that scrypt gives");
    let (encrypting, authenticating) = halves(&derived);
    let mut ciphertext = *secret;
    Aes128Ctr::new_from_slices(encrypting, &iv)
        .expect("key and nonce have 16 bytes")
        .apply_keystream(&mut ciphertext);
    let mac = keccak256([authenticating, &ciphertext].concat());
    json!({
        "version": 3,
        "id": uuid(id),
        "address": address.trim_start_matches("0x").to_lowercase(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": hex::encode(iv) },
            "ciphertext": hex::encode(ciphertext),
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": DERIVED_BYTES,
                "n": strength.n(),
                "r": SCRYPT_R,
                "p": 1,
                "salt": hex::encode(salt),
            },
            "mac": hex::encode(mac),
        },
    })
    .to_string()
}

fn by_scrypt(
    Scrypt { dklen, n, r, p, salt }: Scrypt,
    password: &str,
) -> Result<Zeroizing<[u8; DERIVED_BYTES]>, StorageError> {
    const N: &str = "crypto.kdfparams.n";
    long_enough(dklen)?;
    let memory = n.saturating_mul(u64::from(r)).saturating_mul(128);
    if memory > MAX_SCRYPT_BYTES {
        return Err(StorageError::TooDear { field: N, value: n });
    }
    if p > MAX_SCRYPT_PASSES {
        return Err(StorageError::TooDear { field: "crypto.kdfparams.p", value: p.into() });
    }
    if r == 0 || p == 0 {
        return Err(malformed(N, "expected r and p above 0"));
    }
    let log_n = n.checked_ilog2().filter(|log_n| n.is_power_of_two() && *log_n > 0);
    let log_n = log_n.and_then(|log_n| u8::try_from(log_n).ok());
    let log_n = log_n.ok_or_else(|| malformed(N, "expected a power of two above 1"))?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|error| malformed(N, error))?;
    let salt = unhex("crypto.kdfparams.salt", &salt)?;
    // Longer keys begin with the same bytes, as both functions give one block after the other.
    let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
    scrypt::scrypt(password.as_bytes(), &salt, &params, derived.as_mut_slice())
        .map_err(|error| malformed("crypto.kdfparams.dklen", error))?;
    Ok(derived)
}

fn by_pbkdf2(
    Pbkdf2 { dklen, c, prf, salt }: Pbkdf2,
    password: &str,
) -> Result<Zeroizing<[u8; DERIVED_BYTES]>, StorageError> {
    long_enough(dklen)?;
    if prf != "hmac-sha256" {
        return Err(malformed("crypto.kdfparams.prf", "expected hmac-sha256"));
    }
    match c {
        0 => return Err(malformed("crypto.kdfparams.c", "expected more than 0")),
        MAX_PBKDF2_ROUNDS.. => {
            return Err(StorageError::TooDear { field: "crypto.kdfparams.c", value: c.into() });
        }
        _ => {}
    }
    let salt = unhex("crypto.kdfparams.salt", &salt)?;
    let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
    pbkdf2::pbkdf2::<hmac::Hmac<sha2::Sha256>>(
        password.as_bytes(),
        &salt,
        c,
        derived.as_mut_slice(),
    );
    Ok(derived)
}

fn long_enough(dklen: usize) -> Result<(), StorageError> {
    match dklen {
        DERIVED_BYTES.. => Ok(()),
        _ => Err(malformed("crypto.kdfparams.dklen", "expected at least 32")),
    }
}

fn halves(derived: &[u8; DERIVED_BYTES]) -> (&[u8], &[u8]) {
    derived.split_at(DERIVED_BYTES / 2)
}

fn read<T: DeserializeOwned>(field: &'static str, value: Value) -> Result<T, StorageError> {
    serde_json::from_value(value).map_err(|error| malformed(field, error))
}

fn bytes(field: &'static str, value: Value) -> Result<Vec<u8>, StorageError> {
    unhex(field, &read::<String>(field, value)?)
}

fn unhex(field: &'static str, digits: &str) -> Result<Vec<u8>, StorageError> {
    hex::decode(digits).map_err(|error| malformed(field, error))
}

fn malformed(field: &'static str, reason: impl ToString) -> StorageError {
    StorageError::Malformed { field, reason: reason.to_string() }
}

/// A random UUID (version 4) in its usual form.
fn uuid(random: u128) -> String {
    let fixed = (random & !(0xf << 76) & !(0b11 << 62)) | (0x4 << 76) | (0b10 << 62);
    let digits = format!("{fixed:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    /// The examples of the specification.
    const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},"ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt","kdfparams":{"dklen":32,"n":262144,"p":8,"r":1,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},"mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    #[test]
    fn opens_the_example_of_the_specification() {
        assert_eq!(hex::encode(&*open(PBKDF2, "testpassword").unwrap()), KEY);
        // The other one asks for what RFC 7914 forbids, n = 2^18 with r = 1.
        let refused = open(SCRYPT, "testpassword").unwrap_err().to_string();
        assert!(refused.contains("crypto.kdfparams.n"), "{refused}");
    }

    #[test]
    fn opens_what_foundry_writes() {
        let folder = tempfile::tempdir().unwrap();
        let write = alloy::signers::local::PrivateKeySigner::encrypt_keystore;
        write(folder.path(), &mut rand::thread_rng(), SECRET, "right", Some("key")).unwrap();
        let text = std::fs::read_to_string(folder.path().join("key")).unwrap();
        assert_eq!(**open(&text, "right").unwrap(), SECRET);
    }

    #[test]
    fn opens_what_ethers_writes() {
        let sealed = seal(&SECRET, "right", Strength::Light, "0xAB");
        let capital = sealed.replace("\"crypto\"", "\"Crypto\"");
        let more = capital.replacen('{', "{\"x-ethers\":{\"client\":\"ethers/6.13.0\"},", 1);
        assert_eq!(**open(&more, "right").unwrap(), SECRET);
    }

    #[test]
    fn a_wrong_password_is_called_one() {
        let sealed = seal(&SECRET, "right", Strength::Light, "0xAB");
        for wrong in ["", "Right", "right\n", "right "] {
            let refused = open(&sealed, wrong).unwrap_err();
            assert_eq!(refused.to_string(), "wrong password");
        }
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let sealed = seal(&SECRET, "right", Strength::Light, "0xAB");
        let good: Value = serde_json::from_str(&sealed).unwrap();
        let cases: &[(&str, Value, &str)] = &[
            ("/version", json!(1), "version"),
            ("/crypto", json!(null), "crypto.cipher"),
            ("/crypto/cipher", json!("aes-256-cbc"), "crypto.cipher"),
            ("/crypto/ciphertext", json!("xyz"), "crypto.ciphertext"),
            ("/crypto/mac", json!(7), "crypto.mac"),
            ("/crypto/cipherparams/iv", json!("00"), "crypto.cipherparams.iv"),
            ("/crypto/kdf", json!("argon2"), "crypto.kdf"),
            ("/crypto/kdfparams", json!({}), "crypto.kdfparams"),
            ("/crypto/kdfparams/dklen", json!(16), "crypto.kdfparams.dklen"),
            ("/crypto/kdfparams/n", json!(0), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/n", json!(1), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/n", json!(4095), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/n", json!(1_u64 << 40), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/n", json!(u64::MAX), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/r", json!(u32::MAX), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/r", json!(0), "crypto.kdfparams.n"),
            ("/crypto/kdfparams/p", json!(u32::MAX), "crypto.kdfparams.p"),
        ];
        for (place, value, field) in cases {
            let mut bad = good.clone();
            *bad.pointer_mut(place).unwrap() = value.clone();
            let refused = open(&bad.to_string(), "right").unwrap_err().to_string();
            assert!(refused.contains(field), "{place} = {value}: {refused}");
        }
        for text in ["", "[]", "null", "not json", "{}"] {
            assert!(open(text, "right").is_err(), "{text}");
        }
        let none = PBKDF2.replace("262144", "0");
        assert!(open(&none, "x").unwrap_err().to_string().contains("crypto.kdfparams.c"));
        let many = PBKDF2.replace("262144", "4294967295");
        assert!(matches!(open(&many, "x"), Err(StorageError::TooDear { .. })));
    }

    #[test]
    fn seals_keys_as_hard_as_other_wallets_do() {
        let n = |strength| {
            let sealed: Value =
                serde_json::from_str(&seal(&SECRET, "x", strength, "0xAB")).unwrap();
            sealed["crypto"]["kdfparams"]["n"].as_u64().unwrap()
        };
        assert_eq!(n(Strength::Standard), 1 << 17);
        assert_eq!(n(Strength::Light), 1 << 12);
        let other = alloy::signers::local::PrivateKeySigner::decrypt_keystore;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        std::fs::write(&path, seal(&SECRET, "x", Strength::Light, "0xAB")).unwrap();
        assert_eq!(other(&path, "x").unwrap().to_bytes().0, SECRET, "another reader opens it");
    }

    #[test]
    fn an_id_is_a_random_uuid() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}

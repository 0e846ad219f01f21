//! Has Forge compile the contracts, and turns what the agent needs of them into Rust: the wire types and interfaces (for
//! `alloy::sol!`), the creation code of the deployed contracts, and their custom errors for readable messages.
//!
//! Everything is written to `OUT_DIR`, only when it changed; nothing generated is committed.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What a deployment consists of, in the order of deployment.
const CONTRACTS: [&str; 9] = [
    "StakeToken",
    "SequencerRegistry",
    "Settlement",
    "Tally",
    "Slasher",
    "RewardPool",
    "Rollups",
    // The settlement contract creates the one, the registry the other; only their errors are of use here.
    "Rotation",
    "SequencerOffice",
];

fn main() {
    for path in ["contracts", "foundry.toml", "tools/solc", "package-lock.json"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed=FORGE");

    if let Err(reason) = generate() {
        println!("cargo::error={reason}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?);

    compile(&find_forge(&root)?, &root, &out)?;

    let mut bindings = String::new();
    let mut errors = BTreeMap::new();
    for name in CONTRACTS {
        let path = out.join(format!("forge-out/{name}.sol/{name}.json"));
        let text = fs::read_to_string(&path)
            .map_err(|e| format!("contract {name}: no artifact {}: {e}", path.display()))?;
        let artifact: Value = serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))?;

        let code = artifact.pointer("/bytecode/object").and_then(Value::as_str);
        let code = decode_hex(code.unwrap_or_default()).ok_or_else(|| {
            format!("contract {name}: its artifact holds no linked creation code")
        })?;
        let file = format!("{name}.bin");
        write_if_changed(&out.join(&file), &code)?;
        let constant = screaming(name);
        writeln!(bindings, "/// Creation code of `{name}`, without constructor arguments.")
            .and_then(|()| {
                writeln!(
                    bindings,
                    "pub(crate) static {constant}: &[u8] = include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\"));"
                )
            })
            .map_err(|e| e.to_string())?;

        for entry in artifact.get("abi").and_then(Value::as_array).into_iter().flatten() {
            if entry.get("type").and_then(Value::as_str) == Some("error") {
                errors.insert(entry.to_string(), entry.clone());
            }
        }
    }

    let errors = Value::Array(errors.into_values().collect()).to_string();
    write_if_changed(&out.join("errors.json"), errors.as_bytes())?;
    bindings.push_str(
        "/// ABI of every custom error of the contracts.\n\
         pub(crate) static ERRORS: &str = include_str!(concat!(env!(\"OUT_DIR\"), \"/errors.json\"));\n",
    );
    let (params, interfaces) = extract_params(&interfaces(&root)?)?;
    bindings.push_str(&params);
    bindings.push_str("alloy::sol! {\n#![sol(extra_derives(Debug, PartialEq, Eq))]\n");
    bindings.push_str(&interfaces);
    bindings.push_str("}\n");
    write_if_changed(&out.join("bindings.rs"), bindings.as_bytes())
}

/// Forge from `$FORGE`, else what npm installed here, else from the path.
fn find_forge(root: &Path) -> Result<PathBuf, String> {
    if let Some(forge) = env::var_os("FORGE") {
        return Ok(forge.into());
    }
    let local = root.join("node_modules/.bin/forge");
    if local.exists() {
        return Ok(local);
    }
    let on_path = env::var_os("PATH")
        .map(|path| env::split_paths(&path).map(|dir| dir.join("forge")).collect::<Vec<_>>())
        .unwrap_or_default();
    on_path
        .into_iter()
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "Forge, which compiles the contracts, is missing: run `make setup`".into())
}

/// Compiles into folders of our own, so that nobody who runs Forge by hand waits for us or cleans up under us: all but the
/// tests, as `forge test` does, so that the compiler is asked the same and `tools/solc` knows the answer.
fn compile(forge: &Path, root: &Path, out: &Path) -> Result<(), String> {
    let output = Command::new(forge)
        .current_dir(root)
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
        .arg(out.join("forge-out"))
        .arg("--cache-path")
        .arg(out.join("forge-cache"))
        .output()
        .map_err(|e| format!("cannot run {}: {e}; run `make setup`", forge.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&text);
    eprintln!("{text}");
    let first = text.lines().find(|line| line.contains("Error")).unwrap_or("see above");
    Err(format!("Forge could not compile the contracts: {first}"))
}

/// Types and interfaces as one source without imports, which `sol!` cannot follow.
fn interfaces(root: &Path) -> Result<String, String> {
    let mut source = String::new();
    for folder in ["contracts/types", "contracts/interfaces"] {
        let entries = fs::read_dir(root.join(folder)).map_err(|e| format!("{folder}: {e}"))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let mut in_import = false;
            for line in text.lines() {
                in_import |= line.starts_with("import ");
                if !in_import && !line.starts_with("pragma ") && !line.starts_with("// SPDX") {
                    source.push_str(line);
                    source.push('\n');
                }
                in_import &= !line.contains(';');
            }
        }
    }
    Ok(source)
}

/// Replaces `struct Params` by an array of words, which has the same ABI encoding: the struct has more fields than alloy
/// implements tuples for. What remains of it is a table of names and whether each is a `uint64`.
fn extract_params(source: &str) -> Result<(String, String), String> {
    let (before, rest) =
        source.split_once("struct Params {").ok_or("contracts/types: no struct Params")?;
    let (body, after) = rest.split_once('}').ok_or("contracts/types: struct Params has no end")?;
    let fields: Vec<(&str, &str)> = body
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .filter_map(|line| line.trim_end_matches(';').split_once(' '))
        .collect();

    let mut table = String::from(
        "/// Fields of `Params` in order: name, and whether it is a `uint64` rather than a `uint256`.\n\
         pub(crate) static PARAMS: &[(&str, bool)] = &[",
    );
    for (kind, name) in &fields {
        write!(table, "(\"{name}\", {}), ", *kind == "uint64").map_err(|e| e.to_string())?;
    }
    table.push_str("];\n");
    let words = format!("uint256[{}] memory", fields.len());
    // The comment above the struct goes with it.
    let before = before.trim_end().lines().collect::<Vec<_>>();
    let comment = before.iter().rev().take_while(|line| line.starts_with("///")).count();
    let code = before.len().saturating_sub(comment);
    let before = before.get(..code).unwrap_or_default().join("\n");
    Ok((table, before + after.replace("Params memory", &words).as_str()))
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    if pairs.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()))
        .collect()
}

/// `RewardPool` as `REWARD_POOL`.
fn screaming(name: &str) -> String {
    let mut result = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !result.is_empty() {
            result.push('_');
        }
        result.extend(letter.to_uppercase());
    }
    result
}

/// Leaves the file alone when it already holds this, so that Cargo rebuilds nothing for nothing.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(|e| format!("{}: {e}", path.display()))
}

//! What L1 charges for every transaction of `bench/gas.json` under two price lists: the one in force and the one of its next
//! fork, Amsterdam. Forge writes the transactions out with all that they met (test/gas/Gas.t.sol); revm runs them again.
//!
//! Run where gas costs nothing, as Forge's isolated calls are, they have to take what Forge measured: only a replay that
//! agrees there says anything else. `tools/gas` writes `bench/gas-replayed.json`; otherwise a figure that moved by more than
//! 1 % fails.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails where it stands"
)]

mod recorded;
mod replay;

use replay::Replay;
use revm::primitives::hardfork::SpecId;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

type Figures = BTreeMap<String, u64>;

/// A figure may move by so many thousandths: signatures have zero bytes now and then, and those are cheaper.
const TOLERANCE_PERMILLE: u64 = 10;

/// Budgets, whatever the files say: as measured by Forge, and under Amsterdam's list.
const BUDGETS: [(&str, u64, u64); 4] = [
    ("settle_4_3", 75_000, 92_000),
    ("settle_48_33", 215_000, 230_000),
    ("settle_100_67", 380_000, 385_000),
    ("slash_double_vote", 80_000, 180_000),
];

/// Transactions of which `rota simulate` knows what they are refunded.
const SETTLED: [&str; 3] = ["settle_4_3", "settle_48_33", "settle_100_67"];
const DUTIES: [&str; 14] = [
    "close_check_in_4",
    "credit_epoch_48",
    "debit_16",
    "finish_restart_4",
    "flush_1",
    "pin_4",
    "pin_48",
    "pin_100",
    "pin_unchanged_4",
    "pin_unchanged_100",
    "report_missed_turns_4",
    "seal_4",
    "seal_100",
    "tally_20",
];

/// What a transaction takes, and what its sender is refunded of it, in gas.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Refund {
    paid: u64,
    refunded: u64,
}

type Refunds = BTreeMap<String, BTreeMap<String, Refund>>;

const TODAY: &str = "prague";
const NEXT: &str = "amsterdam";

/// What stands around the tables of docs/BENCHMARKS.md: of all transactions, and of those that have a budget.
const MARKS: [&str; 2] = ["<!-- written by make gas -->", "<!-- until here -->"];
const BUDGET_MARKS: [&str; 2] =
    ["<!-- budgets, written by make gas -->", "<!-- budgets until here -->"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The binary itself: npm's launcher exits with 0 whatever Forge says.
fn forge(root: &Path) -> PathBuf {
    if let Some(forge) = std::env::var_os("FORGE") {
        return forge.into();
    }
    let installed =
        fs::read_dir(root.join("node_modules/@foundry-rs")).into_iter().flatten().flatten();
    let mut binaries = installed.map(|package| package.path().join("bin/forge"));
    binaries.find(|binary| binary.is_file()).unwrap_or_else(|| "forge".into())
}

/// Has Forge write out the transactions of one of its tests, and reads them.
fn transactions(test: &str) -> Vec<Replay> {
    // All are written to one file.
    static FILE: Mutex<()> = Mutex::new(());
    let _held = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = root();
    let file = root.join("cache/gas/transactions");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&file);
    let forge = forge(&root);
    // A filtered run compiles what it is asked to run, not the artifacts that it deploys.
    for arguments in [
        &["build", "--offline", "--quiet"][..],
        &["test", "--offline", "--match-path", "test/gas/Gas.t.sol", "--match-test", test],
    ] {
        let output = Command::new(&forge)
            .current_dir(&root)
            .env("ROTA_GAS_RECORD", "true")
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("cannot run Forge: {error}; run `make setup`"));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "Forge failed: {text}");
    }
    let text = fs::read_to_string(&file).expect("Forge wrote no transactions");
    text.lines().map(|line| Replay::of(&recorded::decode(line))).collect()
}

fn far_apart(a: u64, b: u64) -> bool {
    a.abs_diff(b) * 1000 > a.max(b) * TOLERANCE_PERMILLE
}

/// The text with both tables between their marks.
fn with_tables(text: &str, measured: &Figures, lists: &BTreeMap<&str, Figures>) -> String {
    let mut table = String::from("| what | today | after the fork | |\n|---|---|---|---|\n");
    for (name, today) in &lists[TODAY] {
        let next = lists[NEXT][name];
        let (whole, tenths) = (next / today, next * 10 / today % 10);
        table +=
            &format!("| `{name}` | {} | {} | x{whole}.{tenths} |\n", spaced(*today), spaced(next));
    }
    let mut budgets = String::from(
        "| what | today | budget | after the fork | budget |\n|---|---|---|---|---|\n",
    );
    for (name, today, next) in BUDGETS {
        let figures = [measured[name], today, lists[NEXT][name], next].map(spaced);
        budgets += &format!("| `{name}` | {} |\n", figures.join(" | "));
    }
    between(&between(text, MARKS, &table), BUDGET_MARKS, &budgets)
}

fn between(text: &str, [begin, end]: [&str; 2], table: &str) -> String {
    let (before, rest) = text.split_once(begin).expect("docs/BENCHMARKS.md has the mark");
    let (_, after) = rest.split_once(end).expect("docs/BENCHMARKS.md has the second mark");
    format!("{before}{begin}\n{table}{end}{after}")
}

/// With a comma in front of every three digits.
fn spaced(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn both_price_lists_charge_what_the_file_says() {
    let measured: Figures = read(&root().join("bench/gas.json"));
    let replays = transactions("test_gas");

    let mut wrong = Vec::new();
    let mut lists = BTreeMap::from([(TODAY, Figures::new()), (NEXT, Figures::new())]);
    for replay in &replays {
        let free = replay.gas_for_nothing(SpecId::PRAGUE);
        match measured.get(&replay.name) {
            Some(forge) if !far_apart(free, *forge) => {}
            forge => wrong.push(format!("{}: replayed {free}, measured {forge:?}", replay.name)),
        }
        for (list, spec) in [(TODAY, SpecId::PRAGUE), (NEXT, SpecId::AMSTERDAM)] {
            lists.get_mut(list).unwrap().insert(replay.name.clone(), replay.gas(spec));
        }
    }
    assert_eq!(lists[NEXT].len(), measured.len(), "every figure has its transaction");
    assert!(wrong.is_empty(), "bench/gas.json and the replay differ:\n{}", wrong.join("\n"));
    for (name, today, next) in BUDGETS {
        assert!(measured[name] <= today, "{name}: {} of {today}", measured[name]);
        let gas = lists[NEXT][name];
        assert!(gas <= next, "{name}: {gas} of {next} after the fork");
    }

    hold_refunds(&replays);

    let file = root().join("bench/gas-replayed.json");
    let benchmarks = root().join("docs/BENCHMARKS.md");
    if std::env::var("ROTA_GAS_WRITE").is_ok_and(|value| value == "true") {
        fs::write(&file, serde_json::to_string_pretty(&lists).unwrap() + "\n").unwrap();
        let text = fs::read_to_string(&benchmarks).unwrap();
        fs::write(&benchmarks, with_tables(&text, &measured, &lists)).unwrap();
        return;
    }
    let known: BTreeMap<String, Figures> = read(&file);
    let text = fs::read_to_string(&benchmarks).unwrap();
    let known_lists =
        known.iter().map(|(list, figures)| (list.as_str(), figures.clone())).collect();
    let tables = with_tables(&text, &measured, &known_lists);
    assert_eq!(tables, text, "docs/BENCHMARKS.md: run `make gas`");
    for (list, figures) in &lists {
        let known = &known[*list];
        let moved: Vec<String> = figures
            .iter()
            .filter(|(name, gas)| known.get(*name).is_none_or(|old| far_apart(**gas, *old)))
            .map(|(name, gas)| format!("{name}: {gas}, was {:?}", known.get(name)))
            .collect();
        assert!(
            moved.is_empty() && known.len() == figures.len(),
            "{list} moved: if that is meant, run `make gas` and commit bench/gas-replayed.json\n{}",
            moved.join("\n")
        );
    }
}

/// Every duty gives back what it costs under both lists, and not much more; and what `rota simulate` plays is what was measured.
fn hold_refunds(replays: &[Replay]) {
    let mut refunds = Refunds::new();
    let mut wrong = Vec::new();
    for (list, spec) in [(TODAY, SpecId::PRAGUE), (NEXT, SpecId::AMSTERDAM)] {
        for name in SETTLED.iter().chain(&DUTIES) {
            let replay = replays.iter().find(|replay| replay.name == *name).unwrap();
            let (paid, refunded) = replay.refund(spec);
            println!("{name} under {list}: paid {paid}, refunded {refunded}");
            if DUTIES.contains(name) && (refunded < paid || refunded * 10 > paid * 14) {
                wrong.push(format!("{name} under {list}: {refunded} of {paid}"));
            }
            let refund = Refund { paid, refunded };
            refunds.entry(list.to_owned()).or_default().insert((*name).to_owned(), refund);
        }
    }
    assert!(wrong.is_empty(), "duties that do not pay for themselves:\n{}", wrong.join("\n"));

    let file = root().join("bench/refunds.json");
    if std::env::var("ROTA_GAS_WRITE").is_ok_and(|value| value == "true") {
        fs::write(&file, serde_json::to_string_pretty(&refunds).unwrap() + "\n").unwrap();
        return;
    }
    let known: Refunds = read(&file);
    for (list, transactions) in &refunds {
        for (name, refund) in transactions {
            let old = &known[list][name];
            let moved =
                far_apart(refund.paid, old.paid) || far_apart(refund.refunded, old.refunded);
            assert!(!moved, "{name} under {list}: run `make gas`: {refund:?}, was {old:?}");
        }
    }
}

/// R42: all batches of a transaction are refunded together no more than it paid, and at least three quarters of it.
#[test]
fn refunds_stay_within_what_was_paid_under_both_price_lists() {
    let replays = transactions("test_refund");
    assert!(replays.len() >= 12, "written out: {}", replays.len());
    let mut wrong = Vec::new();
    for replay in &replays {
        for (list, spec) in [(TODAY, SpecId::PRAGUE), (NEXT, SpecId::AMSTERDAM)] {
            let (paid, refunded) = replay.refund(spec);
            println!("{} under {list}: paid {paid}, refunded {refunded}", replay.name);
            if refunded > paid || refunded * 4 < paid * 3 {
                wrong.push(format!("{} under {list}: {refunded} of {paid}", replay.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

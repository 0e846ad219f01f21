# Everything that a newcomer or a machine runs. `make` alone lists the targets.
#
# Tests, lints and the development network are built with one profile and one set of features, so that the dependencies
# compile once: with faults that tests ask for. `build` and `bench` make what operators run, for speed and without them.

CARGO_FLAGS := --locked --features byzantine
# Every test and lint for the whole workspace, so that dependencies have one set of features and compile once.
TEST_FLAGS := --workspace $(CARGO_FLAGS)
# The binary itself: npm's launcher in node_modules/.bin exits with 0 whatever Forge says. Looked up after `setup`.
FORGE = $(firstword $(shell ls node_modules/@foundry-rs/forge-*/bin/forge))
# The linter compiles what has changed without bytecode, and the tests would take that for what they deploy.
LINT_ENV = FOUNDRY_OUT=out/lint FOUNDRY_CACHE_PATH=cache/lint
ARGS ?=
# Tests at a time: most of them wait for agents that wait for each other's messages, L1's blocks and turns.
TEST_THREADS ?= 4

.DEFAULT_GOAL := help
.PHONY: hostile help setup build devnet test test-contracts test-rust fuzz simulate-network soak-store bench gas prove faults mutate slither lint fmt

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F '\t' '{ printf "  make %-16s %s\n", $$1, $$2 }'

setup: ## Check the tools, install what npm brings, fetch the crates; offline from then on
	@tools/setup

build: setup ## The binary to run, target/release/rota: optimized, without the faults that tests ask for
	cargo build --release --locked
	tools/release-check target/release/rota

devnet: setup ## Anvil, contracts, four agents, traffic and a live view; ARGS="--agents 4 --tps 50 --for 60s --json --keep"
	@echo "building the contracts and the rota binary; the first time takes ten to twenty minutes, then seconds" >&2
	@cargo run $(CARGO_FLAGS) -- devnet $(ARGS)

test: test-contracts test-rust ## Every test of both languages

test-contracts: setup ## Forge: unit, fuzz, invariants, vectors; gas against bench/gas.json
	$(FORGE) test --offline
	tools/slots
	tools/faults --places
	FORGE=$(FORGE) tools/gas --check

test-rust: setup ## Cargo: unit, property, vectors, differential and end to end on Anvil
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test $(TEST_FLAGS) --no-fail-fast

hostile: setup ## Hostile peers, clients, wallets, L1 and disks against agents, for an hour each test; MINUTES=60 SEED=1
	ROTA_HOSTILE_MINUTES=$(or $(MINUTES),60) ROTA_HOSTILE_SEED=$(SEED) \
		cargo test $(TEST_FLAGS) --test e2e -- hostile:: mixed:: --include-ignored --nocapture

SECONDS ?= 600
SEED ?= 1
BATCHES ?= 100000
SEEDS ?= 100

fuzz: setup ## Arbitrary transactions through the agent's core for SECONDS=600 from SEED=1; a failure names its seed
	ROTA_FUZZ_SECONDS=$(SECONDS) ROTA_FUZZ_SEED=$(SEED) cargo test $(TEST_FLAGS) --lib core_tests::fuzz -- --nocapture

simulate-network: setup ## Agents over a network, an L1 and disks that fail, SEEDS=100 from SEED=1 on; a failure prints its seed
	ROTA_NETWORK_SEEDS=$(SEEDS) ROTA_NETWORK_SEED=$(SEED) cargo test $(CARGO_FLAGS) --lib simulation:: -- --nocapture

soak-store: setup ## A store lives through BATCHES=100000 settled batches, and must stop growing
	ROTA_SOAK_BATCHES=$(BATCHES) cargo test --release $(CARGO_FLAGS) --lib growth_stops -- --nocapture

bench: setup ## Four agents and Anvil on this machine -> bench/out/agents.json
	cargo run --release --locked -- bench $(ARGS)

gas: setup ## Isolated gas of whole transactions -> bench/gas.json
	FORGE=$(FORGE) tools/gas

prove: setup ## Halmos proofs of test/proofs/; needs Python 3.11
	tools/prove

faults: setup ## Plant faults into the contracts: each attack test and invariant must be able to fail; ARGS="--only WORD"
	tools/faults $(ARGS)

mutate: setup ## Mutation score of the contracts; ARGS="--sample 60 --seed 1 --jobs 2 --only PoolLib"; Python 3.11
	tools/mutate $(ARGS)

slither: setup ## Slither over the contracts: each finding answered; needs Python 3.11
	tools/slither

lint: setup ## Formatting and lints of both languages; warnings fail
	cargo fmt -p rota -p rota-execution --check
	$(FORGE) fmt --check
	$(LINT_ENV) $(FORGE) lint --offline contracts --deny warnings
	cargo clippy --all-targets $(TEST_FLAGS) -- -D warnings

fmt: setup ## Format both languages
	cargo fmt -p rota -p rota-execution
	$(FORGE) fmt

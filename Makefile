# What the README and CI call. `make` alone lists the targets.
# KEEP=1      the demo goes on with a sale to watch and to take part in, until Ctrl-C
# ONLY=12,14b  runs these rows of the chaos only
# BENCH='--only accepted'   options of flux-bench
# MUTANTS='--kinds lua'     options of flux-mutants
# FUZZ_SECONDS=600 FUZZ_TARGETS=http   fuzzes longer, or less
# PROFILE=release   runs the tests against optimised programs

.DEFAULT_GOAL := help
SHELL := /bin/bash

PROFILE ?= dev
TEST_PROFILE = $(if $(filter dev,$(PROFILE)),test,$(PROFILE))
TARGET = $(or $(CARGO_TARGET_DIR),target)
BIN = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
SECONDS_RECORDED ?= 10
SOAK_SECONDS ?= 600
BENCH ?=
MUTANTS ?=
# A workspace of its own: it builds the programs with a simulated net and planted bugs, which must never be unified into
# those that ship.
SIMULATION := --manifest-path lab/simulation/Cargo.toml
# Another one: its targets need a nightly compiler. The lint only looks at how they are written and at their lock file.
FUZZ := --manifest-path lab/fuzz/Cargo.toml
# Property tests draw the same cases every time; another seed is one variable away.
export PROPTEST_RNG_SEED ?= 1705234700000

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what is missing: servers and tools from Debian, Kafka by Maven
	@lab/setup.sh

.PHONY: build
build: ## both programs and the lab, optimised, into target/release
	cargo build --release --workspace --bins

# Built as tests are: a release takes three times as long to compile, for a demo that shows promises and not speed.
.PHONY: demo
demo: setup ## a whole sale on real servers, then the chaos demo (KEEP=1: then one to take part in)
	cargo build --package flux-edge --package flux-worker --package flux-lab
	$(TARGET)/debug/flux-lab demo $(if $(filter-out 0,$(KEEP)),--keep)

# Every part runs, whatever has failed before it: a report that ends at the first failure hides all others. Tests on real servers
# mostly wait, and the simulation only computes: it runs behind them, with what they leave of the processors, and tells what it
# has found when they have ended.
.PHONY: test
test: setup ## every test: unit, wire, real servers, end to end, simulation, instructions a request
	@failed=; found=$(TARGET)/simulation.out; \
	cargo test --workspace --no-run --profile $(TEST_PROFILE) && cargo test $(SIMULATION) --locked --no-run || failed=" build"; \
	nice $(MAKE) test-simulation >$$found 2>&1 & simulation=$$!; \
	$(MAKE) test-workspace || failed="$$failed test-workspace"; \
	wait $$simulation || failed="$$failed test-simulation"; \
	cat $$found; \
	$(MAKE) guard || failed="$$failed guard"; \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed" >&2; exit 1; fi

# The end-to-end tests start flux-edge and flux-worker as processes: those are built with the tests, before any runs. (Built
# apart, without what only tests need, every library would be compiled a second time.) The tests of the wire against a real
# broker use one that the lab starts for all of them.
.PHONY: test-workspace
test-workspace: ## its first part: all but simulation and instructions
	cargo test --workspace --no-run --profile $(TEST_PROFILE)
	$(BIN)/flux-lab with-kafka \
		cargo test --workspace --no-fail-fast --profile $(TEST_PROFILE)

.PHONY: test-simulation
test-simulation: ## its second part: whole runs under virtual time, from fixed seeds
	cargo test $(SIMULATION) --locked --no-fail-fast

# Counted under valgrind, so it is the same on a busy machine.
.PHONY: guard
guard: ## whether a request costs more instructions than benches/guard/figures.json says
	cargo run --quiet --package flux-guard --profile guard -- check

.PHONY: guard-record
guard-record: ## write benches/guard/figures.json anew: for a change that is worth what it costs
	cargo run --quiet --package flux-guard --profile guard -- record

.PHONY: hunt
hunt: setup ## after how many drawn seeds the simulation finds each planted bug (BUG=name for one; up to 5,000 seeds each)
	cargo run --quiet --locked $(SIMULATION) -- hunt $(BUG)

.PHONY: reach
reach: setup ## lines of the Lua scripts that the simulation's fixed seeds never run
	cargo run --quiet --locked $(SIMULATION) -- reach

# Builds the simulation once more, instrumented, the first time with all it is built of.
.PHONY: reach-rust
reach-rust: setup ## conditions of the Rust that decides, and which of their outcomes the fixed seeds never see (REACH=--holes: each)
	python3 lab/simulation/reach_rust.py $(REACH)

.PHONY: soak
soak: ## fresh seeds of the simulation until the time is up or one fails (SOAK_SECONDS=600)
	cargo run $(SIMULATION) --locked --quiet -- --seconds $(SOAK_SECONDS)

# Needs cargo-fuzz and a nightly toolchain. What a target finds lies in target/fuzz/<target>: once it is mended it belongs into
# lab/fuzz/corpus, which every build asks (lab/properties). Without AddressSanitizer: there is no `unsafe` in what is fuzzed.
.PHONY: fuzz
fuzz: ## libFuzzer against the parsers, each target for a minute (FUZZ_SECONDS=60, FUZZ_RUNS=, FUZZ_TARGETS='http jwt')
	@lab/fuzz/run.sh

# Needs a nightly toolchain with Miri and rust-src; builds all it runs once more, in target/sanitize.
.PHONY: sanitize
sanitize: ## tests of the code that holds `unsafe` under AddressSanitizer, and what needs no system call under Miri
	@lab/sanitize.sh

# Hours with everything, on two cores; what was judged is kept, and a run that is ended goes on where it was.
.PHONY: mutants
mutants: ## small changes to Lua, SQL and Rust, one at a time: which test notices? (MUTANTS='--kinds lua': some)
	@lab/setup.sh --mutants
	cargo run --quiet --package flux-mutants -- $(MUTANTS)

# As the programs are tested, not optimised to the last: what is looked for is an order lost, not a microsecond.
.PHONY: chaos
chaos: setup ## faults on real servers under load, and whether every promise held (ONLY=12,14b runs some)
	cargo build --package flux-edge --package flux-worker --package flux-lab --profile $(PROFILE)
	$(BIN)/flux-lab chaos $(if $(ONLY),--only $(ONLY))

.PHONY: lint
lint: ## formatting, clippy, shell scripts, observability files
	cargo fmt --all --check
	cargo fmt $(SIMULATION) --check
	cargo fmt $(FUZZ) --check
	cargo metadata $(FUZZ) --locked --format-version 1 >/dev/null
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy $(SIMULATION) --locked --all-targets -- -D warnings
	lab/lint-files.sh

.PHONY: compose-check
compose-check: ## docker-compose.yml is valid (needs no Docker engine)
	lab/compose-check.sh

# An hour and more with everything; BENCH='--only accepted --connections 256 --repetitions 3' measures less. The peers are
# built apart (perf/peers/build.sh): those that are not there are said to be missing.
.PHONY: bench
bench: setup build ## CPU of a request beside peers, rates, latencies, memory: a record in perf/record (BENCH=options)
	target/release/flux-bench $(BENCH)

.PHONY: micro
micro: ## criterion benchmarks of the hot path's pieces
	cargo bench --package flux-benches

# Not part of build and lint: nobody needs Go to work on Flux-Gate.
.PHONY: peers
peers: ## what else one could pick, to measure beside the edge (needs Go), into target/peers/bin
	perf/peers/build.sh

.PHONY: lint-peers
lint-peers: ## formatting, go vet and clippy of the peers
	perf/peers/lint.sh

.PHONY: flame
flame: ## flame graph: SCENARIO=sold-out under that load; else of a running edge (PID=… or the newest; SECONDS_RECORDED=10)
ifdef SCENARIO
	$(MAKE) setup build
	target/release/flux-bench flame $(SCENARIO) --seconds $(SECONDS_RECORDED)
else
	perf/flame.sh $(if $(PID),--pid $(PID)) --seconds $(SECONDS_RECORDED)
endif

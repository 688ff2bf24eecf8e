# Two commands matter: `make demo` runs a three-node cluster, `make test` is everything that CI runs.
# The others are longer lanes, run by hand: sim, museum, explore, mutants, bench, compare, profile.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test unit-short sim-fresh museum-short build setup setup-test peers format clippy unit tidy ratchet sim-short processes api cluster \
	conformance readme sim sim-debug museum explore mutants bench compare profile

# RocksDB takes a quarter of an hour to compile on two cores, so it is kept outside the clone and compiled once: one
# profile (release) for everything, and always the same choice of packages, because cargo gives shared dependencies the
# features that all chosen packages want together, and other features would mean another RocksDB. The raft crate and the
# benchmarks want others (for the rival they are compared with), so they are built by themselves, without RocksDB.
# `rocksdb_is_compiled_once` in tests/tidy compares what cargo would build.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/flotilla-target
CARGO ?= cargo
ALL := --release --locked --workspace --exclude flotilla-raft --exclude flotilla-benches
RAFT := --release --locked -p flotilla-raft -p flotilla-benches
# The simulated world has markers and planted bugs compiled in; nothing in it is linked into the binary.
WORLD := --release --locked -p flotilla-sim --features world
SIM := $(CARGO_TARGET_DIR)/release/flotilla-sim
export FLOTILLA_BIN ?= $(CARGO_TARGET_DIR)/release/flotilla
say = @printf '\n== %s\n' "$(1)"

help:
	@echo "make demo   a three-node cluster with temporary data, and three commands to try"
	@echo "make test   format, lints, all tests, simulated and real faults: what CI runs"
	@echo "also: sim [SEED=n TRACE=1 | SEEDS=n MINUTES=m], museum, explore, mutants SHARD=k/n, bench, compare, profile"

## the two commands

demo: setup
	@[ -x "$(FLOTILLA_BIN)" ] || echo "building; RocksDB takes a quarter of an hour, once"
	@$(CARGO) build $(ALL) --bin flotilla
	@exec "$(FLOTILLA_BIN)" demo

test: setup-test peers format clippy build tidy unit sim-short sim-fresh museum-short api conformance cluster readme
	@printf '\nall of it passed\n'

## what a bare machine lacks

setup:
	@sh tests/setup/system.sh demo

setup-test:
	$(call say,what this machine lacks)
	@sh tests/setup/system.sh test

peers:
	$(call say,the etcd that we compare with)
	@sh tests/setup/peers.sh

## the parts of `make test`

format:
	$(call say,format)
	@$(CARGO) fmt --all --check

PROCESS_TESTS := --test api --test cluster --test conformance

clippy:
	$(call say,clippy)
	@$(CARGO) clippy $(ALL) --all-targets -- -D warnings
	@$(CARGO) clippy $(ALL) $(PROCESS_TESTS) -- -D warnings
	@$(CARGO) clippy $(RAFT) --all-targets -- -D warnings
	@$(CARGO) clippy $(WORLD) --all-targets -- -D warnings

build:
	$(call say,build)
	@$(CARGO) build $(ALL) --bin flotilla
	@$(CARGO) build $(WORLD)

# There are no tests in documentation, so cargo need not look for them: `--tests` is everything else.
unit:
	$(call say,tests of every crate)
	@$(CARGO) test $(ALL) --tests -q
	@$(CARGO) test $(RAFT) --tests -q
	@$(CARGO) test $(WORLD) --tests -q

unit-short:
	$(call say,unit tests of every crate)
	@$(CARGO) test $(ALL) -q --lib

tidy:
	$(call say,the law of the house)
	@$(CARGO) test $(ALL) --test tidy -- --nocapture

# Lowers the numbers of known offenders to what they are now; never raises one and never adds one.
ratchet:
	@RATCHET=1 $(CARGO) test $(ALL) -q --test tidy the_law_is_kept

CRASH_RECOVERIES ?= 5000
FRESH_MINUTES ?= 5

sim-short:
	$(call say,simulated faults: fixed seeds; a planted bug; determinism; crash points)
	@$(SIM) fixed
	@$(SIM) canary
	@$(SIM) determinism --seeds 5
	@$(SIM) crash-points --recoveries $(CRASH_RECOVERIES)

museum-short:
	$(call say,two of the museum)
	@$(SIM) museum --rotate 2

sim-fresh:
	$(call say,simulated faults: fresh seeds)
	@$(SIM) sim --minutes $(FRESH_MINUTES)

processes: api conformance cluster

api:
	$(call say,every key-value call against etcd and against three processes)
	@$(CARGO) test $(ALL) -q --test api -- --test-threads=1 --nocapture

conformance:
	$(call say,one etcdctl script against both)
	@$(CARGO) test $(ALL) -q --test conformance -- --nocapture

cluster:
	$(call say,real faults: kill pause cut fill wipe$(if $(LONG), (the long form)))
	@$(CARGO) test $(ALL) -q --test cluster -- --test-threads=1 --nocapture


readme:
	$(call say,the commands of the README)
	@sh tests/setup/readme.sh

## longer lanes

# make sim                      fresh seeds until MINUTES (default 1) are over or SEEDS are done
# make sim SEED=42 [TRACE=1]    one seed again, explained
# TEMPER=name                   all seeds bent that way (crates/sim/src/tempers.rs); PLANT=bug: with an exhibit of the museum
MINUTES ?= $(if $(SEEDS),,1)
sim:
	@$(CARGO) build -q $(WORLD)
	@$(SIM) sim $(if $(TEMPER),--temper $(TEMPER)) $(if $(SEED),--seed $(SEED) $(if $(PLANT),--plant $(PLANT)) $(if $(TRACE),--trace),$(if $(SEEDS),--seeds $(SEEDS)) $(if $(MINUTES),--minutes $(MINUTES)))

# The same seeds in a build whose debug assertions and overflow checks are on: equal to the byte, or something here
# depends on how it was built.
ASSERTING := $(CARGO_TARGET_DIR)/asserting
sim-debug:
	@$(CARGO) build -q $(WORLD)
	@$(CARGO) build -q $(WORLD) --target-dir $(ASSERTING) --config profile.release.debug-assertions=true --config profile.release.overflow-checks=true
	@a="$$($(SIM) determinism --seeds 50)"; b="$$($(ASSERTING)/release/flotilla-sim determinism --seeds 50)"; \
		printf 'release:    %s\nasserting:  %s\n' "$$a" "$$b"; [ "$$a" = "$$b" ]

# Most exhibits are hunted by seeds; those that seeds cannot show have tests, and the table has both.
MUSEUM_TESTS := $(CARGO_TARGET_DIR)/museum-tests.txt
NODE_MUSEUM := --release --locked -p flotilla-node -p flotilla-placement --features flotilla-node/museum,flotilla-node/sim
RAFT_MUSEUM := --release --locked -p flotilla-raft --features museum
museum:
	@$(CARGO) build -q $(WORLD)
	@echo "tests that plant a bug: $(MUSEUM_TESTS)"
	@$(CARGO) test $(NODE_MUSEUM) --tests --no-fail-fast -- each_of_these_tests_fails > "$(MUSEUM_TESTS)" 2>&1 || true
	@$(CARGO) test $(RAFT_MUSEUM) --tests --no-fail-fast -- museum::planted >> "$(MUSEUM_TESTS)" 2>&1 || true
	@$(SIM) museum --tests "$(MUSEUM_TESTS)"

explore:
	@$(CARGO) run --release --locked -p flotilla-raft --example explore
	@$(CARGO) run --release --locked -p flotilla-raft --features museum --example explore -- --museum

# make mutants SHARD=0/8: one eighth of the mutants of the Raft core (all of them by default), all in one binary, in a copy of
# the tree; only the crate's own quick tests, with few walks. ONLY="commit.rs Group::stop" takes those that have one of these
# words in their name. docs/mutants.md says how to read what is left.
SHARD ?= 0/1
mutants:
	@$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-mutants
	@env CARGO_PROFILE_DEV_DEBUG=0 WALKS=60 PLAYS=20 $(CARGO) run --locked -p flotilla-raft --example mutants -- \
		$(SHARD) "$(CARGO_TARGET_DIR)/mutants" $(ONLY)

bench: setup
	@$(CARGO) bench --locked -p flotilla-benches

# make compare [ARGS="--seconds 20"]: three nodes of Debian's etcd (or of ETCD=path) and three of ours, in turns
compare: setup-test peers
	@$(CARGO) build $(ALL) --bin flotilla-compare
	@"$(CARGO_TARGET_DIR)/release/flotilla-compare" $(ARGS)

# Measures benches/profile/flotilla.profdata anew, by which the compiler lays out branches: after large changes, and when
# dependencies or the compiler have changed (docs/decisions/0016).
profile: setup
	@sh benches/profile/measure.sh

# `make help` lists the targets. Arguments for the tests: make test ARGS='ledger -- --nocapture'

SHELL := /bin/bash
.DEFAULT_GOAL := help
ARGS ?=

# Continuous integration builds what Cargo.lock says, or fails.
LOCKED := $(if $(filter true,$(CI)),--locked)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install the compilers and headers that a build needs (Debian; silent if nothing is missing)
	@scripts/setup.sh build

.PHONY: build
build: setup ## Build the release binary, target/release/claimgate
	cargo build $(LOCKED) --release

.PHONY: dist
dist: setup ## Build what is released, into target/dist: archive, Debian package, image's input, SBOM: make dist ARGS=--dirty
	scripts/release.sh $(ARGS)

.PHONY: demo
demo: setup ## See all of it on this machine in two minutes: mock broker, PostgreSQL, simulated risk APIs
	@scripts/setup.sh demo
	cargo run $(LOCKED) --release --package claimgate-demo -- $(ARGS)

# Built first, so that no broker waits for the compiler. A machine where Kafka or PostgreSQL can't
# be installed still runs the tests that need neither; with CI=true that is a failure.
.PHONY: test
test: setup ## Run every test, beside a private Apache Kafka and a private PostgreSQL
	@scripts/setup.sh test || test "$(CI)" != true
	cargo test $(LOCKED) --workspace --all-features --no-run
	scripts/with-services.sh cargo test $(LOCKED) --workspace --all-features --no-fail-fast $(ARGS)

.PHONY: unit
unit: setup ## Unit and property tests and the simulation, which need no service: make unit ARGS=ledger
	cargo test $(LOCKED) --workspace --all-features --lib --bins --test architecture --test packaging $(ARGS)

.PHONY: snapshots
snapshots: setup ## Accept changed snapshots: read their diff before you commit
	INSTA_UPDATE=always cargo test $(LOCKED) --all-features --lib snapshots
	INSTA_UPDATE=always scripts/with-services.sh cargo test $(LOCKED) --all-features --test it dictionary

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: check
check: setup ## Fast check while you write: format and clippy
	cargo fmt --all --check
	cargo clippy $(LOCKED) --workspace --all-targets --all-features

.PHONY: lint
lint: setup ## Format, clippy and docs without a warning; dependencies, scripts and spelling where their checkers are installed
	cargo fmt --all --check
	cargo clippy $(LOCKED) --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(LOCKED) --workspace --no-deps --document-private-items --all-features
	scripts/deny.sh
	scripts/checkers.sh

.PHONY: deploy-check
deploy-check: ## Check deploy/: alerts, dashboards, chart, unit; names missing tools
	scripts/deploy-check.sh

.PHONY: book
book: setup ## Build docs/ as a book with a search, target/book/index.html
	scripts/book.sh

# The database waits for the disk here, as one that matters does. CLAIMS, ROUNDS, LATENCIES,
# CONCURRENCY, RATES, CONTENDERS, FIGURES (a file for them, as JSON) and every setting of the worker
# (CLAIMGATE__WORKER__THREADS=2) may be given: docs/performance.md.
.PHONY: bench
bench: setup ## Measure what a claim costs beside a raw loop without guarantees, on real Kafka and PostgreSQL
	@scripts/setup.sh services
	cargo bench $(LOCKED) --bench claims --no-run
	CLAIMGATE_POSTGRES_FSYNC=on scripts/with-services.sh cargo bench $(LOCKED) --bench claims

# After a change that is meant to cost more, or less: make instructions ARGS=--accept, and commit
# the counts with it.
.PHONY: instructions
instructions: setup ## Count what the worker's pure parts cost, exactly, and fail where one costs 5 % more
	@scripts/setup.sh instructions
	scripts/instructions.sh $(ARGS)

# Kafka and PostgreSQL are its own. SEED replays a script of faults; without one it is drawn, and
# printed. BROKERS=3 is a cluster, of which each broker is killed in turn; with STANDBY=1 the
# database has a synchronous standby, which is promoted.
.PHONY: chaos
chaos: setup ## Break everything under four workers, and check that no claim is lost or doubled: make chaos CLAIMS=… KILLS=… BROKERS=3 STANDBY=1
	@scripts/setup.sh services
	CHAOS_SEED=$(SEED) CHAOS_CLAIMS=$(or $(CLAIMS),200000) CHAOS_KILLS=$(or $(KILLS),200) \
		CHAOS_RATE=$(or $(RATE),300) CHAOS_MINUTES=$(or $(MINUTES),60) \
		CHAOS_BROKERS=$(or $(BROKERS),1) CHAOS_STANDBY=$(or $(STANDBY),0) \
		cargo test $(LOCKED) --release --all-features --test it -- --exact --nocapture \
		chaos::everything_breaks_and_no_claim_is_lost_or_doubled

# Its own Kafka and PostgreSQL, one worker, two minutes a row of the table: about twenty in all.
.PHONY: fairness
fairness: setup ## Disturb one API or one account, and measure the throughput that the others keep: make fairness FAIRNESS_SECONDS=…
	@scripts/setup.sh services
	cargo test $(LOCKED) --release --all-features --no-run --test it
	scripts/with-services.sh cargo test $(LOCKED) --release --all-features --test it -- \
		--ignored --nocapture --test-threads=1 fairness::

# A Prometheus has to be in PATH, or named by PROMETHEUS. HOURS bounds the run; FAULTS are names of
# `scripts/provoke-alerts.sh --list`.
.PHONY: alerts
alerts: setup ## Provoke every alert with real faults and a Prometheus, in 80 minutes: make alerts HOURS=… FAULTS='…'
	@scripts/setup.sh services
	scripts/with-services.sh scripts/provoke-alerts.sh $(if $(HOURS),--hours $(HOURS)) $(FAULTS)

# Its own Kafka and PostgreSQL; CLAIMGATE and CLAIMGATE_SIMULATOR name binaries, else both are built.
.PHONY: examples
examples: setup ## Kill the settlement examples while they pay, and check that nothing is missed or paid twice: make examples ARGS=--mutants
	@scripts/setup.sh examples
	scripts/examples.sh $(ARGS)

.PHONY: up
up: ## Start everything in Docker: broker, database, risk-API simulator, worker, telemetry collector
	docker compose up --build --detach
	docker compose ps

.PHONY: down
down: ## Stop what `up` started and delete its data
	docker compose down --volumes --remove-orphans

.PHONY: clean-services
clean-services: ## Stop services that a killed test run left running
	@scripts/with-services.sh --clean

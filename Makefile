# One place for what a developer, CI and an operator do with this tree. `make` alone lists the targets.
#
# run and build use the release profile, dev and test the dev profile.
# ARGS="…" is passed on to the node (run, dev) or to the benches (bench).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ARGS ?=
# The library of RocksDB is compiled by the first profile that needs it and shared; see .ci/rocksdb.
DEV := .ci/rocksdb run debug cargo
RELEASE := .ci/rocksdb run release cargo

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## check the toolchain, install the system packages it lacks
	@.ci/deps

# ---- a node ----

.PHONY: run
run: build ## build and run a node (release profile); stop it with Ctrl-C
	@exec $(RELEASE) run --release --locked --quiet --bin bytecave -- $(ARGS)

.PHONY: build
build: deps ## build the node (release profile)
	@.ci/rocksdb build release cargo build --release --locked --bin bytecave

.PHONY: dev
dev: deps ## build and run a node (dev profile: quick to compile)
	@.ci/rocksdb build debug cargo build --locked --bin bytecave
	@exec $(DEV) run --locked --quiet --bin bytecave -- $(ARGS)

.PHONY: cluster
cluster: build ## seven nodes on this machine that keep copies for each other; Ctrl-C stops them
	@.ci/cluster $(ARGS)

# ---- checks: `make test` is what CI runs, the quickest check first ----
# The tests of whole nodes meet JavaScript peers, whose packages npm installs once (.ci/js).

.PHONY: test
test: lint ## everything that CI checks: lint, then all tests
	@.ci/tests all

.PHONY: test-integration
test-integration: deps ## only the tests of whole nodes
	@.ci/tests integration

.PHONY: lint
lint: deps fmt-check deny clippy ## format, licences and sources, clippy with warnings denied

.PHONY: fmt-check
fmt-check:
	cargo fmt --all -- --check

.PHONY: clippy
clippy:
	$(DEV) clippy --workspace --all-targets --all-features --locked -- -D warnings

# Advisories change without the tree changing, and need their database: `make advisories` is for releases.
.PHONY: deny
deny:
	@if cargo deny --version >/dev/null 2>&1; then \
		echo "cargo deny check bans licenses sources"; \
		cargo deny --locked --all-features check --hide-inclusion-graph bans licenses sources; \
	else \
		echo "cargo-deny is not installed: licences, bans and sources go unchecked (cargo install cargo-deny --locked)"; \
	fi

.PHONY: advisories
advisories: ## known vulnerabilities of the dependencies (needs cargo-deny and the network)
	cargo deny --all-features check advisories

.PHONY: soak
soak: deps ## the slow_ tests at full length: 50 rounds of kill -9 and the like
	@.ci/tests soak

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: deps ## fuzz what decodes and judges proofs, FUZZ_SECONDS=600 for each target
	@FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run $(ARGS)

.PHONY: coverage
coverage: deps ## line coverage of all tests, as HTML under the target directory
	@.ci/coverage

.PHONY: bench
bench: build ## benches, and the load comparison beside this machine's own limits
	@$(RELEASE) bench --locked -p bytecave-bench $(if $(ARGS),-- $(ARGS))
	@benches/compare.sh

.PHONY: test-image
test-image: build ## build the container image from the built node, run it, stop it
	@.ci/test-image

.PHONY: test-nat
test-nat: deps ## nodes behind NATs, and a network cut in two, in network namespaces (as root)
	@.ci/rocksdb build debug cargo build --locked --bin bytecave
	@.ci/nat $(ARGS)

.PHONY: clean
clean: ## remove what was built (never a data directory)
	cargo clean

# What one can do here; `make` alone prints it.

TARGET := $(or $(CARGO_TARGET_DIR),target)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
TOOLS := $(CURDIR)/.cache/tools
export PATH := $(TOOLS)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run test fuzz chaos test-matrix lint audit bench image dist reference fmt clean toolchain prerequisites

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: toolchain ## Play the samples through everything on the embedded broker, and watch (ARGS="--speed 10 --once")
	cargo run --release --locked --bin cybervault -- up $(ARGS)

# The test build brings test-kafka along; building that on its own would compile half the tree twice.
test: prerequisites ## Run all suites against a real Kafka: yours (KAFKA_BOOTSTRAP_SERVERS), Docker's or one from Maven
	cargo test --workspace --locked --no-run
	$(TARGET)/debug/test-kafka .ci/test --workspace --locked

# By default each suite tries as many as a minute allows. Here they are half a million of each kind, which takes ten minutes.
fuzz: toolchain ## Try more than a million damaged rules, events and feeds
	cargo test --workspace --locked --no-run
	FUZZ_INPUTS=500000 PROPTEST_CASES=500000 cargo test --workspace --locked --test suite -- --nocapture fuzz:: feeds::any_bytes hostile_bytes::arbitrary hostile_bytes::a_broken

# In `make test` there is a round of each kind. Brokers that die every 52 s and stay away for 16 are CHAOS_AWAY_MS=16000.
chaos: prerequisites ## Have brokers and workers die, pause and be sent what hurts, for long (CHAOS_ROUNDS=40 CHAOS_SEED=1 CHAOS_AWAY_MS=16000)
	cargo test --workspace --locked --no-run
	CHAOS_ROUNDS=$(or $(CHAOS_ROUNDS),40) CHAOS_AWAY_MS=$(or $(CHAOS_AWAY_MS),16000) cargo test --workspace --locked --test suite -- --nocapture chaos::

# Beside the newest Kafka, which `make test` has: the oldest of each line, and passwords, TLS and an authoriser on the newest. The
# runner's own suite and the test kit's build their clients by hand, without a password. Of the whole workspace, since of a part cargo would compile
# the dependencies anew, with that part's features.
test-matrix: prerequisites ## Run the suites on the oldest versions of Kafka, and with SCRAM over TLS
	cargo test --workspace --locked --no-run
	failed=; for version in 3.9.1 4.0.0; do \
		KAFKA_VERSION=$$version $(TARGET)/debug/test-kafka .ci/test --workspace --locked || failed="$$failed $$version"; \
	done; \
	KAFKA_SECURITY=sasl_ssl $(TARGET)/debug/test-kafka .ci/test --workspace --exclude cybervault-stream \
		--exclude cybervault-testkit --locked || failed="$$failed sasl_ssl"; \
	[ -z "$$failed" ] || { echo "failed on:$$failed" >&2; exit 1; }

lint: toolchain $(TOOLS)/ready ## What is checked before anything is merged
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo deny --locked check bans licenses sources
	cargo machete
	@if command -v kubernetes-validate >/dev/null; then deploy/helm/check; fi

audit: $(TOOLS)/ready ## Look for known vulnerabilities in the dependencies (OFFLINE=1: in the copy of the database that is there)
	cargo deny --locked $(if $(OFFLINE),--offline) check advisories

# The comparison is built before Kafka is started, though `cargo bench` would do it.
bench: prerequisites ## Measure pipeline and matching, beside another engine too, for docs/performance.md (RULES=DIR EVENTS=FILE: yours as well)
	CYBERVAULT_REVISION=$$(git rev-parse HEAD) cargo build --release --locked --bin cybervault
	cargo build --locked -p cybervault-testkit --bin test-kafka
	cargo bench --locked --workspace --bench compare --no-run
	RULES="$(RULES)" EVENTS="$(EVENTS)" $(TARGET)/debug/test-kafka .ci/benchmarks $(TARGET)/release/cybervault docs/performance.md

# BuildKit, which older versions of Docker have to be asked for.
image: ## Build the container image
	DOCKER_BUILDKIT=1 docker build --file deploy/docker/Dockerfile --tag ghcr.io/cybervault/cybervault:$(VERSION) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
		--build-arg CREATED=$$(git log -1 --format=%cI) .

dist: toolchain ## Pack binary, completions, manual, licences and bill of materials into target/dist
	CYBERVAULT_REVISION=$$(git rev-parse HEAD) cargo build --release --locked --bin cybervault
	rm -rf $(TARGET)/dist
	deploy/dist/pack $(TARGET)/release/cybervault $(TARGET)/dist

reference: toolchain ## Write docs/reference and the configuration's schema anew, from the code
	UPDATE_REFERENCE=1 UPDATE_SCHEMAS=1 cargo test --locked -p cybervault --bin cybervault -- --quiet reference:: the_schema_in_schemas

fmt: ## Format the code
	cargo fmt --all

clean: ## Remove what was built and fetched
	cargo clean
	rm -rf .cache target/testkit

toolchain:
	@.ci/prerequisites build

prerequisites:
	@.ci/prerequisites test

# Linters at fixed versions: a new one must not fail an old commit.
$(TOOLS)/ready: .ci/linters
	.ci/linters $(TOOLS)
	touch $@

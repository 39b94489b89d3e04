# `make` alone lists the targets: every line of the form "target: ## what it does".
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL := models/current
RECORDING := scoring/recordings/qwen2.5-coder-1.5b-instruct.jsonl.xz
RECORDINGS := $(RECORDING) scoring/recordings/qwen2.5-coder-1.5b-multilingual-hate.jsonl.xz
DEMO_ARGS ?=
BENCH_ARGS ?=
NATIVE_ARGS ?=
TEST_ARGS ?=
# More than there are cores, because most tests wait: for brokers, for timeouts.
TEST_PROCESSES ?= 8
COVERAGE ?=
FLOOR := --cov=streams.kafka --cov=streams.pipeline --cov=streams.worker --cov-report=term:skip-covered --cov-fail-under=90

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | sort | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

# The lock names everything: were pip to look for dependencies itself, a release of today could trip it.
$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "secondlook needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say which to use: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/pip check --quiet --disable-pip-version-check
	@touch $@

NATIVE := featurizers/native
$(VENV)/.native: $(VENV)/.installed $(wildcard $(NATIVE)/src/*.rs $(NATIVE)/Cargo.* $(NATIVE)/*.toml $(NATIVE)/*.pyi)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(NATIVE)/requirements.lock
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall ./$(NATIVE)
	@touch $@

.PHONY: native
native: $(VENV)/.native ## Build the native reader into .venv (needs cargo)
	@:

# Without cargo, or where the build fails, everything works as well, only slower; what runs is said.
.PHONY: install
install: $(VENV)/.installed ## Install into .venv, with every dependency as locked, and the native reader where cargo is
	@if command -v cargo >/dev/null; then $(MAKE) --no-print-directory native || echo "the native reader could not be built" >&2; fi
	@$(BIN)/python -c "from featurizers import readers; print('Answers are read by the', readers.reader)"

.PHONY: native-wheel
native-wheel: $(VENV)/.installed ## The native reader's wheel, into dist (NATIVE_ARGS="--zig --target aarch64-unknown-linux-gnu")
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(NATIVE)/requirements.lock
	$(BIN)/maturin build --release --locked --manifest-path $(NATIVE)/Cargo.toml --out dist $(NATIVE_ARGS)

TRAINING := $(VENV)/.installed $(RECORDINGS) $(wildcard featurizers/*.py scoring/*.py scoring/*/*.py)
$(MODEL): $(TRAINING)
	@rm -f $(MODEL) # else what is trained would be a candidate beside it
	$(BIN)/secondlook train $(addprefix --data ,$(RECORDINGS)) --out models

# What compiled peers can score by hand: a linear model, of one language.
LINEAR := models/linear/current
$(LINEAR): $(TRAINING)
	@rm -f $(LINEAR)
	$(BIN)/secondlook train --only interactions --data $(RECORDING) --out models/linear

.PHONY: model
model: $(MODEL) ## Train the default model from the recordings

.PHONY: demo
demo: install $(MODEL) ## The main job on the embedded broker (DEMO_ARGS="--json out.json")
	$(BIN)/secondlook demo $(DEMO_ARGS)

.PHONY: test
# An environment that forbids bytecode would have each of some hundred processes compile the program anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: install ## All tests (TEST_ARGS="-k matching" runs some; COVERAGE=1 asks how much of the stream they reach, too)
	$(BIN)/python -m pytest $(if $(TEST_ARGS),$(TEST_ARGS),-n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations 20 $(if $(COVERAGE),$(FLOOR)))

.PHONY: kafka
kafka: $(VENV)/.installed ## Start a real local Kafka (needs Java 17 and Maven)
	$(BIN)/python -m streams.trials.brokers.command start

.PHONY: kafka-stop
kafka-stop: $(VENV)/.installed ## Stop it
	$(BIN)/python -m streams.trials.brokers.command stop

.PHONY: docs
docs: $(VENV)/.installed ## Renew the generated pages of docs/
	$(BIN)/python -m docs.generate

SITE_VENV := build/site/venv
$(SITE_VENV)/.installed: docs/requirements.lock
	$(PYTHON) -m venv --clear $(SITE_VENV)
	$(SITE_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r docs/requirements.lock
	@touch $@

.PHONY: site
site: $(SITE_VENV)/.installed ## The docs as a site, into build/site/html; fails on dead links, and on what would be loaded from another host
	$(PYTHON) -m docs.site stage
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict -f docs/mkdocs.yml
	$(PYTHON) -m docs.site check

.PHONY: screenshots
screenshots: $(VENV)/.installed $(MODEL) ## Draw the pictures of docs/console anew, in Chromium (RECORD=1: of states recorded anew, in minutes)
	$(BIN)/python -m docs.screenshots $(if $(RECORD),record)

.PHONY: figures
figures: $(VENV)/.installed ## Measure every figure of docs/scoring.md anew, on one core (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.figures

.PHONY: check
check: $(VENV)/.installed ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

.PHONY: test-wheel
test-wheel: ## Build the wheel, install it with what is locked, and use it outside the tree
	rm -rf build
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	build/wheel/venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check --no-deps build/wheel/*.whl
	outside=$$(mktemp -d) && trap 'rm -rf "$$outside"' EXIT && cp tests/outside_the_tree.py examples/* "$$outside" && python=$$PWD/build/wheel/venv/bin/python \
	    && cd "$$outside" && "$$python" -m pytest -q -c /dev/null --rootdir . outside_the_tree.py

$(BIN)/uv:
	$(BIN)/pip install --quiet uv

.PHONY: test-python
test-python: ## Tests without a broker of Kafka's own on another interpreter, as locked (PYTHON=python3.13)
	rm -rf build/python && mkdir -p build
	$(PYTHON) -m venv build/python
	build/python/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	build/python/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	build/python/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --ignore tests/kafka

.PHONY: test-lowest
test-lowest: $(BIN)/uv ## Tests of featurizers and scoring with the lowest versions that pyproject.toml allows (Python 3.11)
	rm -rf build/lowest && mkdir -p build/lowest
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --python $(BIN)/python --all-extras --no-header --no-annotate pyproject.toml -o build/lowest/requirements.txt
	$(PYTHON) -m venv build/lowest/venv
	build/lowest/venv/bin/pip install --quiet -r build/lowest/requirements.txt
	build/lowest/venv/bin/pip install --quiet --no-deps --editable .
	build/lowest/venv/bin/python -m pytest tests/featurizers tests/scoring

.PHONY: lock
lock: $(BIN)/uv ## Renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.lock
	echo 'maturin==1.16.0' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o $(NATIVE)/requirements.lock
	echo 'cyclonedx-bom==7.5.0' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o deploy/sbom.lock
	echo 'mkdocs-material==9.8.2' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o docs/requirements.lock
	echo 'pip-audit==2.10.1' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate - -o deploy/audit.lock

SBOM_VENV := build/sbom
.PHONY: sbom
sbom: ## What is installed by requirements.lock, as CycloneDX, into dist/secondlook.cdx.json
	$(PYTHON) -m venv $(SBOM_VENV)
	$(SBOM_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r deploy/sbom.lock
	@mkdir -p dist
	$(SBOM_VENV)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o dist/secondlook.cdx.json requirements.lock

AUDIT_VENV := build/audit
.PHONY: audit
audit: ## Known vulnerabilities of what requirements.lock installs; deploy/audit.py ends with 0, 1 (some), or 3 (could not be asked)
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r deploy/audit.lock
	$(AUDIT_VENV)/bin/python deploy/audit.py

BENCH_VENV := benchmarks/.venv
$(BENCH_VENV)/.installed: benchmarks/requirements.lock
	@$(PYTHON) -m venv --clear $(BENCH_VENV) || { echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.lock
	@touch $@

.PHONY: bench
bench: install $(MODEL) $(BENCH_VENV)/.installed ## Throughput beside peers, on a local Kafka: Java 17, Maven (BENCH_ARGS="--quick --json out.json")
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

.PHONY: bench-peers
bench-peers: install $(LINEAR) ## Throughput beside Kafka Streams and a Rust program, every field compared: JDK 17, Maven, cargo (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/run_peers.py $(BENCH_ARGS)

.PHONY: bench-scaling
bench-scaling: install $(MODEL) $(BENCH_VENV)/.installed ## Throughput, memory and start-up as things grow (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/scaling.py $(BENCH_ARGS)

.PHONY: bench-latency
bench-latency: install $(MODEL) $(BENCH_VENV)/.installed ## Response to readable decision, at 10, 50 and 80 % of capacity (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/latency.py $(BENCH_ARGS)

.PHONY: bench-restart
bench-restart: $(MODEL) ## Restart times after 5,000,000 requests and with 100,000 waiting; 15 minutes (BENCH_ARGS="--gone 100000")
	$(BIN)/python benchmarks/restart.py $(BENCH_ARGS)

.PHONY: bench-rolling
bench-rolling: $(MODEL) ## Two workers replaced one after the other under load: how late decisions are; 6 minutes (BENCH_ARGS="--only SIGTERM")
	$(BIN)/python benchmarks/rolling.py $(BENCH_ARGS)

.PHONY: bench-memory
bench-memory: $(MODEL) ## One worker under more unanswered records than fit: it stays below 512 MB (BENCH_ARGS="--requests 60000 --responses 30000")
	$(BIN)/python benchmarks/memory.py $(BENCH_ARGS)

.PHONY: bench-backlog
bench-backlog: $(MODEL) ## An hour's answered backlog, 48 ways: nothing times out (BENCH_ARGS="--pairs 20000 --partitions 4")
	$(BIN)/python benchmarks/backlog.py $(BENCH_ARGS)

.PHONY: bench-controls
bench-controls: $(MODEL) ## 1,000 control messages of every kind under load, each decision checked; 10 minutes (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/controls.py $(BENCH_ARGS)

.PHONY: bench-cost
bench-cost: $(MODEL) ## Processor time and bytes of a decision, by topic and length of answer; 10 minutes (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/cost.py $(BENCH_ARGS)

.PHONY: bench-labels
bench-labels: install ## How often bounds from escalated answers and a few audits are broken, weighted and not; 10 minutes (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/selected_labels.py $(BENCH_ARGS)

.PHONY: bench-featurize
bench-featurize: install ## Featurizer speed beside plain Python and the decode floor (BENCH_ARGS="--quick")
	$(BIN)/python benchmarks/featurize.py $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove the environment, the models and all caches
	rm -rf $(VENV) $(BENCH_VENV) models out build dist $(NATIVE)/target benchmarks/peers/*/target *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything a checkout can do. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build server trainer onnxruntime libtorch towers drawings test test-hosts test-web check lint bench web screenshots clean

PORT ?= 8080
PICTURES ?=
# What `make bench` measures, and shards of pictures with captions for it; bench/README.md tells.
PARTS ?=
CAPTIONS ?=
# The demo and a person's own pictures never share a catalog.
DATA := $(if $(PICTURES),.data/pictures,.data/demo)
SOURCE := $(if $(PICTURES),$(PICTURES),demo)
CLIPSIGHT := target/release/clipsight
PAGE := web/dist/index.html
PACKAGES := web/node_modules/.package-lock.json
PAGE_SOURCES := web/vite.config.ts server/src/http/openapi.json \
	$(shell find web/src -type f ! -name wire.d.ts)
NODE_WORKS := command -v npm >/dev/null && node -e \
	'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || a == 20 && b >= 19 ? 0 : 1)'

# need,TOOL,COMMAND: names a missing tool with the command that installs it
need = @command -v $(1) >/dev/null || { echo "error: $(1) is missing; install it with: $(2)" >&2; exit 2; }

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run PICTURES=DIR PORT=8080 serves your own pictures; they are read, never changed."

run: server ## index the demo (or PICTURES=DIR) and serve it on http://127.0.0.1:PORT
	@$(CLIPSIGHT) index "$(SOURCE)" --data "$(DATA)" || [ $$? -eq 1 ]
	@exec $(CLIPSIGHT) serve --data "$(DATA)" --listen 127.0.0.1:$(PORT)

build: server trainer ## build both programs into target/release

server: onnxruntime ## build target/release/clipsight, with the page where Node is there
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	$(call need,cc,apt-get install gcc)
	@if $(NODE_WORKS); then $(MAKE) web; \
	else echo "note: no Node 20.19 or later with npm; the server is built without its page" >&2; fi
	cargo build --release -p clipsight

trainer: libtorch onnxruntime ## build target/release/clipsight-trainer
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	$(call need,c++,apt-get install g++)
	cargo build --release -p clipsight-trainer

onnxruntime: ## fetch ONNX Runtime into .runtime/onnxruntime
	$(call need,python3,apt-get install python3 python3-pip)
	@scripts/fetch_onnxruntime.sh

libtorch: ## fetch libtorch into .runtime/libtorch (the trainer alone needs it)
	$(call need,python3,apt-get install python3 python3-pip)
	@scripts/fetch_libtorch.sh

towers: ## fetch the pretrained towers into .runtime/towers (training and tests need them)
	$(call need,python3,apt-get install python3 python3-pip)
	@scripts/fetch_towers.sh

drawings: ## fetch drawings with their names into .runtime/drawings (the starter's recipe needs them)
	@scripts/fetch_drawings.sh

test: onnxruntime libtorch towers ## run every test
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	cargo test --workspace --lib --bins --tests
	@scripts/test_client.sh

test-hosts: onnxruntime libtorch ## train on three hosts, network namespaces of this machine (wants root)
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	@scripts/three_hosts.sh

check: onnxruntime ## the loop of an edit: type check, fast tests of clip, runtime and server
	cargo check --all-targets
	cargo test --lib --bins

lint: libtorch ## formatting and clippy, warnings are errors
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: server trainer ## measure, beside others (an hour and more; PARTS="…" and CAPTIONS="FILE.tar …" choose)
	$(call need,python3,apt-get install python3 python3-venv)
	@scripts/fetch_peers.sh
	cargo build --release -p clipsight-trainer --examples
	cargo run --release -p clipsight-bench -- $(PARTS) $(addprefix --captions ,$(CAPTIONS))

web: $(PAGE) ## build the page into web/dist, which the next build of the server embeds

$(PACKAGES): web/package.json web/package-lock.json
	@$(NODE_WORKS) || { echo "error: Node 20.19 or later with npm is missing; see https://nodejs.org" >&2; exit 2; }
	cd web && npm ci --no-audit --no-fund

$(PAGE): $(PACKAGES) $(PAGE_SOURCES)
	cd web && npm run build
	@touch $@

test-web: onnxruntime web ## test the page in Chromium against the real server
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	$(call need,chromium,apt-get install chromium)
	cargo build -p clipsight
	cd web && npm run check && npm test

screenshots: onnxruntime web ## take the pictures of the page that stand in README.md
	$(call need,chromium,apt-get install chromium)
	cargo build -p clipsight
	cd web && npm run screenshots

clean: ## remove what was built; .runtime and .data stay
	cargo clean

# Everything a checkout can do. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build server trainer onnxruntime libtorch towers test check lint bench web clean

PORT ?= 8080
PICTURES ?=
# The demo and a person's own pictures never share a catalog.
DATA := $(if $(PICTURES),.data/pictures,.data/demo)
SOURCE := $(if $(PICTURES),$(PICTURES),demo)
CLIPSIGHT := target/release/clipsight

# need,TOOL,COMMAND: names a missing tool with the command that installs it
need = @command -v $(1) >/dev/null || { echo "error: $(1) is missing; install it with: $(2)" >&2; exit 2; }

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run PICTURES=DIR PORT=8080 serves your own pictures; they are read, never changed."

run: server ## index the demo (or PICTURES=DIR) and serve it on http://127.0.0.1:PORT
	@$(CLIPSIGHT) index "$(SOURCE)" --data "$(DATA)" || [ $$? -eq 1 ]
	@exec $(CLIPSIGHT) serve --data "$(DATA)" --listen 127.0.0.1:$(PORT)

build: server trainer ## build both programs into target/release

server: onnxruntime ## build target/release/clipsight
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	$(call need,cc,apt-get install gcc)
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

test: onnxruntime libtorch towers ## run every test
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	cargo test --workspace --lib --bins --tests

check: onnxruntime ## the loop of an edit: type check, fast tests of clip, runtime and server
	cargo check --all-targets
	cargo test --lib --bins

lint: libtorch ## formatting and clippy, warnings are errors
	$(call need,cargo,curl https://sh.rustup.rs -sSf | sh)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: server ## measure; bench/README.md says what and how
	cargo run --release -p clipsight-bench

web: ## the page is one static file, embedded as it is: nothing to build
	@ls -l web

clean: ## remove what was built; .runtime and .data stay
	cargo clean

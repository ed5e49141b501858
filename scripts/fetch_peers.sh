#!/usr/bin/env bash
# Makes the Python environment of the programs that `make bench` measures beside ours, in
# .runtime/peers (6 GB: Python's torch wants all of its CUDA packages, GPU or not). Nothing else here
# needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.runtime/peers
packages=(
  torch==2.13.0 torchvision==0.28.0 open_clip_torch==3.3.0 transformers==5.24.0 safetensors
  onnxruntime==1.32.0 usearch==2.26.6 numpy Pillow==13.0.0
)
# Its losses alone are wanted, and these need nothing but torch.
alone=(lightly==1.6.0)
if [ "$(cat "$folder/.installed" 2>/dev/null)" != "${packages[*]}" ]; then
  echo "fetching ${packages[*]} into $folder" >&2
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
  echo "${packages[*]}" >"$folder/.installed"
fi
if [ "$(cat "$folder/.alone" 2>/dev/null)" != "${alone[*]}" ]; then
  echo "fetching ${alone[*]} into $folder" >&2
  "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps "${alone[@]}"
  echo "${alone[*]}" >"$folder/.alone"
fi

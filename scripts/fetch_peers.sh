#!/usr/bin/env bash
# Makes the Python environment of the programs that `make bench` measures beside ours, in
# .runtime/peers. Nothing else here needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=.runtime/peers
torch=(torch==2.13.0 torchvision==0.28.0)
open_clip=(open_clip_torch==3.3.0 timm==1.0.28)
rest=(transformers==5.24.0 safetensors onnxruntime==1.32.0 usearch==2.26.6 numpy Pillow==13.0.0 ftfy regex tqdm)
wanted="${torch[*]} ${open_clip[*]} ${rest[*]}"
if [ "$(cat "$folder/.installed" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
echo "fetching $wanted into $folder" >&2
rm -rf "$folder"
python3 -m venv "$folder"
install=("$folder/bin/pip" install --quiet --disable-pip-version-check)
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  "${install[@]}" "${torch[@]}"
else
  # The wheel of torch is the CUDA build everywhere; without a GPU these two of its CUDA packages do.
  "${install[@]}" --no-deps "${torch[@]}" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
  "${install[@]}" filelock typing-extensions sympy networkx jinja2 fsspec setuptools
fi
# With their dependencies they would fetch CUDA as well.
"${install[@]}" --no-deps "${open_clip[@]}"
"${install[@]}" "${rest[@]}"
echo "$wanted" >"$folder/.installed"

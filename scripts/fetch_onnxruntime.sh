#!/usr/bin/env bash
# Fetches ONNX Runtime from its Python wheel into .runtime/onnxruntime; nothing of Python is used later.
# With --gpu the one for NVIDIA's devices and the CUDA libraries that it opens (2 GB) come into
# .runtime/onnxruntime-gpu; the driver is the machine's own.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/wheels.sh
# The crate `ort` asks for the API of 1.31; newer is fine.
if [ "${1:-}" = --gpu ]; then
  # Its extras leave cuBLAS out.
  with_dependencies=1 install_wheels .runtime/onnxruntime-gpu \
    'onnxruntime-gpu[cuda,cudnn]==1.31.1' 'nvidia-cublas>=13,<14'
else
  install_wheels .runtime/onnxruntime onnxruntime==1.32.0
fi

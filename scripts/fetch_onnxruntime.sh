#!/usr/bin/env bash
# Fetches ONNX Runtime from its Python wheel into .runtime/onnxruntime; nothing of Python is used later.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/wheels.sh
# The crate `ort` asks for the API of 1.31; newer is fine.
install_wheels .runtime/onnxruntime onnxruntime==1.32.0

#!/usr/bin/env bash
# Fetches libtorch from the wheel of PyTorch into .runtime/libtorch; nothing of Python is used later.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/wheels.sh
# The crate `tch` 0.26 wants exactly this version. There is one wheel for CPU and CUDA, and even its
# CPU library links cudart and cupti; the rest of CUDA is needed where there is a GPU, with the headers
# that NCCL's includes and torch's wheels lack.
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  with_dependencies=1 install_wheels .runtime/libtorch torch==2.13.0 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
else
  install_wheels .runtime/libtorch torch==2.13.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
fi

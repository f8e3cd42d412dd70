#!/bin/sh
# One command for any machine with CUDA, under eight minutes: parity with the CPU, 200 training steps in bf16, whole
# scans with and without torch.compile, and the handling of insufficient memory.
#   benchmarks/gpu.sh [--out gpu.json]
cd "$(dirname "$0")/.." && exec timeout 480 "${PYTHON:-python}" benchmarks/gpu.py "$@"

#!/usr/bin/env bash
# The whole GPU suite on a bare CUDA machine: tests, then throughput with 1 and 4 learners.
#
#     benchmarks/gpu.sh [FOLDER]     where the JSON goes; default: benchmarks/results/gpu
#
# PYTHON=… uses an interpreter that has the package installed instead of building .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="${1:-benchmarks/results/gpu}"

if ! command -v nvidia-smi > /dev/null || ! nvidia-smi -L > /dev/null 2>&1; then
    echo "there is no NVIDIA GPU here (nvidia-smi lists none): nothing to measure" >&2
    exit 2
fi
if [[ -z "${PYTHON:-}" ]]; then
    make .venv/.installed-dev
    PYTHON=.venv/bin/python
fi
if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "$PYTHON has a PyTorch without CUDA: install the CUDA build of the version in constraints.txt" >&2
    exit 2
fi

mkdir -p "$out"
echo "benchmarks/gpu.sh" > "$out/command.txt"
"$PYTHON" -m pytest -m gpu tests/test_gpu.py --junitxml="$out/tests.xml"
for precision in float32 bfloat16; do
    for shape in "1 256" "4 64"; do
        read -r learners simulators <<< "$shape"
        "$PYTHON" -m gala_lab.main bench throughput --device cuda --learners "$learners" \
            --simulators "$simulators" --precision "$precision" --json \
            > "$out/throughput-$learners-$precision.json"
    done
done
echo "results are in $out"

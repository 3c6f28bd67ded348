#!/usr/bin/env bash
# Sets the CPU engine beside its peers on the same cores in one run, alternating, and prints medians and ratios as a table:
# PyTorch with many filters as one batch and with one, and the notebook's own loop in Keras.
#
#   bench/compare_cpu.sh [BUILD_FOLDER] [ROUNDS]
#
# PYTHON_TORCH and PYTHON_KERAS name interpreters that have the packages of bench/peers/requirements.txt (python3 by
# default). A peer that is not there is a row that says so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../build/release}
rounds=${2:-3}
report=${PYTHON:-python3}
torch=${PYTHON_TORCH:-python3}
keras=${PYTHON_KERAS:-python3}
[ -x "$build/bench/bench_kernels" ] || { echo "compare_cpu.sh: no $build/bench/bench_kernels; build the release preset first" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# layer, our batch, peer, its batch
pairs="block3_conv3:16:PyTorch:8 block5_conv3:16:PyTorch:8 block3_conv3:1:PyTorch:1 block5_conv3:1:PyTorch:1
       block3_conv3:16:notebook:1 block5_conv3:16:notebook:1"
have_PyTorch=$("$torch" -c 'import torch; print("yes")' 2>/dev/null || true)
have_notebook=$("$keras" -c 'import tensorflow; print("yes")' 2>/dev/null || true)
for round in $(seq "$rounds"); do
  for pair in $pairs; do
    IFS=: read -r layer ours peer theirs <<<"$pair"
    GOMP_SPINCOUNT=1000 "$build/bench/bench_kernels" --benchmark_filter="^cpu/iteration/$layer/automatic/batch:$ours/" --benchmark_format=json \
      >"$scratch/$pair:$round:ours" 2>/dev/null
    case $peer in
      PyTorch) [ -z "$have_PyTorch" ] || "$torch" "$here/peers/pytorch_ascent.py" "$layer" "$theirs" >"$scratch/$pair:$round:peer" ;;
      notebook)
        [ -z "$have_notebook" ] || "$keras" "$here/peers/keras_notebook.py" "$layer" >"$scratch/$pair:$round:peer" \
          2>"$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
        ;;
    esac
  done
done
"$report" - "$scratch" "$rounds" $pairs <<'PY'
import json, pathlib, statistics, sys
scratch, rounds, pairs = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
LACKING = {"PyTorch": "PyTorch is not installed", "notebook": "TensorFlow is not installed"}
def cell(values): return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
rows, versions = [], {}
for pair in pairs:
    layer, our_batch, peer, their_batch = pair.split(":")
    runs = range(1, rounds + 1)
    own = [json.loads((scratch / f"{pair}:{r}:ours").read_text())["benchmarks"][0]["real_time"] / 1e3 / int(our_batch) for r in runs]
    if (scratch / f"{pair}:1:peer").exists():
        told = [json.loads((scratch / f"{pair}:{r}:peer").read_text().splitlines()[-1]) for r in runs]
        versions |= {key: told[0][key] for key in ("torch", "tensorflow", "keras", "threads") if key in told[0]}
        theirs = [t["ms_per_image"] for t in told]
        ratio = f"{statistics.median(p / o for p, o in zip(theirs, own)):.1f}"
        theirs = cell(theirs)
    else:
        theirs, ratio = LACKING[peer], "-"
    peer = {"PyTorch": "PyTorch", "notebook": "the notebook's loop (Keras, eager)"}[peer]
    rows.append(f"| {layer} | {cell(own)}, batch {our_batch} | {peer}, batch {their_batch} | {theirs} | {ratio} |")
print(f"ms per image and iteration, median of {rounds} (min to max); {', '.join(f'{k} {v}' for k, v in versions.items())}")
print("| layer | filterscope | peer | its time | ratio |")
print("|---|---|---|---|---|")
print("\n".join(rows))
PY

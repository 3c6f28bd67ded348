#!/usr/bin/env bash
# Sets the CPU engine beside PyTorch on the same cores in one run, alternating, and prints medians and ratios as a table.
# usage: bench/compare_cpu.sh [BUILD_FOLDER] [ROUNDS]    (PYTHON names an interpreter that has torch)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../build/release}
rounds=${2:-3}
python=${PYTHON:-python3}
"$python" -c 'import torch' 2>/dev/null || { echo "compare_cpu.sh: $python has no torch; set PYTHON to one that has" >&2; exit 2; }
[ -x "$build/bench/bench_cpu" ] || { echo "compare_cpu.sh: no $build/bench/bench_cpu; build the release preset first" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# layer, our batch, PyTorch's batch
pairs="block3_conv3:16:8 block5_conv3:16:8 block3_conv3:1:1 block5_conv3:1:1"
for round in $(seq "$rounds"); do
  for pair in $pairs; do
    IFS=: read -r layer ours theirs <<<"$pair"
    GOMP_SPINCOUNT=1000 "$build/bench/bench_cpu" --benchmark_filter="^$layer/timed/batch:$ours/" --benchmark_format=json \
      >"$scratch/ours-$layer-$ours-$round.json" 2>/dev/null
    "$python" "$here/peers/pytorch_ascent.py" "$layer" "$theirs" >"$scratch/torch-$layer-$theirs-$round.json"
  done
done
"$python" - "$scratch" "$rounds" $pairs <<'PY'
import json, statistics, sys
scratch, rounds, pairs = sys.argv[1], int(sys.argv[2]), [p.split(":") for p in sys.argv[3:]]
ours, theirs, info = {}, {}, {}
for layer, our_batch, their_batch in pairs:
    for r in range(1, rounds + 1):
        own = json.load(open(f"{scratch}/ours-{layer}-{our_batch}-{r}.json"))["benchmarks"][0]
        peer = json.load(open(f"{scratch}/torch-{layer}-{their_batch}-{r}.json"))
        ours.setdefault((layer, our_batch), []).append(own["ms_per_image"])
        theirs.setdefault((layer, their_batch), []).append(peer["ms_per_image"])
        info = peer
print(f"PyTorch {info['torch']}, {info['threads']} threads; ms per image and iteration, median of {rounds} (min to max)")
print("| layer | filterscope, batch | PyTorch, batch | ratio |")
print("|---|---|---|---|")
def cell(values): return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
for layer, our_batch, their_batch in pairs:
    own, peer = ours[layer, our_batch], theirs[layer, their_batch]
    ratio = statistics.median(p / o for p, o in zip(peer, own))
    print(f"| {layer} | {cell(own)}, {our_batch} | {cell(peer)}, {their_batch} | {ratio:.1f} |")
PY

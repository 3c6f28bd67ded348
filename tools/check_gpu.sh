#!/usr/bin/env bash
# Everything that only a GPU can show, in one run: builds, device tests, compute-sanitizer, every filter rendered, the
# fidelity table and the kernel benchmarks. Needs no network if the libraries are there.
#
#   tools/check_gpu.sh [OUT]
#
# OUT (default: check-gpu) receives the logs, results.json and summary.md. A step that fails does not stop the others; the
# exit code tells whether all passed. Environment:
#   WEIGHTS      what filterscope render takes as --weights (default: synthetic)
#   BUILD        build folder (default: build/gpu)
#   CMAKE_FLAGS  more flags for the configuration, such as -DCMAKE_PREFIX_PATH=...
#   ITERATIONS   of the full render (default: 500)
#   STEPS        which of "build tests sanitizer render fidelity kernels plans" (default: all of them)
set -uo pipefail
case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "${1:-check-gpu}"
out=$(cd "${1:-check-gpu}" && pwd)
build=${BUILD:-$root/build/gpu}
weights=${WEIGHTS:-synthetic}
iterations=${ITERATIONS:-500}
steps=${STEPS:-build tests sanitizer render fidelity kernels plans}
cores=$(nproc)
cd "$root"

command -v nvidia-smi >/dev/null && nvidia-smi >"$out/nvidia-smi.txt" 2>&1 || {
  echo "check_gpu.sh: no GPU: nvidia-smi does not answer" >&2
  exit 4
}

declare -A status seconds
order=()
# step NAME COMMAND...: runs it with its output in OUT/NAME.log.
step() {
  local name=$1 begin
  shift
  [[ " $steps " == *" ${name%%-*} "* ]] || return 0
  order+=("$name")
  begin=$(date +%s.%N)
  "$@" >"$out/$name.log" 2>&1
  local code=$?
  seconds[$name]=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
  status[$name]=$([[ $code -eq 0 ]] && echo ok || echo "failed ($code)")
  printf '%-22s %8s s  %s\n' "$name" "${seconds[$name]}" "${status[$name]}"
}

configure_and_build() {
  # shellcheck disable=SC2086
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFILTERSCOPE_CUDA=ON ${CMAKE_FLAGS-} &&
    cmake --build "$build" -j "$cores"
}
device_tests() {
  "$build/tests/kernels/kernels_device_test" --gtest_output=json:"$out/tests.json"
}
sanitize() {
  compute-sanitizer --tool "$1" --error-exitcode 1 "${@:2}"
}
render_all() {
  "$build/filterscope" render all --weights "$weights" --device cuda --iterations "$iterations" --out "$out/render"
}

step build configure_and_build
step tests device_tests
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "sanitizer-$tool-kernels" sanitize "$tool" "$build/tests/kernels/kernels_device_test"
    # The engine on a small case: one filter of each block, tiny images.
    step "sanitizer-$tool-engine" sanitize "$tool" "$build/filterscope" render --weights synthetic --device cuda \
      --size 32 --iterations 2 --quiet --out "$out/sanitized" 'block*_conv2:0-1'
  done
  rm -rf "$out/sanitized"
else
  echo "compute-sanitizer is not in PATH: skipped"
fi
step render render_all
# On a GPU the double-precision and CPU sides take the time; a few filters of each layer.
step fidelity "$build/bench/fidelity" --device cuda --weights "$weights" --filters 3 --gradients 1 --iterations 200 \
  --size 64 --json "$out/fidelity.json"
[[ -x $build/bench/bench_kernels ]] && step kernels "$build/bench/bench_kernels" --benchmark_out="$out/kernels.json" \
  --benchmark_out_format=json
[[ -x $build/bench/bench_cudnn_plans ]] && step plans "$build/bench/bench_cudnn_plans"

# The pictures stay here as a sheet each; the rest is large.
if [[ -f $out/render/manifest.json ]]; then
  cp "$out/render/manifest.json" "$out/render-manifest.json"
fi

{
  for name in "${order[@]}"; do printf '%s\t%s\t%s\n' "$name" "${status[$name]}" "${seconds[$name]}"; done
} >"$out/steps.tsv"
python3 - "$out" "$("$build/filterscope" info 2>/dev/null || true)" <<'PY'
import json, os, subprocess, sys
out, info = sys.argv[1], sys.argv[2]
def read(name):
    path = os.path.join(out, name)
    try:
        with open(path) as file: return json.load(file)
    except (OSError, ValueError): return None
steps = [dict(zip(("step", "status", "seconds"), line.rstrip("\n").split("\t"))) for line in open(os.path.join(out, "steps.tsv"))]
for step in steps: step["seconds"] = float(step["seconds"])
device = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
                        capture_output=True, text=True).stdout.strip()
tests = read("tests.json") or {}
manifest = read("render-manifest.json") or {}
fidelity = read("fidelity.json")
result = {"device": device, "info": info.splitlines(), "steps": steps,
          "tests": {key: tests.get(key) for key in ("tests", "failures", "errors", "time")},
          "render": {key: manifest.get(key) for key in ("device", "precision", "wall_seconds", "filters_per_second")},
          "fidelity": fidelity}
with open(os.path.join(out, "results.json"), "w") as file: json.dump(result, file, indent=2)
with open(os.path.join(out, "summary.md"), "w") as file:
    print(f"# {device}\n", file=file)
    print("```\n" + info + "\n```\n", file=file)
    print("| step | result | seconds |\n|---|---|---|", file=file)
    for step in steps: print(f"| {step['step']} | {step['status']} | {step['seconds']} |", file=file)
    print(file=file)
    for name in ("render", "fidelity", "plans"):
        path = os.path.join(out, name + ".log")
        if os.path.exists(path):
            print(f"## {name}\n\n{open(path, errors='replace').read()[-6000:]}\n", file=file)
PY
echo "Results: $out/results.json, $out/summary.md"
for name in "${order[@]}"; do [[ ${status[$name]} == ok ]] || exit 1; done

#!/usr/bin/env bash
# Runs everything that needs a GPU: build, device tests, compute-sanitizer, the render of every filter, the fidelity table and
# the kernel benchmarks. Needs no network if the libraries are installed.
#
#   tools/check_gpu.sh [OUT]
#
# OUT (default: check-gpu) receives the logs, results.json and summary.md. The tests, compute-sanitizer and fidelity run side by
# side; timed steps run alone, after them. A failed step stops the others only if it is the build. The exit code is 0 if no step
# failed; a step whose tool is missing is skipped, and results.json says so. If cuDNN is not where it was at build time, it is
# loaded by its name: add its folder to LD_LIBRARY_PATH. Environment:
#   WEIGHTS      the value of --weights for filterscope render, relative to the current folder (default: the file that
#                filterscope finds, else synthetic). If only little can be transferred, a copy in float16 (29 MB) will do:
#                bench/write_weights FILE COPY.safetensors F16
#   BUILD        build folder (default: build/gpu), relative to the current folder
#   CMAKE_FLAGS  more flags for the configuration, such as -DCMAKE_PREFIX_PATH=...
#   ITERATIONS   iterations of the full render (default: 500)
#   STEPS        some of "build libraries tests sanitizer fidelity render profile host kernels plans" (default: all of them);
#                without "build", BUILD must have been built before, perhaps on another machine
#   JOBS         how many processes share the device (default: 1 per 8 GiB of its memory, at most 16)
#   LIMIT        seconds after which a step other than "build" is ended, even if others ran beside it (default: 600)
set -uo pipefail
case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "${1:-check-gpu}"
out=$(cd "${1:-check-gpu}" && pwd)
build=$(realpath -m "${BUILD:-$root/build/gpu}")
weights=${WEIGHTS-${FILTERSCOPE_WEIGHTS-}}
[[ ! -e $weights ]] || weights=$(realpath "$weights")
iterations=${ITERATIONS:-500}
limit=${LIMIT:-600}
all_steps="build libraries tests sanitizer fidelity render profile host kernels plans"
steps=${STEPS:-$all_steps}
for name in $steps; do
  [[ " $all_steps " == *" $name "* ]] || {
    echo "check_gpu.sh: STEPS: expected some of \"$all_steps\", found \"$name\"" >&2
    exit 2
  }
done
cores=$(nproc)
cd "$root" || exit

if ! nvidia-smi >"$out/nvidia-smi.txt" 2>&1; then
  echo "check_gpu.sh: no GPU: nvidia-smi does not answer" >&2
  exit 4
fi
gibibytes=$(($(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits -i 0) / 1024))
jobs=${JOBS:-$((gibibytes < 16 ? 1 : gibibytes > 128 ? 16 : gibibytes / 8))}

# Results of an earlier run must not be taken for those of this one.
rm -rf "$out"/cache-* "$out"/render-{few,cold,warm}{,.json} "$out"/sanitized-* "$out"/*.log "$out"/hazards-*.tmp "$out"/{fidelity,kernels,tests-*}.json "$out"/sheet-*.png

declare -A status=() seconds=() begins=() step_of=()
order=()
wanted() { [[ " $steps " == *" ${1%%-*} "* ]]; }
# begin NAME COMMAND...: runs the command beside those begun before, with its output in OUT/NAME.log.
begin() {
  local name=$1 most=$limit
  shift
  wanted "$name" || return 0
  while ((${#step_of[@]} >= jobs)); do
    sleep 0.1
    collect
  done
  order+=("$name")
  begins[$name]=$(date +%s.%N)
  # A step that hangs on the device must not block the later ones.
  [[ $name != build ]] || most=0
  timeout --kill-after=10 "$most" bash -c '"$@"' bash "$@" >"$out/$name.log" 2>&1 &
  step_of[$!]=$name
}
# skip NAME REASON
skip() {
  wanted "$1" || return 0
  order+=("$1")
  seconds[$1]=0
  status[$1]="skipped: $2"
  printf '%-44s %7s    %s\n' "$1" "" "${status[$1]}"
}
# Records the steps that have ended.
collect() {
  local ended code name
  for ended in "${!step_of[@]}"; do
    kill -0 "$ended" 2>/dev/null && continue
    wait "$ended"
    code=$?
    # Kills processes that ignored SIGTERM; timeout leads their group.
    kill -KILL -- "-$ended" 2>/dev/null
    name=${step_of[$ended]}
    unset "step_of[$ended]"
    seconds[$name]=$(awk -v a="${begins[$name]}" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
    # If timeout has to kill, it dies of the signal itself.
    ((code != 137 || ${seconds[$name]%.*} < limit)) || code=124
    case $code in
      0) status[$name]=ok ;;
      124) status[$name]="ended after $limit s" ;;
      137) status[$name]="killed (out of memory?)" ;;
      *) status[$name]="failed ($code)" ;;
    esac
    printf '%-44s %7s s  %s\n' "$name" "${seconds[$name]}" "${status[$name]}"
  done
}
# Waits for all steps begun.
finish() {
  while ((${#step_of[@]} > 0)); do
    sleep 0.1
    collect
  done
}
# step NAME COMMAND...: runs the command alone.
step() {
  finish
  begin "$@"
  finish
}

configure_and_build() {
  # shellcheck disable=SC2086
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFILTERSCOPE_CUDA=ON ${CMAKE_FLAGS-} &&
    cmake --build "$build" -j "$cores" --target filterscope kernels_device_test cudnn_convolution_test \
      cuda_engine_device_test bench_host_stages fidelity bench_kernels bench_cudnn_plans
}
# test_of RESULTS NAME [FILTER]: runs all tests, or those that FILTER names.
test_of() {
  local results=$out/$1.json
  rm -f "$results"
  "$build/tests/$2" --gtest_filter="${3-*}" --gtest_output=json:"$results" || return
  grep -q '"COMPLETED"' "$results" || {
    echo "All tests were skipped."
    return 1
  }
}
# Runs the tests in several processes side by side: most of their time, cuDNN compiles.
tests_side_by_side_of() {
  local shards=$((jobs < 8 ? jobs : 8)) shard failed=0 running=()
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard test_of "$1.shard$shard" "$2" >"$out/$1.shard$shard.log" 2>&1 &
    running+=($!)
  done
  for ((shard = 0; shard < shards; ++shard)); do
    wait "${running[shard]}" || failed=1
    cat "$out/$1.shard$shard.log"
  done
  return $failed
}
# Keeps timings of kernels that were measured under a tool apart from those of other runs.
with_own_cache() {
  XDG_CACHE_HOME="$out/cache-$1" "${@:2}"
}
sanitize() {
  # cuDNN probes for features with calls that may fail.
  with_own_cache "$1" compute-sanitizer --tool "$1" --report-api-errors no --print-limit 0 --error-exitcode 99 "${@:2}"
}
# racecheck takes halo tiles that wgmma's warps make for a race with those that read them: the lanes write and meet in __syncwarp,
# and one of them arrives for all. Where each lane arrives it reports nothing (bench/results/cuda-h200.md), which takes longer.
without_known_hazards() {
  local log=$out/hazards-$BASHPID.tmp code known
  "$@" 2>&1 | tee "$log"
  code=${PIPESTATUS[0]}
  known=$(grep -c 'Error: Race reported between Write access at .*wgmma::unpool_halo_tiles<' "$log")
  if ((code == 99 && known > 0 && known == $(grep -c '========= Error:' "$log"))) &&
    ! grep '=========     and ' "$log" | grep -qv 'Read access at .*ldmatrix' &&
    ! grep -q -e '\[  FAILED  \]' -e 'Target application returned an error' "$log"; then
    echo "check_gpu.sh: only the reports of wgmma::unpool_halo_tiles that are known to be none"
    code=0
  fi
  rm -f "$log"
  return "$code"
}
render() {
  "$build/filterscope" render --weights "$weights" --device cuda "$@"
}
# The same; logs the device's clocks, power and throttle reasons to OUT/clocks.csv.
watched_render() {
  local monitor code
  nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active \
    --format=csv --loop-ms=200 >"$out/clocks.csv" 2>&1 &
  monitor=$!
  render "$@"
  code=$?
  kill "$monitor"
  return $code
}
# A program built elsewhere may lack its libraries here.
libraries() {
  local program missing lacking=0
  for program in filterscope tests/kernels/kernels_device_test tests/cuda/{cudnn_convolution_test,cuda_engine_device_test} \
    bench/{fidelity,bench_host_stages,bench_kernels,bench_cudnn_plans}; do
    if [[ ! -x $build/$program ]]; then
      missing="not in $build"
    else
      missing=$(ldd "$build/$program" | grep 'not found')
    fi
    [[ -z $missing ]] || { echo "$program: $missing"; lacking=1; }
  done
  "$build/filterscope" info || lacking=1
  return $lacking
}
profile() {
  FILTERSCOPE="$build/filterscope" OUT="$out/profile" bash tools/profile.sh nsys --weights "$weights" all &&
    nsys stats --report cuda_gpu_kern_sum,nvtx_gpu_proj_sum "$out/profile.nsys-rep"
}
# For the shells that timeout starts.
export out build weights cores jobs
export -f configure_and_build libraries test_of tests_side_by_side_of with_own_cache sanitize without_known_hazards render watched_render profile
# Ctrl-C does not reach the steps, which are not in the terminal's foreground.
stop() {
  local group
  for group in "${!step_of[@]}"; do kill -KILL -- "-$group" 2>/dev/null; done
  exit 130
}
trap stop INT TERM HUP

step build configure_and_build
[[ ${status[build]-ok} == ok ]] || steps=  # There is nothing to run.
step libraries libraries
if [[ -z $weights ]]; then
  weights=$("$build/filterscope" info 2>/dev/null | sed -n 's/^  [^ ]*  *\(.*[^ ]\)  *<- read when weights are needed$/\1/p')
  weights=${weights:-synthetic}
fi
echo "Weights: $weights"

# Steps that are not timed run side by side: much of their work is done by the CPUs.
side_by_side() { begin "$@"; }
# A kernel that breaks the device makes all later tests of its process fail, so each family of convolutions gets its own.
families=(ConvolutionTest ConvolutionImplicitGemmTest)
fastest='implicit_gemm(\+pool)?'  # For many images.
if [[ $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader -i 0) == 9.0 ]]; then
  families+=(ConvolutionWgmmaTest)
  fastest='wgmma(_large)?'
fi
for family in "${families[@]}"; do
  side_by_side "tests-kernels-$family" test_of "tests-kernels-$family" kernels/kernels_device_test "*/$family.*"
done
side_by_side tests-kernels test_of tests-kernels kernels/kernels_device_test '-*/Convolution*'
side_by_side tests-cudnn tests_side_by_side_of tests-cudnn cuda/cudnn_convolution_test
side_by_side tests-engine test_of tests-engine cuda/cuda_engine_device_test
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    # These tools do not know all that wgmma and the copy engine do, so those kernels are reported separately.
    side_by_side "sanitizer-$tool-kernels" sanitize "$tool" "$build/tests/kernels/kernels_device_test" \
      --gtest_filter='-*ConvolutionWgmmaTest*'
    side_by_side "sanitizer-$tool-wgmma" without_known_hazards sanitize "$tool" "$build/tests/kernels/kernels_device_test" \
      --gtest_filter='*ConvolutionWgmmaTest*-*ManyTiles*'
    # The engine on a small case, without timing, which would run hundreds of kernels under the tool.
    side_by_side "sanitizer-$tool-engine" without_known_hazards sanitize "$tool" "$build/filterscope" render --weights synthetic --device cuda \
      --size 32 --iterations 2 --reproducible --batch 2 --quiet --out "$out/sanitized-$tool" 'block*_conv2:0-1'
  done
else
  skip sanitizer "compute-sanitizer is not in PATH"
fi
# Double precision takes the time. The CPU engine's final losses are stored for Keras' weights, 16 filters of each layer; for
# others they are computed, for fewer and smaller ones. Timings of plans are not to be taken from it.
side_by_side fidelity with_own_cache fidelity "$build/bench/fidelity" --device cuda --weights "$weights" --gradients 1 \
  --expected bench/expected_losses.json --filters 2 --iterations 100 --size 48 --json "$out/fidelity.json"
finish

# Timed steps run one after the other. A short run of some filters of every layer comes first, to reveal problems early.
step render-few with_own_cache few render '*:0-7' --iterations 20 --out "$out/render-few"
# All filters, first with no timings of earlier runs, then with those of the first.
step render-cold with_own_cache render render all --iterations "$iterations" --out "$out/render-cold"
step render-warm with_own_cache render watched_render all --iterations "$iterations" --out "$out/render-warm"
if command -v nsys >/dev/null; then
  step profile with_own_cache render profile
else
  skip profile "nsys is not in PATH"
fi
# The part of a render that is left to this machine's CPUs.
step host "$build/bench/bench_host_stages" --weights "$weights"
# cuDNN's are the next step's.
step kernels "$build/bench/bench_kernels" --benchmark_filter="^cuda/([^c]|convolution/.*/$fastest/)" --precisions fp16 --cuda-batches 512 \
  --benchmark_min_time=0.02 --benchmark_out="$out/kernels.json" --benchmark_out_format=json
step plans "$build/bench/bench_cudnn_plans" --precisions fp16 --images 512 --precompiled 10 --compiled 2

# Only the manifests and the layers' sheets are kept, since the pictures are large.
for run in render-few render-cold render-warm; do
  [[ -f $out/$run/manifest.json ]] && cp "$out/$run/manifest.json" "$out/$run.json"
done
if [[ -d $out/render-warm ]]; then
  for sheet in "$out"/render-warm/*/sheet.png; do
    cp "$sheet" "$out/sheet-$(basename "$(dirname "$sheet")").png"
  done
fi
rm -rf "$out"/render-few "$out"/render-cold "$out"/render-warm "$out"/sanitized-* "$out"/cache-*

{
  for name in "${order[@]}"; do printf '%s\t%s\t%s\n' "$name" "${status[$name]}" "${seconds[$name]}"; done
} >"$out/steps.tsv"
python3 - "$out" "$SECONDS" "$("$build/filterscope" info 2>/dev/null || true)" "$weights" <<'PY'
import collections, csv, glob, json, os, subprocess, sys
out, wall_seconds, info, weights = sys.argv[1], int(sys.argv[2]), sys.argv[3], os.path.basename(sys.argv[4])
def read(name):
    path = os.path.join(out, name)
    try:
        with open(path) as file: return json.load(file)
    except (OSError, ValueError): return None
steps = [dict(zip(("step", "status", "seconds"), line.rstrip("\n").split("\t"))) for line in open(os.path.join(out, "steps.tsv"))]
for step in steps: step["seconds"] = float(step["seconds"])
device = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
                        capture_output=True, text=True).stdout.strip()
def tests_of(step):
    """The counts of all processes that ran the step's tests, and the time of the slowest."""
    logs = glob.glob(os.path.join(glob.escape(out), step + ".shard*.log")) or [step + ".log"]
    parts = [read(os.path.basename(log)[:-len("log")] + "json") for log in logs]
    # A process that crashed leaves no results.
    result = {"processes": len(parts), "without_results": parts.count(None)}
    parts = [part for part in parts if part]
    result |= {key: sum(part.get(key, 0) for part in parts) for key in ("tests", "failures", "disabled", "errors")}
    result["skipped"] = sum(test.get("result") == "SKIPPED" for part in parts for suite in part.get("testsuites", [])
                            for test in suite.get("testsuite", []))
    result["seconds"] = max([float(part.get("time", "0s").rstrip("s")) for part in parts], default=0)
    return result
tests = {step["step"]: tests_of(step["step"]) for step in steps if step["step"].startswith("tests-")}
fidelity = read("fidelity.json")
def clocks():
    """render-warm's least, median and greatest value of each figure, and the number of samples per reason for lower clocks."""
    try:
        with open(os.path.join(out, "clocks.csv")) as file: rows = list(csv.reader(file, skipinitialspace=True))
        names, samples = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
        figures = {}
        for column, name in list(enumerate(names))[1:-1]:
            values = sorted(float(row[column].split()[0]) for row in samples)
            figures[name] = [values[0], values[len(values) // 2], values[-1]]
        figures[names[-1]] = dict(collections.Counter(row[-1] for row in samples))
        return figures
    except (OSError, ValueError, IndexError):
        return None
result = {"device": device, "weights": weights, "wall_seconds": wall_seconds, "info": info.splitlines(), "steps": steps,
          "tests": tests,
          "render": {name: {key: (read(name + ".json") or {}).get(key)
                            for key in ("wall_seconds", "filters_per_second", "phases", "counts", "engines")}
                     for name in ("render-few", "render-cold", "render-warm")},
          "clocks": clocks(), "fidelity": fidelity}
with open(os.path.join(out, "results.json"), "w") as file: json.dump(result, file, indent=2)
with open(os.path.join(out, "summary.md"), "w") as file:
    print(f"# {device}\n", file=file)
    print("```\n" + info + "\n```\n", file=file)
    print(f"Weights: {weights}. {wall_seconds} s, of which the tests, compute-sanitizer and fidelity ran side by side.\n", file=file)
    print("| step | result | seconds | tests, of which failed and skipped |\n|---|---|---|---|", file=file)
    for step in steps:
        counts = tests.get(step["step"])
        counts = f"{counts['tests']}, {counts['failures']}, {counts['skipped']}" if counts else ""
        print(f"| {step['step']} | {step['status']} | {step['seconds']} | {counts} |", file=file)
    print(file=file)
    for name, figures in (result["clocks"] or {}).items(): print(f"- render-warm, {name}: {figures}", file=file)
    print(file=file)
    for name in ("libraries", "render-cold", "render-warm", "profile", "host", "fidelity", "plans"):
        path = os.path.join(out, name + ".log")
        if os.path.exists(path):
            print(f"## {name}\n\n{open(path, errors='replace').read()[-12000:]}\n", file=file)
PY
echo "Results: $out/results.json, $out/summary.md"
for name in "${order[@]}"; do [[ ${status[$name]} == ok || ${status[$name]} == skipped* ]] || exit 1; done

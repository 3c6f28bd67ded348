#!/usr/bin/env bash
# Measures the kernels, the whole command and the peers on this machine, and writes a report.
#
#   bench/run_all.sh [--quick] [OUT]
#
# OUT (default: bench-results) receives kernels.json, end_to_end.json, peers.json, a log of each, and report/. A measurement
# that fails is missing from the report and does not stop the others; the exit code is 1 then. Takes about 15 minutes on two
# cores, 10 on a GPU, and a few with --quick; use an idle machine. Environment:
#   BUILD          the build folder (default: build/release)
#   WEIGHTS        the value of --weights for filterscope render (default: synthetic)
#   KERNELS        the kernels to measure, a regular expression for bench_kernels' names (default: on a GPU all,
#                  512 images in fp16; on a CPU each operation, 16 images with the CPU's best instructions)
#   PYTHON_TORCH   the Pythons that have the packages of peers/requirements-torch.txt,
#   PYTHON_KERAS   peers/requirements-keras.txt
#   PYTHON_REPORT  and requirements.txt (default: python3)
#   STEPS          some of "kernels end_to_end peers report" (default: all)
set -uo pipefail
case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
command="bench/run_all.sh${*:+ $*}"
quick=()
if [[ ${1-} == --quick ]]; then quick=(--quick); shift; fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(cd "${BUILD:-$root/build/release}" && pwd) || exit 2
mkdir -p "${1:-bench-results}" || exit 5
out=$(cd "${1:-bench-results}" && pwd)
weights=${WEIGHTS:-synthetic}
steps=${STEPS:-kernels end_to_end peers report}
[[ -x $build/filterscope && -x $build/bench/bench_kernels && -x $build/bench/write_weights ]] || {
  echo "run_all.sh: $build lacks filterscope, bench/bench_kernels or bench/write_weights; build first (cmake --build --preset release)" >&2
  exit 2
}
failed=0
# The machine's load before anything is measured, since the measurements themselves cause load.
load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo 0)
# step NAME COMMAND...: runs the command with its output in OUT/NAME.log, after removing the results of an earlier run.
step() {
  local name=$1 begin=$SECONDS
  shift
  [[ " $steps " == *" $name "* ]] || return 0
  rm -f "$out/$name.json" "$out/$name.json.part"
  if "$@" >"$out/$name.log" 2>&1; then
    printf '%-12s %4d s\n' "$name" $((SECONDS - begin))
  else
    failed=1
    printf '%-12s %4d s  FAILED, see %s\n' "$name" $((SECONDS - begin)) "$out/$name.log"
    tail -n 3 "$out/$name.log"
  fi
}

kernels=${KERNELS-}
if [[ -z $kernels ]] && "$build/filterscope" info 2>/dev/null | grep -e '--device auto *means cuda' >/dev/null; then kernels="^cuda/"; fi
if [[ -z $kernels ]]; then
  names=$("$build/bench/bench_kernels" --benchmark_list_tests 2>/dev/null)
  for table in avx512 avx2 generic; do
    if grep -q "/$table/" <<<"$names"; then break; fi
  done
  kernels="^cpu/(ceiling|(noise|encode|normalise_and_step)/batch:16|iteration/.*/automatic/batch:16|"
  kernels+="(convolution|filter_head)/.*/$table/batch:16|onednn.*batch:16)"
fi
step kernels "$build/bench/bench_kernels" --precisions fp16 --cuda-batches 512 --benchmark_filter="$kernels" --benchmark_min_time="$([[ ${#quick[@]} -gt 0 ]] && echo 0.01 || echo 0.1)" \
  --benchmark_out="$out/kernels.json.part" --benchmark_out_format=json
# A truncated file is not used.
if [[ " $steps " == *" kernels "* ]] && python3 -m json.tool "$out/kernels.json.part" >/dev/null 2>&1; then
  mv "$out/kernels.json.part" "$out/kernels.json"
fi
step end_to_end python3 "$root/bench/end_to_end.py" --build "$build" --weights "$weights" --out "$out/end_to_end.json" \
  --load-before "$load" "${quick[@]}"
step peers python3 "$root/bench/peers/side_by_side.py" --build "$build" --weights "$weights" --out "$out/peers.json" \
  --load-before "$load" "${quick[@]}"
step report "${PYTHON_REPORT:-python3}" "$root/bench/report.py" "$out" --results "$out/report" --command "$command"
[[ " $steps " != *" report "* ]] || find "$out/report" -maxdepth 1 -name '*.md'
exit "$failed"

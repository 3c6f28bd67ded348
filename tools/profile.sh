#!/usr/bin/env bash
# Profiles a few iterations of a render with Nsight Systems or Nsight Compute.
#
#   tools/profile.sh nsys|ncu [ARGUMENT OF filterscope render...]
#
# nsys  a timeline of iterations 11 to 15: gaps, order and length of kernels, copies that overlap with the ascent
# ncu   hardware counters of every kernel of iteration 11
#
# Only those iterations are captured, each operation under its layer's name and its own, such as "block3_conv1 dgrad"
# (NVTX ranges: batch, iteration, forward or backward or step, layer, operation). Without arguments, 64 filters of every
# layer with synthetic weights. Environment:
#   FILTERSCOPE   the program (default: build/release/filterscope)
#   OUT           the report, without its extension (default: filterscope-nsys, filterscope-ncu)
#   PROFILE       FIRST:COUNT, the iterations to capture
#   NCU_FLAGS     more flags for ncu, such as "--kernel-name regex:implicit_gemm" or "--clock-control none"
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
filterscope=${FILTERSCOPE:-$root/build/release/filterscope}

tool=${1-}
case $tool in
  nsys | ncu) shift ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
command -v "$tool" >/dev/null || {
  echo "profile.sh: $tool is not in PATH; it comes with the CUDA Toolkit or from developer.nvidia.com/nsight-$([[ $tool == nsys ]] && echo systems || echo compute)" >&2
  exit 2
}
[[ -x $filterscope ]] || {
  echo "profile.sh: no program at $filterscope; build it (cmake --preset release && cmake --build --preset release) or set FILTERSCOPE" >&2
  exit 2
}
out=${OUT:-filterscope-$tool}
[[ $# -gt 0 ]] || set -- --weights synthetic '*:0-63'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# No more iterations than the capture needs.
profile=${PROFILE:-$([[ $tool == nsys ]] && echo 11:5 || echo 11:1)}
iterations=$((${profile%:*} + ${profile#*:}))
render=("$filterscope" render --device cuda --iterations "$iterations" --out "$scratch" "$@" --profile "$profile")

if [[ $tool == nsys ]]; then
  nsys profile --trace=cuda,nvtx,cudnn --capture-range=cudaProfilerApi --capture-range-end=stop --force-overwrite=true \
    --output "$out" "${render[@]}"
  echo "Open $out.nsys-rep in Nsight Systems, or: nsys stats --report nvtx_gpu_proj_sum,cuda_gpu_kern_sum $out.nsys-rep"
else
  # shellcheck disable=SC2086
  ncu --profile-from-start off --target-processes all --nvtx --print-nvtx-rename kernel --set full --import-source yes \
    --force-overwrite ${NCU_FLAGS-} --export "$out" "${render[@]}"
  echo "Open $out.ncu-rep in Nsight Compute, or: ncu --import $out.ncu-rep --print-summary per-kernel"
fi

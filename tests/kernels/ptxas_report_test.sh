#!/usr/bin/env bash
# Compiles every kernel and prints ptxas's report; fails where a kernel spills registers or uses a stack, and where its wgmma
# products are serialised.
#
#   ptxas_report_test.sh NVCC
#
# Shared memory counts what the kernel declares; a launch may add more. Exits with 77 (skipped) without NVCC.
set -euo pipefail

readonly architectures=(80 89 90a)  # Those of the flags below.
nvcc=${1-}
if [[ ! -x $nvcc ]]; then
  echo "skipped: no nvcc"
  exit 77
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# One report per source, with all architectures. No kernel needs features beyond sm_80 on sm_89: they share their PTX.
flags=(-std=c++20 --expt-relaxed-constexpr -I "$root" -fatbin -Xptxas -v
       -gencode "arch=compute_80,code=[sm_80,sm_89]" -gencode arch=compute_90a,code=sm_90a)
compile() {
  local source=$1 report=$2/$(basename "$1").report
  shift 2
  "$@" "$source" -o "$report.fatbin" >"$report" 2>&1 || { cat "$report"; return 1; }
}
export -f compile
printf '%s\0' "$root"/kernels/*/*.cu |
  xargs -0 -P "$(nproc)" -I {} bash -c 'compile "$@"' compile {} "$folder" "$nvcc" "${flags[@]}"

if grep -h 'wgmma.*serialized' "$folder"/*.report; then exit 1; fi

# Columns: kernel, architecture, registers, shared, stack, spill stores, spill loads.
for report in "$folder"/*.report; do
  c++filt <"$report" | awk -v OFS='\t' '
    function number_before(unit) { return match($0, "[0-9]+ (bytes )?" unit) ? substr($0, RSTART) + 0 : 0 }
    # Removes namespaces, return type and parameters.
    function short(name,    i, c, depth) {
      gsub(/\(anonymous namespace\)::|<unnamed>::|filterscope::kernels::/, "", name)
      sub(/^void /, "", name)
      gsub(/__half/, "Half", name); gsub(/__nv_bfloat16/, "Bfloat16", name); gsub(/> >/, ">>", name)
      for (i = 1; i <= length(name); ++i) {
        c = substr(name, i, 1)
        if (c == "<") ++depth
        if (c == ">") --depth
        if (c == "(" && depth == 0) return substr(name, 1, i - 1)
      }
      return name
    }
    /Compiling entry function/ {
      split($0, quoted, "\047")
      kernel = short(quoted[2]); architecture = quoted[4]
      stack = stores = loads = 0
    }
    /bytes stack frame/ {
      stack += number_before("stack"); stores += number_before("spill stores"); loads += number_before("spill loads")
    }
    / Used [0-9]+ registers/ {
      print kernel, architecture, number_before("registers"), number_before("smem"), stack, stores, loads
    }'
done >"$folder/table"

if [[ ! -s $folder/table ]]; then
  echo "ptxas reported no kernel"
  exit 1
fi
sort -t $'\t' -k 1,1 -k 2,2 "$folder/table" | awk -F '\t' -v architectures="${architectures[*]/#/sm_}" '
  # Prints the previous kernel: registers for each architecture, the maximum of the rest.
  function print_row(    i) {
    if (kernel == "") return
    printf "%-66s", kernel
    for (i = 1; i <= count; ++i) printf " %6s", registers[names[i]]
    printf " %7d %6d %13d %12d\n", worst[4], worst[5], worst[6], worst[7]
    split("", registers); split("", worst)
  }
  BEGIN {
    count = split(architectures, names, " ")
    printf "%-66s", "kernel                                                 registers on"
    for (i = 1; i <= count; ++i) printf " %6s", names[i]
    printf " %7s %6s %13s %12s\n", "shared", "stack", "spill stores", "spill loads"
  }
  $1 != kernel { print_row(); kernel = $1 }
  {
    registers[$2] = $3
    for (i = 4; i <= 7; ++i) if ($i > worst[i]) worst[i] = $i
    if ($5 + $6 + $7 > 0) ++bad
  }
  END {
    print_row()
    if (bad) { print "\n" bad " of " NR " spill registers or use a stack"; exit 1 }
  }'

#!/usr/bin/env bash
# From a clone to pictures: installs missing packages, builds filterscope, downloads the weights and renders filters.
#
#   tools/quickstart.sh [OPTION OF filterscope render, except --out...]
#
# On a GPU, it renders every filter; on a CPU, eight filters of each layer, with fewer iterations. FILTERSCOPE_WEIGHTS (a file,
# or synthetic) replaces the download. The pictures go to the folder FILTERSCOPE_OUT, by default filterscope-out in the clone,
# or filterscope-out-synthetic if the weights cannot be downloaded.
set -euo pipefail

case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

for argument; do
  [[ $argument != --out && $argument != --out=* ]] || { echo "quickstart.sh: --out: set FILTERSCOPE_OUT to the folder instead" >&2; exit 2; }
done

# About three minutes on two cores with AVX-512.
cpu_iterations=150

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
start=$PWD
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$start/$1" ;; esac; }
say() { printf '\n== %s\n' "$*"; }

out=$root/filterscope-out
[[ -z ${FILTERSCOPE_OUT-} ]] || out=$(absolute "$FILTERSCOPE_OUT")
case ${FILTERSCOPE_WEIGHTS-} in
  '' | synthetic | synthetic:*) ;;
  *) FILTERSCOPE_WEIGHTS=$(absolute "$FILTERSCOPE_WEIGHTS"); export FILTERSCOPE_WEIGHTS ;;
esac
cd "$root"

say "Installing missing packages"
bash tools/setup.sh

say "Building"
cmake --preset release
cmake --build --preset release --target filterscope_cli
filterscope=$root/build/release/filterscope

weights=()
if [[ -n ${FILTERSCOPE_WEIGHTS-} ]]; then
  say "Weights: \$FILTERSCOPE_WEIGHTS, $FILTERSCOPE_WEIGHTS"
else
  say "Downloading the weights"
  if ! bash weights/fetch.sh; then
    weights=(--weights synthetic)
    [[ -n ${FILTERSCOPE_OUT-} ]] || out=$root/filterscope-out-synthetic  # Leaves the other folder to real weights.
    say "THE WEIGHTS COULD NOT BE DOWNLOADED. Continuing with synthetic ones (--weights synthetic), which were never trained: the
   pictures below show that the program works, not what VGG16 looks for. Once the file is in place, run this again."
  fi
fi

# The layers that can be rendered: from the first one up to a layer whose weights are missing.
layers=$("$filterscope" list "${weights[@]}" |
  awk '/^block[0-9]+_conv/ { if ($NF != "yes") exit; print $1 }')
[[ -n $layers ]] || { "$filterscope" list "${weights[@]}"; exit 3; }

count=$(wc -w <<<"$layers")
if "$filterscope" info "${weights[@]}" | grep -q -e '--device auto .*cuda'; then
  say "Rendering every filter of $count layer$([[ $count -eq 1 ]] || echo s) on the GPU"
  mapfile -t selectors <<<"$layers"
  options=()
else
  options=()
  length="the given number of iterations"
  if [[ " $* " != *" --iterations"* ]]; then
    options=(--iterations "$cpu_iterations")
    length="$cpu_iterations iterations instead of 500"
  fi
  say "Rendering 8 filters of each of $count layer$([[ $count -eq 1 ]] || echo s) on the CPU, with $length"
  mapfile -t selectors <<<"$layers"
  selectors=("${selectors[@]/%/:0-7}")
fi
"$filterscope" render "${selectors[@]}" "${weights[@]}" "${options[@]}" --out "$out" "$@"

say "The pictures are in $out
   To browse them, open $out/index.html
   One sheet for each layer:"
find "$out" -name sheet.png | sort
[[ ${#weights[@]} -eq 0 ]] || say "They were made with synthetic weights; see above."

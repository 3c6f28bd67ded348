#!/usr/bin/env bash
# From a clone to pictures: installs what is missing, builds filterscope, gets the weights and renders a sampler.
#
#   tools/quickstart.sh [OPTION OF filterscope render, but for --out...]
#
# On a GPU every filter is rendered; on a CPU eight filters of each layer, with fewer iterations.
# FILTERSCOPE_WEIGHTS (a file, or synthetic) is used in place of the download. FILTERSCOPE_OUT (a folder) is where the pictures go;
# without it filterscope-out in the clone, or filterscope-out-synthetic where the weights cannot be had.
set -euo pipefail

case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

for argument; do
  [[ $argument != --out && $argument != --out=* ]] || { echo "quickstart.sh: --out: give the folder as FILTERSCOPE_OUT" >&2; exit 2; }
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

say "Installing what is missing"
bash tools/setup.sh

say "Building"
cmake --preset release
cmake --build --preset release --target filterscope_cli
filterscope=$root/build/release/filterscope

weights=()
if [[ -n ${FILTERSCOPE_WEIGHTS-} ]]; then
  say "Weights: \$FILTERSCOPE_WEIGHTS, $FILTERSCOPE_WEIGHTS"
else
  say "Getting the weights"
  if ! bash weights/fetch.sh; then
    weights=(--weights synthetic)
    [[ -n ${FILTERSCOPE_OUT-} ]] || out=$root/filterscope-out-synthetic  # The other one stays free for the real ones.
    say "THE WEIGHTS COULD NOT BE HAD. Going on with made-up ones (--weights synthetic): the pictures below show that the
   program works, not what VGG16 looks for. Once the file is in place, run this again."
  fi
fi

# Layers that can be rendered: those from the first on whose weights are there.
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
  length="the iterations asked for"
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
   To look through them, open $out/index.html
   One sheet for each layer:"
find "$out" -name sheet.png | sort
[[ ${#weights[@]} -eq 0 ]] || say "They were made from made-up weights; see above."

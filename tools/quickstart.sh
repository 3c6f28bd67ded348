#!/usr/bin/env bash
# From a clone to pictures: installs missing packages, builds filterscope, downloads the weights and renders filters.
#
#   tools/quickstart.sh [OPTION OF filterscope render, except --out and --recipe...]
#
# It renders with two recipes, seed and clear, and writes a page that compares them: on a GPU every filter; on a CPU, eight
# filters of each layer, with fewer iterations. FILTERSCOPE_WEIGHTS (a file, or synthetic) replaces the download. The pictures go
# to the folder FILTERSCOPE_OUT, by default filterscope-quickstart in the clone, or filterscope-quickstart-synthetic if the
# weights cannot be downloaded: one folder in it for each recipe.
set -euo pipefail

case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

for argument; do
  [[ $argument != --recipe && $argument != --recipe=* ]] ||
    { echo "quickstart.sh: --recipe: this script compares the recipes seed and clear; use filterscope render for others" >&2; exit 2; }
  [[ $argument != --out && $argument != --out=* ]] || { echo "quickstart.sh: --out: set FILTERSCOPE_OUT to the folder instead" >&2; exit 2; }
done

recipes=(seed clear)
# Three to four minutes each on two cores with AVX-512.
declare -A cpu_iterations=([seed]=150 [clear]=96)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
start=$PWD
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$start/$1" ;; esac; }
say() { printf '\n== %s\n' "$*"; }

out=$root/filterscope-quickstart
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
    [[ -n ${FILTERSCOPE_OUT-} ]] || out=$root/filterscope-quickstart-synthetic  # Leaves the other folder to real weights.
    say "THE WEIGHTS COULD NOT BE DOWNLOADED. Continuing with synthetic ones (--weights synthetic), which were never trained: the
   pictures below show that the program works, not what VGG16 looks for. Once the file is in place, run this again."
  fi
fi

# The layers that can be rendered: from the first one up to a layer whose weights are missing.
layers=$("$filterscope" list "${weights[@]}" |
  awk '/^block[0-9]+_conv/ { if ($NF != "yes") exit; print $1 }')
[[ -n $layers ]] || { "$filterscope" list "${weights[@]}"; exit 3; }

count=$(wc -w <<<"$layers")
mapfile -t selectors <<<"$layers"
on_cpu=
if "$filterscope" info "${weights[@]}" | grep -q -e '--device auto .*cuda'; then
  what="every filter of $count layer$([[ $count -eq 1 ]] || echo s) on the GPU"
else
  on_cpu=1
  what="8 filters of each of $count layer$([[ $count -eq 1 ]] || echo s) on the CPU"
  selectors=("${selectors[@]/%/:0-7}")
fi
for recipe in "${recipes[@]}"; do
  options=()
  length=
  if [[ -n $on_cpu && " $* " != *" --iterations"* ]]; then
    options=(--iterations "${cpu_iterations[$recipe]}")
    length=", with ${cpu_iterations[$recipe]} iterations to be quick"
  fi
  say "Rendering $what with the recipe $recipe$length"
  "$filterscope" render "${selectors[@]}" "${weights[@]}" --recipe "$recipe" "${options[@]}" --out "$out/$recipe" "$@"
done
"$filterscope" gallery "${recipes[@]/#/$out/}" --out "$out" --quiet

say "The pictures are in $out
   To compare the recipes, open $out/index.html
   One sheet for each recipe and layer:"
find "$out" -name sheet.png | sort
[[ ${#weights[@]} -eq 0 ]] || say "They were made with synthetic weights; see above."

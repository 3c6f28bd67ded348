#!/usr/bin/env bash
# Builds filterscope and runs all its tests.
#
#   tools/test.sh [--asan | --debug] [ARGUMENT OF CTEST...]
#
# --asan   with the address and undefined-behaviour sanitizers
# --debug  without optimisation
# For example: tools/test.sh -R weights
set -euo pipefail

preset=release
case ${1-} in
  --asan) preset=asan; shift ;;
  --debug) preset=debug; shift ;;
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
bash tools/setup.sh
cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" -j "$(nproc)" "$@"

#!/usr/bin/env bash
# Checks the form of the sources, without building them: no tabs or carriage returns, includes that point one way
# (tests/project/includes_test.py), headers that compile by themselves, and the format of .clang-format.
#
#   tools/check_style.sh [BUILD_FOLDER]
#
# BUILD_FOLDER (default: build/release) is where CMake made version.h and found the libraries; without it, headers that
# include those are left out. The format is only checked by clang-format 14, Debian 12's, since it depends on the release.
set -uo pipefail

case ${1-} in
  -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
build=${1:-build/release}
readonly clang_format_release=14
status=0
fail() {
  echo "$*"
  status=1
}

mapfile -t files < <(find CMakeLists.txt CMakePresets.json cmake host kernels bench tests tools weights docs ./*.md -type f \
  -regextype posix-extended -regex '.*\.(h|cpp|cu|inc|in|txt|json|cmake|sh|py|js|css|html|md)' -not -path 'bench/results/*')
if found=$(grep -lP '\t|\r' "${files[@]}"); then fail "Tabs or carriage returns in: $found"; fi

python3 tests/project/includes_test.py . || status=1

# Headers of the CUDA side are compiled as the emulation builds them, except those that need the toolkit.
mapfile -t headers < <(find host kernels -name '*.h' -not -path 'host/cuda/cudnn/*' -not -name nvtx.h -not -name check.h)
if [[ -e $build/compile_commands.json ]]; then
  libraries=$(grep -oh -- '-isystem [^ ]*' "$build/compile_commands.json" | sort -u | tr '\n' ' ')
else
  mapfile -t headers < <(printf '%s\n' "${headers[@]}" | grep -v weights/keras/ | xargs grep -L '"version.h"')
fi
export libraries=${libraries-}
compile_header() {
  local output
  # shellcheck disable=SC2086
  output=$(c++ $libraries -std=c++20 -fsyntax-only -Wall -x c++ -include "$2" -I . -I "$1/host" -I tests/support -I tests/support/emulation \
    -DFILTERSCOPE_EMULATED /dev/null 2>&1) && return
  echo "$2 does not compile by itself:"
  head -5 <<<"$output"
  return 1
}
export -f compile_header
printf '%s\0' "${headers[@]}" | xargs -0 -P "$(nproc)" -I {} bash -c 'compile_header "$@"' _ "$build" {} || status=1

release=$(clang-format --version 2>/dev/null | sed -nE 's/.*version ([0-9]+)\..*/\1/p')
if [[ $release == "$clang_format_release" ]]; then
  find host kernels bench tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' | xargs clang-format --dry-run -Werror || status=1
else
  echo "The format is not checked: expected clang-format $clang_format_release, found ${release:-none}."
fi
exit $status

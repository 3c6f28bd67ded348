# shellcheck shell=bash
# Functions shared by the scripts of this folder, which define fail and root.

# take_out OUT...: sets out to the absolute path.
# shellcheck disable=SC2034
take_out() {
  [[ -n ${1-} && $1 != -* ]] || fail "expected the folder of the results, found \"${1-}\"; see --help"
  case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
}

# take_render_options ARGUMENT...: refuses options that the scripts give to render themselves; sets merge_options.
# shellcheck disable=SC2034
take_render_options() {
  local argument
  merge_options=()
  for argument in "$@"; do
    case $argument in
      --out | --out=* | --shard | --shard=*) fail "$argument: the script gives this option itself; leave it out" ;;
      # The merged results of earlier runs are as outdated as their shares.
      --force) merge_options=(--force) ;;
    esac
  done
}

# Sets filterscope to the absolute path of the program.
find_program() {
  filterscope=${FILTERSCOPE:-$root/build/release/filterscope}
  [[ -n ${FILTERSCOPE-} || -x $filterscope ]] || filterscope=filterscope
  filterscope=$(command -v "$filterscope") ||
    fail "the program was not found: expected it at $root/build/release/filterscope, in PATH or at \$FILTERSCOPE"
  case $filterscope in /*) ;; *) filterscope=$PWD/$filterscope ;; esac
}

#!/usr/bin/env bash
# Renders with several processes started by mpirun or srun, one share each, then merges the shares.
#
#   tools/cluster/mpi.sh OUT LAUNCHER... -- [SELECTOR...] [OPTION OF filterscope render...]
#
#   tools/cluster/mpi.sh run mpirun -n 4 -- all                                                 # 4 GPUs
#   tools/cluster/mpi.sh run mpirun --hostfile hosts --map-by ppr:1:node --bind-to none -- all  # CPUs
#   tools/cluster/mpi.sh run srun -n 8 --gpus-per-task=1 -- '*:0-31'                            # Slurm
#
# The same command again, with the same number of processes, resumes: finished filters are not rendered again. OUT
# receives the files that one run would have written. OUT, the weights and the program must be visible to every machine.
# The program needs no MPI. Environment:
#   FILTERSCOPE  the program (default: build/release/filterscope of this clone, else the one in PATH)
set -euo pipefail
usage() { sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; }
case ${1-} in
  -h | --help) usage; exit 0 ;;
esac
fail() { printf 'mpi.sh: %s\n' "$*" >&2; exit 2; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tools/cluster/common.sh
source "$root/tools/cluster/common.sh"

take_out "$@"
shift
launcher=()
while [[ $# -gt 0 && $1 != -- ]]; do launcher+=("$1"); shift; done
[[ $# -gt 0 ]] || fail 'expected -- between the launcher and the arguments of filterscope render, found none'
shift
[[ ${#launcher[@]} -gt 0 ]] || fail 'expected a launcher, such as mpirun -n 4, before --, found nothing'
take_render_options "$@"
find_program
command -v "${launcher[0]}" >/dev/null || fail "${launcher[0]} is not in PATH"

status=0
"${launcher[@]}" "$filterscope" render --shard auto --out "$out" "$@" || status=$?
if [[ $status -ne 0 ]]; then
  echo "mpi.sh: not all shares are finished (${launcher[0]} exited with $status): the same command resumes" >&2
  exit "$status"
fi
exec "$filterscope" merge "$out"/shard-*-of-* --out "$out" "${merge_options[@]}"

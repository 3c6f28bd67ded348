#!/usr/bin/env bash
# Renders with several processes, one share each, that mpirun or srun starts; then merges the shares.
#
#   tools/cluster/mpi.sh OUT LAUNCHER... -- [SELECTOR...] [OPTION OF filterscope render...]
#
#   tools/cluster/mpi.sh run mpirun -n 4 -- all                                                 # 4 GPUs
#   tools/cluster/mpi.sh run mpirun --hostfile hosts --map-by ppr:1:node --bind-to none -- all  # CPUs
#   tools/cluster/mpi.sh run srun -n 8 --gpus-per-task=1 -- '*:0-31'                            # Slurm
#
# The same command again, with the same number of processes, goes on: what is finished is not rendered again. OUT
# receives what one run would have left. OUT, the weights and the program must be where every machine sees them.
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
[[ $# -gt 0 ]] || fail 'expected -- between the launcher and what is for filterscope render, found none'
shift
[[ ${#launcher[@]} -gt 0 ]] || fail 'expected what starts the processes, such as mpirun -n 4, before --, found nothing'
take_render_options "$@"
find_program
command -v "${launcher[0]}" >/dev/null || fail "${launcher[0]} is not in PATH"

status=0
"${launcher[@]}" "$filterscope" render --shard auto --out "$out" "$@" || status=$?
if [[ $status -ne 0 ]]; then
  echo "mpi.sh: not all shares are finished (${launcher[0]} ended with $status): the same command goes on" >&2
  exit "$status"
fi
exec "$filterscope" merge "$out"/shard-*-of-* --out "$out" "${merge_options[@]}"

#!/usr/bin/env bash
# Renders on a Slurm cluster: each task of a job array renders a share, and a job after it merges the shares.
#
#   tools/cluster/slurm_array.sh SHARES OUT [OPTION OF sbatch...] -- [SELECTOR...] [OPTION OF filterscope render...]
#
#   tools/cluster/slurm_array.sh 16 run --gres=gpu:1 --time=30 -- all              # 16 shares, each on a GPU
#   tools/cluster/slurm_array.sh 16%4 run --cpus-per-task=32 --mem=8G -- '*:0-31'  # at most 4 at a time, on CPUs
#
# The same command again, with the same number of shares, resumes: finished filters are not rendered again. Use it to
# repeat tasks that failed or ran out of time. Once the last job is done, OUT holds the files that one run would have
# written; the jobs' output is in OUT/slurm. If something is missing, the last job fails and says so there.
# OUT, the weights and the program must be visible to every node. Environment:
#   FILTERSCOPE  the program (default: build/release/filterscope of this clone, else the one in PATH)
set -euo pipefail
usage() { sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; }
case ${1-} in
  -h | --help) usage; exit 0 ;;
esac
fail() { printf 'slurm_array.sh: %s\n' "$*" >&2; exit 2; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tools/cluster/common.sh
source "$root/tools/cluster/common.sh"

[[ ${1-} =~ ^([1-9][0-9]*)(%[1-9][0-9]*)?$ ]] ||
  fail "expected the number of shares first, such as 16 or, at most 4 at a time, 16%4, found \"${1-}\"; see --help"
range=1-$1
shares=${BASH_REMATCH[1]}
shift
take_out "$@"
shift
options=()
while [[ $# -gt 0 && $1 != -- ]]; do options+=("$1"); shift; done
[[ $# -gt 0 ]] || fail 'expected -- between the options of sbatch and those of filterscope render, found none'
shift
take_render_options "$@"
find_program
command -v sbatch >/dev/null || fail "sbatch is not in PATH: Slurm jobs cannot be submitted from this machine"
mkdir -p "$out/slurm"

# Quotes words for any shell, since it is not known which one runs the job.
quoted() {
  local word text=
  for word in "$@"; do text+=" '${word//\'/\'\\\'\'}'"; done
  printf '%s' "${text# }"
}
# submit NAME OPTION...: OPTION... follow the user's options, which can therefore change the name but not these.
submit() { sbatch --parsable --job-name="$1" "${options[@]}" "${@:2}"; }

# With exec, Slurm's signals reach the program, which then writes what is finished.
render=$(submit filterscope --array="$range" --output="${out//%/%%}/slurm/%A_%a.log" \
  --wrap="exec $(quoted "$filterscope" render --shard auto --out "$out" "$@")")
render=${render%%;*} # sbatch may print "ID;CLUSTER".

# However the tasks end, the finished shares are merged, so that they can be looked at.
merge=$(submit filterscope-merge --dependency="afterany:$render" --output="${out//%/%%}/slurm/%j_merge.log" --wrap="
$(quoted "$filterscope" merge) $(quoted "$out")/shard-*-of-$shares --out $(quoted "$out" "${merge_options[@]}") || exit
set -- $(quoted "$out")/shard-*-of-$shares/manifest.json
[ \$# -eq $shares ] && grep -q '\"complete\": true' $(quoted "$out/manifest.json") && exit
echo 'Some filters are missing: submit the same command again' >&2
exit 1")
merge=${merge%%;*}

cat <<END
Job $render renders $shares share$([[ $shares -eq 1 ]] || echo s), job $merge merges them into $out
  squeue -j $render,$merge      # their state
  tail $(quoted "$out/slurm/${render}")_*   # their output
END

#!/usr/bin/env bash
# Renders on a Slurm cluster: a job array of which each task renders a share, and a job after it that merges the shares.
#
#   tools/cluster/slurm_array.sh SHARES OUT [OPTION OF sbatch...] -- [SELECTOR...] [OPTION OF filterscope render...]
#
#   tools/cluster/slurm_array.sh 16 run --gres=gpu:1 --time=30 -- all              # 16 shares, each on a GPU
#   tools/cluster/slurm_array.sh 16%4 run --cpus-per-task=32 --mem=8G -- '*:0-31'  # at most 4 at a time, on CPUs
#
# The same command again, with the same number of shares, goes on: what is finished is not rendered again. That is the way
# to repeat tasks that failed or ran out of time. OUT receives what one run would have left, once the last job is
# done, and the jobs' output in OUT/slurm. The last job fails when something is missing, and says so there.
# OUT, the weights and the program must be where every node sees them. Environment:
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
  fail "expected the number of shares first, such as 16 or, at most 4 at a time, 16%4, found \"${1-}\"; --help tells more"
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
command -v sbatch >/dev/null || fail "sbatch is not in PATH: this is not a machine from which Slurm jobs are submitted"
mkdir -p "$out/slurm"

# For the shell that runs the job, whichever it is.
quoted() {
  local word text=
  for word in "$@"; do text+=" '${word//\'/\'\\\'\'}'"; done
  printf '%s' "${text# }"
}
# submit NAME OPTION...: after the user's options, which therefore change the name but not what is submitted.
submit() { sbatch --parsable --job-name="$1" "${options[@]}" "${@:2}"; }

# exec: so that Slurm's signals reach the program, which then writes down what is finished.
render=$(submit filterscope --array="$range" --output="${out//%/%%}/slurm/%A_%a.log" \
  --wrap="exec $(quoted "$filterscope" render --shard auto --out "$out" "$@")")
render=${render%%;*} # Of "ID;CLUSTER".

# After any end of them: the finished shares can be looked at, whatever became of the others.
merge=$(submit filterscope-merge --dependency="afterany:$render" --output="${out//%/%%}/slurm/%j_merge.log" --wrap="
$(quoted "$filterscope" merge) $(quoted "$out")/shard-*-of-$shares --out $(quoted "$out" "${merge_options[@]}") || exit
set -- $(quoted "$out")/shard-*-of-$shares/manifest.json
[ \$# -eq $shares ] && grep -q '\"complete\": true' $(quoted "$out/manifest.json") && exit
echo 'Not all is there: submit the same command again' >&2
exit 1")
merge=${merge%%;*}

cat <<END
Job $render renders $shares share$([[ $shares -eq 1 ]] || echo s), job $merge merges them into $out
  squeue -j $render,$merge      # where they are
  tail $(quoted "$out/slurm/${render}")_*   # what they say
END

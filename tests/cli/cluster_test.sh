#!/usr/bin/env bash
# The scripts of tools/cluster with fake sbatch, mpirun and srun, which start the program as the real ones would, and lose a
# task if the test asks for it.
# Usage: cluster_test.sh SOURCE_FOLDER PROGRAM
set -uo pipefail

readonly cluster=$1/tools/cluster
FILTERSCOPE=$2
export FILTERSCOPE
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
readonly folder
cd "$folder" || exit 1
mkdir bin

# Runs jobs at once. LOST: the array task that is lost with its node. Writes the exit codes of jobs without tasks to jobs.txt.
cat > bin/sbatch <<'END'
#!/usr/bin/env bash
printf '%s\n' "$@" > "$TEST_FOLDER/sbatch-$(($(wc -l < "$TEST_FOLDER/jobs.txt") + 1)).txt"
for word in "$@"; do
  case $word in
    --array=*) array=${word#*=} ;;
    --output=*) output=${word#*=} output=${output//%%/<percent>} ;;
    --wrap=*) wrap=${word#*=} ;;
  esac
done
job=$((100 + $(wc -l < "$TEST_FOLDER/jobs.txt")))
if [[ -n ${array-} ]]; then
  range=${array%\%*}
  last=${range#*-}
  for ((task = 1; task <= last; ++task)); do
    [[ $task != "${LOST-}" ]] || continue
    log=${output//%A/$job} log=${log//%a/$task}
    SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=$last SLURM_ARRAY_TASK_COUNT=$last \
      SLURM_ARRAY_TASK_STEP=1 SLURM_CPUS_ON_NODE=1 sh -c "$wrap" > "${log//<percent>/%}" 2>&1
  done
  echo array >> "$TEST_FOLDER/jobs.txt"
else
  output=${output//%j/$job}
  sh -c "$wrap" > "${output//<percent>/%}" 2>&1
  echo $? >> "$TEST_FOLDER/jobs.txt"
fi
echo "$job;loopback"
END
# LOST: the rank that is killed.
cat > bin/mpirun <<'END'
#!/usr/bin/env bash
[[ $1 == -n ]] || exit 9
ranks=$2
shift 2
status=0
for ((rank = 0; rank < ranks; ++rank)); do
  [[ $rank != "${LOST-}" ]] || { status=137; continue; }
  OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=$ranks OMPI_COMM_WORLD_LOCAL_RANK=$rank \
    OMPI_COMM_WORLD_LOCAL_SIZE=$ranks "$@" || status=$?
done
exit $status
END
sed -e 's/OMPI_COMM_WORLD_RANK/SLURM_PROCID/' -e 's/OMPI_COMM_WORLD_SIZE/SLURM_STEP_NUM_TASKS/' \
  -e 's/OMPI_COMM_WORLD_LOCAL_RANK/SLURM_LOCALID/' -e 's/OMPI_COMM_WORLD_LOCAL_SIZE/SLURM_STEP_TASKS_PER_NODE/' \
  bin/mpirun > bin/srun
chmod +x bin/*
export PATH=$folder/bin:$PATH TEST_FOLDER=$folder
unset LOST OMP_NUM_THREADS
: > jobs.txt

failures=0
failed() { printf 'FAILED %s\n' "$*"; failures=$((failures + 1)); }
# expect NAME STATUS TEXT COMMAND...: runs the command and checks its status and that its output holds TEXT.
expect() {
  local output status
  output=$("${@:4}" 2>&1)
  status=$?
  if [[ $status != "$2" || $output != *"$3"* ]]; then
    failed "$1: expected status $2 and \"$3\", found status $status and"$'\n'"$output"
  fi
}
# same NAME FOLDER: the folder equals that of one run, but for dates, times and threads.
same() {
  diff -r -q -x manifest.json -x index.html -x slurm -x 'shard-*' whole "$2" > differences || failed "$1: $(cat differences)"
  grep -q '"complete": true' "$2/manifest.json" || failed "$1: not complete"
}

readonly out="it's 100%a run"
readonly render=('block1_conv*:0-4' --weights synthetic --size 32 --iterations 2 --reproducible --raw --device cpu)
"$FILTERSCOPE" render "${render[@]}" --out whole --quiet || failed "one run"

# --- slurm_array.sh ---
slurm=$cluster/slurm_array.sh
expect "help" 0 "SHARES OUT" "$slurm" --help
expect "no shares" 2 'found ""' "$slurm"
expect "not a number of shares" 2 'found "0"' "$slurm" 0 "$out" -- all
expect "no folder" 2 "folder of the results" "$slurm" 3 -- all
expect "no --" 2 "expected --" "$slurm" 3 "$out" all
expect "--out is the script's" 2 "--out=x" "$slurm" 3 "$out" -- all --out=x
expect "--shard is the script's" 2 "--shard" "$slurm" 3 "$out" -- all --shard 1/2
expect "no program" 2 "not found" env FILTERSCOPE="$folder/nowhere" "$slurm" 3 "$out" -- all
[[ ! -e $out && ! -s jobs.txt ]] || failed "a refused command leaves a folder or a job"

LOST=2 expect "a lost task" 0 "Job 100 renders 3 shares" "$slurm" 3%2 "$out" --mem=1G --job-name=mine -- "${render[@]}"
[[ $(cat jobs.txt) == $'array\n1' ]] || failed "the last job fails since a share is missing: $(cat jobs.txt)"
grep -qs "submit the same command again" "$out"/slurm/101_merge.log || failed "and says so: $(cat "$out"/slurm/101_merge.log)"
[[ -e $out/index.html ]] || failed "the page shows what is there"
grep -qx -e '--array=1-3%2' sbatch-1.txt || failed "the array: $(cat sbatch-1.txt)"
grep -qx -e '--dependency=afterany:100' sbatch-2.txt || failed "the dependency: $(cat sbatch-2.txt)"
for job in 1 2; do
  grep -qx -e '--mem=1G' sbatch-$job.txt || failed "the user's options: $(cat sbatch-$job.txt)"
  [[ $(grep -e --job-name sbatch-$job.txt | tail -n 1) == --job-name=mine ]] || failed "the user's name"
done
grep -q "1 thread$" "$out"/slurm/100_1.log || failed "threads as Slurm allots: $(cat "$out"/slurm/100_1.log)"
expect "the same command again" 0 "Job 102" "$slurm" 3%2 "$out" -- "${render[@]}"
[[ $(tail -n 1 jobs.txt) == 0 ]] || failed "the last job: $(cat "$out"/slurm/103_merge.log)"
grep -q "Nothing to do" "$out"/slurm/102_3.log || failed "what is finished is not rendered again"
same "Slurm" "$out"
expect "--force" 0 "Job 104" "$slurm" 3 "$out" -- "${render[@]}" --seed 7 --force
[[ $(tail -n 1 jobs.txt) == 0 ]] || failed "--force goes to merge, too: $(cat "$out"/slurm/105_merge.log)"
mkdir few
ln -s "$(command -v bash)" "$(command -v dirname)" few
expect "no sbatch" 2 "sbatch is not in PATH" env PATH="$folder/few" "$slurm" 3 "$out" -- all

# --- mpi.sh ---
mpi=$cluster/mpi.sh
expect "help" 0 "OUT LAUNCHER" "$mpi" --help
expect "no folder" 2 "folder of the results" "$mpi"
expect "no launcher" 2 "mpirun -n 4" "$mpi" ranks -- all
expect "no --" 2 "expected --" "$mpi" ranks mpirun -n 3
expect "a missing launcher" 2 "nowhere is not in PATH" "$mpi" ranks nowhere -n 3 -- all
expect "--shard is the script's" 2 "--shard=1/2" "$mpi" ranks mpirun -n 3 -- all --shard=1/2
for launcher in mpirun srun; do
  LOST=1 expect "$launcher: a lost rank" 137 "the same command resumes" "$mpi" "$launcher run" $launcher -n 3 -- "${render[@]}"
  [[ ! -e $launcher\ run/manifest.json ]] || failed "$launcher: merged although a share is missing"
  expect "$launcher: the same command again" 0 "10 filters of 3 folders" "$mpi" "$launcher run" $launcher -n 3 -- "${render[@]}"
  same "$launcher" "$launcher run"
done

if command -v shellcheck > /dev/null; then
  (cd "$1" && shellcheck -x tools/cluster/*.sh tests/cli/cluster_*.sh) || failed "shellcheck"
else
  echo "skipped: shellcheck is not installed"
fi

[[ $failures == 0 ]] && echo "all passed"
exit $((failures != 0))

#!/usr/bin/env bash
# The scripts of tools/cluster with the real launchers on this machine: mpirun, and Slurm on one node, with its daemons started
# here on unused ports. The merged shares must equal one run, byte for byte. Skipped (exit code 77) if neither is installed;
# Debian's and Ubuntu's packages are openmpi-bin and slurm-wlm. Slurm's daemons need root.
# Usage: cluster_launch_test.sh SOURCE_FOLDER PROGRAM
set -uo pipefail

readonly cluster=$1/tools/cluster
FILTERSCOPE=$2
export FILTERSCOPE
unset OMP_NUM_THREADS
# Not in /dev/shm or a private /tmp, since Slurm's jobs read it, too.
folder=$(mktemp -d)
readonly folder
daemons=()
cleanup() {
  [[ ${#daemons[@]} == 0 ]] || { kill "${daemons[@]}"; wait "${daemons[@]}"; } 2> /dev/null
  rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder" || exit 1

failures=0
tried=0
failed() { printf 'FAILED %s\n' "$*"; failures=$((failures + 1)); }
# run COMMAND...: shows the command and its output.
run() { printf '\n$ %s\n' "$*"; "$@" 2>&1; }
# same NAME FOLDER: the folder equals that of one run, but for dates, times and threads.
same() {
  if diff -r -q -x manifest.json -x index.html -x slurm -x 'shard-*' whole "$2" > differences &&
    grep -q '"complete": true' "$2/manifest.json"; then
    printf '%s: %d files are those of one run, byte for byte\n' "$1" "$(find whole -name '*.png' -o -name '*.npy' | wc -l)"
  else
    failed "$1: $(cat differences)"
  fi
}

readonly render=('*_conv1:0-5' --weights synthetic --size 32 --iterations 3 --reproducible --raw --device cpu)
run "$FILTERSCOPE" render "${render[@]}" --out whole || failed "one run"

# --- mpirun ---
if mpirun --version 2> /dev/null | grep -q 'Open MPI'; then
  tried=$((tried + 1))
  run mpirun --version | head -n 3
  # Otherwise, mpirun refuses root and machines with fewer cores than ranks.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  run "$cluster/mpi.sh" mpi mpirun -n 3 --oversubscribe -- "${render[@]}" || failed "mpirun"
  same mpirun mpi
  run "$cluster/mpi.sh" mpi mpirun -n 3 --oversubscribe -- "${render[@]}" > again.log || failed "mpirun again"
  cat again.log
  [[ $(grep -c "Nothing to do" again.log) == 3 ]] || failed "mpirun: what is finished is not rendered again"
else
  echo "skipped: Open MPI's mpirun is not installed"
fi

# --- Slurm ---
# until_true SECONDS COMMAND...
until_true() {
  local end=$((SECONDS + $1))
  until "${@:2}" > /dev/null 2>&1; do
    [[ $SECONDS -lt $end ]] || return 1
    sleep 0.2
  done
}
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)) && (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done
  echo "$port"
}
start_slurm() {
  local host
  host=$(hostname -s)
  mkdir -m 700 munge && mkdir spool state
  dd if=/dev/urandom of=munge/key bs=1024 count=1 2> /dev/null
  chmod 400 munge/key
  cat > slurm.conf <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$folder/munge.socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmdSpoolDir=$folder/spool
StateSaveLocation=$folder/state
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF=$folder/slurm.conf
  chmod 755 "$folder"
  munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
    --seed-file="$folder/munge/seed" --log-file="$folder/munge/log" > munged.log 2>&1 &
  daemons+=($!)
  until_true 10 test -S munge.socket || return
  slurmctld -D > slurmctld.log 2>&1 &
  daemons+=($!)
  slurmd -D -N "$host" > slurmd.log 2>&1 &
  daemons+=($!)
  until_true 30 sh -c 'sinfo --noheader --format=%T | grep -qx idle'
}
have() {
  local name
  for name in "$@"; do command -v "$name" > /dev/null || return; done
}
if have sbatch srun slurmctld slurmd munged && [[ $(id -u) == 0 ]]; then
  tried=$((tried + 1))
  if start_slurm; then
    run sinfo --version
    run sinfo
    run "$cluster/slurm_array.sh" 3 "it's slurm" --cpus-per-task=1 -- "${render[@]}" || failed "slurm_array.sh"
    # shellcheck disable=SC2016
    until_true 60 sh -c '[ -z "$(squeue --noheader)" ]' || failed "the jobs do not end"
    run squeue
    for log in "it's slurm"/slurm/*; do printf '\n==> %s\n' "$log"; cat "$log"; done
    same "job array" "it's slurm"
    run "$cluster/mpi.sh" srun srun -n 3 -- "${render[@]}" || failed "srun"
    same srun srun
  else
    failed "Slurm does not start: $(tail -n 5 munged.log slurmctld.log slurmd.log)"
  fi
else
  echo "skipped: slurm-wlm is not installed, or this is not root"
fi

[[ $failures == 0 ]] || exit 1
[[ $tried != 0 ]] || exit 77
echo "all passed"

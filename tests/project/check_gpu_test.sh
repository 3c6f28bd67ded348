#!/usr/bin/env bash
# Runs tools/check_gpu.sh with fakes of the programs that it runs, of nvidia-smi and of compute-sanitizer. Checks which steps
# run, how their results are reported, and that no process is left.
# Usage: check_gpu_test.sh SOURCE_FOLDER
set -uo pipefail

readonly script=$1/tools/check_gpu.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
readonly folder
cd "$folder" || exit 1
command -v python3 >/dev/null || { echo "skipped: the script needs python3"; exit 77; }
mkdir -p bin build/{tests/{kernels,cuda},bench}

# BREAKS, HANGS, DIES: the program that fails, that ignores SIGTERM, or whose step is killed.
cat > program <<'END'
#!/usr/bin/env bash
name=$(basename "$0")
echo "$name $*" >> "$CALLS"
[[ $1 != info ]] || printf '%s\n' "${INFO-}"
for word in "$@"; do
  [[ $word != --gtest_output=json:* ]] || cat > "${word#*json:}" <<JSON
{"tests": 2, "failures": 0, "disabled": 0, "errors": 0, "time": "1s",
 "testsuites": [{"testsuite": [{"result": "COMPLETED"}, {"result": "SKIPPED"}]}]}
JSON
done
[[ $name != "${BREAKS-}" ]] || exit 3
[[ $name != "${DIES-}" ]] || kill -KILL $PPID
[[ $name != "${HANGS-}" ]] || { trap '' TERM; echo $$ >> "$HANGING"; exec sleep 1000; }
sleep 0.2
END
cat > bin/nvidia-smi <<'END'
#!/usr/bin/env bash
case $* in
  *compute_cap*) echo 9.0 ;;
  *nounits*) echo 143771 ;;
  *--loop-ms*) exec sleep 1000 ;;
  *name*) echo "A GPU, 1.2, 143771 MiB" ;;
esac
END
cat > bin/compute-sanitizer <<'END'
#!/usr/bin/env bash
echo "sanitized: $*"
END
chmod +x program bin/*
for name in filterscope tests/kernels/kernels_device_test tests/cuda/{cudnn_convolution_test,cuda_engine_device_test} \
  bench/{fidelity,bench_host_stages,bench_kernels,bench_cudnn_plans}; do
  cp program "build/$name"
done
export CALLS="$folder/calls.txt" HANGING="$folder/hanging.txt" PATH="$folder/bin:$PATH" BUILD="$folder/build"
touch "$HANGING"
without_build="libraries tests sanitizer fidelity render host kernels plans"
# The step "profile" is left out where a real nsys would make one.
command -v nsys >/dev/null || without_build+=" profile"
readonly without_build

failures=0
failed() { # WHAT
  echo "FAILED: $1"
  cat output.txt
  failures=$((failures + 1))
}
expect() { # NAME COMMAND...
  local name=$1
  shift
  "$@" || failed "$name"
}
check() { # EXPECTED_EXIT_CODE [NAME=VALUE...]
  local expected=$1 code
  shift
  env "$@" bash "$script" out > output.txt 2>&1
  code=$?
  [[ $code == "$expected" ]] || failed "exit code $code instead of $expected with: $*"
}
# value PYTHON: evaluates an expression on the results.
value() {
  python3 -c 'import json, sys
results = json.load(open("out/results.json"))
steps = {step["step"]: step["status"] for step in results["steps"]}
print(eval(sys.argv[1]))' "$1"
}
is() { [[ $(value "$1") == "$2" ]]; }

# The number of hanging processes, without zombies.
hanging() {
  local process state count=0
  while read -r process; do
    read -r _ _ state _ 2>/dev/null < "/proc/$process/stat" || continue
    [[ $state == Z ]] || count=$((count + 1))
  done < "$HANGING"
  echo $count
}
none_hang() { [[ $(hanging) == 0 ]]; }

check 0 STEPS="$without_build"
expect "every other step is ok" is '{status for step, status in steps.items() if step != "profile"}' "{'ok'}"
expect "skipped steps are reported" is 'steps.get("profile", "skipped: nsys is not in PATH")' "skipped: nsys is not in PATH"
expect "20 steps, without the profile" is 'len(steps.keys() - {"profile"})' 20
expect "tests are counted over their processes" is 'results["tests"]["tests-cudnn"]["tests"], results["tests"]["tests-cudnn"]["skipped"]' "(16, 8)"

weights_are() { # WEIGHTS: whether all programs that take weights got these, except the sanitized one
  [[ $(grep -v sanitized- "$CALLS" | grep -o -- '--weights [^ ]*' | sort -u) == "--weights $1" && $(value 'results["weights"]') == "${1##*/}" ]]
}
found="  weights/                 weights: nothing found
  ~/.keras/models/         /home/models/vgg16.h5   <- read when weights are needed"
touch here.h5
for setting in "synthetic INFO=" "/home/models/vgg16.h5 INFO=$found" "other.h5 WEIGHTS=other.h5" "synthetic:7 FILTERSCOPE_WEIGHTS=synthetic:7" \
  "$folder/here.h5 WEIGHTS=here.h5"; do
  true > "$CALLS"
  check 0 STEPS="fidelity render host" "${setting#* }"
  expect "weights: ${setting%% *}" weights_are "${setting%% *}"
done

check 1 STEPS="$without_build" BREAKS=cuda_engine_device_test
expect "a failed step is reported" is 'steps["tests-engine"]' "failed (3)"
expect "it stops no other" is 'steps["plans"]' ok

check 1 STEPS="tests fidelity plans" HANGS=kernels_device_test LIMIT=4
expect "a step that hangs is ended" is 'steps["tests-kernels"]' "ended after 4 s"
expect "later steps run" is 'steps["plans"]' ok
expect "no process of it is left" none_hang

check 1 STEPS="plans" HANGS=bench_cudnn_plans LIMIT=1
expect "a step that must be killed is ended" is 'steps["plans"]' "ended after 1 s"

check 1 STEPS="tests fidelity plans" DIES=bench_cudnn_plans
expect "a killed step is reported" is 'steps["plans"].split()[0]' "killed"

check 0 STEPS="tests plans" JOBS=1
expect "with one process at a time, cuDNN's tests run in one" is 'results["tests"]["tests-cudnn"]["processes"]' 1

check 2 STEPS="tests plnas"
expect "an unknown step is named" grep -q '"plnas"' output.txt
# This configuration fails at once.
check 1 CMAKE_FLAGS="-DFILTERSCOPE_FETCH=UNKNOWN" BUILD="$folder/other"
expect "without a build nothing else is run" is 'list(steps)' "['build']"

true > "$HANGING"
STEPS=tests HANGS=kernels_device_test bash "$script" out > output.txt 2>&1 &
running=$!
for ((i = 0; i < 100; ++i)); do
  (($(hanging) < 4)) || break
  sleep 0.1
done
kill -TERM $running
wait $running
expect "exit code 130 after SIGTERM" test $? == 130
sleep 0.2
expect "no process is left" none_hang

((failures == 0)) || { echo "$failures failed"; exit 1; }
echo "all passed"

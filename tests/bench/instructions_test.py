#!/usr/bin/env python3
"""Counts the instructions of a small fixed render with callgrind, and compares them with those stored in instructions.json.
Additional work of the CPU engine is noticed, however busy the machine is.

  instructions_test.py PROGRAM [--store]

Counts the engine's ascend(), on one thread with the portable kernels (FILTERSCOPE_CPU_KERNELS=generic) and with a plan that is
the same everywhere (--reproducible). The count depends on the compiler: if none is stored for it, or without valgrind, the test
is skipped (exit code 77). --store measures and replaces the stored count, to be committed with the change that explains it.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

STORED = pathlib.Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
WORKLOAD = ["render", "block2_conv2:0-1", "--weights", "synthetic", "--size", "32", "--iterations", "3", "--device", "cpu",
            "--threads", "1", "--reproducible", "--quiet"]
COUNTED = "*CpuEngine::ascend(filterscope::BatchGroup*"
SKIPPED = 77


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def compiler_of(program):
    found = re.search(r"^\s*compiler\s+(.+?)\s*$", subprocess.run([program, "info"], capture_output=True, text=True, check=True).stdout,
                      re.MULTILINE)
    return found[1]


def count(program):
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.out", f"--toggle-collect={COUNTED}",
                   program, *WORKLOAD, "--out", f"{folder}/out"]
        environment = {**os.environ, "FILTERSCOPE_CPU_KERNELS": "generic"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"valgrind failed ({done.returncode}):\n{done.stderr}")
    return int(found[1])


def main():
    program = sys.argv[1]
    if shutil.which("valgrind") is None:
        skip("valgrind is not installed")
    compiler = compiler_of(program)
    stored = json.loads(STORED.read_text())
    if "--store" in sys.argv:
        stored[compiler] = count(program)
        STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
        print(f"stored {stored[compiler]} for {compiler}")
        return
    if compiler not in stored:
        skip(f"no count is stored for {compiler}, only for {', '.join(stored)}")
    counted = count(program)
    ratio = counted / stored[compiler]
    print(f"{counted} instructions, {ratio:.4f} of the {stored[compiler]} stored for {compiler}")
    if abs(ratio - 1) > TOLERANCE:
        sys.exit(f"More than {TOLERANCE:.0%} apart. If the change is intended, store the new count: {sys.argv[0]} {program} --store")


if __name__ == "__main__":
    main()

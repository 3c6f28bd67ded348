#!/usr/bin/env python3
"""Checks that dependencies between folders point one way, and fails on an #include that does not.

Usage: includes_test.py SOURCE_FOLDER

A folder may include itself and the folders in its line below; docs/architecture.md describes the folders.
"""
import os
import re
import sys

HOST_BELOW_ENGINES = ["host/base", "host/model", "host/ascent", "host/run"]
STORE = [*HOST_BELOW_ENGINES, "host/output"]
MAY_INCLUDE = {
    "kernels": [],
    "host/base": [],
    "host/model": ["host/base"],
    "host/ascent": ["host/base", "host/model"],
    "host/run": ["host/base", "host/model", "host/ascent"],
    "host/cpu": HOST_BELOW_ENGINES,
    "host/cuda": [*HOST_BELOW_ENGINES, "kernels"],
    "host/devices": [*HOST_BELOW_ENGINES, "host/cpu", "host/cuda"],
    "host/output": ["host/base"],
    "host/store": STORE,
    "host/gallery": [*STORE, "host/store"],
    "host/cli": [*STORE, "host/store", "host/gallery", "host/devices"],
    # The header of the library.
    "host": [*HOST_BELOW_ENGINES, "host/devices"],
    "bench": ["host", "kernels", "tests/support"],
    "tests": ["host", "kernels", "bench"],
}
# The emulated device stands in for CUDA's own headers where the tests build the kernels for the host.
EXCEPTIONS = {("kernels/common/platform.h", "tests/support/emulation/device.h")}
# Plain C++ that host and device share.
SHARED = {"kernels/common/philox.h"}
# Made by CMake.
GENERATED = {"version.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
SOURCE = re.compile(r"\.(h|cpp|cu|inc)$")


def folder_of(path):
    """The folder of the table that a file belongs to: the longest that matches."""
    return max((f for f in MAY_INCLUDE if path.startswith(f + "/")), key=len)


def allowed(path, included):
    folder = folder_of(path)
    if (path, included) in EXCEPTIONS or included in SHARED:
        return True
    # "host" in a row means all of it, but the files directly in host/ may not include all folders there.
    return any(included.startswith(f + "/") and (folder != f or folder_of(included) == f) for f in [folder, *MAY_INCLUDE[folder]])


def sources(root):
    for top in ("kernels", "host", "bench", "tests"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if SOURCE.search(name):
                    yield os.path.relpath(os.path.join(folder, name), root)


def find(root, path, name):
    # Searches as the compiler does: next to the file, then in the include directories.
    for base in (os.path.dirname(path), "", "tests/support", "tests/support/emulation"):
        found = os.path.normpath(os.path.join(base, name))
        if os.path.isfile(os.path.join(root, found)):
            return found
    return None


def main():
    root = sys.argv[1]
    faults = []
    count = 0
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            text = file.read()
        for name in INCLUDE.findall(text):
            count += 1
            found = find(root, path, name)
            if found is None:
                if name not in GENERATED:
                    faults.append(f'{path}: "{name}" does not exist')
                continue
            if not allowed(path, found):
                folder = folder_of(path)
                faults.append(f"{path}: includes {found}; {folder}/ may include {', '.join(MAY_INCLUDE[folder]) or 'nothing else'}")
    print("\n".join(faults) if faults else f"{count} includes point the right way")
    sys.exit(1 if faults or count == 0 else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares two files of measurements, of Google Benchmark (bench_kernels with --benchmark_repetitions) or of
end_to_end.py.

  bench/compare.py before.json after.json [--filter REGEX]

For everything that both files measured, prints the medians of the repetitions with their ranges, and the ratio of the medians,
after to before, so that less than 1 is faster (less, for memory). The ratio's spread comes from the extremes of both. A
difference is marked (faster, slower) only if it exceeds the spread, that is, if the two ranges do not overlap. With only one
measurement on a side, the spread is unknown, and nothing is marked. Needs Python 3.9 and nothing else.
"""
import argparse
import json
import re
import statistics
import sys

import measuring

# Google Benchmark's units, in seconds.
UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


class Measured:
    """Repetitions of one figure; less is better."""

    def __init__(self, values, unit):
        self.values = values
        self.unit = unit

    @property
    def median(self):
        return statistics.median(self.values)

    def __str__(self):
        return f"{measuring.spread_text(self.values, 4)} {self.unit}"


def from_google_benchmark(content):
    """The times of each benchmark's repetitions, by name, without benchmarks that were skipped or failed."""
    seconds = {}
    for row in content["benchmarks"]:
        if row.get("run_type", "iteration") != "iteration" or row.get("error_occurred"):
            continue
        name = row.get("run_name", row["name"])
        seconds.setdefault(name, []).append(row["real_time"] * UNITS[row["time_unit"]])
    return {name: Measured([value * 1e6 for value in values], "us") for name, values in seconds.items()}


def from_end_to_end(content):
    """For workloads, the whole command, its phases and its memory; for series, the cost of a filter's iteration."""
    measured = {}
    for run in content["runs"]:
        of = [repetition for repetition in run["repetitions"]]
        if not of:
            continue
        if run["series"] != "workload":
            measured[run["name"]] = Measured([r["ms_per_filter_iteration"] for r in of], "ms per filter and iteration")
            continue
        measured[run["name"]] = Measured([r["wall"] for r in of], "s")
        for phase in of[0]["phases"]:
            measured[f"{run['name']}/{phase}"] = Measured([r["phases"][phase] for r in of], "s")
        for memory in ("host_bytes", "device_bytes"):
            if all(r[memory] is not None for r in of):
                measured[f"{run['name']}/{memory}"] = Measured([r[memory] / 2**20 for r in of], "MiB")
    return measured


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise measuring.Refusal(f"{path}: {error.strerror}")
    except ValueError:
        raise measuring.Refusal(f"{path}: this is no JSON; expected a file of Google Benchmark or of end_to_end.py")
    if isinstance(content, dict) and "benchmarks" in content:
        return "Google Benchmark", from_google_benchmark(content)
    if isinstance(content, dict) and content.get("tool") == "end_to_end":
        return "end_to_end.py", from_end_to_end(content)
    raise measuring.Refusal(f"{path}: expected a file of Google Benchmark or of end_to_end.py")


class Ratio:
    """The ratio of two Measured, `after` to `before`."""

    def __init__(self, before, after):
        def divide(a, b):
            return a / b if b else (1.0 if a == b else float("inf"))

        self.ratio = divide(after.median, before.median)
        self.low = divide(min(after.values), max(before.values))
        self.high = divide(max(after.values), min(before.values))
        enough = len(before.values) > 1 and len(after.values) > 1
        self.mark = ""
        if not enough:
            self.mark = "measured once"
        elif self.high < 1:
            self.mark = "less" if before.unit == "MiB" else "faster"
        elif self.low > 1:
            self.mark = "more" if before.unit == "MiB" else "slower"

    def __str__(self):
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f})"


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def compare(before, after, pattern=""):
    """The table as text; `before` and `after` map names to Measured."""
    rows = [("name", "before", "after", "ratio", "")]
    names = [name for name in before if name in after and re.search(pattern, name)]
    ratios = [Ratio(before[name], after[name]) for name in names]
    for name, ratio in zip(names, ratios):
        rows.append((name, str(before[name]), str(after[name]), str(ratio), ratio.mark))
    lines = [table(rows)] if names else ["Nothing that both files measured."]
    for only, those, others in (("before", before, after), ("after", after, before)):
        missing = [name for name in those if name not in others and re.search(pattern, name)]
        if missing:
            lines.append(f"Only {only}: {', '.join(missing)}")
    better = sum(ratio.mark in ("faster", "less") for ratio in ratios)
    worse = sum(ratio.mark in ("slower", "more") for ratio in ratios)
    lines.append(f"{len(names)} compared: {better} better, {worse} worse, {len(names) - better - worse} within their spread.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only names that match")
    arguments = parser.parse_args()
    (kind, before), (other_kind, after) = read(arguments.before), read(arguments.after)
    if kind != other_kind:
        raise measuring.Refusal(f"{arguments.before} is of {kind}, {arguments.after} of {other_kind}; expected two of one kind")
    try:
        re.compile(arguments.filter)
    except re.error as error:
        raise measuring.Refusal(f"--filter {arguments.filter}: {error}; expected a regular expression")
    print(compare(before, after, arguments.filter))


if __name__ == "__main__":
    try:
        main()
    except measuring.Refusal as refusal:
        print(f"compare.py: {refusal}", file=sys.stderr)
        sys.exit(2)

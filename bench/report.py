#!/usr/bin/env python3
"""Turns measurements into a report with tables and plots.

  bench/report.py MEASUREMENTS [--name NAME] [--results FOLDER]

MEASUREMENTS is a folder with any of kernels.json (bench_kernels), end_to_end.json and peers.json, as run_all.sh writes it; the
report names files that are missing or not JSON. Writes FOLDER/NAME.md (default: bench/results, named after the device) and its
plots to FOLDER/NAME/. Needs Python 3.9, and Matplotlib for the plots (requirements.txt); without it, there are only tables.
"""
import argparse
import datetime
import json
import pathlib
import re
import sys

import measuring
from measuring import Refusal
from report_command import scaling_section, workload_section
from report_kernels import kernels_of, kernels_section, peak_of
from report_peers import peers_section
from report_text import Plots, table


def read(folder, files):
    """The contents by part, and the missing files."""
    parts, missing = {}, []
    for part, name in files.items():
        path = pathlib.Path(folder) / name
        try:
            parts[part] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            missing.append(name)
        except ValueError:  # Truncated, since the measurement failed.
            missing.append(f"{name} (not JSON)")
    return parts, missing


def utc(date):
    """Converts Google Benchmark's local time."""
    return datetime.datetime.fromisoformat(date).astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")


def machine_section(parts):
    rows = []
    for name, content in parts.items():
        machine = content.get("machine")
        if machine:
            rows.append([name, machine["date"].removesuffix(" UTC"), f"{machine['load']:.2f}", f"{content['load_after']:.2f}"])
    for name, content in parts.items():
        if "context" in content:
            load = content["context"].get("load_avg") or [float("nan")]
            rows.append([name, utc(content["context"]["date"]), f"{load[0]:.2f}", ""])
    machine = next((content["machine"] for content in parts.values() if "machine" in content), None)
    text = []
    if machine:
        text.append(f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
                    f"Python {machine['python']}." + (f" {machine['gpu']['name']}, {machine['gpu']['memory']}, driver {machine['gpu']['driver']}."
                                                      if machine["gpu"] else "") + "\n")
    info = next((content["info"] for content in parts.values() if content.get("info")), None)
    if info:
        text.append("```\n" + "\n".join(info) + "\n```\n")
    text.append("The load is the machine's average over a minute, before anything was measured and after each part; a load near "
                "the number of cores comes from the measurements themselves.\n")
    text.append(table(["measured", "from (UTC)", "load before", "after"], rows, left=2))
    return "\n".join(text)


def device_of(parts):
    """The device that was measured, cpu or cuda; if there are only kernels, cuda if they have such rows."""
    for content in parts.values():
        if "kind" in content:
            return "cpu" if content["kind"] == "cpu" else "cuda"
    return "cuda" if any(row["name"].startswith("cuda/") for row in parts["kernels"]["benchmarks"]) else "cpu"


def device_name(parts, device):
    for content in parts.values():
        if "machine" in content:
            machine = content["machine"]
            if device == "cuda":
                return machine["gpu"]["name"] if machine["gpu"] else "GPU"
            return f"CPU {machine['processor']}, {machine['cores']} cores"
    raise Refusal("expected end_to_end.json or peers.json to name the report after, found neither; give --name")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements")
    parser.add_argument("--name", help="name of the report, without .md")
    parser.add_argument("--results", default=str(measuring.BENCH / "results"), metavar="FOLDER")
    parser.add_argument("--command", help="the command that measured, for the report")
    arguments = parser.parse_args()
    files = {"end_to_end": "end_to_end.json", "peers": "peers.json", "kernels": "kernels.json"}
    parts, missing = read(arguments.measurements, files)
    if not parts:
        raise Refusal(f"{arguments.measurements}: expected at least one of {', '.join(files.values())}; "
                      f"missing: {', '.join(missing)}")
    device = device_of(parts)
    title = arguments.name or device_name(parts, device)
    name = arguments.name or re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    results = pathlib.Path(arguments.results)
    plots = Plots(results / name)
    kernels, failed = kernels_of(parts["kernels"], device) if "kernels" in parts else ([], [])
    peak = peak_of(kernels)

    text = [f"# {title}\n"]
    if arguments.command:
        text.append(f"Measured by `{arguments.command}`; written by bench/report.py.\n")
    text.append(machine_section(parts))
    if any(content.get("quick") for content in parts.values()):
        text.append("**A quick look:** measured with `--quick` or `--tiny`.\n")
    if "peers" in parts:
        text.append(peers_section(parts["peers"], plots))
    if "end_to_end" in parts:
        text.append(workload_section(parts["end_to_end"], peak, plots))
        text.append(scaling_section(parts["end_to_end"], peak, plots))
    if "kernels" in parts:
        text.append(kernels_section(kernels, failed, plots))
    if missing:
        text.append(f"Not measured: {', '.join(missing)}.\n")
    if plots.pyplot is None:
        text.append("Without plots: Matplotlib was not installed.\n")
    results.mkdir(parents=True, exist_ok=True)
    report = results / f"{name}.md"
    report.write_text("\n".join(text))
    print(report)


if __name__ == "__main__":
    try:
        main()
    except Refusal as refusal:
        sys.exit(f"report.py: {refusal}")

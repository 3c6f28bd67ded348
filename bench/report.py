#!/usr/bin/env python3
"""Turns measurements into a report with tables and plots.

  bench/report.py MEASUREMENTS [--name NAME] [--results FOLDER]

MEASUREMENTS is a folder with any of kernels.json (bench_kernels), end_to_end.json and peers.json, as run_all.sh writes it; what
is not there, or no JSON, is named as missing. Writes FOLDER/NAME.md (default: bench/results, named after the device) and its
plots beside it in FOLDER/NAME/. Needs Python 3.9, and for the plots Matplotlib (requirements.txt); without it there are tables
only.
"""
import argparse
import datetime
import json
import pathlib
import re
import sys

import measuring
from measuring import NAMES, PHASES, Refusal, digits, iteration_flops, median, spread_text

OURS, OTHERS = "#2a6f97", ["#bc6c25", "#6a994e", "#8d6b94", "#999999", "#d4a373", "#386641"]
PHASE_NAMES = {"start_up": "start-up", "weights": "weights", "plans": "plans", "ascent": "ascent", "finish": "finish",
               "page": "page"}


def read(folder, files):
    """The contents by part, and why the others are missing."""
    parts, missing = {}, []
    for part, name in files.items():
        path = pathlib.Path(folder) / name
        try:
            parts[part] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            missing.append(name)
        except ValueError:  # Cut off when the measurement failed.
            missing.append(f"{name} (it is no JSON)")
    return parts, missing


def table(header, rows, left=1):
    """Markdown; the first `left` columns are text, the others numbers."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(["---"] * left + ["--:"] * (len(header) - left)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def per_second(count, seconds):
    """0 where it went too fast to be measured."""
    return count / seconds if seconds > 0 else 0


def rate(operations):
    """Of operations a second."""
    return f"{digits(operations / 1e12)} TFLOP/s" if operations >= 1e12 else f"{digits(operations / 1e9)} GFLOP/s"


def percent(share):
    return f"{100 * share:.0f} %"


class Plots:
    """SVG files beside the report; nothing without Matplotlib."""

    def __init__(self, folder):
        self.folder = folder
        try:
            import matplotlib
            matplotlib.use("svg")
            import matplotlib.pyplot as pyplot
        except ImportError:
            self.pyplot = None
            return
        self.pyplot = pyplot
        # The same file for the same figures; text as text.
        pyplot.rcParams.update({"svg.hashsalt": "filterscope", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif",
                                "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e5e5",
                                "axes.axisbelow": True, "figure.facecolor": "white"})

    def save(self, figure, name, caption):
        """Markdown for the figure."""
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.tight_layout()
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        self.pyplot.close(figure)
        return f"\n![{caption}]({self.folder.name}/{name}.svg)\n"


# ---- peers

def loss_difference(row, ours):
    """The largest relative difference between final losses of the same filters; nothing without either's."""
    if not (row and ours and row["final_losses"] and ours["final_losses"]):
        return None
    pairs = list(zip(row["final_losses"], ours["final_losses"]))
    return max(abs(theirs - own) / max(abs(own), 1e-6) for theirs, own in pairs)


def batch_taken(row):
    """What the plans say of it; less than the filters where memory was short."""
    taken = dict.fromkeys(re.findall(r"batch of (\d+)", " ".join(row.get("plans") or [])))
    return f", {' and '.join(taken)}" if taken else ""


def own_row(rows, layer, batch):
    return next((row for row in rows if row["peer"] == "filterscope" and row["layer"] == layer and row["batch"] == batch
                 and row["ms"]), None)


def peers_section(peers, plots):
    rows = [row for row in peers["rows"] if not row["look"]]
    text = ["## Beside its peers\n",
            f"Milliseconds per filter and iteration, {peers['size']} x {peers['size']}, {peers['iterations']} iterations, the same weights "
            f"({peers['weights']}), filters and start images. A process's start and compiling are not counted. Median of "
            f"{max((len(row['ms']) for row in rows), default=0)} rounds in turn (least to most). The ratio is to filterscope: with the "
            "batch that it takes by itself, or one filter at a time beside a peer that does so too. The last column is the largest "
            "relative difference of a final loss from filterscope's.\n"]
    table_rows, bars = [], []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        for row in (row for row in rows if row["layer"] == layer):
            batch = str(row["batch"]) if row["batch"] else f"its own{batch_taken(row)}"
            if row["error"] or not row["ms"]:
                table_rows.append([layer, row["peer"], row["variant"], batch, f"not measured: {row['error']}", "", ""])
                continue
            whole = own_row(rows, layer, 0)
            ratio = median(row["ms"]) / median(whole["ms"]) if whole else None
            one = own_row(rows, layer, 1)
            shown = "1" if row is whole else f"{ratio:.1f}" if ratio else ""
            if row["peer"] != "filterscope" and row["batch"] == 1 and one:
                shown += f" ({median(row['ms']) / median(one['ms']):.1f} to one at a time)"
            difference = None if row["peer"] == "filterscope" else loss_difference(row, whole)
            table_rows.append([layer, row["peer"], row["variant"], batch, spread_text(row["ms"]), shown,
                               "" if difference is None else f"{100 * difference:.2g} %"])
            if row["peer"] != "filterscope" and ratio:
                bars.append((layer, row["peer"], row["variant"], row["batch"], ratio))
    text.append(table(["layer", "program", "variant", "batch", "ms", "ratio", "difference of loss"], table_rows, left=4))
    text.append(targets(rows))
    if plots.pyplot and bars:
        text.append(plot_peers(bars, plots))
    versions = [f"{name} {version}" for peer in peers["versions"].values() for name, version in peer.items()
                if name in ("torch", "tensorflow", "keras", "tf-keras-vis", "cuda", "cudnn")]
    text.append("Versions: " + ", ".join(dict.fromkeys(versions)) + ".\n" if versions else "")
    return "\n".join(text)


def targets(rows):
    """What the program promises of a CPU, and what this run says of it."""
    lines = []
    for layer, peer, batch, least in (("block3_conv3", "PyTorch", 8, 3), ("block5_conv3", "PyTorch", 8, 3),
                                      ("block5_conv3", "notebook", 1, 10)):
        own = own_row(rows, layer, 0)
        those = [row for row in rows if row["peer"] == peer and row["layer"] == layer and row["batch"] == batch and row["ms"]
                 and ("fp32" in row["variant"] or peer == "notebook")]
        if own is None or not those or own["variant"] != "fp32":
            continue
        ratio = min(median(row["ms"]) for row in those) / median(own["ms"])
        lines.append(f"- {layer}, {peer}, batch {batch}, fp32: {ratio:.1f} times; to be at least {least}: "
                     f"{'met' if ratio >= least else '**not met**'}")
    return "\n".join(lines) + "\n" if lines else ""


def plot_peers(bars, plots):
    layers = list(dict.fromkeys(bar[0] for bar in bars))
    best = {}
    for layer, peer, variant, batch, ratio in bars:
        kind = peer if variant == "eager" else f"{peer} {variant.split()[1]}"  # PyTorch's precisions.
        kind += ", one at a time" if batch == 1 and peer != "notebook" else ""
        best[layer, kind] = min(ratio, best.get((layer, kind), ratio))
    kinds = list(dict.fromkeys(kind for _, kind in best))
    figure, axes = plots.pyplot.subplots(figsize=(7, 1 + 0.25 * (len(best) + len(layers))))
    ticks, y, labelled = [], 0, set()
    for layer in layers:
        those = [kind for kind in kinds if (layer, kind) in best]
        ticks.append(y + (len(those) - 1) / 2)
        for kind in those:
            axes.barh(y, best[layer, kind], color=OTHERS[kinds.index(kind) % len(OTHERS)],
                      label=None if kind in labelled else kind)
            axes.text(best[layer, kind], y, f"  {best[layer, kind]:.1f}", va="center")
            labelled.add(kind)
            y += 1
        y += 1
    axes.set_yticks(ticks, layers)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(right=1.1 * max(1, *best.values()))
    axes.axvline(1, color=OURS, linewidth=1.5)
    axes.set_xlabel("times the time of filterscope (line) for a filter's iteration; each peer's best variant")
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, ncol=3, loc="lower center", bbox_to_anchor=(0.45, 1))
    return plots.save(figure, "peers", "Time of the peers, in that of filterscope")


# ---- the whole command

def workload_section(content, peak, plots):
    runs = [run for run in content["runs"] if run["series"] == "workload" and run["repetitions"]]
    text = ["## The whole command\n"]
    for run in runs:
        of = run["repetitions"]
        ascent = median([r["phases"]["ascent"] for r in of])
        wall = [r["wall"] for r in of]
        dead = f" ({run['dead']} of them dead)" if run.get("dead") else ""
        text.append(f"`{run['command']}`: {run['filters']} filters{dead}, {run['flops'] / 1e12:.3g} TFLOP counted directly."
                    + (" Without plans that an earlier run timed.\n" if run["name"].endswith("-cold") else "\n"))
        # Milliseconds are what the manifest has.
        rows = [[PHASE_NAMES[phase], spread_text([r["phases"][phase] for r in of], decimals=3)] for phase in PHASES]
        rows.append(["**the whole command**", spread_text(wall)])
        rows += [[f"{phase}, on other threads meanwhile", spread_text([r["phases"][phase] for r in of], decimals=3)]
                 for phase in ("encode", "write")]
        text.append(table(["phase", "s"], rows))
        text.append(f"- {digits(run['filters'] / median(wall))} filters a second; "
                    f"{rate(per_second(run['flops'], ascent))} while ascending.")
        if peak:
            floor = run["flops"] / peak
            text.append(f"- The convolutions computed directly at the measured peak of {rate(peak)} would take "
                        f"{digits(floor)} s: the ascent takes {digits(ascent / floor)} times that.")
        memory = f"- Memory at its peak: {median([r['host_bytes'] for r in of]) / 2**20:.0f} MiB of the host"
        if all(r["device_bytes"] for r in of):
            memory += f", {median([r['device_bytes'] for r in of]) / 2**20:.0f} MiB of the device"
        text.append(memory + ".\n")
    if plots.pyplot and runs:
        figure, axes = plots.pyplot.subplots(figsize=(7, 0.9 + 0.5 * len(runs)))
        colours = ["#d9d9d9", "#b5c99a", "#e9c46a", OURS, "#bc6c25", "#8d6b94"]
        for row, run in enumerate(runs):
            left = 0
            for phase, colour in zip(PHASES, colours):
                seconds = median([r["phases"][phase] for r in run["repetitions"]])
                axes.barh(row, seconds, left=left, color=colour, label=PHASE_NAMES[phase] if row == 0 else None)
                left += seconds
        axes.set_yticks(range(len(runs)), [run["name"].split("/")[1] for run in runs])
        axes.invert_yaxis()
        axes.set_xlabel("s")
        axes.grid(axis="y", visible=False)
        axes.legend(frameon=False, ncol=len(PHASES), loc="lower center", bbox_to_anchor=(0.5, 1))
        text.append(plots.save(figure, "phases", "Time by phase"))
    return "\n".join(text)


def scaling_section(content, peak, plots):
    runs = [run for run in content["runs"] if run["series"] != "workload" and run["repetitions"]]
    if not runs:
        return ""

    def cost(run):
        return [r["ms_per_filter_iteration"] for r in run["repetitions"]]

    text = ["## How the cost grows\n", "Milliseconds of the ascent per filter and iteration.\n"]
    depth = [run for run in runs if run["series"] == "depth"]
    if depth:
        rows = []
        for run in depth:
            layer = run["name"].split("/")[1]
            flops = iteration_flops(layer, run["size"])
            done = per_second(flops, median(cost(run)) * 1e-3)
            rows.append([layer, digits(flops / 1e9), spread_text(cost(run)), digits(done / 1e9),
                         percent(done / peak) if peak else ""])
        text.append(table(["layer", "GFLOP", "ms", "GFLOP/s", "of the peak"], rows))
        text.append("GFLOP are of one filter's iteration, counted directly. Above 100 % of the measured peak is what fewer "
                    "multiplications than that (Winograd's algorithm) gain.\n")
    for series, header in (("batch", "filters at once"), ("size", "pixels a side"), ("iterations", "iterations")):
        those = [run for run in runs if run["series"] == series]
        labels = list(dict.fromkeys(run["label"] for run in those))
        points = sorted({run["x"] for run in those})
        found = {(run["label"], run["x"]): run for run in those}
        rows = [[str(x), *(spread_text(cost(found[label, x])) if (label, x) in found else "" for label in labels)] for x in points]
        if rows:
            text.append(table([header, *labels], rows, left=0))
    if plots.pyplot:
        figure, grid = plots.pyplot.subplots(2, 2, figsize=(8, 5.6))
        for axes, (series, label) in zip(grid.flat, (("batch", "filters at once"), ("size", "pixels a side"),
                                                     ("iterations", "iterations"), ("depth", ""))):
            those = [run for run in runs if run["series"] == series]
            for number, name in enumerate(dict.fromkeys(run["label"] for run in those)):
                line = [run for run in those if run["label"] == name]
                middle = [median(cost(run)) for run in line]
                below = [m - min(cost(run)) for m, run in zip(middle, line)]
                above = [max(cost(run)) - m for m, run in zip(middle, line)]
                axes.errorbar([run["x"] for run in line], middle, yerr=[below, above], marker="o", markersize=4, capsize=2,
                              color=[OURS, *OTHERS][number], label=name)
            axes.set_ylim(bottom=0)
            axes.set_xlabel(label)
            axes.set_ylabel("ms per filter and iteration")
            if series == "batch":
                axes.set_xscale("log", base=2)
                axes.minorticks_off()
            if series in ("batch", "size"):
                axes.set_xticks(sorted({run["x"] for run in those}), [str(x) for x in sorted({run["x"] for run in those})])
            if series == "depth":
                axes.set_xticks([run["x"] for run in those], [run["name"].split("/")[1] for run in those], rotation=60, ha="right")
            elif those:
                axes.legend(frameon=False)
        text.append(plots.save(figure, "scaling", "Cost by batch, image size, iterations and depth"))
    return "\n".join(text)


# ---- kernels

class Kernel:
    """A row of bench_kernels: device/operation/.../layer/variant... ."""

    def __init__(self, row):
        self.name = re.sub(r"/manual_time$", "", row.get("run_name", row["name"]))
        self.parts = self.name.split("/")
        self.layer = next((part for part in self.parts if part in NAMES), None)
        self.microseconds = [row["real_time"] * {"ns": 1e-3, "us": 1, "ms": 1e3, "s": 1e6}[row["time_unit"]]]
        self.row = row

    def __getitem__(self, counter):
        return self.row.get(counter)


def kernels_of(content, device):
    """Rows of the device (cpu or cuda) by name, repetitions together; what failed apart."""
    kernels, failed = {}, []
    for row in content["benchmarks"]:
        if row.get("run_type", "iteration") != "iteration" or row["name"].split("/")[0] != device:
            continue
        if row.get("error_occurred"):
            failed.append((row["name"], row.get("error_message", "")))
            continue
        kernel = Kernel(row)
        if kernel.name in kernels:
            kernels[kernel.name].microseconds += kernel.microseconds
        else:
            kernels[kernel.name] = kernel
    return list(kernels.values()), failed


def ceiling_of(kernels, rate, share):
    """The best ceiling that has a row (a CPU's), else the one that the rows' shares are of (a GPU's)."""
    measured = [kernel[rate] for kernel in kernels if kernel.parts[1] == "ceiling" and kernel[rate]]
    return max(measured or [kernel[rate] / kernel[share] for kernel in kernels if kernel[rate] and kernel[share]], default=None)


def peak_of(kernels):
    """Operations a second."""
    peak = ceiling_of(kernels, "GFLOP/s", "of_peak")
    return peak * 1e9 if peak else None


def kernels_section(kernels, failed, plots):
    text = ["## Kernels\n"]
    ceilings = [kernel for kernel in kernels if kernel.parts[1] == "ceiling"]
    if not ceilings and (peak_of(kernels) or ceiling_of(kernels, "GB/s", "of_copy")):
        text.append(f"Ceilings: {rate(peak_of(kernels) or 0)} in a matrix product, "
                    f"{digits(ceiling_of(kernels, 'GB/s', 'of_copy') or 0)} GB/s in a copy.\n")
    if ceilings:
        text.append(table(["ceiling", "GFLOP/s", "GB/s"],
                          [[words(kernel.parts[2:]), figure_of(kernel, "GFLOP/s"), figure_of(kernel, "GB/s")] for kernel in ceilings]))
    convolutions = {}
    for kernel in kernels:
        if kernel.parts[1] == "convolution" and kernel.layer:
            convolutions.setdefault((kernel.parts[0], kernel.parts[2], kernel.layer), []).append(kernel)
    rows, points = [], []
    for (device, direction, layer), those in convolutions.items():
        best = min(those, key=lambda kernel: median(kernel.microseconds) / batch_of(kernel))
        does = best["winograd_of_peak"] or best["of_peak"] or 0
        rows.append([layer, direction.replace("_", " "), words(best.parts[4:]),
                     spread_text([t / batch_of(best) for t in best.microseconds]),
                     digits(best["GFLOP/s"] or 0), percent(best["of_peak"] or 0), percent(does), percent(best["of_copy"] or 0)])
        if best["of_peak"] and best["GB/s"]:
            done = best["GFLOP/s"] * does / best["of_peak"]
            points.append((layer, direction, done / best["GB/s"], done))
    if rows:
        text.append("The fastest variant of each convolution. The time is of one image; `of peak` counts the operations of the "
                    "direct convolution, `done` those that the variant really does; `of copy` are the bytes that must move at least.\n")
        text.append(table(["layer", "direction", "variant", "µs", "GFLOP/s", "of peak", "done", "of copy"], rows, left=3))
    others = [kernel for kernel in kernels if kernel.parts[1] not in ("ceiling", "convolution")]
    if others:
        text.append("<details><summary>All other operations</summary>\n")
        text.append(table(["operation", "layer", "variant", "time", "GFLOP/s", "of peak", "GB/s", "of copy"],
                          [[operation_of(kernel), kernel.layer or "", variant_of(kernel), time_text(kernel.microseconds),
                            figure_of(kernel, "GFLOP/s"), percent(kernel["of_peak"]) if kernel["of_peak"] else "",
                            figure_of(kernel, "GB/s"), percent(kernel["of_copy"]) if kernel["of_copy"] else ""]
                           for kernel in others], left=3))
        text.append("</details>\n")
    if failed:
        text.append("Not measured:\n\n" + "\n".join(f"- {name}: {message}" for name, message in failed) + "\n")
    peak = peak_of(kernels)
    copy = ceiling_of(kernels, "GB/s", "of_copy")
    if plots.pyplot and points and peak and copy:
        text.append(plot_roofline(points, peak / 1e9, copy, plots))
    return "\n".join(text)


def words(parts):
    """Parts of a kernel's name, to be read."""
    return ", ".join(part.replace("_", " ").replace("batch:", "batch ") for part in parts)


def operation_of(kernel):
    end = kernel.parts.index(kernel.layer) if kernel.layer else 2
    return words(kernel.parts[1:end])


def variant_of(kernel):
    return words(kernel.parts[kernel.parts.index(kernel.layer) + 1 if kernel.layer else 2:])


def figure_of(kernel, counter):
    return digits(kernel[counter]) if kernel[counter] else ""


def time_text(microseconds):
    """With the unit that suits it."""
    if median(microseconds) < 10000:
        return f"{spread_text(microseconds)} µs"
    return f"{spread_text([value / 1000 for value in microseconds])} ms"


def batch_of(kernel):
    found = re.search(r"batch:(\d+)", kernel.name)
    return int(found[1]) if found else 1


def free_place(point, taken):
    """Where a label beside the point, both in pixels, is farthest from all that is there."""
    places = [(11, 0), (-11, 0), (0, 9), (0, -9), (10, 7), (-10, 7), (10, -7), (-10, -7)]

    def room(place):
        return min([((point[0] + place[0] - x) / 1.6) ** 2 + (point[1] + place[1] - y) ** 2 for x, y in taken], default=0)
    return max(places, key=lambda place: min(45, room(place)))  # The first that is far enough.


def plot_roofline(points, peak, copy, plots):
    figure, axes = plots.pyplot.subplots(figsize=(7, 4.2), dpi=72)  # Of SVG.
    ridge = peak / copy
    low, high = min(*(p[2] for p in points), ridge) / 2, max(*(p[2] for p in points), ridge) * 2
    axes.plot([low, ridge, high], [low * copy, peak, peak], color="#444444", label="ceilings")
    axes.set_xlim(low, high)
    axes.set_ylim(min(low * copy, *(p[3] for p in points)) / 1.3, peak * 1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):  # 200, not 2 x 10^2.
        axis.set_major_formatter(lambda value, _: digits(value, 1))
        axis.set_minor_formatter(lambda value, _: digits(value, 1) if f"{value:e}"[0] in "25" else "")
    markers, labels = axes.transData.transform([(p[2], p[3]) for p in points]), []
    for marker, colour, wanted in (("o", OURS, "forward"), ("s", OTHERS[0], "input_gradient")):
        those = [point for point in points if point[1] == wanted]
        axes.scatter([point[2] for point in those], [point[3] for point in those], marker=marker, color=colour, zorder=3, s=18,
                     label=wanted.replace("_", " "))
        if wanted == "forward":
            for layer, _, x, y in those:
                place = free_place(axes.transData.transform((x, y)), [*markers, *labels])
                labels.append(axes.transData.transform((x, y)) + place)
                axes.annotate(layer.replace("block", "").replace("_conv", "."), (x, y), textcoords="offset pixels",
                              xytext=place, fontsize=7, color=OURS, ha="center", va="center")
    axes.set_xlabel("operations done per byte that must move")
    axes.set_ylabel("GFLOP/s done")
    axes.legend(frameon=False, ncol=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return plots.save(figure, "roofline", "Convolutions under the measured ceilings of arithmetic and memory; 3.2 is block3_conv2")


# ---- the report

def utc(date):
    """Google Benchmark's local time."""
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
    text.append("The load is the machine's, of a minute: before anything was measured, and after the part; near the number of "
                "cores it is the measurements' own.\n")
    text.append(table(["measured", "from (UTC)", "load before", "after"], rows, left=2))
    return "\n".join(text)


def device_of(parts):
    """What was measured, cpu or cuda; of kernels alone the GPU where there are rows of it."""
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
    raise Refusal("there is neither an end_to_end.json nor a peers.json to name the report after; give --name")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements")
    parser.add_argument("--name", help="of the report, without .md")
    parser.add_argument("--results", default=str(measuring.BENCH / "results"), metavar="FOLDER")
    parser.add_argument("--command", help="the command that measured, to be named in the report")
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
        text.append("Without plots: Matplotlib was not there.\n")
    results.mkdir(parents=True, exist_ok=True)
    report = results / f"{name}.md"
    report.write_text("\n".join(text))
    print(report)


if __name__ == "__main__":
    try:
        main()
    except Refusal as refusal:
        sys.exit(f"report.py: {refusal}")

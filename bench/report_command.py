"""The sections of the report (report.py) on the whole command, from end_to_end.json."""
from measuring import PHASES, digits, iteration_flops, median, spread_text
from report_text import OTHERS, OURS, per_second, percent, rate, table

PHASE_NAMES = {"start_up": "start-up", "weights": "weights", "plans": "plans", "ascent": "ascent", "finish": "finish",
               "page": "page"}


def workload_section(content, peak, plots):
    runs = [run for run in content["runs"] if run["series"] == "workload" and run["repetitions"]]
    text = ["## The whole command\n"]
    for run in runs:
        of = run["repetitions"]
        ascent = median([r["phases"]["ascent"] for r in of])
        wall = [r["wall"] for r in of]
        dead = f" ({run['dead']} of them dead)" if run.get("dead") else ""
        text.append(f"`{run['command']}`: {run['filters']} filters{dead}, {run['flops'] / 1e12:.3g} TFLOP counted directly."
                    + (" Without timings of plans from an earlier run.\n" if run["name"].endswith("-cold") else "\n"))
        # The manifest has milliseconds.
        rows = [[PHASE_NAMES[phase], spread_text([r["phases"][phase] for r in of], decimals=3)] for phase in PHASES]
        rows.append(["**the whole command**", spread_text(wall)])
        rows += [[f"{phase}, on other threads meanwhile", spread_text([r["phases"][phase] for r in of], decimals=3)]
                 for phase in ("encode", "write")]
        text.append(table(["phase", "s"], rows))
        text.append(f"- {digits(run['filters'] / median(wall))} filters per second; "
                    f"{rate(per_second(run['flops'], ascent))} during the ascent.")
        if peak:
            floor = run["flops"] / peak
            text.append(f"- Computed directly at the measured peak of {rate(peak)}, the convolutions would take "
                        f"{digits(floor)} s; the ascent takes {digits(ascent / floor)} times that.")
        memory = f"- Peak memory: {median([r['host_bytes'] for r in of]) / 2**20:.0f} MiB of the host"
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
        text.append("GFLOP count one iteration of one filter, computed directly. More than 100 % of the measured peak is possible "
                    "because Winograd's algorithm needs fewer multiplications.\n")
    for series, header in (("batch", "filters at once"), ("size", "image size"), ("iterations", "iterations")):
        those = [run for run in runs if run["series"] == series]
        labels = list(dict.fromkeys(run["label"] for run in those))
        points = sorted({run["x"] for run in those})
        found = {(run["label"], run["x"]): run for run in those}
        rows = [[str(x), *(spread_text(cost(found[label, x])) if (label, x) in found else "" for label in labels)] for x in points]
        if rows:
            text.append(table([header, *labels], rows, left=0))
    if plots.pyplot:
        figure, grid = plots.pyplot.subplots(2, 2, figsize=(8, 5.6))
        for axes, (series, label) in zip(grid.flat, (("batch", "filters at once"), ("size", "image size"),
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

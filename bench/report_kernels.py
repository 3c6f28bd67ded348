"""The section of the report (report.py) on kernels, from bench_kernels' rows."""
import re

from measuring import NAMES, digits, median, spread_text
from report_text import OTHERS, OURS, percent, rate, table


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
    """The device's rows (cpu or cuda), one per name with all repetitions; and separately those that failed."""
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
    """The best ceiling that has a row (on a CPU), else the one that the rows' shares refer to (on a GPU)."""
    measured = [kernel[rate] for kernel in kernels if kernel.parts[1] == "ceiling" and kernel[rate]]
    return max(measured or [kernel[rate] / kernel[share] for kernel in kernels if kernel[rate] and kernel[share]], default=None)


def peak_of(kernels):
    """Operations per second."""
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
        text.append("The fastest variant of each convolution. Times are per image. `of peak` counts the operations of the direct "
                    "convolution, `done` those that the variant performs; `of copy` counts the bytes that must at least be moved.\n")
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
    """Parts of a kernel's name as text."""
    return ", ".join(part.replace("_", " ").replace("batch:", "batch ") for part in parts)


def operation_of(kernel):
    end = kernel.parts.index(kernel.layer) if kernel.layer else 2
    return words(kernel.parts[1:end])


def variant_of(kernel):
    return words(kernel.parts[kernel.parts.index(kernel.layer) + 1 if kernel.layer else 2:])


def figure_of(kernel, counter):
    return digits(kernel[counter]) if kernel[counter] else ""


def time_text(microseconds):
    """A time with a suitable unit."""
    if median(microseconds) < 10000:
        return f"{spread_text(microseconds)} µs"
    return f"{spread_text([value / 1000 for value in microseconds])} ms"


def batch_of(kernel):
    found = re.search(r"batch:(\d+)", kernel.name)
    return int(found[1]) if found else 1


def free_place(point, taken):
    """The offset of a point's label, in pixels, that is farthest from everything in `taken`."""
    places = [(11, 0), (-11, 0), (0, 9), (0, -9), (10, 7), (-10, 7), (10, -7), (-10, -7)]

    def room(place):
        return min([((point[0] + place[0] - x) / 1.6) ** 2 + (point[1] + place[1] - y) ** 2 for x, y in taken], default=0)
    return max(places, key=lambda place: min(45, room(place)))  # The first place that is far enough.


def plot_roofline(points, peak, copy, plots):
    figure, axes = plots.pyplot.subplots(figsize=(7, 4.2), dpi=72)  # SVG's resolution.
    ridge = peak / copy
    low, high = min(*(p[2] for p in points), ridge) / 2, max(*(p[2] for p in points), ridge) * 2
    axes.plot([low, ridge, high], [low * copy, peak, peak], color="#444444", label="ceilings")
    axes.set_xlim(low, high)
    axes.set_ylim(min(low * copy, *(p[3] for p in points)) / 1.3, peak * 1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):  # Writes 200, not 2 x 10^2.
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

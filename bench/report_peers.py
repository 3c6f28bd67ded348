"""The section of the report (report.py) that compares filterscope with its peers."""
import re

from measuring import median, spread_text
from report_text import OTHERS, OURS, table


def loss_difference(row, ours):
    """The largest relative difference between final losses of the same filters; None if either has none."""
    if not (row and ours and row["final_losses"] and ours["final_losses"]):
        return None
    pairs = list(zip(row["final_losses"], ours["final_losses"]))
    return max(abs(theirs - own) / max(abs(own), 1e-6) for theirs, own in pairs)


def batch_taken(row):
    """The batch sizes that the plans name; smaller than the number of filters if memory was short."""
    taken = dict.fromkeys(re.findall(r"batch of (\d+)", " ".join(row.get("plans") or [])))
    return f", {' and '.join(taken)}" if taken else ""


def own_row(rows, layer, batch):
    return next((row for row in rows if row["peer"] == "filterscope" and row["layer"] == layer and row["batch"] == batch
                 and row["ms"]), None)


def peers_section(peers, plots):
    rows = [row for row in peers["rows"] if not row["look"]]
    text = ["## Compared with its peers\n",
            f"Milliseconds per filter and iteration, {peers['size']} x {peers['size']}, {peers['iterations']} iterations, the same weights "
            f"({peers['weights']}), filters and start images. Start-up and compilation are not counted. Median of "
            f"{max((len(row['ms']) for row in rows), default=0)} rounds in turn (range). The ratio is relative to filterscope "
            "with its automatic batch and, in parentheses, for peers that take one filter at a time, relative to filterscope doing the "
            "same. The last column is the largest relative difference of a final loss from filterscope's.\n"]
    table_rows, bars = [], []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        for row in (row for row in rows if row["layer"] == layer):
            batch = str(row["batch"]) if row["batch"] else f"automatic{batch_taken(row)}"
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
    """The program's targets on a CPU, and whether this run meets them."""
    lines = []
    for layer, peer, batch, least in (("block3_conv3", "PyTorch", 8, 3), ("block5_conv3", "PyTorch", 8, 3),
                                      ("block5_conv3", "notebook", 1, 10)):
        own = own_row(rows, layer, 0)
        those = [row for row in rows if row["peer"] == peer and row["layer"] == layer and row["batch"] == batch and row["ms"]
                 and ("fp32" in row["variant"] or peer == "notebook")]
        if own is None or not those or own["variant"] != "fp32":
            continue
        ratio = min(median(row["ms"]) for row in those) / median(own["ms"])
        lines.append(f"- {layer}, {peer}, batch {batch}, fp32: {ratio:.1f} times; target {least}: "
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
    axes.set_xlabel("time of a filter's iteration relative to filterscope (line); best variant of each peer")
    axes.grid(axis="y", visible=False)
    axes.legend(frameon=False, ncol=3, loc="lower center", bbox_to_anchor=(0.45, 1))
    return plots.save(figure, "peers", "Time of the peers relative to filterscope")

#!/usr/bin/env python3
"""Measures the whole command: `filterscope render` on a workload, phase by phase, and how its cost grows with the batch, the size
of the image, the iterations and the depth of the layer. Writes JSON for compare.py and report.py.

  bench/end_to_end.py --out end_to_end.json
  bench/end_to_end.py --out end_to_end.json --only workload --weights FILE

Everything is measured once per round, so that a temporary disturbance of the machine affects all alike. On a GPU, an unrecorded
round comes first, since the plans that it times are kept for later runs; only its workload is recorded, as NAME-cold. Needs
Python 3.9 and nothing else.
"""
import argparse
import os
import shlex
import sys

import measuring
from measuring import FILTERS, NAMES, SIZE

# The filters of a workload; the filters x iterations of one point of a series, at 96 x 96; and the points.
SCALES = {
    "cpu": {"workload": ("sampler", ["*:0-15"], 50), "work": 128, "filters": 8, "deep": 16, "batches": [1, 2, 4, 8, 16, 32, 64],
            "sizes": [32, 64, 96, 128, 160, 192, 224], "iterations": [1, 5, 10, 20, 40, 80]},
    "gpu": {"workload": ("all", ["all"], 500), "work": 25600, "filters": 64, "deep": 64,
            "batches": [1, 4, 16, 64, 128, 256, 512], "sizes": [32, 64, 96, 128, 192, 256, 384],
            "iterations": [10, 100, 250, 500, 1000]},
}
QUICK = {
    "cpu": {"workload": ("sampler", ["*:0-1"], 20), "work": 32, "filters": 4, "deep": 4, "batches": [1, 4, 16],
            "sizes": [32, 96, 160], "iterations": [1, 10, 20]},
    "gpu": {"workload": ("sampler", ["*:0-63"], 50), "work": 2560, "filters": 64, "deep": 16, "batches": [1, 16, 128],
            "sizes": [32, 96, 192], "iterations": [10, 100]},
}
# Only checks that everything runs.
TINY = {"workload": ("tiny", ["block1_*:0"], 1), "work": 1, "filters": 1, "deep": 1, "batches": [1], "sizes": [32],
        "iterations": [1]}
SCALED_LAYERS = ["block3_conv3", "block5_conv3"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(measuring.BENCH.parent / "build/release"), help="folder with filterscope")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    parser.add_argument("--weights", default="synthetic", help="as for filterscope render (default: synthetic)")
    parser.add_argument("--device", default="auto", help="as for filterscope render (default: auto)")
    parser.add_argument("--rounds", type=int, help="measurements of each run (default: 3; 1 with --quick)")
    parser.add_argument("--load-before", type=float, metavar="LOAD",
                        help="the machine's load before the first of several measurements (default: its load now)")
    parser.add_argument("--only", choices=["workload", "batch", "size", "iterations", "depth"], help="measure only this part")
    parser.add_argument("--quick", action="store_true", help="a quick look, with less of everything")
    parser.add_argument("--tiny", action="store_true", help="only check that everything runs")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 1 if arguments.quick or arguments.tiny else 3
    return arguments


def run_of(series, name, x, selectors, iterations, *options, size=SIZE, label=None):
    """`x` is the point's place in the series, `label` names its line."""
    command = [*selectors, "--iterations", str(iterations), "--size", str(size), *options]
    return {"name": f"{series}/{name}", "series": series, "label": label, "x": x, "size": size, "iterations": iterations,
            "options": command, "repetitions": []}


def plan(scale, tiny):
    name, selectors, iterations = scale["workload"]
    size = 32 if tiny else SIZE
    layers = ["block1_conv2"] if tiny else SCALED_LAYERS
    runs = [run_of("workload", name, None, selectors, iterations, size=size)]
    for layer in layers:
        for batch in scale["batches"]:
            if batch <= FILTERS[layer]:
                runs.append(run_of("batch", f"{layer}/{batch}", batch, [f"{layer}:0-{batch - 1}"],
                                   max(2, scale["work"] // batch), "--batch", str(batch), size=size, label=layer))
    for layer in layers:
        for points in scale["sizes"]:
            iterations = max(2, round(scale["work"] / scale["filters"] * min(4, (SIZE / points) ** 2)))
            runs.append(run_of("size", f"{layer}/{points}", points, [f"{layer}:0-{scale['filters'] - 1}"], iterations,
                               size=points, label=layer))
    for layer in layers:
        for iterations in scale["iterations"]:
            runs.append(run_of("iterations", f"{layer}/{iterations}", iterations, [f"{layer}:0-{scale['filters'] - 1}"],
                               iterations, size=size, label=layer))
    for layer in NAMES[:2] if tiny else NAMES:
        iterations = max(2, scale["work"] // scale["deep"])
        runs.append(run_of("depth", layer, NAMES.index(layer), [f"{layer}:0-{scale['deep'] - 1}"], iterations, size=size))
    return runs


def measure(program, run, arguments, on_gpu):
    options = [*run["options"], "--weights", arguments.weights, "--device", arguments.device]
    measured = measuring.render(program, options, device_memory=on_gpu and run["series"] == "workload")
    manifest = measured.pop("manifest")
    run.update(work_of(manifest, run["iterations"], run["size"]))
    measured["ms_per_filter_iteration"] = measured["phases"]["ascent"] / (run["filters"] * run["iterations"]) * 1e3
    engine = manifest["engines"][0]
    return measured, {key: engine[key] for key in ("device", "device_name", "precision", "threads", "libraries")}


def work_of(manifest, iterations, size):
    """The work of a run. A dead filter's image stays in its batch to the end, so it costs as much as others."""
    filters = manifest["filters"]
    return {"filters": len(filters), "dead": manifest["counts"]["dead"],
            "flops": iterations * sum(measuring.iteration_flops(record["layer"], size) for record in filters)}


def cold_run(run):
    """The same run, for its repetition without timed plans."""
    return {**run, "name": f"{run['name']}-cold", "repetitions": []}


def main():
    arguments = parse_arguments()
    program = measuring.find_program(arguments.build)
    # The warm-up shows which device --device means here.
    warm_up = run_of("workload", "warm-up", None, ["block1_conv2:0-3"], 2, size=32)
    before = measuring.machine(arguments.load_before)
    engine = measure(program, warm_up, arguments, False)[1]
    kind = "gpu" if engine["device"].startswith("cuda") else "cpu"
    runs = plan(TINY if arguments.tiny else (QUICK if arguments.quick else SCALES)[kind], arguments.tiny)
    if arguments.only:
        runs = [run for run in runs if run["series"] == arguments.only]
    cold = []
    for number in range(0 if kind == "gpu" else 1, arguments.rounds + 1):
        for run in runs:
            print(f"\r\x1b[Kround {number} of {arguments.rounds}: {run['name']}", end="", file=sys.stderr, flush=True)
            recorded = run
            if number == 0:
                recorded = cold_run(run)
                cold += [recorded] if run["series"] == "workload" else []
            recorded["repetitions"].append(measure(program, recorded, arguments, kind == "gpu")[0])
    print(file=sys.stderr)
    runs += cold
    for run in runs:
        run["command"] = shlex.join(["filterscope", "render", *run.pop("options"), "--weights", arguments.weights])
    measuring.write_json(arguments.out, {
        "tool": "end_to_end", "kind": kind, "machine": before, "load_after": round(os.getloadavg()[0], 2), "engine": engine,
        "info": measuring.program_info(program), "quick": arguments.quick or arguments.tiny, "runs": runs})


if __name__ == "__main__":
    try:
        main()
    except measuring.Refusal as refusal:
        sys.exit(f"end_to_end.py: {refusal}")

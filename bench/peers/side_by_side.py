#!/usr/bin/env python3
"""Compares filterscope with its peers in one run on one machine: the same weights file, filters, start images and iterations.

  bench/peers/side_by_side.py --out peers.json [--torch PYTHON] [--keras PYTHON]

The peers are the notebook's own loop (notebook.py), PyTorch in every variant that might be its best (pytorch.py), and
tf-keras-vis (tf_keras_vis_peer.py). Their processes stay alive, so that neither start-up nor compilation is measured; for
filterscope, the phase `ascent` of its manifest counts. Layer by layer, all take turns, once per round. Final losses are kept, so
that a faster wrong answer shows. A peer that is not installed gets a row that says so. Needs Python 3.9 and nothing else; the
peers' interpreters need the packages of requirements-*.txt.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

PEERS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(PEERS.parent))
import measuring  # noqa: E402
from measuring import SIZE  # noqa: E402

# The filters of filterscope and the batched peers, as far as the layer has so many; the notebook's loop takes the first `alone`
# of them.
SCALES = {
    "cpu": {"layers": ["block3_conv3", "block5_conv3"], "filters": 16, "alone": 4, "batches": [8, 16], "iterations": 10},
    "cuda": {"layers": ["block1_conv2", "block3_conv3", "block5_conv3"], "filters": 512, "alone": 2, "batches": [64, 256],
             "iterations": 100},
}
TINY = {"layers": ["block1_conv2"], "filters": 2, "alone": 1, "batches": [2], "iterations": 1}
# The number of PyTorch's variants measured in every round: the fastest ones of a first look, by layer.
KEPT_FP32 = 2
KEPT_OTHERS = 1


class Peer:
    """A process that runs jobs; see peer.py. `missing` says why there is none."""

    def __init__(self, name, python, script, weights, device):
        self.name = name
        self.missing = None
        self.versions, self.variants = {}, []
        self.log = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen([python, str(PEERS / script), weights, device], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=self.log, text=True)
        except OSError as error:
            self.missing = f"{python}: {error.strerror}"

    def connect(self):
        """Waits until it is ready."""
        if self.missing:
            return
        hello = self.process.stdout.readline()
        if hello:
            self.versions, self.variants = (json.loads(hello)[key] for key in ("versions", "variants"))
            return
        self.process.wait()
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        self.missing = lines[-1].removeprefix("ModuleNotFoundError: ") if lines else "it ended without a word"

    def do(self, **job):
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self):
        if self.missing is None:
            self.process.stdin.close()
            self.process.wait()


class Filterscope:
    """The program itself, as a peer."""

    missing = None

    def __init__(self, name, program, weights, device, precision):
        self.name = name
        self.variants = [precision]
        self.program, self.weights, self.device = program, weights, device
        self.versions = {}

    def do(self, layer, filters, init, iterations, batch, variant):
        options = [f"{layer}:{filters[0]}-{filters[-1]}", "--weights", self.weights, "--init", init, "--iterations",
                   str(iterations), "--device", self.device, "--precision", variant,
                   "--rescue", "off"]  # No peer has it.
        if batch:
            options += ["--batch", str(batch)]
        try:
            measured = measuring.render(self.program, options)
        except measuring.Refusal as refusal:
            return {"error": str(refusal).splitlines()[0]}
        manifest = measured["manifest"]
        engine = manifest["engines"][0]
        self.versions = {"filterscope": manifest["version"], "threads": engine["threads"], **engine["libraries"]}
        return {"seconds": measured["phases"]["ascent"], "precision": engine["precision"], "plans": engine["plans"],
                "final_losses": [record["final_loss"] for record in manifest["filters"]]}


class Row:
    """One way to compute the filters of one layer."""

    def __init__(self, peer, layer, variant, batch, filters):
        self.peer, self.layer, self.variant, self.batch, self.filters = peer, layer, variant, batch, filters
        self.ms = []
        self.losses = None
        self.plans = None
        self.error = peer.missing

    def measure(self, init, iterations, recorded=True):
        if self.error:
            return
        answer = self.peer.do(layer=self.layer, filters=self.filters, init=init, iterations=iterations, batch=self.batch,
                              variant=self.variant)
        self.error = answer.get("error")
        if self.error or not recorded:
            return
        self.variant = answer.get("precision", self.variant)
        self.ms.append(answer["seconds"] / (len(self.filters) * iterations) * 1e3)
        self.losses = answer["final_losses"]
        self.plans = answer.get("plans")

    def as_json(self, look=False):
        return {"peer": self.peer.name, "layer": self.layer, "variant": self.variant, "batch": self.batch,
                "filters": len(self.filters), "ms": self.ms, "final_losses": self.losses, "plans": self.plans,
                "error": self.error, "look": look}


def of_layer(scale, layer):
    """The number of filters of this layer, the number taken alone, and the batches."""
    filters = min(scale["filters"], measuring.FILTERS[layer])
    return filters, min(scale["alone"], filters), sorted({min(batch, filters) for batch in scale["batches"]})


class StartImages:
    """Writes files of start images to a folder, one for each count, each the beginning of the larger ones."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def __call__(self, count):
        path = self.folder / f"start{count}.npy"
        if not path.exists():
            generator = random.Random(0)
            measuring.write_npy(path, (count, SIZE, SIZE, 3), [generator.random() for _ in range(count * SIZE * SIZE * 3)])
        return str(path)


def note(text):
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def fastest(rows, count):
    return sorted((row for row in rows if row.ms), key=lambda row: row.ms[0])[:count]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(measuring.BENCH.parent / "build/release"), help="folder with filterscope")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    parser.add_argument("--torch", default=os.environ.get("PYTHON_TORCH", "python3"),
                        help="Python that has PyTorch (default: $PYTHON_TORCH or python3)")
    parser.add_argument("--keras", default=os.environ.get("PYTHON_KERAS", "python3"),
                        help="Python that has TensorFlow and tf-keras-vis (default: $PYTHON_KERAS or python3)")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: the device that --device auto means to filterscope")
    parser.add_argument("--weights", default="synthetic", help="as for filterscope render (default: synthetic)")
    parser.add_argument("--rounds", type=int, help="default: 3; 2 with --quick")
    parser.add_argument("--load-before", type=float, metavar="LOAD",
                        help="the machine's load before the first of several measurements (default: its load now)")
    parser.add_argument("--quick", action="store_true", help="fewer layers, variants and rounds")
    parser.add_argument("--tiny", action="store_true", help="only check that everything runs")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.tiny else 2 if arguments.quick else 3)
    return arguments


def main():
    arguments = parse_arguments()
    program = measuring.find_program(arguments.build)
    info = measuring.program_info(program)
    arguments.device = arguments.device or measuring.auto_device(info)
    scale = dict(TINY if arguments.tiny else SCALES[arguments.device])
    if arguments.quick:
        scale["layers"] = scale["layers"][-1:]
    before = measuring.machine(arguments.load_before)
    with tempfile.TemporaryDirectory(prefix="filterscope-peers-") as folder:
        weights = str(pathlib.Path(folder) / "weights.safetensors")
        written = subprocess.run([str(pathlib.Path(arguments.build) / "bench/write_weights"), arguments.weights, weights],
                                 stderr=subprocess.PIPE, text=True)
        if written.returncode != 0:
            raise measuring.Refusal(written.stderr.strip())
        start_images = StartImages(folder)
        ours = Filterscope("filterscope", program, weights, arguments.device, "auto")
        torch = Peer("PyTorch", arguments.torch, "pytorch.py", weights, arguments.device)
        notebook = Peer("notebook", arguments.keras, "notebook.py", weights, arguments.device)
        visualiser = Peer("tf-keras-vis", arguments.keras, "tf_keras_vis_peer.py", weights, arguments.device)
        peers = [torch, notebook, visualiser]
        for peer in peers:
            note(f"starting {peer.name}")
            peer.connect()

        looks, rows = [], []
        for layer in scale["layers"]:
            count, count_alone, batches = of_layer(scale, layer)
            filters, alone = list(range(count)), list(range(count_alone))
            those = [Row(ours, layer, "auto", 0, filters), Row(ours, layer, "auto", 1, alone)]
            # A first look at all of PyTorch's variants.
            variants = torch.variants or ["-"]
            if arguments.quick or arguments.tiny:
                variants = [variant for variant in variants if "compiled" not in variant]
            batch = batches[0]
            look = [Row(torch, layer, variant, batch, filters[:batch]) for variant in variants]
            for row in look if torch.missing is None else []:
                note(f"{layer}: a look at PyTorch {row.variant}")
                row.measure(start_images(batch), 3 if arguments.device == "cpu" else 20)
            looks += look if torch.missing is None else []
            kept = (fastest([row for row in look if "fp32" in row.variant], KEPT_FP32) +
                    fastest([row for row in look if "fp32" not in row.variant], KEPT_OTHERS))
            for row in kept:
                those += [Row(torch, layer, row.variant, size, filters) for size in batches]
            if not kept:
                those.append(Row(torch, layer, "-", batch, filters))
            else:
                those.append(Row(torch, layer, kept[0].variant, 1, alone))
            those.append(Row(notebook, layer, "eager", 1, alone))
            those.append(Row(visualiser, layer, "eager", batch, filters))
            rows += those
            # The peers warm up in each job; filterscope caches its timings of kernels for later runs.
            for row in those if arguments.device == "cuda" else []:
                if row.peer is ours:
                    note(f"{layer}: filterscope's plans, batch {row.batch}")
                    row.measure(start_images(len(row.filters)), scale["iterations"], recorded=False)
            for number in range(arguments.rounds):
                for row in those:
                    note(f"{layer}, round {number + 1} of {arguments.rounds}: {row.peer.name} {row.variant}, batch {row.batch}")
                    row.measure(start_images(len(row.filters)), scale["iterations"])
        print(file=sys.stderr)
        for peer in peers:
            peer.close()

    measuring.write_json(arguments.out, {
        "tool": "peers", "kind": arguments.device, "machine": before, "load_after": round(os.getloadavg()[0], 2),
        "info": info, "weights": arguments.weights, "size": SIZE,
        "iterations": scale["iterations"], "quick": arguments.quick or arguments.tiny,
        "versions": {peer.name: peer.versions for peer in [ours, *peers]},
        "rows": [row.as_json() for row in rows] + [row.as_json(look=True) for row in looks]})


if __name__ == "__main__":
    try:
        main()
    except measuring.Refusal as refusal:
        sys.exit(f"side_by_side.py: {refusal}")

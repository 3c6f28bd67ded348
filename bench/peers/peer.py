"""Shared by the peers. A peer is a process that runs jobs, one per line of input, so that its start-up is not measured:

  peer.py WEIGHTS.safetensors cpu|cuda

On standard output it first writes {"versions": ..., "variants": ...}; then it answers each line of standard input, a job
{"layer", "filters", "init" (float32 .npy, [filters, height, width, 3]), "iterations", "batch", "variant"}, with {"seconds",
"final_losses"} or with {"error"}. The seconds are those of all iterations of all filters after a warm-up; the final losses are
those of the finished images. Needs NumPy.
"""
import json
import os
import sys

import numpy

BLOCKS = [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]]
LAYERS = [f"block{block}_conv{convolution}" for block, widths in enumerate(BLOCKS, 1)
          for convolution in range(1, len(widths) + 1)]
STEP = 0.1
EPSILON = 1e-12  # The smallest square of a gradient's norm.
WARM_UP = 3      # Iterations; torch.compile replays what it captured from the third on.


def read_weights(path):
    """(kernel [out, in, 3, 3], bias [out]) of each layer of a safetensors file with torchvision's names."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()

    def tensor(name):
        entry = header[name]
        if entry["dtype"] != "F32":
            raise SystemExit(f"{path}: {name}: expected F32, found {entry['dtype']}; write_weights makes such a file")
        begin, end = entry["data_offsets"]
        return numpy.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])

    weights, index = [], 0
    for widths in BLOCKS:
        for _ in widths:
            weights.append((tensor(f"features.{index}.weight"), tensor(f"features.{index}.bias")))
            index += 2
        index += 1
    return weights


def serve(connect):
    """`connect(weights, device)` returns the versions, the variants and the function that runs a job: (layer, filters, images,
    iterations, batch, variant) to (seconds, final losses)."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Output of libraries must not look like an answer.

    def answer(content):
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    versions, variants, ascend = connect(read_weights(sys.argv[1]), sys.argv[2])
    answer({"versions": versions, "variants": variants})
    for line in sys.stdin:
        job = json.loads(line)
        try:
            seconds, losses = ascend(job["layer"], job["filters"], numpy.load(job["init"]), job["iterations"], job["batch"],
                                     job["variant"])
            answer({"seconds": seconds, "final_losses": [float(loss) for loss in losses]})
        except Exception as error:  # A variant that does not work here gets a row that says so.
            answer({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"})

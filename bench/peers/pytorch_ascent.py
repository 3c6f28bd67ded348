#!/usr/bin/env python3
"""The seed recipe's iteration in PyTorch on the CPU: the notebook's loop at batch 1, and many filters as one batch.

Prints JSON: milliseconds per image and iteration, the median of the iterations after a warm-up. Weights are random: only time is
compared. usage: pytorch_ascent.py LAYER BATCH [ITERATIONS]
"""
import json
import sys
import time

import torch

BLOCKS = [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]]


def network_to(target):
    layers, channels = [], 3
    for block, widths in enumerate(BLOCKS, 1):
        for convolution, width in enumerate(widths, 1):
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU(inplace=True)]
            channels = width
            if f"block{block}_conv{convolution}" == target:
                return torch.nn.Sequential(*layers).requires_grad_(False)
        layers.append(torch.nn.MaxPool2d(2))
    raise SystemExit(f"{target}: no such layer; expected block1_conv1 to block5_conv3")


def main():
    target, batch = sys.argv[1], int(sys.argv[2])
    iterations = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    best = None
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = network_to(target).to(memory_format=memory_format)
        image = torch.rand(batch, 3, 96, 96).to(memory_format=memory_format)
        rows = torch.arange(batch)
        seconds = []
        for _ in range(iterations + 2):
            start = time.perf_counter()
            image.requires_grad_(True)
            loss = network(image)[rows, rows].mean((1, 2)).sum()
            (gradient,) = torch.autograd.grad(loss, image)
            with torch.no_grad():
                norm = gradient.square().sum((1, 2, 3), keepdim=True).clamp_min(1e-12).sqrt()
                image = image + 0.1 * gradient / norm
            seconds.append(time.perf_counter() - start)
        median = sorted(seconds[2:])[iterations // 2]
        if best is None or median < best[0]:
            best = (median, str(memory_format))
    print(json.dumps({"layer": target, "batch": batch, "ms_per_image": round(best[0] / batch * 1e3, 3),
                      "memory_format": best[1], "torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()

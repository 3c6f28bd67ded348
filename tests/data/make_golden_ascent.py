#!/usr/bin/env python3
"""Writes golden_ascent.json: losses, gradients and a short ascent of a tiny network, computed by PyTorch.

An opinion from outside on what tests/support/reference.cpp computes. The network is four convolutions with two pools,
the image 10 x 11; everything is computed in double from the float32 values in the file. Made with PyTorch 1.13.1 and
NumPy 1.26.4 on a CPU:

    python3 tests/data/make_golden_ascent.py
"""

import json
import pathlib

import numpy
import torch

LAYERS = [(4, False), (5, True), (6, True), (3, False)]  # (filters, pool after it)
HEIGHT, WIDTH = 10, 11
FILTERS = [1, 0, 3, 2]  # The filter climbed of each layer.
STEP, EPSILON, ITERATIONS = 0.1, 1e-12, 8
MAPPINGS = {
    "identity": {"source": [0, 1, 2], "scale": [1, 1, 1], "offset": [0, 0, 0]},
    "swapped": {"source": [2, 1, 0], "scale": [2.5, 1.5, 3], "offset": [-1.25, 0.5, -0.75]},
}


def float32(values):
    """Four decimals are enough for test data; the file's decimals, rounded to float32, are the values used."""
    return numpy.round(values, 4).astype(numpy.float32)


def forward(image, weights, mapping, layer):
    """The map of `layer` after its ReLU, [filters, height, width]; `image` is [height, width, 3]."""
    scale, offset = (torch.tensor(mapping[key], dtype=torch.float64) for key in ("scale", "offset"))
    x = (image[:, :, mapping["source"]] * scale + offset).permute(2, 0, 1).unsqueeze(0)
    for index in range(layer + 1):
        kernel, bias = weights[index]
        x = torch.relu(torch.nn.functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1))
        if index < layer and LAYERS[index][1]:
            x = torch.nn.functional.max_pool2d(x, 2, 2)
    return x[0]


def loss_and_gradient(image, weights, mapping, layer, filter_number):
    image = image.clone().requires_grad_(True)
    loss = forward(image, weights, mapping, layer)[filter_number].mean()
    loss.backward()
    return loss.item(), image.grad


def decimals(tensor):
    return [float(f"{value:.12g}") for value in tensor.reshape(-1).tolist()]


def main():
    random = numpy.random.RandomState(4)
    image = float32(random.uniform(0, 1, (HEIGHT, WIDTH, 3)))
    weights, network = [], []
    channels = 3
    for filters, pool in LAYERS:
        bound = numpy.sqrt(6 / (9 * channels))
        kernel = float32(random.uniform(-bound, bound, (3, 3, channels, filters)))
        bias = float32(random.uniform(-0.1, 0.1, filters))
        weights.append((torch.tensor(kernel, dtype=torch.float64), torch.tensor(bias, dtype=torch.float64)))
        network.append({"filters": filters, "pool_after": pool,
                        "kernel": [round(float(v), 4) for v in kernel.reshape(-1)],
                        "bias": [round(float(v), 4) for v in bias]})
        channels = filters
    start = torch.tensor(image, dtype=torch.float64)

    gradients = []
    for name, mapping in MAPPINGS.items():
        for layer, filter_number in enumerate(FILTERS):
            loss, gradient = loss_and_gradient(start, weights, mapping, layer, filter_number)
            assert gradient.abs().max() > 0, (name, layer)
            gradients.append({"mapping": mapping, "layer": layer, "filter": filter_number, "loss": loss,
                              "gradient": decimals(gradient)})

    step, epsilon = float(numpy.float32(STEP)), float(numpy.float32(EPSILON))
    x, losses = start.clone(), []
    layer, filter_number = 3, FILTERS[3]
    for _ in range(ITERATIONS):
        loss, gradient = loss_and_gradient(x, weights, MAPPINGS["identity"], layer, filter_number)
        losses.append(loss)
        norm = gradient.square().sum().clamp(min=epsilon).sqrt()
        x = x + step * gradient / norm
    final_loss = forward(x, weights, MAPPINGS["identity"], layer)[filter_number].mean().item()

    golden = {
        "made_by": "tests/data/make_golden_ascent.py",
        "height": HEIGHT, "width": WIDTH,
        "image": [round(float(v), 4) for v in image.reshape(-1)],
        "layers": network,
        "gradients": gradients,
        "ascent": {"layer": layer, "filter": filter_number, "step": STEP, "epsilon": EPSILON, "losses": losses,
                   "final_loss": final_loss, "image": decimals(x)},
    }
    path = pathlib.Path(__file__).with_name("golden_ascent.json")
    path.write_text(json.dumps(golden, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()

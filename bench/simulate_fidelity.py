#!/usr/bin/env python3
"""Simulates on a CPU how the CUDA engine's roundings affect gradients and final losses in each precision. It predicts the
errors that `fidelity` finds on a GPU; the limits in tests/support/gradient_fidelity.cpp are based on it.

  bench/simulate_fidelity.py --weights vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5
  bench/simulate_fidelity.py --weights weights.safetensors    # as build/release/bench/write_weights writes it

Filters, start images and definitions are those of bench/fidelity and tests/support/gradient_fidelity.h. Gradients, of noise and
of the image after an fp32 ascent, are compared with double precision: given the masks that the rounded forward pass found, and
with double precision's own. Final losses of whole ascents are compared with fp32's, and with the spread of fp32 ascents whose
start images are up to one rounding apart (fidelity perturbs fp32's a second time); the row fp32 is for fp32 sums in another
order. In an iteration in which a filter's map is zero everywhere after its ReLU, the ascent climbs the mean before the ReLU.

fp16 and bf16 store maps and gradients in that type after every layer, and round to it the weights of the convolutions between
the first layer and the target. tf32 rounds the operands of these convolutions; tf32-truncated truncates them, as tensor cores
do with fp32 operands. Everything else is fp32: sums, biases, the first layer, the target's filter and its gradient, the image
and its gradient. (Some of cuDNN's graphs take biases in the storage type, which changes nothing here.) The order of the sums is
PyTorch's.

The defaults take 15 minutes on one core with AVX-512, and 2.5 GB; OMP_NUM_THREADS sets the number of cores. Needs PyTorch, and
h5py for HDF5 files (bench/peers/requirements-torch.txt).
"""
import argparse
import sys
import time
import typing

import numpy
import torch

from simulated_network import DOUBLE, LAYERS, PRECISIONS, Network, draw_filters, mirrored, noise, read_weights, shaken

SIZE_MULTIPLE = 16  # With multiples of this, no pool meets an odd row or column.

# As in bench/fidelity.
FP32_LOSS_LIMIT = 1e-3
LOSS_LIMIT = 1e-2
SPREADS = 3
ROUNDINGS = {"fp32": 2.0**-23, "tf32": 2.0**-11, "tf32-truncated": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}


class GradientErrors(typing.NamedTuple):
    """The members of fidelity::GradientErrors, as arrays over filters, and whether a position of the filter's map is above zero,
    in the precision and in double precision."""

    step: numpy.ndarray
    norm: numpy.ndarray
    free_step: numpy.ndarray
    masks: numpy.ndarray
    differ: numpy.ndarray
    alive: numpy.ndarray
    alive_expected: numpy.ndarray


def norms(gradients):
    return gradients.double().flatten(1).norm(dim=1)


def step_errors(found, expected):
    """The L2 norm of the difference of the unit gradients: 0 for two zeros, 1 if one is zero, infinite if a value is not finite."""
    units = [gradients.double().flatten(1) / norms(gradients).clamp_min(1e-300)[:, None] for gradients in (found, expected)]
    return (units[0] - units[1]).norm(dim=1).nan_to_num(torch.inf)


def norm_errors(found, given):
    return torch.where(found == given, 0.0, (found / given - 1).abs().nan_to_num(torch.inf))


def count_differing(found, expected):
    pairs = zip([*found.layers, found.filter], [*expected.layers, expected.filter])
    return sum((ours != theirs).flatten(1).sum(1) for ours, theirs in pairs)


def is_alive(responses):
    return (responses > 0).flatten(1).any(1)


def gradient_errors(networks, double, images, layer, filters):
    """GradientErrors of each of `networks`, a dict, by its name."""
    expected_responses, expected_masks = double.forward(images, layer, filters)
    expected = double.gradient(expected_masks, layer, filters)
    count = sum(masks[0].numel() for masks in [*expected_masks.layers, expected_masks.filter])
    errors = {}
    for name, network in networks.items():
        responses, masks = network.forward(images, layer, filters)
        found = network.gradient(masks, layer, filters)
        given = double.gradient(masks, layer, filters)
        tensors = GradientErrors(
            step=step_errors(found, given),
            norm=norm_errors(norms(found), norms(given)),
            free_step=step_errors(found, expected),
            masks=torch.full([len(filters)], count),
            differ=count_differing(masks, expected_masks),
            alive=is_alive(responses),
            alive_expected=is_alive(expected_responses),
        )
        errors[name] = GradientErrors(*(tensor.numpy() for tensor in tensors))
    return errors


def median(values):
    """The upper median, as in fidelity."""
    return sorted(values)[len(values) // 2]


SUMMARY_TITLES = [
    "step, given its masks: worst",
    "norm: worst",
    "mask bits that differ",
    "step with all masks: median",
    "worst",
    "filters active nowhere",
    "unlike in double precision",
]


def summarise(errors):
    """The figures of SUMMARY_TITLES."""
    return [
        errors.step.max(),
        errors.norm.max(),
        errors.differ.sum() / errors.masks.sum(),
        median(errors.free_step),
        errors.free_step.max(),
        int((~errors.alive).sum()),
        int((errors.alive != errors.alive_expected).sum()),
    ]


def text_of(figure):
    return f"{figure:.1e}" if isinstance(figure, float) else str(figure)


def print_table(titles, rows):
    print("\n| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for row in rows:
        print("| " + " | ".join(map(text_of, row)) + " |")


def print_gradients(errors, iterations):
    """`errors` has, by precision and layer, GradientErrors of noise and of ascended images."""
    worst_layers = []
    for precision, of_precision in errors.items():
        print(f"\n## Gradients in {precision}: of noise / after {iterations} iterations")
        rows = []
        for layer, probes in of_precision.items():
            figures = zip(*map(summarise, probes))
            rows.append([layer, *(" / ".join(map(text_of, of_probes)) for of_probes in figures)])
        print_table(["layer", *SUMMARY_TITLES], rows)
        joined = [GradientErrors(*map(numpy.concatenate, zip(*probes))) for probes in of_precision.values()]
        worst_layers.append([precision, *map(max, zip(*map(summarise, joined)))])
    print("\n## Gradients, of noise and ascended images together: the worst layer")
    print_table(["", *SUMMARY_TITLES], worst_layers)


def relative_errors(found, expected):
    return numpy.where(found == expected, 0.0, numpy.abs(found - expected) / numpy.maximum(expected, 1e-300))


def spread_of(shaken, expected):
    """The largest difference among filters that are active in both."""
    living = (shaken > 0) & (expected > 0)
    return max(relative_errors(shaken[living], expected[living]), default=0.0)


def print_losses(losses, expected, shaken_losses):
    """`losses` are by precision and layer, `expected` by layer, `shaken_losses` by rounding and layer."""
    overall = []
    for precision, of_precision in losses.items():
        limit = FP32_LOSS_LIMIT if precision == "fp32" else LOSS_LIMIT
        rows, all_errors, all_within = [], [], []
        for layer, found in of_precision.items():
            errors = relative_errors(found, expected[layer])
            spread = max(spread_of(of_layer[layer], expected[layer])
                         for rounding, of_layer in shaken_losses.items() if rounding <= ROUNDINGS[precision])
            within = errors <= max(limit, SPREADS * spread)
            dead, dead_expected = found == 0, expected[layer] == 0
            same = "" if (dead == dead_expected).all() else ": others"
            of_filters = f"{within.sum()} of {len(within)}", f"{dead.sum()}, {dead_expected.sum()}{same}"
            rows.append([layer, median(errors), errors.max(), spread, *of_filters])
            all_errors += list(errors)
            all_within += list(within)
        print(f"\n## Final losses in {precision}: limit {limit:g} or {SPREADS} spreads")
        print_table(["layer", "median", "worst", "spread", "within", "dead, expected"], rows)
        within = f"{sum(all_within)} of {len(all_within)}"
        overall.append([precision, median(all_errors), max(all_errors), max(row[3] for row in rows), within])
    print("\n## Final losses, all layers")
    print_table(["", "median", "worst", "largest spread", "within"], overall)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="Keras' HDF5 file, or a safetensors file with torchvision's names")
    parser.add_argument("--precisions", default="fp32,tf32,fp16,bf16", help=f"some of {','.join(PRECISIONS)}")
    parser.add_argument("--filters", type=int, default=16, help="filters of each layer whose gradients are compared")
    parser.add_argument("--size", type=int, default=32, help="height and width of their images")
    parser.add_argument("--iterations", type=int, default=50, help="iterations of the ascents after which gradients are compared")
    parser.add_argument("--loss-filters", type=int, default=4, help="filters of each layer whose final losses are compared")
    parser.add_argument("--loss-size", type=int, default=48, help="height and width of their images")
    parser.add_argument("--loss-iterations", type=int, default=100, help="iterations of their ascents")
    arguments = parser.parse_args()
    arguments.precisions = arguments.precisions.split(",")
    if not set(arguments.precisions) <= set(PRECISIONS):
        parser.error(f"--precisions: expected some of {','.join(PRECISIONS)}")
    if arguments.size % SIZE_MULTIPLE or arguments.loss_size % SIZE_MULTIPLE:
        parser.error(f"--size, --loss-size: expected multiples of {SIZE_MULTIPLE}")
    return arguments


def simulate_gradients(arguments, weights, networks, fp32):
    double = Network(weights, DOUBLE)
    errors = {precision: {} for precision in networks}
    for layer, name in enumerate(LAYERS):
        began = time.monotonic()
        filters = draw_filters(layer, len(weights[layer][1]), arguments.filters)
        images = noise(layer, filters, arguments.size)
        probes = [images, fp32.ascend(images, layer, filters, arguments.iterations)]
        found = [gradient_errors(networks, double, probe, layer, filters) for probe in probes]
        for precision in networks:
            errors[precision][name] = [of_probe[precision] for of_probe in found]
        print(f"{name}: gradients, {time.monotonic() - began:.0f} s", file=sys.stderr)
    print_gradients(errors, arguments.iterations)


def simulate_losses(arguments, weights, networks, fp32):
    other_order = Network(mirrored(weights), PRECISIONS["fp32"])
    losses = {precision: {} for precision in networks}
    shaken_losses = {ROUNDINGS[precision]: {} for precision in networks}
    expected = {}
    for layer, name in enumerate(LAYERS):
        began = time.monotonic()
        filters = draw_filters(layer, len(weights[layer][1]), arguments.loss_filters)
        images = noise(layer, filters, arguments.loss_size)
        ascent = (layer, filters, arguments.loss_iterations)
        expected[name] = fp32.final_losses(images, *ascent)
        for precision, network in networks.items():
            if precision == "fp32":
                losses[precision][name] = other_order.final_losses(images.flip(3), *ascent)
            else:
                losses[precision][name] = network.final_losses(images, *ascent)
        for rounding in shaken_losses:
            shaken_losses[rounding][name] = fp32.final_losses(shaken(images, rounding), *ascent)
        print(f"{name}: final losses, {time.monotonic() - began:.0f} s", file=sys.stderr)
    print_losses(losses, expected, shaken_losses)


def main():
    arguments = parse_arguments()
    torch.set_grad_enabled(False)
    weights = read_weights(arguments.weights)
    networks = {precision: Network(weights, PRECISIONS[precision]) for precision in arguments.precisions}
    fp32 = networks.get("fp32") or Network(weights, PRECISIONS["fp32"])
    if arguments.filters > 0:
        simulate_gradients(arguments, weights, networks, fp32)
    if arguments.loss_filters > 0:
        simulate_losses(arguments, weights, networks, fp32)


if __name__ == "__main__":
    main()

"""VGG16 and its ascent in PyTorch, in double precision and with the CUDA engine's roundings, for simulate_fidelity.py."""
import pathlib
import sys
import typing

import numpy
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "peers"))
import peer
from peer import LAYERS

POOLED = {f"block{block}_conv{len(widths)}" for block, widths in enumerate(peer.BLOCKS, 1)}  # A max-pool follows these.

# As in host/cuda/network_passes.cpp: the gradient at an active position of the target. The image's gradient is divided by it.
HEAD_GRADIENT = 16.0


def exact(values):
    return values


def rounded_to(dtype):
    return lambda values: values.to(dtype).to(values.dtype)


def truncated_to_tf32(values):
    return (values.view(torch.int32) & -0x2000).view(torch.float32)


def rounded_to_tf32(values):
    """Rounds to nearest, ties away from zero, as the PTX instruction cvt.rna.tf32 does."""
    return ((values.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)


class Arithmetic(typing.NamedTuple):
    """`dtype` is the type of all computations. `store` rounds maps and gradients between layers; `operand` rounds the operands of
    the convolutions between the first layer and the target."""

    dtype: torch.dtype
    store: typing.Callable
    operand: typing.Callable


DOUBLE = Arithmetic(torch.float64, exact, exact)
PRECISIONS = {
    "fp32": Arithmetic(torch.float32, exact, exact),
    "tf32": Arithmetic(torch.float32, exact, rounded_to_tf32),
    "tf32-truncated": Arithmetic(torch.float32, exact, truncated_to_tf32),
    "fp16": Arithmetic(torch.float32, rounded_to(torch.float16), rounded_to(torch.float16)),
    "bf16": Arithmetic(torch.float32, rounded_to(torch.bfloat16), rounded_to(torch.bfloat16)),
}


class GradientMasks(typing.NamedTuple):
    """Where the gradient passes, as bool. `layers` has one entry per layer below the target, [images, channels, height, width]:
    whether the value is above zero and, if a pool follows, the first maximum of its window. `filter` is for the target filter's
    map, [images, height, width]: whether the response is above zero, or none is in the whole map."""

    layers: list
    filter: torch.Tensor


class Network:
    """VGG16 in one arithmetic. Images are [images, 3, height, width]; the target of image i is filter `filters[i]` of layer
    number `layer`."""

    def __init__(self, weights, arithmetic):
        self.arithmetic = arithmetic
        self.kernels = [torch.tensor(kernel, dtype=arithmetic.dtype) for kernel, _ in weights]
        self.biases = [torch.tensor(bias, dtype=arithmetic.dtype) for _, bias in weights]
        self.operands = [self.kernels[0], *map(arithmetic.operand, self.kernels[1:])]
        self.rotated_operands = [kernel.flip(2, 3).transpose(0, 1).contiguous() for kernel in self.operands]

    def forward(self, images, layer, filters):
        """The target filters' responses before their ReLU, [images, height, width], and the masks."""
        maps, masks = images.to(self.arithmetic.dtype), []
        for below in range(layer):
            if below > 0:
                maps = self.arithmetic.operand(maps)
            maps = F.conv2d(maps, self.operands[below], self.biases[below], padding=1)
            maps = self.arithmetic.store(maps.relu_())
            if LAYERS[below] in POOLED:
                pooled, first_maxima = F.max_pool2d(maps, 2, return_indices=True)
                masks.append(F.max_unpool2d(pooled, first_maxima, 2) > 0)
                maps = pooled
            else:
                masks.append(maps > 0)
        maps = maps.reshape(1, -1, *maps.shape[2:])
        kernels, biases = self.kernels[layer][filters], self.biases[layer][filters]
        responses = F.conv2d(maps, kernels, biases, padding=1, groups=len(filters))[0]
        active = responses > 0
        return responses, GradientMasks(masks, active | ~active.flatten(1).any(1)[:, None, None])

    def gradient(self, masks, layer, filters):
        """The gradient of each image's objective with respect to the image, through these masks."""
        start = masks.filter.to(self.arithmetic.dtype) * HEAD_GRADIENT
        kernels = self.kernels[layer][filters].flip(2, 3).flatten(0, 1)[:, None]
        gradient = F.conv2d(start[None], kernels, padding=1, groups=len(filters))
        gradient = gradient.unflatten(1, (len(filters), -1))[0]
        for below in reversed(range(layer)):
            gradient = self.arithmetic.store(gradient)
            if LAYERS[below] in POOLED:
                gradient = gradient.repeat_interleave(2, 2).repeat_interleave(2, 3)
            gradient = gradient * masks.layers[below]
            if below > 0:
                gradient = self.arithmetic.operand(gradient)
            gradient = F.conv2d(gradient, self.rotated_operands[below], padding=1)
        return gradient / (HEAD_GRADIENT * masks.filter[0].numel())

    def ascend(self, images, layer, filters, iterations):
        for _ in range(iterations):
            gradient = self.gradient(self.forward(images, layer, filters)[1], layer, filters)
            norm = gradient.double().square().sum((1, 2, 3), keepdim=True).clamp_min(peer.EPSILON).sqrt()
            images = images + (peer.STEP / norm).float() * gradient
        return images

    def final_losses(self, images, layer, filters, iterations):
        """Mean responses after the ReLU. A filter that is active nowhere has exactly zero."""
        finished = self.ascend(images, layer, filters, iterations)
        return self.forward(finished, layer, filters)[0].relu().double().mean((1, 2)).numpy()


def mirrored(weights):
    """Weights with which a mirrored image gives the same results, except that sums are in another order."""
    return [(kernel[..., ::-1].copy(), bias) for kernel, bias in weights]


def read_weights(path):
    """(kernel [out, in, 3, 3], bias [out]) of each layer."""
    if not path.endswith((".h5", ".hdf5")):
        return peer.read_weights(path)
    import h5py

    with h5py.File(path) as file:
        groups = [file[layer] for layer in LAYERS]
        pairs = [[group[name][()] for name in group.attrs["weight_names"]] for group in groups]
    return [(kernel.transpose(3, 2, 0, 1), bias) for kernel, bias in pairs]


INITIAL_IMAGE, SELECTION = 0, 1  # Streams of the program's random numbers.


def random_blocks(stream, layer, filter, count):
    """The stream's first `count` blocks of four words, [count, 4], as of kernels/common/philox.h with seed 0."""
    shift, low = numpy.uint64(32), numpy.uint64(0xFFFFFFFF)
    counter = [numpy.arange(count, dtype=numpy.uint64)]
    counter += [numpy.full(count, word, numpy.uint64) for word in (filter, layer, stream)]
    key = [0, 0]
    for _ in range(10):
        first, second = numpy.uint64(0xD2511F53) * counter[0], numpy.uint64(0xCD9E8D57) * counter[2]
        counter = [
            second >> shift ^ counter[1] ^ numpy.uint64(key[0]),
            second & low,
            first >> shift ^ counter[3] ^ numpy.uint64(key[1]),
            first & low,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return numpy.stack(counter, axis=1)


def draw_filters(layer, channels, count):
    drawn = dict.fromkeys(int(word % channels) for word in random_blocks(SELECTION, layer, 0, 100 * count)[:, 0])
    return sorted(list(drawn)[:count])


def noise(layer, filters, size):
    """Uniform in [0, 1)."""
    words = numpy.stack([random_blocks(INITIAL_IMAGE, layer, filter, size * size * 3 // 4) for filter in filters])
    values = (words >> numpy.uint64(8)).astype(numpy.float32) * numpy.float32(2.0**-24)
    return torch.tensor(values.reshape(-1, size, size, 3).transpose(0, 3, 1, 2).copy())


def shaken(images, relative):
    """Moves each value by `relative`, up or down."""
    signs = numpy.random.default_rng(0).choice([-1.0, 1.0], images.shape)
    return images * (1 + torch.tensor(signs * relative, dtype=torch.float32))

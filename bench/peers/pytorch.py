"""The same ascent in PyTorch, many filters as one batch: each image's loss is the mean of its own filter's map, each gradient is
normalised over its own image. See peer.py.

A variant is "EXECUTION PRECISION FORMAT": eager, compiled (torch.compile), compiled-graphed (with its mode reduce-overhead, which
uses CUDA graphs) or graphed (a CUDA graph of an eager iteration); fp32, tf32, bf16 or fp16, for the convolutions (image, loss and
step are fp32); contiguous or channels_last.
"""
import gc
import itertools
import sys
import time

import torch
import torch._dynamo

import peer

# Each layer, batch and variant is compiled separately; beyond its limit, torch.compile would silently continue without compiling.
torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 10000
torch._dynamo.config.fail_on_recompile_limit_hit = True

# Scaling the loss keeps values that fp16 would round to zero.
LOSS_SCALE = {"fp16": 1024.0}
COMPILE_MODES = {"compiled": "default", "compiled-graphed": "reduce-overhead"}
TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def network_to(layer, weights):
    modules = []
    index = 0
    for block, widths in enumerate(peer.BLOCKS, 1):
        for convolution, _ in enumerate(widths, 1):
            kernel, bias = (torch.tensor(values) for values in weights[index])
            module = torch.nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            module.weight.data, module.bias.data = kernel, bias
            modules += [module, torch.nn.ReLU(inplace=True)]
            if f"block{block}_conv{convolution}" == layer:
                return torch.nn.Sequential(*modules).requires_grad_(False)
            index += 1
        modules.append(torch.nn.MaxPool2d(2))


class Ascent:
    """The ascent for one layer, batch size and variant; kept, since compiling and capturing take long."""

    def __init__(self, weights, device, layer, batch, size, variant):
        self.execution, self.precision, memory_format = variant.split()
        self.format = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
        self.type = TYPES[self.precision]
        self.scale = LOSS_SCALE.get(self.precision, 1.0)
        self.device = device
        self.network = network_to(layer, weights).to(device, self.type, memory_format=self.format)
        self.image = torch.zeros(batch, 3, *size, device=device).to(memory_format=self.format).requires_grad_(True)
        self.rows = torch.arange(batch, device=device)
        self.filters = torch.zeros(batch, dtype=torch.int64, device=device)
        self.losses = self._losses
        if self.execution in COMPILE_MODES:
            self.losses = torch.compile(self._losses, mode=COMPILE_MODES[self.execution], dynamic=False)
        self.iterate = self._iterate
        if self.execution == "graphed":
            self._capture()

    def _losses(self, image, rows, filters):
        return self.network(image.to(self.type))[rows, filters].float().mean((1, 2))

    def _iterate(self):
        if self.execution == "compiled-graphed":
            torch.compiler.cudagraph_mark_step_begin()  # The last iteration's results are no longer needed.
        losses = self.losses(self.image, self.rows, self.filters)
        (gradient,) = torch.autograd.grad(losses.sum() * self.scale, self.image)
        with torch.no_grad():
            gradient = gradient / self.scale
            norm = gradient.square().sum((1, 2, 3), keepdim=True).clamp_min(peer.EPSILON).sqrt()
            self.image.add_(gradient / norm, alpha=peer.STEP)

    def _capture(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._iterate()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._iterate()
        self.iterate = graph.replay

    def _wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def run(self, images, filters, iterations):
        """Returns the seconds of the iterations and the final losses."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
        with torch.no_grad():
            self.image.copy_(torch.tensor(images).permute(0, 3, 1, 2))
            self.filters.copy_(torch.tensor(filters))
        self._wait()
        start = time.perf_counter()
        for _ in range(iterations):
            self.iterate()
        self._wait()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            return seconds, self._losses(self.image, self.rows, self.filters).tolist()


def connect(weights, device):
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    torch.backends.cudnn.benchmark = True
    ascents = {}

    def ascend(layer, filters, images, iterations, batch, variant):
        if any(key[0] != layer for key in ascents):  # Their memory is needed.
            ascents.clear()
            torch._dynamo.reset()
            gc.collect()
        try:
            return ascend_layer(layer, filters, images, iterations, batch, variant)
        finally:
            if device == "cuda":  # Other programs also use the device in turn.
                torch.cuda.empty_cache()

    def ascend_layer(layer, filters, images, iterations, batch, variant):
        if len(filters) % batch != 0:
            raise ValueError(f"{len(filters)} filters are no batches of {batch}")
        key = (layer, batch, images.shape[1:3], variant)
        if key not in ascents:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "tf32" in variant
            ascents[key] = Ascent(weights, device, layer, batch, images.shape[1:3], variant)
        ascent = ascents[key]
        ascent.run(images[:batch], filters[:batch], peer.WARM_UP)
        seconds, losses = 0.0, []
        for first in range(0, len(filters), batch):
            taken, of_batch = ascent.run(images[first:first + batch], filters[first:first + batch], iterations)
            seconds += taken
            losses += of_batch
        return seconds, losses

    executions = ["eager", "compiled", "compiled-graphed", "graphed"] if device == "cuda" else ["eager", "compiled"]
    precisions = ["fp32", "tf32", "bf16", "fp16"] if device == "cuda" else ["fp32", "bf16"]
    variants = [" ".join(parts) for parts in itertools.product(executions, precisions, ["contiguous", "channels_last"])]
    versions = {"torch": torch.__version__}
    if device == "cuda":
        versions |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return versions, variants, ascend


if __name__ == "__main__":
    peer.serve(connect)

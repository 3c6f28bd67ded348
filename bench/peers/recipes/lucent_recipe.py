"""Lucid's ascent as Lucent (torch-lucent) has it for PyTorch, with Keras' weights, and the judge of its pictures and others'.

  lucent_recipe.py render WEIGHTS.h5 LAYER FILTERS STEPS FOLDER   writes FOLDER/LAYER-FILTER-STEPS.npy, float32 [128, 128, 3], 0..1,
                                                                  of the filters that have none there yet
  lucent_recipe.py judge WEIGHTS.h5 LAYER FILTERS IMAGES.npy      prints, as JSON, each image's mean activation after the ReLU

FILTERS are numbers with commas between them. The images are judged as they are, at their size and without transforms.
"""
import json
import pathlib
import sys
import time

import h5py
import lucent
import numpy
import torch
import torchvision
from lucent.optvis import param, render, transform

MEANS = torch.tensor([103.939, 116.779, 123.68])[:, None, None]  # Of blue, green and red.


def kernel_and_bias(group):
    found = []
    group.visititems(lambda _name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return sorted(found, key=lambda values: -values.ndim)


def network_to(layer, path):
    """VGG16's modules up to the ReLU after `layer`."""
    features = torchvision.models.vgg16(weights=None).features
    block, convolution = 1, 0
    with h5py.File(path) as file:
        root = file["model_weights"] if "model_weights" in file else file
        for index, module in enumerate(features):
            if isinstance(module, torch.nn.MaxPool2d):
                block, convolution = block + 1, 0
            if not isinstance(module, torch.nn.Conv2d):
                module.inplace = False
                continue
            convolution += 1
            name = f"block{block}_conv{convolution}"
            kernel, bias = kernel_and_bias(root[name])
            module.weight.data, module.bias.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy()), torch.tensor(bias)
            if name == layer:
                return features[:index + 2].requires_grad_(False).eval()
    raise SystemExit(f"{path}: no layer {layer}")


def keras_mapping(image):
    return image.flip(1) * 255 - MEANS


def render_filter(network, number, steps):
    relu = str(len(network) - 1)
    torch.manual_seed(number)
    numpy.random.seed(number)
    # Lucent enlarges what is smaller than 224 pixels, which Lucid does not; with fixed_image_size=0 it leaves it.
    result = render.render_vis(network, f"{relu}:{number}", lambda: param.image(128), thresholds=(steps,), preprocess=False,
                               transforms=transform.standard_transforms + [keras_mapping], fixed_image_size=0, progress=False,
                               show_image=False)
    return result[-1][0].astype(numpy.float32)


def main():
    torch.set_num_threads(1)
    task, weights, layer, filters = sys.argv[1:5]
    filters = [int(number) for number in filters.split(",")]
    network = network_to(layer, weights)
    if task == "render":
        for number in filters:
            path = pathlib.Path(sys.argv[6]) / f"{layer}-{number}-{sys.argv[5]}.npy"
            if not path.exists():
                start = time.perf_counter()
                numpy.save(path, render_filter(network, number, int(sys.argv[5])))
                print(f"{layer}:{number}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        print(json.dumps({"torch-lucent": lucent.__version__, "torch": torch.__version__}))
        return
    images = torch.tensor(numpy.load(sys.argv[5])).permute(0, 3, 1, 2)
    print(json.dumps([float(network(keras_mapping(image[None]))[0, number].mean()) for image, number in zip(images, filters)]))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes weights/*.h5 and *.safetensors: the weights of a network of three convolutions, 3 -> 4 -> 5 -> 2, in every layout
that the readers know, and files with one fault each. Needs h5py and NumPy (Debian: python3-h5py).

Every value is a multiple of 1/64 below 2, exact in all floating-point types; tests/model/weights/fixtures.h has the same formula. The
faulty files are in HDF5's latest format, which stores the time, so they differ by that from run to run.
"""

import json
import pathlib
import struct

import h5py
import numpy as np

FOLDER = pathlib.Path(__file__).parent / "weights"
NAMES = ["block1_conv1", "block1_conv2", "block2_conv1"]
CHANNELS = [3, 4, 5, 2]
TORCHVISION = [0, 2, 5]  # A pool follows block1_conv2.


def tensor(layer, salt, shape):
    index = np.arange(np.prod(shape), dtype=np.int64)
    return (((index * 37 + layer * 11 + salt) % 201 - 100) / 64).reshape(shape).astype(np.float32)


def kernel(layer):
    return tensor(layer, 5, (3, 3, CHANNELS[layer], CHANNELS[layer + 1]))


def bias(layer):
    return tensor(layer, 70, (CHANNELS[layer + 1],))


def new(name, libver="earliest"):
    """Keras writes HDF5's earliest format; the latest is smaller."""
    FOLDER.mkdir(exist_ok=True)
    return h5py.File(FOLDER / name, "w", libver=libver)


def fixed(names):
    return np.array([name.encode() for name in names])


def variable(names):
    return np.array(names, dtype=h5py.string_dtype())


def keras1(name, layers=(0, 1, 2), strings=fixed, change=None, libver="earliest", **creation):
    """Keras 1: datasets named after the layer. `change` maps (layer, "W" or "b") to another array."""
    with new(name, libver) as file:
        listed = [NAMES[layer] for layer in layers]
        file.attrs["layer_names"] = strings(listed + ["block1_pool"])
        pool = file.create_group("block1_pool")
        pool.attrs["weight_names"] = []
        for layer in layers:
            group = file.create_group(NAMES[layer])
            names = []
            for part, value in (("W", kernel(layer)), ("b", bias(layer))):
                value = (change or {}).get((layer, part), value)
                if value is None:
                    continue
                names.append(f"{NAMES[layer]}_{part}_1:0")
                group.create_dataset(names[-1], data=value, **(creation if value.ndim else {}))
            group.attrs["weight_names"] = strings(names)


def keras2(group, names=NAMES, strings=variable, dense=False):
    """Keras 2 in `group`: nested kernel:0 and bias:0."""
    listed = list(names) + (["flatten", "fc1"] if dense else [])
    group.attrs["layer_names"] = strings(["input_1"] + listed)
    group.create_group("input_1").attrs["weight_names"] = []
    for layer, name in enumerate(names):
        inner = group.create_group(name)
        inner.attrs["weight_names"] = strings([f"{name}/kernel:0", f"{name}/bias:0"])
        inner[f"{name}/kernel:0"] = kernel(layer)
        inner[f"{name}/bias:0"] = bias(layer)
    if dense:
        group.create_group("flatten").attrs["weight_names"] = []
        inner = group.create_group("fc1")
        inner.attrs["weight_names"] = strings(["fc1/kernel:0", "fc1/bias:0"])
        inner["fc1/kernel:0"] = np.ones((2, 3), np.float32)
        inner["fc1/bias:0"] = np.ones((3,), np.float32)


def keras3(name, folders, attributes=None, parent="layers", extra=True, libver="earliest"):
    with new(name, libver) as file:
        file.create_group("vars")
        for layer, folder in enumerate(folders):
            group = file.create_group(f"{parent}/{folder}/vars")
            if attributes:
                group.attrs["name"] = attributes[layer]
            group["0"] = kernel(layer)
            group["1"] = bias(layer)
        if extra:
            file.create_group(f"{parent}/max_pooling2d/vars")
            dense = file.create_group(f"{parent}/dense/vars")
            if attributes:
                dense.attrs["name"] = "fc1"
            dense["0"] = np.ones((2, 3), np.float32)
            dense["1"] = np.ones((3,), np.float32)


def good_hdf5():
    keras1("keras1_fixed.h5")
    keras1("keras1_variable.h5", strings=variable)
    keras1("keras1_partial.h5", layers=(0, 2))
    keras1("keras1_latest.h5", strings=variable, libver="latest")
    keras1("keras1_compressed.h5", chunks=True, compression="gzip", shuffle=True, fletcher32=True)
    for kind, dtype in (("float16", "<f2"), ("float64", "<f8"), ("big_endian", ">f4")):
        keras1(f"keras1_{kind}.h5", change={(layer, part): value.astype(dtype) for layer in range(3)
                                            for part, value in (("W", kernel(layer)), ("b", bias(layer)))})
    with new("keras2_with_top.h5") as file:
        keras2(file, dense=True)
    with new("keras2_fixed.h5") as file:
        keras2(file, strings=fixed)
    with new("keras2_model.h5") as file:
        keras2(file.create_group("model_weights"), strings=fixed, dense=True)
        file.attrs["model_config"] = "{}"
        file.create_group("optimizer_weights").attrs["weight_names"] = fixed(["Adam/iterations:0"])
    with new("keras2_long_attributes.h5") as file:
        keras2(file, strings=fixed)
        listed = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        for part, names in enumerate((listed[:2], listed[2:])):
            file.attrs[f"layer_names{part}"] = names
    with new("keras2_inner_network.h5") as file:
        file.attrs["layer_names"] = fixed(["vgg16", "dense"])
        group = file.create_group("vgg16")
        group.attrs["weight_names"] = fixed([f"{name}/{part}:0" for name in NAMES for part in ("kernel", "bias")])
        for layer, name in enumerate(NAMES):
            group[f"{name}/kernel:0"] = kernel(layer)
            group[f"{name}/bias:0"] = bias(layer)
        file.create_group("dense").attrs["weight_names"] = []
    keras3("keras3_counted.weights.h5", ["conv2d", "conv2d_1", "conv2d_2"])
    keras3("keras3_named.weights.h5", ["conv2d", "conv2d_1", "conv2d_2"], attributes=NAMES)
    keras3("keras3_folders.weights.h5", NAMES)
    keras3("keras3_dependencies.weights.h5", ["conv2d", "conv2d_1", "conv2d_2"],
           parent="_layer_checkpoint_dependencies")
    keras3("keras3_inner_network.weights.h5", ["conv2d", "conv2d_1", "conv2d_2"], parent="layers/functional/layers")


def faulty_hdf5():
    keras1("wrong_kernel_shape.h5", change={(1, "W"): np.zeros((3, 3, 4, 6), np.float32)}, libver="latest")
    keras1("wrong_bias_shape.h5", change={(0, "b"): np.zeros((1, 4), np.float32)}, libver="latest")
    keras1("scalar_bias.h5", change={(0, "b"): np.float32(1).reshape(())}, libver="latest")
    keras1("integers.h5", change={(2, "W"): np.zeros((3, 3, 5, 2), np.int32)}, libver="latest")
    keras1("opaque.h5", change={(0, "b"): np.zeros((4,), "V2")}, libver="latest")
    poisoned = kernel(1)
    poisoned[2, 1, 3, 0] = np.nan
    keras1("nan.h5", change={(1, "W"): poisoned}, libver="latest")
    poisoned = bias(2)
    poisoned[1] = -np.inf
    keras1("infinite.h5", change={(2, "b"): poisoned}, libver="latest")
    overflowing = kernel(0).astype(np.float64)
    overflowing[0, 0, 0, 1] = 1e39
    keras1("overflowing.h5", change={(0, "W"): overflowing}, libver="latest")
    keras1("no_bias.h5", change={(1, "b"): None}, libver="latest")
    keras1("no_kernel.h5", change={(1, "W"): None}, libver="latest")
    keras1("integer_names.h5", strings=lambda names: np.arange(len(names)), libver="latest")
    with new("missing_dataset.h5", "latest") as file:
        keras2(file)
        del file["block1_conv2/block1_conv2/bias:0"]
    with new("missing_group.h5", "latest") as file:
        keras2(file)
        del file["block1_conv2"]
    with new("no_weight_names.h5", "latest") as file:
        keras2(file)
        del file["block1_conv2"].attrs["weight_names"]
    with new("group_for_dataset.h5", "latest") as file:
        keras2(file)
        del file["block1_conv1/block1_conv1/bias:0"]
        file.create_group("block1_conv1/block1_conv1/bias:0")
    with new("dataset_for_group.h5", "latest") as file:
        file.attrs["layer_names"] = fixed(["block1_conv1"])
        dataset = file.create_dataset("block1_conv1", data=np.zeros(4, np.float32))
        dataset.attrs["weight_names"] = fixed(["kernel:0"])
    with new("soft_link.h5", "latest") as file:
        keras2(file)
        del file["block1_conv1/block1_conv1/bias:0"]
        file["block1_conv1/block1_conv1/bias:0"] = h5py.SoftLink("/block1_conv2/block1_conv2/bias:0")
    with new("external_link.h5", "latest") as file:
        keras2(file)
        del file["block1_conv1/block1_conv1/bias:0"]
        file["block1_conv1/block1_conv1/bias:0"] = h5py.ExternalLink("keras2_fixed.h5", "/block1_conv1")
    with new("external_values.h5", "latest") as file:
        keras2(file)
        del file["block1_conv1/block1_conv1/bias:0"]
        file.create_dataset("block1_conv1/block1_conv1/bias:0", (4,), np.float32, external=[("/dev/zero", 0, 16)])
    with new("twice.h5", "latest") as file:
        keras2(file)
        group = file["block1_conv1"]
        group["again/kernel:0"] = kernel(0)
        group.attrs["weight_names"] = fixed(["block1_conv1/kernel:0", "block1_conv1/bias:0", "again/kernel:0"])
    with new("model_without_names.h5", "latest") as file:
        file.create_group("model_weights")
    with new("other_network.h5", "latest") as file:
        keras2(file, names=["conv1", "conv2", "conv3"])
    with new("not_keras.h5", "latest") as file:
        file["data"] = np.zeros(3)
    with new("cycle.h5", "latest") as file:
        file["layers/loop"] = file.create_group("layers")
    keras3("other_network.weights.h5", ["dense", "dense_1"], extra=False, libver="latest")
    keras3("wrong_order.weights.h5", ["conv2d", "conv2d_2", "conv2d_1"], libver="latest")
    keras3("too_many.weights.h5", ["conv2d", "conv2d_1", "conv2d_3"], libver="latest")


def safetensors(name, dtype, convert):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    tensors = {}
    for layer, number in enumerate(TORCHVISION):
        tensors[f"features.{number}.weight"] = kernel(layer).transpose(3, 2, 0, 1)
        tensors[f"features.{number}.bias"] = bias(layer)
    tensors["classifier.0.weight"] = np.ones((2, 3), np.float32)
    for key, value in tensors.items():
        raw = convert(np.ascontiguousarray(value))
        header[key] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (FOLDER / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


def good_safetensors():
    safetensors("f32.safetensors", "F32", lambda value: value.astype("<f4").tobytes())
    safetensors("f16.safetensors", "F16", lambda value: value.astype("<f2").tobytes())
    safetensors("bf16.safetensors", "BF16",
                lambda value: (value.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes())


if __name__ == "__main__":
    good_hdf5()
    faulty_hdf5()
    good_safetensors()

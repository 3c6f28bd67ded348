"""Final losses that bench/fidelity stores and compares, and the weights that write_weights makes for it.

  fidelity_test.py FIDELITY WRITE_WEIGHTS
"""
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

FIDELITY, WRITE_WEIGHTS = sys.argv[1:3]


def read_tensors(path, names):
    """The raw bytes of some tensors of a safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        begin = file.tell()
        tensors = []
        for name in names:
            first, last = header[name]["data_offsets"]
            file.seek(begin + first)
            tensors.append((header[name]["dtype"], file.read(last - first)))
    return tensors


class Fidelity(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_fidelity(self, *options):
        return subprocess.run([FIDELITY, "--device", "cpu", "--precisions", "fp32", "--gradients", "0", *map(str, options)],
                              capture_output=True, text=True)

    def write_weights(self, source, name, *types):
        path = self.folder / name
        subprocess.run([WRITE_WEIGHTS, source, path, *types], check=True)
        return path

    def test_stored_losses_are_compared(self):
        stored = self.folder / "expected.json"
        options = ["--filters", "4", "--iterations", "1", "--size", "32"]
        small = self.write_weights("synthetic", "small.safetensors", "F16")
        written = self.run_fidelity("--weights", "synthetic", *options, "--write-expected", stored)
        self.assertEqual(written.returncode, 0, written.stderr)
        expected = json.loads(stored.read_text())
        self.assertEqual(len(expected["losses"]), 4 * 13)
        self.assertEqual((expected["weights"], expected["iterations"], expected["size"]), ("synthetic:0", 1, 32))

        same = self.run_fidelity("--weights", "synthetic", "--expected", stored)
        self.assertEqual(same.returncode, 0, same.stdout)
        self.assertIn("gradients not compared, losses within limits", same.stdout)
        # Weights rounded to 16 bits count as the same, but are judged less strictly.
        rounded = self.run_fidelity("--weights", small, "--expected", stored)
        self.assertEqual(rounded.returncode, 0, rounded.stdout)
        self.assertIn("16-bit weights", rounded.stdout)
        self.assertIn("limit 0.01", rounded.stdout)

        def change(which):
            changed = json.loads(stored.read_text())
            which(changed)
            path = self.folder / "changed.json"
            path.write_text(json.dumps(changed))
            return self.run_fidelity("--weights", "synthetic", *options, "--expected", path)

        def of_one_layer(changed):  # 4 of 52 filters, but all of a layer.
            for row in changed["losses"]:
                if row[0] == "block1_conv2":
                    row[2:] = [1.02 * loss for loss in row[2:]]

        def of_some_filters(changed):  # 1 of each layer.
            for row in changed["losses"][::4]:
                row[2:] = [1.02 * loss for loss in row[2:]]

        def of_dead_filters(changed):
            changed["losses"][0][2] = 0

        for wrong in (of_one_layer, of_some_filters, of_dead_filters):
            answer = change(wrong)
            self.assertEqual(answer.returncode, 1, wrong.__name__)
            self.assertIn("losses BEYOND LIMITS", answer.stdout)

        def of_other_weights(changed):
            changed["kernel_norms"][3] *= 1.01

        other = change(of_other_weights)
        self.assertEqual(other.returncode, 0, other.stdout)
        self.assertIn("other weights than synthetic:0", other.stderr)

    def test_what_cannot_be_read_is_named(self):
        for text, found in ((None, "none that can be opened"), ("{", "parse error"), ("{}", "roundings")):
            path = self.folder / "losses.json"
            if text:
                path.write_text(text)
            answer = self.run_fidelity("--weights", "synthetic", "--expected", path)
            self.assertEqual(answer.returncode, 3)
            self.assertIn(f"--expected {path}: expected a file written by --write-expected, found", answer.stderr)
            self.assertIn(found, answer.stderr)

    def test_float16_is_rounded_to_nearest(self):
        names = ["features.0.weight", "features.0.bias", "features.2.weight"]
        single = read_tensors(self.write_weights("synthetic", "single.safetensors"), names)
        half = read_tensors(self.write_weights("synthetic", "half.safetensors", "F16"), names)
        zeros = 0
        for (single_type, exact), (half_type, rounded) in zip(single, half):
            self.assertEqual((single_type, half_type), ("F32", "F16"))
            values = struct.unpack(f"<{len(exact) // 4}f", exact)
            self.assertEqual(rounded, struct.pack(f"<{len(values)}e", *values))
            zeros += values.count(0)
        self.assertGreater(zeros, 0)
        # Values that synthetic weights lack: ties, subnormal numbers, signs.
        source = self.folder / "source.safetensors"
        content = bytearray(self.write_weights("synthetic", "single.safetensors").read_bytes())
        header = 8 + struct.unpack("<Q", content[:8])[0]
        odd = [-0.0, 2.0**-24, 2.0**-25, 3 * 2.0**-25, -(2.0**-14), 65504.0, 1 + 2.0**-11, 1 + 3 * 2.0**-11, math.nextafter(1, 0)]
        content[header:header + 4 * len(odd)] = struct.pack(f"<{len(odd)}f", *odd)
        source.write_bytes(content)
        (_, rounded), = read_tensors(self.write_weights(source, "odd.safetensors", "F16"), names[:1])
        single_precision = struct.unpack(f"<{len(odd)}f", content[header:header + 4 * len(odd)])
        self.assertEqual(rounded[:2 * len(odd)], struct.pack(f"<{len(odd)}e", *single_precision))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

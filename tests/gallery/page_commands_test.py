"""The commands that the page shows, and pages and pictures in folders of any name."""

import json
import os
import pathlib
import struct
import subprocess
from urllib.parse import quote

from page import PROGRAM, Keys, Page, browser, make_run, work


def write_images(path, shape, factor=37):
    """Writes images as a .npy file of float32."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(11 + len(header)) % 64) + "\n"
    count = 1
    for extent in shape:
        count *= extent
    values = [0.5 + 0.5 * ((i * factor) % 256 - 128) / 128 for i in range(count)]
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
                     + struct.pack(f"<{count}f", *values))


def write_first_layer(path):
    """Writes the first layer as in torchvision's file."""
    kernel = 64 * 3 * 3 * 3
    header = json.dumps({
        "features.0.weight": {"dtype": "F32", "shape": [64, 3, 3, 3], "data_offsets": [0, 4 * kernel]},
        "features.0.bias": {"dtype": "F32", "shape": [64], "data_offsets": [4 * kernel, 4 * kernel + 256]}}).encode()
    values = [0.01 * ((i * 31) % 17 - 7) for i in range(kernel)] + 64 * [0.5]
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values))


class Commands(Page):
    """The command that the page shows renders the same picture, in another folder, where no weights are found by chance."""

    def setUp(self):
        pass

    def program(self, folder, *arguments):
        home = work / "home"
        home.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "FILTERSCOPE_WEIGHTS"}
        environment |= {"HOME": str(home), "PATH": f"{pathlib.Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def again(self, name, arguments, filters=("block1_conv1/3",), selection=None):
        """Renders with `arguments`, then each of `filters` with the page's command, and compares the bytes."""
        first = work / f"the {name} run"
        first.mkdir()
        self.program(first, "filterscope", "render", *(selection or [filters[0].replace("/", ":")]), "--quiet",
                     "--device", "cpu", *arguments)
        self.folder = first / "filterscope-out"
        Page.setUp(self)
        commands = []
        for number, filter in enumerate(filters):
            self.open(filter)
            self.until(lambda: self.text("#viewer-title") == filter.replace("/", " "))
            commands.append(self.command())
            second = work / f"the {name} run, again {number}"
            second.mkdir()
            self.program(second, "sh", "-c", commands[-1])
            layer, index = filter.split("/")
            file = f"filterscope-out/{layer}/{layer}_f{int(index):04}.png"
            self.assertEqual((first / file).read_bytes(), (second / file).read_bytes(), commands[-1])
        self.screen(f"again-{name}")
        return commands

    def test_of_defaults_says_nothing(self):
        command, = self.again("plain", ["--weights", "synthetic", "--iterations", "3"])
        self.assertEqual(command, "filterscope render block1_conv1:3 --weights synthetic:0 --iterations 3 --seed 0 --device cpu")

    def test_of_another_seed_step_and_size(self):
        command, = self.again("other", ["--weights", "synthetic:5", "--iterations", "7", "--seed", "18446744073709551615",
                                        "--step", "0.37", "--size", "40", "--trace-every", "2"], ["block2_conv1/9"])
        for option in ("--step 0.37", "--size 40", "--seed 18446744073709551615", "--weights synthetic:5", "--trace-every 2"):
            self.assertIn(option, command)

    def test_of_one_of_several_reproducible_filters(self):
        first, second = self.again("reproducible", ["--weights", "synthetic", "--iterations", "5", "--size", "32",
                                                    "--reproducible"],
                                   ["block1_conv2/2", "block2_conv2/64"], ["block1_conv2:0-9", "block2_conv2:60-69"])
        self.assertTrue(first.endswith(" --reproducible"), first)
        self.assertIn("to the byte", self.text("#numbers .command"))

    def test_of_a_weights_file_with_a_name_that_needs_quotes(self):
        place = work / "weights of it's own"
        place.mkdir()
        write_first_layer(place / "the first layer --of $HOME.safetensors")
        command, = self.again("weights", ["--iterations", "4", "--weights",
                                          f"../{place.name}/the first layer --of $HOME.safetensors"])
        self.assertIn("--weights '/", command)
        self.assertIn("the first layer --of $HOME.safetensors", self.text("#about"))

    def test_of_an_oblong_start_image(self):
        write_images(work / "a photo.npy", (40, 64, 3))
        command, = self.again("start", ["--weights", "synthetic", "--iterations", "4", "--init", "../a photo.npy"])
        self.assertNotIn("--size", command)
        self.assertNotIn("--seed", command)
        self.assertIn("64 × 40 pixels, started from a photo.npy, weights", self.text("#about"))
        self.assertIn("Start a photo.npy", self.text("#numbers"))
        self.keys(Keys.ESCAPE)
        self.until(lambda: not self.one("#viewer").is_displayed())
        self.assertIn("map 64 × 40", self.text("#view-about"))

    def test_of_a_start_image_for_each_filter(self):
        write_images(work / "each.npy", (4, 32, 48, 3))
        command, = self.again("each", ["--weights", "synthetic", "--iterations", "4", "--init", str(work / "each.npy")],
                              ["block1_conv2/7"], ["block1_conv1:5", "block1_conv2:6-8"])
        self.assertTrue(command.startswith("filterscope render block1_conv1:5 block1_conv2:6-8 --weights"), command)
        self.assertIn("with all others", self.text("#numbers .command"))

    def test_of_two_start_images_of_one_name_tells_them_apart(self):
        for side, factor in (("left", 37), ("right", 41)):
            (work / side).mkdir()
            write_images(work / side / "photo.npy", (32, 32, 3), factor)
            self.program(work / side, "filterscope", "render", "block1_conv1:3", "--quiet", "--device", "cpu",
                         "--weights", "synthetic", "--iterations", "2", "--init", "photo.npy")
        self.program(work, "filterscope", "gallery", "left/filterscope-out", "right/filterscope-out", "--out", "sides")
        self.folder = work / "sides"
        Page.setUp(self)
        hashes = [json.loads((work / side / "filterscope-out/manifest.json").read_text())["init"]["sha256"]
                  for side in ("left", "right")]
        about = self.text("#about")
        for hash in hashes:
            self.assertIn(f"SHA-256 of the start {hash[:12]}…", about)
        self.assertNotIn("seed 0", about)
        self.screen("two-starts")


class Names(Page):
    """Pictures are found whatever bytes the names of a run's folder and the page's contain."""

    def setUp(self):
        pass

    def test_of_any_bytes(self):
        plain = os.fsencode(work / "plain")
        make_run(plain, 32, 0, 2)
        for number, name in enumerate([
                b"lat\xe9", "café e\u0301 \N{ARTIST PALETTE}".encode(), b"c:foo", b"http:x", b"back\\slash",
                b"-50%41 # ? & ; =", b"\"quotes'` <b>", b" two\nlines\t\x01", b"..", bytes(range(128, 256))]):
            place = os.fsencode(work) + b"/names/" + str(number).encode() + b"/" + name
            run = os.path.normpath(place) + b"/" + name.replace(b"..", b"..x")
            make_run(run, 32, 1, 2)
            pages = place + b"/" + name.replace(b"..", b"..y") + b" pages"
            for arguments in ([run], [plain, run, b"--out", pages]):
                subprocess.run([PROGRAM, "gallery", *arguments], check=True, stdout=subprocess.DEVNULL)
            for folder, pictures in (run, 1), (os.path.normpath(pages), 2):
                with self.subTest(folder=folder):
                    self.folder = None
                    browser.get("about:blank")
                    browser.get(f"file://{quote(folder)}/index.html#block1_conv1/1")
                    self.until(lambda: self.text("#viewer-title") == "block1_conv1 1")
                    images = "return [...document.querySelectorAll('#pictures img')].map((image) => image.naturalWidth)"
                    self.until(lambda: browser.execute_script(images) == pictures * [32])
                    browser.execute_script(
                        "window.atlas = new Image(); atlas.src = "
                        "getComputedStyle(document.querySelector('.tile .picture')).backgroundImage.slice(5, -2)")
                    self.until(lambda: browser.execute_script("return atlas.naturalWidth > 0"))
        self.screen("names")

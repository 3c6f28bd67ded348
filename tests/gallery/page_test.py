#!/usr/bin/env python3
"""The gallery's page in a real browser: Chromium without a window, steered through its driver.

    page_test.py PROGRAM MAKE_RUN [SCREENS]

PROGRAM is filterscope, MAKE_RUN what makes a run's folder with all 4224 filters. With SCREENS, a folder, it also keeps
screenshots there. Ends with 77 where Chromium, its driver or Python's selenium is missing.
"""

import base64
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from urllib.parse import quote

SKIPPED = 77


def skip(what):
    print(f"page_test: {what} is missing; on Debian: apt install chromium chromium-driver python3-selenium")
    sys.exit(SKIPPED)


try:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select, WebDriverWait
except ImportError:
    skip("selenium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or skip("chromium")
DRIVER = shutil.which("chromedriver") or skip("chromedriver")

PROGRAM, MAKE_RUN = sys.argv[1:3]
SCREENS = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
FILTERS = 4224
PATIENCE = 20  # Seconds; the machine may be busy.


def chromium():
    options = Options()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--disable-gpu")
    options.add_argument("--disable-dev-shm-usage")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # It refuses to run for root with one.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service(DRIVER), options=options)


def make_run(folder, size, seed, *filters):
    subprocess.run([MAKE_RUN, folder, str(size), str(seed), *map(str, filters)], check=True)


def setUpModule():
    global work, run_folder, manifest, browser
    work = pathlib.Path(tempfile.mkdtemp(prefix="filterscope-page-"))
    unittest.addModuleCleanup(shutil.rmtree, work)
    run_folder = work / "a run, 100 % #1"  # A name that has to be escaped in addresses.
    make_run(run_folder, 32, 0)
    (run_folder / "block2_conv1/block2_conv1_f0005.png").unlink()
    (run_folder / "block2_conv1/block2_conv1_f0006.png").write_bytes(b"no picture")
    subprocess.run([PROGRAM, "gallery", run_folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = json.loads((run_folder / "manifest.json").read_text())
    browser = chromium()
    unittest.addModuleCleanup(browser.quit)
    browser.set_script_timeout(PATIENCE)


class Page(unittest.TestCase):
    """One test on one window of 1400 x 900 pixels, or of a phone; fails for errors that the browser logs."""

    folder = None
    extent = (1400, 900)
    phone = False

    def setUp(self):
        width, height = self.extent
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": width, "height": height, "deviceScaleFactor": 2 if self.phone else 1,
                                 "mobile": self.phone})
        self.scheme("light")
        self.open("")
        browser.execute_script("localStorage.clear()")
        self.open("")

    def tearDown(self):
        errors = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
        self.assertEqual(errors, [])
        addresses = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        self.assertEqual([address for address in addresses if not address.startswith(("file:", "data:"))], [])

    def address(self, hash):
        return f"file://{quote(str((self.folder or run_folder) / 'index.html'))}{'#' + hash if hash else ''}"

    def open(self, hash):
        browser.get("about:blank")  # Else a change of the hash alone does not load the page again.
        browser.get(self.address(hash))

    def scheme(self, name, forced_colours=False):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "forced-colors", "value": "active" if forced_colours else "none"}]})

    def one(self, selector):
        return browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.one(selector).text

    def until(self, holds, what=""):
        WebDriverWait(browser, PATIENCE, poll_frequency=0.02).until(lambda _: holds(), what)

    def hash(self):
        return browser.execute_script("return location.hash")

    def shown(self):
        """The filters of the tiles in the document, in order of their places."""
        return browser.execute_script(
            "return [...document.querySelectorAll('.tile')].sort((a, b) => a.filter.place - b.filter.place)"
            ".map(({filter}) => [filter.layerName, filter.number])")

    def tile(self, number):
        return browser.execute_script(
            "return [...document.querySelectorAll('.tile')].find(({filter}) => filter.number === arguments[0])", number)

    def rows(self):
        """The numbers of the large view, of each name those of all runs."""
        return {row.find_element(By.CSS_SELECTOR, "th").text:
                [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td")]
                for row in self.all("#numbers tbody tr")}

    def select(self, selector, text):
        Select(self.one(selector)).select_by_visible_text(text)

    def keys(self, *keys):
        webdriver.ActionChains(browser).send_keys(*keys).perform()

    def screen(self, name):
        if SCREENS:
            SCREENS.mkdir(parents=True, exist_ok=True)
            time.sleep(0.5)
            browser.save_screenshot(str(SCREENS / f"{name}.png"))

    def assert_shows(self, tile, folder, layer, number):
        """What the tile shows is nearer to its own file than to those of its neighbours in the atlas."""
        files = {other: folder / layer / f"{layer}_f{other:04}.png" for other in
                 (number + step for step in (-8, -1, 0, 1, 8))}
        files = {other: file for other, file in files.items() if file.exists()}
        self.assertGreater(len(files), 2)
        self.until(lambda: number == min(files, key=lambda other: self.difference(files[other], tile.screenshot_as_png)),
                   f"{layer} {number}")

    def difference(self, file, screenshot):
        """Mean difference of 8-bit values between a picture's file and a screenshot of it."""
        images = [base64.b64encode(content).decode() for content in (file.read_bytes(), screenshot)]
        return browser.execute_async_script("""
            const [first, second, done] = arguments;
            const pixels = async (text) => {
              const image = new Image();
              image.src = `data:image/png;base64,${text}`;
              await image.decode();
              const canvas = Object.assign(document.createElement("canvas"), {width: 16, height: 16});
              const context = canvas.getContext("2d", {willReadFrequently: true});
              context.imageSmoothingQuality = "high";
              context.drawImage(image, 0, 0, 16, 16);
              return context.getImageData(0, 0, 16, 16).data;
            };
            Promise.all([pixels(first), pixels(second)]).then(([a, b]) =>
              done(a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / (a.length * 3 / 4)));""", *images)

    def corner(self, element):
        """The colour of a pixel in the upper left corner of what the element looks like."""
        return browser.execute_async_script("""
            const [text, done] = arguments;
            const image = new Image();
            image.onload = () => {
              const context = Object.assign(document.createElement("canvas"), {width: 8, height: 8}).getContext("2d");
              context.drawImage(image, 0, 0);
              done([...context.getImageData(2, 2, 1, 1).data].slice(0, 3));
            };
            image.src = `data:image/png;base64,${text}`;""", element.screenshot_as_base64)

    def command(self):
        """The command under the numbers of the large view, as it is copied."""
        text = browser.execute_script("getSelection().selectAllChildren(document.querySelector('#numbers pre'));"
                                      "return getSelection().toString()")
        browser.execute_script("getSelection().removeAllRanges()")
        return text

    def assert_no_sideways_scrolling(self):
        self.assertLessEqual(browser.execute_script("return document.documentElement.scrollWidth"), self.extent[0])


def records(layer=None):
    return [record for record in manifest["filters"] if layer in (None, record["layer"])]


class Run(Page):
    def test_first_screen(self):
        self.until(lambda: browser.execute_script(
            "return performance.getEntriesByName('first-contentful-paint').length"))
        paint, ready = browser.execute_script(
            "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " performance.getEntriesByType('navigation')[0].loadEventEnd]")
        print(f"first screen of {FILTERS} filters: painted after {paint:.0f} ms, ready after {ready:.0f} ms")
        self.assertLess(ready, 1000 * PATIENCE)
        self.assertEqual(self.text("#view-title"), "block1_conv1")
        self.assertEqual(self.text("#view-count"), "64 filters")
        self.assertEqual(self.shown(), [["block1_conv1", number] for number in range(64)])
        own = [run_folder / "index.html", *(run_folder / "gallery").iterdir()]
        self.assertLess(sum(path.stat().st_size for path in own), 60e6)
        self.screen("grid")

    def test_says_that_weights_are_synthetic(self):
        self.assertIn("Synthetic weights", self.text("#synthetic"))
        self.open("block1_conv1/3")
        self.assertEqual(self.text("#viewer figcaption .badge"), "synthetic weights")

    def test_layers_with_counts(self):
        names = [entry.text for entry in self.all("#layers .layer .name")]
        self.assertEqual(names[:2] + names[-1:], ["All layers", "block1_conv1", "block5_conv3"])
        self.assertEqual([entry.text for entry in self.all("#layers .count")],
                         ["4,224"] + 2 * ["64"] + 2 * ["128"] + 3 * ["256"] + 6 * ["512"])
        dead = sum(record["status"] == "dead" for record in records("block4_conv2"))
        self.assertEqual(self.text("#layers li:nth-child(10) .mark.dead"), f"{dead} dead")
        rescued = sum(record["status"] == "rescued" for record in records("block4_conv2"))
        self.assertEqual(self.text("#layers li:nth-child(10) .mark.rescued"), f"{rescued} rescued")
        self.assertEqual(len(self.all("#diagram .slab")), 13)
        self.one("#layers li:nth-child(10) a").click()
        self.until(lambda: self.text("#view-title") == "block4_conv2")
        self.assertEqual(self.hash(), "#block4_conv2")
        self.assertEqual(self.one("#layers [aria-current]").text.split("\n")[0], "block4_conv2")
        # On one line, even of the chosen layer, whose name is bold.
        self.assertEqual(len({entry.rect["height"] for entry in self.all("#layers li")[1:12]}), 1)

    def test_all_filters_scroll(self):
        start = time.monotonic()
        browser.execute_script("location.hash = 'all'")
        self.until(lambda: "4,224 filters" in self.text("#view-count"))
        print(f"all {FILTERS} filters after {1000 * (time.monotonic() - start):.0f} ms")
        worst, mean = browser.execute_async_script("""
            const done = arguments[0];
            const times = [];
            let last = performance.now();
            requestAnimationFrame(function step() {
              const now = performance.now();
              times.push(now - last);
              last = now;
              scrollBy(0, 300);
              if (times.length < 100) requestAnimationFrame(step);
              else done([Math.max(...times), times.reduce((a, b) => a + b) / times.length]);
            });""")
        print(f"scrolling: {mean:.0f} ms per frame, at most {worst:.0f} ms")
        self.assertLess(len(self.all(".tile")), 1000)
        browser.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
        self.until(lambda: self.shown()[-1] == ["block5_conv3", 511])
        self.assertLess(len(self.all(".tile")), 1000)

    def test_tiles_show_the_right_pictures(self):
        for layer, number in (("block1_conv1", 0), ("block1_conv1", 63), ("block5_conv3", 508), ("block3_conv2", 139)):
            self.open(f"{layer}?q={layer}+{number}")
            self.assert_shows(self.one(".tile .picture"), run_folder, layer, number)

    def test_search(self):
        search = self.one("#search")
        search.send_keys("block3_conv1 157")
        self.until(lambda: self.shown() == [["block3_conv1", 157]])
        search.send_keys(Keys.ENTER)
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 157")
        self.assertEqual(self.hash().split("?")[0], "#block3_conv1/157")
        self.keys(Keys.ESCAPE)
        self.until(lambda: not self.one("#viewer").is_displayed())

        for text, expected in (("b5c2:7", [["block5_conv2", 7]]), ("conv3 0-1 5", [["block3_conv3", 0]]),
                               ("nothing like it", [])):
            search.clear()
            search.send_keys(text)
            self.until(lambda: self.shown()[:1] == expected[:1])
        self.assertEqual(self.text("#grid"), "Nothing matches.")
        bottom = lambda selector: (lambda box: box["y"] + box["height"])(self.one(selector).rect)
        self.assertGreaterEqual(self.one("#footer").rect["y"], bottom("#grid .nothing"))

        search.clear()
        search.send_keys("dead")
        dead = [[record["layer"], record["filter"]] for record in records() if record["status"] == "dead"]
        self.until(lambda: self.shown() == dead)
        self.assertEqual(self.text("#view-count"), f"{len(dead)} filters, {len(dead)} dead")
        search.clear()
        search.send_keys("block5 rescued")
        rescued = [[record["layer"], record["filter"]] for record in records()
                   if record["status"] == "rescued" and record["layer"].startswith("block5")]
        self.assertEqual(len(rescued), 18)
        self.until(lambda: self.shown() == rescued)
        self.assertEqual(self.text("#view-count"), "18 filters, 18 rescued")
        search.clear()
        search.send_keys(" ")
        self.until(lambda: self.text("#view-title") == "block1_conv1")

    def test_sorting(self):
        self.open("block5_conv1")
        known = [record for record in records("block5_conv1")]

        def gain(record):
            if record["first_loss"]:
                return record["final_loss"] / record["first_loss"]
            return math.inf if record["final_loss"] else None

        for name, value in (("final loss", lambda record: record["final_loss"]), ("gain", gain)):
            self.select("#sort", name)
            order = lambda record: (value(record) is None, -(value(record) or 0), -record["final_loss"])
            expected = [record["filter"] for record in sorted(known, key=order)]
            self.until(lambda: [number for _, number in self.shown()[:20]] == expected[:20])
        # Rescued ones rose from zero: the highest first.
        self.assertEqual([caption.text.split("\n")[1] for caption in self.all(".tile .caption")[:3]], 3 * ["×∞"])
        self.one("#direction").click()
        self.until(lambda: self.shown()[0][1] ==
                   min((record for record in known if record["first_loss"]), key=value)["filter"])
        self.assertIn("reverse=1", self.hash())

        for name in ("hue", "contrast"):
            self.select("#sort", name)
            self.until(lambda: f"sort={name}" in self.hash())
            captions = [caption.text.split("\n")[-1].rstrip("°") for caption in self.all(".tile .caption")]
            values = [float(caption) for caption in captions if caption not in ("grey", "–")]
            self.assertGreater(len(set(values)), 10)
            self.assertEqual(values, sorted(values, reverse=name == "contrast"))
        self.open("all?sort=hue")
        self.screen("hue")

    def test_statuses(self):
        self.open("all")
        self.select("#status", f"not finite (1)")
        self.until(lambda: self.shown() == [["block5_conv2", 7]])
        self.select("#status", f"missing (3)")
        self.until(lambda: self.shown() == [["block5_conv3", number] for number in (509, 510, 511)])
        self.assertEqual(self.text(".tile .picture"), "missing")
        self.select("#status", "lost pictures (2)")
        self.until(lambda: self.shown() == [["block2_conv1", 5], ["block2_conv1", 6]])
        self.assertEqual([picture.text for picture in self.all(".tile .picture")], ["no file", "damaged"])
        self.screen("lost")

        self.open("block5_conv1")
        dead = self.tile(11)
        self.assertEqual(dead.text, "11 dead")
        self.assertIn("dead", dead.get_attribute("aria-label"))
        self.assertEqual(len(self.all(".picture.dead")), sum(number % 97 == 11 for _, number in self.shown()))
        self.screen("dead")

    def test_rescued(self):
        self.assertEqual(self.text("#about .note").split(":")[0], "49 filters rescued")
        self.open("block5_conv1")
        self.assertEqual(self.text("#view-count"), "512 filters, 6 rescued, 6 dead")
        tile = self.tile(8)
        self.assertEqual(tile.text, "8")
        self.assertTrue(tile.get_attribute("aria-label").startswith("block5_conv1 8, rescued, final loss "))
        self.assertIn("in the first 37 iterations", tile.find_element(By.CSS_SELECTOR, ".picture").get_attribute("title"))
        self.assertTrue(self.tile(7).get_attribute("aria-label").startswith("block5_conv1 7, final loss "))

        # A picture like any other but for a corner, which is seen whatever the colours of the page are.
        picture = lambda number: self.tile(number).find_element(By.CSS_SELECTOR, ".picture")
        self.assert_shows(picture(8), run_folder, "block5_conv1", 8)
        self.assertEqual(picture(8).value_of_css_property("box-shadow"), "none")
        for scheme, forced, colour in (("light", False, [63, 127, 189]), ("dark", False, [122, 170, 214]),
                                       ("light", True, [0, 0, 0]), ("dark", True, [255, 255, 255])):
            self.scheme(scheme, forced)
            self.until(lambda: self.corner(picture(8)) == colour, f"{scheme} {forced} {self.corner(picture(8))}")
            self.assertNotEqual(self.corner(picture(7)), colour)
            self.screen(f"rescued-{scheme}{'-forced' if forced else ''}")
        self.scheme("light")

        self.open("all")
        self.select("#status", "rescued (49)")
        rescued = [[record["layer"], record["filter"]] for record in records() if record["status"] == "rescued"]
        self.until(lambda: self.shown() == rescued[:len(self.shown())])
        self.assertEqual(self.text("#view-count"), "49 filters, 49 rescued")
        self.assertEqual(len(self.all(".picture.dead")), 0)

    def test_large_view(self):
        self.open("block3_conv1")
        self.tile(20).click()
        self.until(lambda: self.one("#viewer").is_displayed())
        record = records("block3_conv1")[20]
        rows = {name: value for name, (value,) in self.rows().items()}
        self.assertNotIn("Rescued", rows)
        self.assertEqual((rows["Status"], rows["Steps"], rows["Seed"], rows["Recipe"]), ("ok", "500", "0", "seed"))
        self.assertAlmostEqual(float(rows["First loss"]), record["first_loss"], delta=1e-5)
        self.assertAlmostEqual(float(rows["Final loss"]), record["final_loss"], delta=1e-4)
        self.assertAlmostEqual(float(rows["Gradient norm"]), record["last_gradient_norm"], delta=1e-4)
        # The first loss, 50 traced ones, the final one.
        path = self.one("#curve path").get_attribute("d")
        self.assertEqual(path.count("M") + path.count("L"), 52)
        self.assertIn("in 500 steps", self.one("#curve svg").get_attribute("aria-label"))
        image = self.one("#pictures img")
        self.until(lambda: image.get_property("naturalWidth") == 32)
        self.assertEqual(self.command(), "filterscope render block3_conv1:20 --weights synthetic:0 --size 32 --seed 0 --device cpu")
        self.screen("large")

    def test_ascent(self):
        self.open("block3_conv1/19")
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 19")
        self.assertFalse(self.one("#ascent").is_displayed())
        self.keys(Keys.ARROW_RIGHT)
        self.until(lambda: self.one("#ascent").is_displayed())
        source = lambda: self.one("#pictures img").get_attribute("src").split("/")[-1]
        self.assertEqual(source(), "block3_conv1_f0020.png")
        self.one("#ascent").click()
        self.assertEqual(source(), "block3_conv1_f0020.apng")
        self.assertEqual(self.one("#ascent").get_attribute("aria-pressed"), "true")
        self.assertIn("animation", self.one("#pictures img").get_attribute("alt"))
        self.until(lambda: self.one("#pictures img").get_property("naturalWidth") == 32)
        self.keys(Keys.ARROW_RIGHT)
        self.until(lambda: source() == "block3_conv1_f0021.png")
        self.keys(Keys.ARROW_LEFT)
        self.until(lambda: source() == "block3_conv1_f0020.apng")
        self.one("#ascent").click()
        self.assertEqual(source(), "block3_conv1_f0020.png")

    def test_poster_and_loss_curves(self):
        self.open("all")
        for link in ("Poster", "Loss curves"):
            if link == "Loss curves":
                self.open("block5_conv3")
            address = browser.find_element(By.LINK_TEXT, link).get_attribute("href")
            browser.get(address)
            self.assertEqual(browser.current_url, address)
            self.assertEqual(browser.execute_script("return document.querySelectorAll('parsererror').length"), 0)
            self.screen(link.lower().replace(" ", "-"))
        self.assertEqual(browser.execute_script("return document.querySelectorAll('.curves path').length"), 509)

    def test_large_view_of_what_is_not_ok(self):
        for link, text in (("block5_conv1/11", "It had no gradient, not even before its ReLU, so the picture stayed as it was"),
                           ("block5_conv1/108", "No position of its map rose above zero in 500 steps, although"),
                           ("block5_conv1/205", "No position of its map is above zero in the finished picture."),
                           ("block5_conv2/7", "last finite"),
                           ("block5_conv3/510", "before this filter was done"), ("block2_conv1/5", "is not there"),
                           ("block2_conv1/6", "is damaged")):
            self.open(link)
            self.assertIn(text, self.text("#pictures"))
        browser.get_log("browser")

    def test_large_view_of_rescued_filters(self):
        for number, why, row in (
                (8, "was above zero in the first 37 iterations, so the map before its ReLU was climbed instead. "
                    "From iteration 38 on it was alive.", "37 iterations, alive from 38"),
                (105, "in any of the 500 iterations, so the map before its ReLU was climbed instead. "
                      "It is alive only in the finished picture.", "500 iterations, alive at the end"),
                (202, "in 12 of the first 120 iterations, so the map before its ReLU was climbed instead. "
                      "From iteration 121 on it stayed alive.", "12 iterations, alive from 121"),
                (299, "in the first iteration, so the map before its ReLU was climbed instead. "
                      "From iteration 2 on it was alive.", "1 iteration, alive from 2"),
                (396, "in iteration 120, so the map before its ReLU was climbed instead. "
                      "From iteration 121 on it stayed alive.", "1 iteration, alive from 121"),
                (493, "in 12 of the 500 iterations, including the last, so the map before its ReLU was climbed instead. "
                      "It is alive in the finished picture.", "12 iterations, alive at the end")):
            self.open(f"block5_conv1/{number}")
            self.assertEqual(self.text("figcaption .mark.rescued"), "rescued")
            self.assertIn(why, self.text("#pictures"))
            self.assertEqual(self.rows()["Rescued"], [row])
            self.assertEqual(self.rows()["Status"], ["rescued"])
            self.screen(f"rescued-{number}")
        for number, row in ((108, ["500 iterations"]), (205, ["20 iterations"]), (11, None), (12, None)):
            self.open(f"block5_conv1/{number}")
            self.assertEqual(self.rows().get("Rescued"), row)

    def test_keys(self):
        self.open("block3_conv1")
        self.keys("/")
        self.assertEqual(browser.switch_to.active_element, self.one("#search"))
        self.keys(Keys.ARROW_DOWN)
        focused = lambda: browser.switch_to.active_element.get_attribute("href").split("#")[1]
        self.assertEqual(focused(), "block3_conv1/0")
        self.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
        self.assertEqual(focused(), "block3_conv1/1")
        columns = browser.execute_script("const tops = [...document.querySelectorAll('.tile')]"
                                         ".map((tile) => tile.getBoundingClientRect().top);"
                                         "return tops.filter((top) => top === tops[0]).length")
        self.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP)
        self.assertEqual(focused(), f"block3_conv1/{1 + columns}")
        self.keys(Keys.END)
        self.assertEqual(focused(), "block3_conv1/255")
        self.assertTrue(self.one("a.tile:focus").is_displayed())
        box = browser.execute_script("const {top, bottom} = document.activeElement.getBoundingClientRect();"
                                     "return [top, bottom, innerHeight]")
        self.assertTrue(0 < box[0] and box[1] <= box[2], box)
        self.keys(Keys.ARROW_LEFT, Keys.ENTER)
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 254")
        self.keys(Keys.ARROW_RIGHT)
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 255")
        self.assertFalse(self.one("#next").is_enabled())
        self.keys(Keys.HOME, Keys.ARROW_RIGHT)
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 1")
        self.assertEqual(self.text("#viewer-place"), "2 of 256")
        self.keys(Keys.ESCAPE)
        self.until(lambda: not self.one("#viewer").is_displayed())
        self.until(lambda: focused() == "block3_conv1/1")
        self.assertEqual(self.hash(), "#block3_conv1")
        # A button that was pressed and then disabled takes no keys with it.
        self.open("block3_conv1/254")
        self.one("#next").click()
        self.until(lambda: not self.one("#next").is_enabled())
        time.sleep(0.2)
        self.keys(Keys.ARROW_LEFT)
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 254")
        self.keys(Keys.ESCAPE)
        self.until(lambda: not self.one("#viewer").is_displayed())
        # Only one tile can be reached by Tab: the arrows lead to the others.
        self.assertEqual(len(self.all('.tile[tabindex="0"]')), 1)

    def test_links(self):
        self.open("block3_conv1/157")
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 157")
        self.assertEqual(self.text("#viewer-place"), "158 of 256")
        browser.refresh()
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 157")
        self.one("#close").click()
        self.until(lambda: not self.one("#viewer").is_displayed())
        self.assertEqual(self.hash(), "#block3_conv1")
        self.assertIn(["block3_conv1", 157], self.shown())  # And where one has been is in sight.

        browser.execute_script("location.hash = 'block4_conv1/11'")
        self.until(lambda: self.text("#viewer-title") == "block4_conv1 11")
        browser.back()
        self.until(lambda: self.text("#view-title") == "block3_conv1" and not self.one("#viewer").is_displayed())

        self.open("all?sort=final&q=block2+dead")
        self.until(lambda: self.one("#search").get_property("value") == "block2 dead")
        self.assertEqual(Select(self.one("#sort")).first_selected_option.text, "final loss")
        for link, text in (("block3_conv1/999", "no block3_conv1 999"), ("block9_conv1", "no layer block9_conv1"),
                           ("%E0%A4%A", "no layer"), ("block1_conv1?sort=toString", "64 filters")):
            self.open(link)
            self.assertIn(text, self.text("#view-count"))

    def test_light_and_dark(self):
        ground = lambda: browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        self.assertEqual(ground(), "rgb(255, 255, 255)")
        self.scheme("dark")
        self.assertEqual(ground(), "rgb(24, 25, 28)")
        self.screen("dark")
        self.one("#theme").click()
        self.assertEqual(ground(), "rgb(255, 255, 255)")
        browser.refresh()
        self.assertEqual(ground(), "rgb(255, 255, 255)")

    def test_names_for_screen_readers(self):
        for link in ("block5_conv1", "block5_conv1/11"):
            self.open(link)
            nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
            named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
                     if not node["ignored"] and node["role"]["value"] in
                     ("button", "link", "combobox", "slider", "searchbox", "dialog", "image", "navigation", "img")]
            self.assertGreater(len(named), 5)
            self.assertEqual([role for role, name in named if not name.strip()], [])
        self.assertIn(("dialog", "block5_conv1 11"), named)


class Phone(Page):
    extent = (390, 844)
    phone = True

    def test_phone(self):
        self.scheme("dark")
        self.assert_no_sideways_scrolling()
        self.screen("phone")
        self.select("#layer-select", "block3_conv1 (256)")
        self.until(lambda: self.text("#view-title") == "block3_conv1")
        # The tiles of a row fill the width.
        right = browser.execute_script("return Math.max(...[...document.querySelectorAll('.picture')]"
                                       ".map((picture) => picture.getBoundingClientRect().right))")
        self.assertAlmostEqual(right, 390 - 14, delta=4)
        self.tile(5).click()
        self.until(lambda: self.one("#viewer").is_displayed())
        self.assert_no_sideways_scrolling()
        box = self.one("#pictures img").rect
        self.assertTrue(0 <= box["x"] and box["x"] + box["width"] <= 390 and box["width"] > 300, box)
        self.screen("phone-large")
        browser.back()
        self.until(lambda: not self.one("#viewer").is_displayed())


class Comparison(Page):
    @classmethod
    def setUpClass(cls):
        make_run(work / "first", 32, 0, 12)
        make_run(work / "second", 32, 7, 16)
        cls.folder = work / "out" / "both"
        subprocess.run([PROGRAM, "gallery", work / "first", work / "second", "--out", cls.folder], check=True,
                       stdout=subprocess.DEVNULL)

    def test_of_two_sizes(self):
        make_run(work / "larger", 64, 0, 12)
        folder = work / "out" / "sizes"
        subprocess.run([PROGRAM, "gallery", work / "first", work / "larger", "--out", folder], check=True,
                       stdout=subprocess.DEVNULL)
        browser.get(f"file://{folder}/index.html#block2_conv1")
        self.until(lambda: self.text("#view-title") == "block2_conv1")
        self.assertIn("map 16 × 16 and 32 × 32;", self.text("#view-about"))

    def test_two_runs(self):
        self.assertEqual([run.text for run in self.all("#about .run")], ["A first: seed 0", "B second: seed 7"])
        self.assertIn("A and B", self.text("#synthetic"))
        self.assertIn("Both: recipe seed, steps 500, size 32 × 32, weights synthetic:0", self.text("#about"))
        self.open("block5_conv2")
        self.assertEqual(self.text("#view-count"), "16 filters, 1 rescued, 1 dead, 1 not finite")
        self.assertEqual(len(self.all(".tile .picture")), 32)
        self.assertEqual([picture.text for picture in self.all(".picture.empty")], 4 * ["not in run"])
        # Of an atlas that is not full, in its second row.
        first, second = self.tile(9).find_elements(By.CSS_SELECTOR, ".picture")
        self.assert_shows(first, work / "first", "block5_conv2", 9)
        self.assert_shows(second, work / "second", "block5_conv2", 9)
        self.screen("compare")
        self.tile(3).click()
        self.until(lambda: self.one("#viewer").is_displayed())
        self.until(lambda: [image.get_property("naturalWidth") for image in self.all("#pictures img")] == [32, 32])
        self.assertEqual([caption.text.split(":")[0] for caption in self.all("figcaption")], ["A first", "B second"])
        self.assertEqual(len(self.all("#curve path")), 2)
        self.assertEqual([cell.text for cell in self.all("#numbers tbody tr:nth-child(7) td")], ["0", "7"])
        self.assertEqual([command.text.split(" ")[0] for command in self.all("#numbers .command")], ["A:", "B:"])
        self.screen("compare-large")
        self.keys(Keys.END)
        self.until(lambda: self.text("#viewer-title") == "block5_conv2 15")
        self.assertIn("did not select", self.text("#pictures"))
        self.keys(Keys.ESCAPE)
        self.until(lambda: not self.one("#viewer").is_displayed())

        self.select("#sort", "B’s final loss over A’s")
        self.until(lambda: "sort=change" in self.hash())
        losses = [{record["filter"]: record["final_loss"]
                   for record in json.loads((work / run / "manifest.json").read_text())["filters"]
                   if record["layer"] == "block5_conv2"} for run in ("first", "second")]
        known = [number for number in losses[0] if losses[0][number]]
        expected = sorted(known, key=lambda number: -losses[1][number] / losses[0][number])
        self.assertEqual([number for _, number in self.shown()[:len(expected)]], expected)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
        self.open("block5_conv2")
        pairs = [self.tile(number).rect for number in (0, 1)]
        self.assertEqual(pairs[0]["y"], pairs[1]["y"])
        self.assertLessEqual(pairs[1]["x"] + pairs[1]["width"], 390)

        self.select("#show", "B")
        self.assertEqual(sum(picture.is_displayed() for picture in self.all(".tile .picture")), 16)


    def test_without_and_with_rescue(self):
        make_run(work / "without", 32, 0, 12, "off")
        folder = work / "out" / "rescue"
        subprocess.run([PROGRAM, "gallery", work / "without", work / "first", "--out", folder], check=True,
                       stdout=subprocess.DEVNULL)
        browser.get(f"file://{folder}/index.html#block5_conv1")
        self.until(lambda: self.text("#view-title") == "block5_conv1")
        self.assertEqual([run.text for run in self.all("#about .run")], ["A without: rescue off", "B first: rescue on"])
        self.assertEqual(self.text("#view-count"), "12 filters, 1 rescued, 2 dead")
        tile = self.tile(8)
        label = tile.get_attribute("aria-label")
        self.assertIn("A: dead, final loss 0.000, B: rescued, final loss ", label)
        self.assertEqual([picture.get_attribute("class") for picture in tile.find_elements(By.CSS_SELECTOR, ".picture")],
                         ["picture dead", "picture rescued"])
        self.assertEqual(tile.text, "8 dead")
        self.screen("compare-rescue")
        self.select("#show", "B")
        self.assertEqual([self.tile(number).text for number in (8, 11)], ["8", "11 dead"])
        self.select("#show", "A")
        self.assertEqual(self.tile(8).text, "8 dead")
        self.select("#show", "A and B")

        # What rescue changed most is first: from nothing to something.
        self.select("#sort", "B’s final loss over A’s")
        self.until(lambda: self.shown()[0] == ["block5_conv1", 8])
        self.assertEqual(self.tile(8).text.split("\n")[-1], "×∞")
        self.assertEqual(self.shown()[-1], ["block5_conv1", 11])
        for word in ("dead", "rescued"):
            browser.get("about:blank")
            browser.get(f"file://{folder}/index.html#block5_conv1?q=block5_conv1+8+{word}")
            self.until(lambda: self.shown() == [["block5_conv1", 8]])

        self.tile(8).click()
        self.until(lambda: self.one("#viewer").is_displayed())
        without, rescued = [caption.text for caption in self.all("figcaption")]
        self.assertIn("dead It had no gradient, so the picture stayed as it was at the start.", without)
        self.assertIn("From iteration 38 on it was alive.", rescued)
        self.assertEqual(self.rows()["Status"], ["dead", "rescued"])
        self.assertEqual(self.rows()["Rescued"], ["–", "37 iterations, alive from 38"])
        commands = [command.text for command in self.all("#numbers pre")]
        self.assertEqual(["--rescue off" in command for command in commands], [True, False])
        self.screen("compare-rescue-large")


def write_images(path, shape, factor=37):
    """Images as a .npy file of float32."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(11 + len(header)) % 64) + "\n"
    count = 1
    for extent in shape:
        count *= extent
    values = [0.5 + 0.5 * ((i * factor) % 256 - 128) / 128 for i in range(count)]
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
                     + struct.pack(f"<{count}f", *values))


def write_first_layer(path):
    """torchvision's file, its first layer alone."""
    kernel = 64 * 3 * 3 * 3
    header = json.dumps({
        "features.0.weight": {"dtype": "F32", "shape": [64, 3, 3, 3], "data_offsets": [0, 4 * kernel]},
        "features.0.bias": {"dtype": "F32", "shape": [64], "data_offsets": [4 * kernel, 4 * kernel + 256]}}).encode()
    values = [0.01 * ((i * 31) % 17 - 7) for i in range(kernel)] + 64 * [0.5]
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values))


class Commands(Page):
    """What the page says renders a picture again does so, in another folder, with no weights to be found by chance."""

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
        """Renders with `arguments` and then, for each of `filters`, what the page says: the same bytes."""
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
    """Pictures are found whatever bytes a run's folder and the page's have in their names."""

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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

"""Shared by the tests of the gallery's page: a run with all 4224 filters, its page, and Chromium to show it.

Importing this module reads page_test.py's arguments, makes the run and starts the browser.
"""

import atexit
import base64
import json
import os
import pathlib
import shutil
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
        options.add_argument("--no-sandbox")  # With a sandbox, Chromium refuses to run as root.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service(DRIVER), options=options)


def make_run(folder, size, seed, *filters):
    subprocess.run([MAKE_RUN, folder, str(size), str(seed), *map(str, filters)], check=True)


work = pathlib.Path(tempfile.mkdtemp(prefix="filterscope-page-"))
atexit.register(shutil.rmtree, work)
run_folder = work / "a run, 100 % #1"  # A name that has to be escaped in addresses.
make_run(run_folder, 32, 0)
(run_folder / "block2_conv1/block2_conv1_f0005.png").unlink()
(run_folder / "block2_conv1/block2_conv1_f0006.png").write_bytes(b"no picture")
subprocess.run([PROGRAM, "gallery", run_folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
manifest = json.loads((run_folder / "manifest.json").read_text())
browser = chromium()
atexit.register(browser.quit)
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
        browser.get("about:blank")  # Otherwise, changing only the hash does not reload the page.
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
        """The filters of the tiles in the document, in the order of their places."""
        return browser.execute_script(
            "return [...document.querySelectorAll('.tile')].sort((a, b) => a.filter.place - b.filter.place)"
            ".map(({filter}) => [filter.layerName, filter.number])")

    def tile(self, number):
        return browser.execute_script(
            "return [...document.querySelectorAll('.tile')].find(({filter}) => filter.number === arguments[0])", number)

    def rows(self):
        """The numbers of the large view: for each name, those of all runs."""
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
        """Checks that the tile looks more like its own file than like those of its neighbours in the atlas."""
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
        """The colour of a pixel in the upper left corner of the element as displayed."""
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
        """The command below the numbers of the large view, as a user would copy it."""
        text = browser.execute_script("getSelection().selectAllChildren(document.querySelector('#numbers pre'));"
                                      "return getSelection().toString()")
        browser.execute_script("getSelection().removeAllRanges()")
        return text

    def assert_no_sideways_scrolling(self):
        self.assertLessEqual(browser.execute_script("return document.documentElement.scrollWidth"), self.extent[0])

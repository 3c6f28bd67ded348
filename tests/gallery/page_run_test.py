"""The page of one run: its tiles, search, order, large view, keys, links, and the same on a phone."""

import math
import time

from page import FILTERS, PATIENCE, By, Keys, Page, Select, browser, manifest, run_folder


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
        # Each entry takes one line, also that of the chosen layer, whose name is bold.
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
        # Rescued filters rose from zero; the highest comes first.
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

        # A picture like any other except for a corner, which is visible with any colours of the page.
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
        # The first loss, 50 recorded ones, and the final one.
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
        self.assertIn("Animation", self.one("#pictures img").get_attribute("alt"))
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
                           ("block5_conv3/510", "before this filter was done"), ("block2_conv1/5", "is missing"),
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
        # A button that was pressed and then disabled does not keep the focus.
        self.open("block3_conv1/254")
        self.one("#next").click()
        self.until(lambda: not self.one("#next").is_enabled())
        time.sleep(0.2)
        self.keys(Keys.ARROW_LEFT)
        self.until(lambda: self.text("#viewer-title") == "block3_conv1 254")
        self.keys(Keys.ESCAPE)
        self.until(lambda: not self.one("#viewer").is_displayed())
        # Tab reaches only one tile; the arrows lead to the others.
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
        self.assertIn(["block3_conv1", 157], self.shown())  # The last filter viewed is in sight.

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
        # A row's tiles fill the width.
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

"""The page that compares two runs."""

import json
import subprocess

from page import PROGRAM, By, Keys, Page, browser, make_run, work


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
        # In the second row of an atlas that is not full.
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

        # The filter that rescue changed most comes first: from nothing to something.
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

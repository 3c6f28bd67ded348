"""Tests of bench/measuring.py, bench/end_to_end.py and bench/peers/side_by_side.py; the folder bench/ must be in PYTHONPATH."""
import os
import pathlib
import sys
import tempfile
import unittest

import end_to_end
import measuring

sys.path.insert(0, str(measuring.BENCH / "peers"))
import side_by_side  # noqa: E402

# A fake filterscope: keeps a file in its cache, and writes to the manifest what was there before.
PROGRAM = """#!/bin/sh
while [ "$1" != --out ]; do shift; done
before=$(ls "$XDG_CACHE_HOME")
touch "$XDG_CACHE_HOME/plans"
echo '{"phases": {"start_up": 0, "weights": 0, "plans": 0, "ascent": 0, "finish": 0}, "cache": "'"$XDG_CACHE_HOME"'",
       "before": "'"$before"'"}' >"$2/manifest.json"
touch "$2/index.html"
"""


class MeasuringTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_the_program_keeps_its_plans_in_a_cache_of_the_benchmarks_own(self):
        program = self.folder / "filterscope"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        first, second = (measuring.render(program, [])["manifest"] for _ in range(2))
        self.assertNotEqual(first["cache"], os.environ.get("XDG_CACHE_HOME"))
        self.assertEqual((first["cache"], first["before"]), (measuring.own_cache().name, ""))
        self.assertEqual((second["cache"], second["before"]), (measuring.own_cache().name, "plans"))

    def test_device_is_what_auto_means_to_the_program(self):
        line = "  --device auto            means {} here"
        self.assertEqual(measuring.auto_device(["Devices", line.format("cuda:0")]), "cuda")
        self.assertEqual(measuring.auto_device([line.format("cpu") + ": the driver is too old"]), "cpu")
        self.assertEqual(measuring.auto_device([]), "cpu")

    def test_load_may_be_that_of_before(self):
        self.assertEqual(measuring.machine(0.25)["load"], 0.25)
        self.assertEqual(measuring.machine(0.0)["load"], 0.0)

    def test_dead_filters_count_with_all_iterations(self):
        records = [{"layer": "block1_conv2", "iterations": 50}, {"layer": "block1_conv2", "iterations": 3}]
        work = end_to_end.work_of({"filters": records, "counts": {"dead": 1}}, 50, 96)
        self.assertEqual((work["filters"], work["dead"]), (2, 1))
        self.assertEqual(work["flops"], 2 * 50 * measuring.iteration_flops("block1_conv2", 96))

    def test_a_cold_run_leaves_the_others_alone(self):
        run = end_to_end.run_of("workload", "all", None, ["all"], 5)
        cold = end_to_end.cold_run(run)
        cold["repetitions"].append(1)
        self.assertEqual((cold["name"], run["name"], run["repetitions"]), ("workload/all-cold", "workload/all", []))

    def test_no_layer_is_asked_for_more_filters_than_it_has(self):
        for scale in [*side_by_side.SCALES.values(), side_by_side.TINY]:
            for layer in scale["layers"]:
                filters, alone, batches = side_by_side.of_layer(scale, layer)
                self.assertLessEqual(filters, measuring.FILTERS[layer])
                self.assertLessEqual(alone, filters)
                self.assertEqual([filters % batch for batch in batches], [0] * len(batches))
        self.assertEqual(side_by_side.of_layer(side_by_side.SCALES["cuda"], "block1_conv2"), (64, 2, [64]))
        self.assertEqual(side_by_side.of_layer(side_by_side.SCALES["cuda"], "block5_conv3"), (512, 2, [64, 256]))

    def test_start_images_are_a_file_for_each_count(self):
        images = side_by_side.StartImages(self.folder)
        one, two = images(1), images(2)
        self.assertEqual([measuring.npy_shape(path)[0] for path in (one, two, images(1))], [1, 2, 1])
        self.assertEqual(len(list(self.folder.iterdir())), 2)
        data = [pathlib.Path(path).read_bytes()[128:] for path in (one, two)]
        self.assertTrue(data[1].startswith(data[0]))

    def test_a_row_keeps_the_plans_and_nothing_of_a_pass_that_is_not_recorded(self):
        class Peer:
            name, missing = "filterscope", None

            @staticmethod
            def do(**_):
                return {"seconds": 1.0, "precision": "fp16", "plans": ["batch of 2 of x"], "final_losses": [1.0, 2.0]}
        row = side_by_side.Row(Peer, "block1_conv2", "auto", 0, [0, 1])
        row.measure("start.npy", 5, recorded=False)
        self.assertEqual((row.ms, row.plans), ([], None))
        row.measure("start.npy", 5)
        self.assertEqual((row.ms, row.as_json()["plans"]), ([100.0], ["batch of 2 of x"]))


if __name__ == "__main__":
    unittest.main()

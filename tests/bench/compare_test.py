"""Tests of bench/compare.py. usage: compare_test.py; the folder bench/ must be in PYTHONPATH."""
import io
import json
import pathlib
import tempfile
import unittest
from contextlib import redirect_stdout

import compare
import measuring


def google_benchmark(**times):
    """Each benchmark's repetitions, in ms."""
    rows = []
    for name, values in times.items():
        for index, value in enumerate(values):
            rows.append({"name": f"{name}/repeats:{len(values)}", "run_name": name, "run_type": "iteration",
                         "repetition_index": index, "real_time": value, "cpu_time": 77, "time_unit": "ms"})
        rows.append({"name": f"{name}_mean", "run_name": name, "run_type": "aggregate", "aggregate_name": "mean",
                     "real_time": 1e9, "cpu_time": 77, "time_unit": "ms"})
    return {"context": {}, "benchmarks": rows}


def end_to_end(name, walls, device_bytes=None, series="workload"):
    return {"tool": "end_to_end", "runs": [{
        "name": name, "series": series, "repetitions": [
            {"wall": wall, "phases": {"ascent": wall / 2, "encode": 0}, "host_bytes": 2**20 * 100,
             "device_bytes": device_bytes, "ms_per_filter_iteration": wall * 1e3} for wall in walls]}]}


class CompareTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def ratios(self, before, after):
        before = compare.read(self.file("before.json", before))[1]
        after = compare.read(self.file("after.json", after))[1]
        return {name: compare.Ratio(before[name], after[name]) for name in before if name in after}

    def test_ratio_is_that_of_the_medians(self):
        ratio = self.ratios(google_benchmark(a=[10, 11, 30]), google_benchmark(a=[5, 5.5, 6]))["a"]
        self.assertAlmostEqual(ratio.ratio, 0.5)
        self.assertAlmostEqual(ratio.low, 5 / 30)
        self.assertAlmostEqual(ratio.high, 0.6)

    def test_marks_what_exceeds_the_spread_and_nothing_else(self):
        ratios = self.ratios(google_benchmark(faster=[10, 11], slower=[10, 11], touching=[10, 11], noisy=[10, 30, 11]),
                             google_benchmark(faster=[8, 9.9], slower=[11.1, 12], touching=[11, 12], noisy=[20, 20, 20]))
        self.assertEqual({name: ratio.mark for name, ratio in ratios.items()},
                         {"faster": "faster", "slower": "slower", "touching": "", "noisy": ""})

    def test_one_measurement_marks_nothing(self):
        self.assertEqual(self.ratios(google_benchmark(a=[10]), google_benchmark(a=[1, 1]))["a"].mark, "measured once")

    def test_leaves_out_aggregates_and_failures(self):
        content = google_benchmark(a=[10, 11], b=[1])
        content["benchmarks"].append({"name": "c", "run_name": "c", "run_type": "iteration", "error_occurred": True,
                                      "error_message": "skipped"})
        measured = compare.read(self.file("a.json", content))[1]
        self.assertEqual(sorted(measured), ["a", "b"])
        self.assertEqual(len(measured["a"].values), 2)
        self.assertAlmostEqual(measured["a"].median, 10500)  # us

    def test_units_are_made_equal(self):
        other = google_benchmark(a=[10000, 11000])
        for row in other["benchmarks"]:
            row["time_unit"] = "us"
        self.assertAlmostEqual(self.ratios(google_benchmark(a=[10, 11]), other)["a"].ratio, 1)

    def test_end_to_end(self):
        ratios = self.ratios(end_to_end("workload/all", [30, 31], 2**30), end_to_end("workload/all", [20, 21], 2**31))
        self.assertEqual({name: ratio.mark for name, ratio in ratios.items()},
                         {"workload/all": "faster", "workload/all/ascent": "faster", "workload/all/encode": "",
                          "workload/all/host_bytes": "", "workload/all/device_bytes": "more"})
        self.assertAlmostEqual(ratios["workload/all/device_bytes"].ratio, 2)

    def test_end_to_end_series(self):
        ratios = self.ratios(end_to_end("batch/x/4", [1, 1.5], series="batch"), end_to_end("batch/x/4", [2], series="batch"))
        self.assertEqual(list(ratios), ["batch/x/4"])
        self.assertAlmostEqual(ratios["batch/x/4"].ratio, 1.6)

    def test_table(self):
        before = compare.read(self.file("a.json", google_benchmark(gone=[1, 1], kept=[10, 12], other=[1, 1])))[1]
        after = compare.read(self.file("b.json", google_benchmark(new=[1, 1], kept=[5, 6], other=[1, 1])))[1]
        text = compare.compare(before, after)
        self.assertIn("Only before: gone\nOnly after: new\n2 compared: 1 better, 0 worse, 1 within their spread.", text)
        self.assertRegex(text, r"kept +11000 \(10000 to 12000\) us +5500 \(5000 to 6000\) us +0\.500 \(0\.417 to 0\.600\) +faster")
        self.assertNotIn("other", compare.compare(before, after, "^kept$"))
        self.assertIn("Nothing that both", compare.compare(before, after, "nowhere"))

    def test_refuses_what_it_cannot_compare(self):
        good = self.file("good.json", google_benchmark(a=[1]))
        for name, content in [("no.json", "{"), ("list.json", "[]"), ("other.json", {"tool": "peers"})]:
            with self.assertRaisesRegex(measuring.Refusal, name):
                compare.read(self.file(name, content))
        with self.assertRaisesRegex(measuring.Refusal, "absent.json"):
            compare.read(str(self.folder / "absent.json"))
        import sys
        sys.argv = ["compare.py", good, self.file("run.json", end_to_end("workload/a", [1]))]
        with self.assertRaisesRegex(measuring.Refusal, "two of one kind"):
            compare.main()

    def test_prints(self):
        import sys
        path = self.file("a.json", google_benchmark(a=[1, 2]))
        sys.argv = ["compare.py", path, path]
        out = io.StringIO()
        with redirect_stdout(out):
            compare.main()
        self.assertIn("1 compared: 0 better, 0 worse", out.getvalue())


class MeasuringTest(unittest.TestCase):
    def test_cost_of_the_network(self):
        # GFLOP per filter and iteration; the first is the head alone.
        for layer, gflop in [("block1_conv2", 0.08), ("block2_conv2", 2.1), ("block3_conv3", 5.5), ("block4_conv3", 8.9),
                             ("block5_conv3", 10.9)]:
            self.assertAlmostEqual(measuring.iteration_flops(layer) / 1e9, gflop, delta=0.05, msg=layer)
        total = sum(filters * measuring.iteration_flops(name) for name, filters in measuring.FILTERS.items())
        self.assertAlmostEqual(total / 1e12, 32.0, delta=0.05)
        self.assertEqual(sum(measuring.FILTERS.values()), 4224)
        # Sizes that do not halve evenly are rounded down.
        self.assertEqual(measuring.forward_macs("block3_conv1", 35), 9 * 128 * 256 * 8 * 8)

    def test_numbers(self):
        self.assertEqual(measuring.digits(1234567), "1230000")
        self.assertEqual(measuring.digits(0.01234), "0.0123")
        self.assertEqual(measuring.spread_text([3, 1, 2]), "2.00 (1.00 to 3.00)")
        self.assertEqual(measuring.spread_text([5]), "5.00")

    def test_npy(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "a.npy"
            measuring.write_npy(path, (2, 1, 3), [0, 1, 2, 3, 4, 0.5])
            content = path.read_bytes()
            self.assertEqual(measuring.npy_shape(path), (2, 1, 3))
            self.assertEqual((len(content) - 24) % 64, 0)
            self.assertEqual(content[-4:], b"\0\0\0\x3f")


if __name__ == "__main__":
    unittest.main()

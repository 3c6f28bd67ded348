"""Tests of bench/report.py; the folder bench/ must be in PYTHONPATH."""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

import measuring
import report
import report_kernels
import report_text

MACHINE = {"date": "2026-01-02 03:04 UTC", "processor": "A Processor (TM)", "cores": 4, "memory_gib": 8.0, "system": "Linux 6",
           "load": 0.1, "gpu": None, "python": "3.11"}


def peers(ours=(5.0, 4.0, 6.0), torch=(16.0, 20.0, 18.0), losses=(2.0, 4.0)):
    def row(peer, variant, batch, ms, final_losses, error=None):
        return {"peer": peer, "layer": "block3_conv3", "variant": variant, "batch": batch, "filters": 2, "ms": list(ms),
                "final_losses": final_losses, "error": error, "look": False}
    return {"tool": "peers", "kind": "cpu", "machine": MACHINE, "load_after": 0.2, "info": ["filterscope 1"], "weights": "synthetic",
            "size": 96, "iterations": 10, "quick": False, "versions": {"PyTorch": {"torch": "2"}, "notebook": {}},
            "rows": [row("filterscope", "fp32", 0, ours, [2.0, 4.0]), row("PyTorch", "eager fp32 contiguous", 8, torch, list(losses)),
                     row("notebook", "eager", 1, [], None, "No module named 'tensorflow'")]}


def kernel(name, **counters):
    return {"name": name + "/manual_time", "run_name": name + "/manual_time", "run_type": "iteration", "real_time": 100.0,
            "time_unit": "us", **counters}


class ReportTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, content):
        (self.folder / name).write_text(content if isinstance(content, str) else json.dumps(content))

    def report(self, *arguments):
        out = io.StringIO()
        before, sys.argv = sys.argv, ["report.py", str(self.folder), "--results", str(self.folder / "results"), *arguments]
        try:
            with contextlib.redirect_stdout(out):
                report.main()
        finally:
            sys.argv = before
        return pathlib.Path(out.getvalue().strip())

    def test_is_named_after_the_device(self):
        self.write("peers.json", peers())
        self.assertEqual(self.report().name, "cpu-a-processor-tm-4-cores.md")
        self.assertEqual(self.report("--name", "mine").name, "mine.md")

    def test_peers_have_ratios_of_medians_and_the_difference_of_losses(self):
        self.write("peers.json", peers(losses=(2.0, 4.04)))
        text = self.report().read_text()
        self.assertIn("| PyTorch | eager fp32 contiguous | 8 | 18.0 (16.0 to 20.0) | 3.6 | 1 % |", text)
        self.assertIn("not measured: No module named 'tensorflow'", text)
        self.assertIn("3.6 times; target 3: met", text)
        self.assertIn("Not measured: end_to_end.json, kernels.json.", text)

    def test_missed_targets_are_reported(self):
        self.write("peers.json", peers(torch=(14.0, 14.0, 14.0)))
        self.assertIn("2.8 times; target 3: **not met**", self.report().read_text())

    def test_without_filterscopes_own_row_the_peers_stand_alone(self):
        for change in ({"ms": [], "final_losses": None, "error": "it failed"}, {"layer": "block5_conv3"}):
            content = peers()
            content["rows"][0].update(change)
            self.write("peers.json", content)
            self.assertIn("| PyTorch | eager fp32 contiguous | 8 | 18.0 (16.0 to 20.0) |  |  |", self.report().read_text())

    def test_the_batch_that_filterscope_took_shows(self):
        content = peers()
        content["rows"][0]["plans"] = ["96x96, batch of 256 of block3_conv3; block1_conv1: forward a, gradient b, mask c"]
        self.write("peers.json", content)
        self.assertIn("| filterscope | fp32 | automatic, 256 |", self.report().read_text())

    def test_is_named_after_the_gpu_only_where_that_was_measured(self):
        gpu = {**MACHINE, "gpu": {"name": "NVIDIA X100", "driver": "1", "memory": "80 GiB"}}
        self.write("peers.json", {**peers(), "machine": gpu})
        self.assertEqual(self.report().name, "cpu-a-processor-tm-4-cores.md")
        self.write("peers.json", {**peers(), "machine": gpu, "kind": "cuda"})
        path = self.report()
        self.assertEqual(path.name, "nvidia-x100.md")
        self.assertTrue(path.read_text().startswith("# NVIDIA X100\n"))

    def test_kernels_and_their_ceilings_are_those_of_the_device(self):
        self.write("kernels.json", {"context": {"date": "2026-01-02T03:04:05+02:00", "load_avg": [0.1]}, "benchmarks": [
            kernel("cpu/ceiling/multiply_add/avx2", **{"GFLOP/s": 100.0, "of_peak": 1.0}),
            kernel("cuda/max_pool/block1_conv2/fp16/batch:4", **{"GFLOP/s": 300.0, "of_peak": 0.5, "GB/s": 2.0, "of_copy": 0.5})]})
        text = self.report("--name", "kernels").read_text()
        self.assertIn("600 GFLOP/s in a matrix product", text)
        self.assertIn("| max pool | block1_conv2 | fp16, batch 4 | 100 µs | 300 | 50 % | 2.00 | 50 % |", text)
        self.assertNotIn("avx2", text)
        self.assertIn("2026-01-02 01:04", text)
        self.write("peers.json", peers())
        text = self.report().read_text()
        self.assertIn("| multiply add, avx2 | 100 |", text)
        self.assertNotIn("max pool", text)

    def test_files_that_are_not_json_are_named_as_missing(self):
        self.write("peers.json", peers())
        self.write("kernels.json", '{"context": {')
        self.assertIn("Not measured: end_to_end.json, kernels.json (not JSON).", self.report().read_text())

    def test_a_workload_says_its_dead_filters_and_whether_it_was_cold(self):
        phases = dict.fromkeys([*measuring.PHASES, "encode", "write"], 0.5)
        run = {"name": "workload/all", "series": "workload", "label": None, "x": None, "size": 96, "iterations": 2, "filters": 4,
               "dead": 1, "flops": 1e12, "command": "filterscope render all",
               "repetitions": [{"phases": phases, "wall": 3.0, "host_bytes": 2**20, "device_bytes": None}]}
        content = {"tool": "end_to_end", "kind": "cpu", "machine": MACHINE, "load_after": 0.2, "info": [], "quick": False}
        self.write("end_to_end.json", {**content, "runs": [run, {**run, "name": "workload/all-cold", "dead": 0}]})
        text = self.report().read_text()
        self.assertIn("4 filters (1 of them dead), 1 TFLOP counted directly.\n", text)
        self.assertIn("4 filters, 1 TFLOP counted directly. Without timings of plans from an earlier run.\n", text)

    def test_kernels_show_the_fastest_variant(self):
        slow, fast = (f"cpu/convolution/forward/block3_conv2/{tile}/avx2/batch:16" for tile in ("F4", "F6"))
        counters = {"GFLOP/s": 50.0, "of_peak": 0.5, "winograd_of_peak": 0.2, "GB/s": 2.0, "of_copy": 0.1}
        self.write("kernels.json", {"context": {"date": "2026-01-02T03:04:05", "load_avg": [0.1]}, "benchmarks": [
            kernel("cpu/ceiling/multiply_add/avx2", **{"GFLOP/s": 100.0, "of_peak": 1.0}), kernel("cpu/ceiling/copy", **{"GB/s": 20.0}),
            {**kernel(slow, **counters), "real_time": 160.0}, {**kernel(fast, **counters), "real_time": 80.0},
            {**kernel("cpu/broken"), "error_occurred": True, "error_message": "wrong at 3"}]})
        text = self.report("--name", "kernels").read_text()
        self.assertIn("| block3_conv2 | forward | F6, avx2, batch 16 | 5.00 | 50.0 | 50 % | 20 % | 10 % |", text)
        self.assertNotIn("F4", text)
        self.assertIn("cpu/broken/manual_time: wrong at 3", text)

    def test_refuses_unreadable_measurements(self):
        with self.assertRaisesRegex(measuring.Refusal, "expected at least one of"):
            self.report()
        self.write("peers.json", "{")
        with self.assertRaisesRegex(measuring.Refusal, "peers.json .not JSON"):
            self.report()

    def test_small_and_large_numbers_are_readable(self):
        self.assertEqual([measuring.digits(value) for value in (0, 0.00123, 4.6e-5, 12345, 6.78)],
                         ["0", "0.00123", "0.000046", "12300", "6.78"])
        self.assertEqual([measuring.digits(value) for value in (9.999, 42, 0.9999, -1.5)], ["10.0", "42.0", "1.00", "-1.50"])
        self.assertEqual(measuring.spread_text([0.062, 0.06, 0.0641], decimals=3), "0.062 (0.060 to 0.064)")
        self.assertEqual([report_kernels.time_text([250.0]), report_kernels.time_text([254000.0])], ["250 µs", "254 ms"])
        self.assertEqual([report_text.rate(2.34e11), report_text.rate(1.5e14)], ["234 GFLOP/s", "150 TFLOP/s"])


if __name__ == "__main__":
    unittest.main()

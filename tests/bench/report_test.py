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
        self.assertIn("| PyTorch | eager fp32 contiguous | 8 | 18 (16 to 20) | 3.6 | 1 % |", text)
        self.assertIn("not measured: No module named 'tensorflow'", text)
        self.assertIn("3.6 times; to be at least 3: met", text)
        self.assertIn("Not measured: end_to_end.json, kernels.json.", text)

    def test_a_target_that_is_missed_is_said_to_be(self):
        self.write("peers.json", peers(torch=(14.0, 14.0, 14.0)))
        self.assertIn("2.8 times; to be at least 3: **not met**", self.report().read_text())

    def test_kernels_show_the_fastest_variant(self):
        slow, fast = (f"cpu/convolution/forward/block3_conv2/{tile}/avx2/batch:16" for tile in ("F4", "F6"))
        counters = {"GFLOP/s": 50.0, "of_peak": 0.5, "winograd_of_peak": 0.2, "GB/s": 2.0, "of_copy": 0.1}
        self.write("kernels.json", {"context": {"date": "2026-01-02T03:04:05", "load_avg": [0.1]}, "benchmarks": [
            kernel("cpu/ceiling/multiply_add/avx2", **{"GFLOP/s": 100.0, "of_peak": 1.0}), kernel("cpu/ceiling/copy", **{"GB/s": 20.0}),
            {**kernel(slow, **counters), "real_time": 160.0}, {**kernel(fast, **counters), "real_time": 80.0},
            {**kernel("cpu/broken"), "error_occurred": True, "error_message": "wrong at 3"}]})
        text = self.report("--name", "kernels").read_text()
        self.assertIn("| block3_conv2 | forward | F6/avx2/batch:16 | 5 | 50 | 50 % | 20 % | 10 % |", text)
        self.assertNotIn("F4", text)
        self.assertIn("cpu/broken/manual_time: wrong at 3", text)

    def test_refuses_what_it_cannot_read(self):
        with self.assertRaisesRegex(measuring.Refusal, "expected at least one of"):
            self.report()
        self.write("peers.json", "{")
        with self.assertRaisesRegex(measuring.Refusal, "peers.json: this is no JSON"):
            self.report()

    def test_small_and_large_numbers_are_readable(self):
        self.assertEqual([measuring.digits(value) for value in (0, 0.00123, 4.6e-5, 12345, 6.78)],
                         ["0", "0.00123", "4.6e-05", "12300", "6.78"])


if __name__ == "__main__":
    unittest.main()

"""Shared by the benchmark scripts: the machine, the network's cost, and runs of the program. Standard library only."""
import array
import ast
import datetime
import functools
import json
import math
import os
import pathlib
import platform
import re
import shlex
import shutil
import statistics
import struct
import subprocess
import tempfile
import threading
import time

BENCH = pathlib.Path(__file__).resolve().parent
SIZE = 96  # Height and width of the image by default.

# VGG16's layers: name, input channels, filters, and how often the image was halved before.
LAYERS = [(f"block{block}_conv{convolution}", before if convolution == 1 else width, width, block - 1)
          for block, (count, before, width) in enumerate([(2, 3, 64), (2, 64, 128), (3, 128, 256), (3, 256, 512),
                                                          (3, 512, 512)], 1)
          for convolution in range(1, count + 1)]
NAMES = [name for name, *_ in LAYERS]
FILTERS = {name: filters for name, _, filters, _ in LAYERS}

# The phases in the order in which a user waits for them; encoding and writing happen on other threads meanwhile.
PHASES = ["start_up", "weights", "plans", "ascent", "finish", "page"]


class Refusal(Exception):
    """An error that a user can act on."""


def forward_macs(layer, size):
    """Multiply-adds of one forward convolution on one image."""
    _, channels, filters, halvings = LAYERS[NAMES.index(layer)]
    return 9 * channels * filters * (size >> halvings) ** 2


def iteration_flops(layer, size=SIZE):
    """Floating-point operations of one iteration of one filter: fprop and dgrad of the layers below the target, and one filter's
    share of the target layer; 2 per multiply-add, counted directly, whatever the algorithm. Same as Network::iteration_flops."""
    below = NAMES[:NAMES.index(layer)]
    macs = 2 * forward_macs(layer, size) / FILTERS[layer] + sum(2 * forward_macs(name, size) for name in below)
    return 2 * macs


def median(values):
    return statistics.median(values)


def digits(value, count=3, decimals=6):
    """A number with `count` significant digits, but at most `decimals` decimals."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    rounded = float(f"{value:.{count - 1}e}")
    places = min(decimals, count - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{max(0, places)}f}"


def spread_text(values, count=3, decimals=6):
    """The median, with the range if there are several values."""
    text = digits(median(values), count, decimals)
    if len(values) < 2:
        return text
    return f"{text} ({digits(min(values), count, decimals)} to {digits(max(values), count, decimals)})"


def output_of(command):
    """The command's standard output; nothing if there is no such command or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def processor_name():
    text = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown processor"


def gpu():
    """Name, driver and memory of the first GPU; None if nvidia-smi finds none."""
    line = output_of(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
    if not line:
        return None
    name, driver, memory = (part.strip() for part in line.splitlines()[0].split(","))
    return {"name": name, "driver": driver, "memory": memory}


def machine(load=None):
    """The machine and the time of a measurement. The load (default: the present one) shows whether other programs were running."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "processor": processor_name(), "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30, 1), "system": f"{platform.system()} {platform.release()}",
            "load": round(os.getloadavg()[0] if load is None else load, 2), "gpu": gpu(), "python": platform.python_version()}


def find_program(build):
    program = pathlib.Path(build) / "filterscope"
    if not program.is_file():
        raise Refusal(f"no {program}; build it first (cmake --build --preset release), or name its folder with --build")
    return program


def program_info(program):
    """The output of `filterscope info`, without the places where it looked for weights."""
    lines = output_of([str(program), "info"]).splitlines()
    return [line for line in lines if line.strip() and not re.search(r"weights|\.h5|safetensors|/", line, re.IGNORECASE)]


def auto_device(info):
    """The device that `--device auto` means according to program_info: cpu or cuda."""
    found = re.search(r"--device auto\s+means (cpu|cuda)", "\n".join(info))
    return found[1] if found else "cpu"


def write_npy(path, shape, values):
    """A float32 array in NumPy's format."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    data = array.array("f", values)
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        data.byteswap()
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data.tobytes())


def npy_shape(path):
    with open(path, "rb") as file:
        file.seek(8)
        length, = struct.unpack("<H", file.read(2))
        return ast.literal_eval(file.read(length).decode())["shape"]


class DeviceMemory:
    """The peak of the first GPU's memory in use during its lifetime, beyond what was in use before; sampled twice a second."""

    def __init__(self, wanted):
        self.peak = None
        self._stop = threading.Event()
        self._before = self._used() if wanted else None
        self._thread = threading.Thread(target=self._watch, daemon=True) if self._before is not None else None

    def __enter__(self):
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        if self._thread:
            self._thread.join()

    @staticmethod
    def _used():
        line = output_of(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"])
        return int(line.splitlines()[0]) * 2**20 if line else None

    def _watch(self):
        while not self._stop.wait(0.5):
            self.peak = max(self.peak or 0, (self._used() or 0) - self._before)


@functools.lru_cache(maxsize=None)
def own_cache():
    """A temporary folder for the program's cache (timed plans), so that timings of other builds or from a busy machine do not
    count."""
    return tempfile.TemporaryDirectory(prefix="filterscope-bench-cache-")


def render(program, arguments, device_memory=False):
    """Runs `filterscope render` into a temporary folder. Returns its manifest; the seconds of the whole command; its phases; and
    the peak memory in bytes.

    The phases come from the manifest. The page is written after it, so its time is that between the two files. The time to
    load the program, which the program cannot measure, is added to start_up, with whatever else is left."""
    with tempfile.TemporaryDirectory(prefix="filterscope-bench-") as folder:
        command = [str(program), "render", *arguments, "--out", folder, "--quiet"]
        environment = {**os.environ, "XDG_CACHE_HOME": own_cache().name}
        with tempfile.TemporaryFile() as errors, DeviceMemory(device_memory) as memory:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                errors.seek(0)
                raise Refusal(f"{shlex.join(command)} failed: {errors.read().decode(errors='replace').strip()}")
        manifest_file = pathlib.Path(folder) / "manifest.json"
        manifest = json.loads(manifest_file.read_text())
        phases = dict(manifest["phases"])
        page = (pathlib.Path(folder) / "index.html").stat().st_mtime_ns - manifest_file.stat().st_mtime_ns
        phases["page"] = max(0, page) / 1e9
        phases["start_up"] += max(0, wall - sum(phases[name] for name in PHASES))
        return {"manifest": manifest, "wall": wall, "phases": phases, "host_bytes": usage.ru_maxrss * 1024,
                "device_bytes": memory.peak}


def write_json(path, value):
    """Writes the whole file or nothing."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


def have(command):
    return shutil.which(command) is not None

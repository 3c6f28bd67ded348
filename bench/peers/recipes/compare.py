#!/usr/bin/env python3
"""Compares recipes with the programs that they were made after, on the same weights, filters and start images.

  bench/peers/recipes/compare.py --weights vgg16.h5 --out FOLDER [--keras PYTHON] [--torch PYTHON] [--only NAME...]

keras2016, keras2019, kerasio and tf-keras-vis (without its random transforms) climb some iterations from the same image as
keras_recipes.py does; image and picture are compared value by value. lucid draws at random, so lucent_recipe.py renders the same
filters with as many steps, and the activations by the pictures are compared. FOLDER/report.md has the tables, FOLDER/lucid.png
the pictures of both. Needs NumPy and Pillow; the other interpreters need ../requirements-keras.txt with Pillow and
../requirements-lucent.txt. What an earlier run of the same left in FOLDER is used again, but for filterscope's step by step.
"""
import argparse
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

import numpy
from PIL import Image, ImageDraw

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
import measuring  # noqa: E402

FILTERS = {"block3_conv1": [2, 3], "block3_conv3": [1, 7], "block5_conv1": [8, 24]}
LUCID_LAYERS = ["block3_conv3", "block4_conv3", "block5_conv3"]
IMAGE_TOLERANCE = 1e-3  # Of the greatest step from the start image.
PICTURE_TOLERANCE = 1   # Grey levels.
ISOLATED = 0.01         # Share of values that may differ more where rounding decided a ReLU or a maximum in one iteration ...
OTHERS = 1e-4           # ... and how much the median value may, of the root mean square of the step.
RATIO_TOLERANCE = 0.1


def first_stage(recipe):
    recipe["stages"] = recipe["stages"][:1]
    recipe["picture"]["size"] = None


def first_two_stages(recipe):
    recipe["stages"] = recipe["stages"][:2]
    recipe["picture"]["size"] = None


def without_random_transforms(recipe):
    recipe["stages"][0]["kept_transforms"]["list"] = []


NINE_STAGES = "keras2019, nine stages"  # In double precision, this would take as long as all others together.
# Of each row: title, recipe, what is changed in it, iterations of each stage, filters of each layer, and methods of
# keras_recipes.py to compare with.
ASCENTS = [
    ("keras2016", "keras2016", None, [1, 5], 2, ["keras2016"]),
    ("keras2019, first stage", "keras2019", first_stage, [1, 5], 2, ["keras2019, first stage"]),
    ("keras2019, two stages", "keras2019", first_two_stages, [1], 2,
     ["keras2019, two stages", "keras2019, two stages as commented"]),
    (NINE_STAGES, "keras2019", None, [1], 1, ["keras2019", "keras2019, as commented"]),
    ("kerasio", "kerasio", None, [1, 5], 2, ["kerasio"]),
    ("tf-keras-vis", "tf-keras-vis", without_random_transforms, [1, 5], 1, ["tf-keras-vis", "tf-keras-vis, epsilon outside"]),
]


def quiet(command, log, **named):
    """Runs a command on one thread; returns its standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "w") as errors:
        result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
                                **named)
    if result.returncode:
        raise measuring.Refusal(f"{command[0]} failed ({result.returncode}), see {log}:\n{pathlib.Path(log).read_text()[-2000:]}")
    return result.stdout


def render(options, recipe, selectors, folder, more):
    quiet([options.program, "render", *selectors, "--recipe", recipe, "--weights", options.weights, "--raw", "--device", "cpu",
           "--threads", "1", "--out", folder, "--quiet", *more], f"{folder}.log")


def write_recipe(options, name, change, iterations, path):
    """The recipe without rescue and with so many iterations in each stage; returns its first stage."""
    recipe = json.loads(subprocess.run([options.program, "recipes", name], check=True, stdout=subprocess.PIPE).stdout)
    first = recipe["stages"][0]
    first["iterations"] = iterations
    first["objective"]["rescue"] = False
    if change:
        change(recipe)
    path.write_text(json.dumps(recipe))
    return first


def compare_ascents(options):
    folder = options.out / "ascents"
    folder.mkdir(parents=True, exist_ok=True)
    jobs, cases = [], []
    for index, (title, name, change, counts, per_layer, methods) in enumerate(ASCENTS):
        for iterations in counts if name in options.only else []:
            ours = folder / f"filterscope-{index}-{iterations}"
            first = write_recipe(options, name, change, iterations, folder / f"recipe-{index}-{iterations}.json")
            start = folder / f"start-{index}.npy"
            size, noise = first["size"], numpy.random.default_rng(index)
            numpy.save(start, noise.uniform(first["start"]["low"], first["start"]["high"], (size, size, 3)).astype(numpy.float32))
            render(options, folder / f"recipe-{index}-{iterations}.json",
                   [f"{layer}:{','.join(map(str, numbers[:per_layer]))}" for layer, numbers in FILTERS.items()],
                   ours, ["--init", start, "--force"])
            for layer, place, method in itertools.product(FILTERS, range(per_layer), methods):
                job = {"method": method, "layer": layer, "filter": FILTERS[layer][place], "start": str(start),
                       "iterations": iterations}
                name_of = f"{index}-{iterations}-{methods.index(method)}-{layer}-{place}"
                precisions = ["float32"] if title == NINE_STAGES else ["float32", "float64"]
                jobs += [{**job, "precision": precision, "name": f"{name_of}-{precision}"} for precision in precisions]
                cases.append((title, job, ours, folder / name_of, place))
    (folder / "jobs.json").write_text(json.dumps(jobs))
    quiet([options.keras, HERE / "keras_recipes.py", options.weights, folder / "jobs.json", folder], folder / "keras.log")
    return [compare_ascent(*case) for case in cases], json.loads((folder / "versions.json").read_text())


def compare_ascent(title, job, ours, theirs, place):
    layer, number = job["layer"], job["filter"]
    image = numpy.load(ours / "raw" / f"{layer}.npy")[place].astype(float)
    picture = numpy.asarray(Image.open(ours / layer / f"{layer}_f{number:04}.png").convert("RGB")).astype(int)
    peer = numpy.load(f"{theirs}-float32.npz")
    climbed = peer["image"] - peer["start"].astype(float)

    def distance(one, other):
        """Of images, relative to the greatest value that was climbed (`max`, and `beyond`, the share of values that differ by more
        than the tolerance), to the norm (`l2`) and to the root mean square (`median`); of pictures, in grey levels, the greatest
        (`levels`) and the share within the tolerance."""
        levels = numpy.abs(one[1].astype(int) - other[1].astype(int))
        difference, greatest = numpy.abs(one[0] - other[0]), numpy.abs(climbed).max()
        return {"levels": int(levels.max()), "within": float((levels <= PICTURE_TOLERANCE).mean()),
                "max": float(difference.max() / greatest), "beyond": float((difference > IMAGE_TOLERANCE * greatest).mean()),
                "l2": float(numpy.linalg.norm(difference) / numpy.linalg.norm(climbed)),
                "median": float(numpy.median(difference) / numpy.sqrt(numpy.mean(climbed ** 2)))}

    us, single = (image, picture), (peer["image"].astype(float), peer["picture"])
    row = {"title": title, **{key: job[key] for key in ("method", "layer", "filter", "iterations")},
           "losses": peer["losses"].tolist(), "step": float(numpy.abs(climbed).max()),
           "to_peer": distance(us, single), "to_exact": {}, "peer_to_exact": {}}
    if title != NINE_STAGES:
        exact = numpy.load(f"{theirs}-float64.npz")
        double = exact["image"], exact["picture"]
        row |= {"to_exact": distance(us, double), "peer_to_exact": distance(single, double)}
    ours = row["to_peer"]
    if ours["max"] <= IMAGE_TOLERANCE and ours["levels"] <= PICTURE_TOLERANCE:
        row["verdict"] = "same"
    elif job["iterations"] == 1 and ours["beyond"] <= ISOLATED and ours["median"] <= OTHERS:
        row["verdict"] = "isolated"
    else:
        row["verdict"] = "differs"
    return row


def report_ascents(rows):
    lines = ["Differences of images, in three pairs: filterscope to the peer, as published in single precision; filterscope to "
             "the peer in double precision (exact); and the peer to itself in double precision. `max` is relative to the greatest "
             "value that the peer climbed (`step`), and `beyond` is the share of values that differ by more than "
             f"{IMAGE_TOLERANCE:g} of that; L2 is relative to the norm of what was climbed, `median` to its root mean square. "
             "`levels` is the greatest difference of pictures, of 255, and the share of values within one level. The last column "
             f"says `same` for max <= {IMAGE_TOLERANCE:g} and levels <= {PICTURE_TOLERANCE}; otherwise, after one iteration, "
             f"`isolated` where at most {100 * ISOLATED:g} % of the values are beyond and the median is at most {OTHERS:g}; "
             "otherwise `differs`.", "",
             "| recipe | compared with | filter | iterations | step | to the peer: max | beyond | median | L2 | levels "
             "| to exact: L2 | peer to exact: max | L2 | levels | |",
             "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"]

    def power(value):
        return "" if value is None else f"{value:.1e}"

    for row in rows:
        ours, exact, theirs = (row[key] for key in ("to_peer", "to_exact", "peer_to_exact"))
        cells = [row["title"], row["method"], f"{row['layer']}:{row['filter']}", str(row["iterations"]),
                 f"{row['step']:.4g}", power(ours["max"]), f"{100 * ours['beyond']:.2f} %", power(ours["median"]),
                 power(ours["l2"]),
                 f"{ours['levels']} ({100 * ours['within']:.2f} %)", power(exact.get("l2")), power(theirs.get("max")),
                 power(theirs.get("l2")), f"{theirs['levels']} ({100 * theirs['within']:.2f} %)" if theirs else "",
                 row["verdict"] if row["verdict"] != "differs" else "**differs**"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def strip(images, side=128):
    return numpy.concatenate([numpy.pad(numpy.rint(image * 255).astype(numpy.uint8), ((0, 4), (0, 4), (0, 0)))
                              for image in images[:, :side, :side]], axis=1)


def compare_lucid(options):
    folder = options.out / "lucid"
    folder.mkdir(parents=True, exist_ok=True)
    numbers = list(range(options.lucid_filters))
    filters = ",".join(map(str, numbers))
    ours = folder / f"filterscope-{options.steps}"
    render(options, "lucid", [f"{layer}:{filters}" for layer in LUCID_LAYERS], ours, ["--iterations", str(options.steps)])
    script, layers, strips, versions = HERE / "lucent_recipe.py", {}, [], {}
    for layer in LUCID_LAYERS:
        versions = json.loads(quiet([options.torch, "-W", "ignore", script, "render", options.weights, layer, filters,
                                     options.steps, folder], folder / f"{layer}.log"))
        numpy.save(folder / f"{layer}.npy",
                   [numpy.load(folder / f"{layer}-{number}-{options.steps}.npy") for number in numbers])
        files = [ours / "raw" / f"{layer}.npy", folder / f"{layer}.npy"]
        layers[layer] = [json.loads(quiet([options.torch, "-W", "ignore", script, "judge", options.weights, layer, filters, file],
                                          folder / "judge.log")) for file in files]
        strips += [strip(numpy.load(file)[:len(numbers)]) for file in files]
    sheet = Image.new("RGB", (strips[0].shape[1] + 150, sum(len(part) for part in strips)))
    draw, top = ImageDraw.Draw(sheet), 0
    for index, part in enumerate(strips):
        draw.text((4, top + 56), f"{LUCID_LAYERS[index // 2]}\n{['filterscope', 'Lucent'][index % 2]}", "white")
        sheet.paste(Image.fromarray(part), (150, top))
        top += len(part)
    sheet.save(options.out / "lucid.png")
    return layers, versions


def report_lucid(layers, steps):
    lines = [f"Mean activation after the ReLU by the picture as it is, 128 x 128, after {steps} steps; filterscope's divided by "
             "Lucent's.", "", "| layer | filters | filterscope, median | Lucent, median | ratio, median | ratio, quartiles | |",
             "|---|--:|--:|--:|--:|--:|---|"]
    for layer, (ours, theirs) in layers.items():
        ratios = [our / their if their > 0 else float("inf") for our, their in zip(ours, theirs)]
        median = statistics.median(ratios)
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        lines.append(f"| {layer} | {len(ours)} | {statistics.median(ours):.4g} | {statistics.median(theirs):.4g} | {median:.3f} | "
                     f"{low:.3f} to {high:.3f} | {'same' if abs(median - 1) <= RATIO_TOLERANCE else '**differs**'} |")
    lines += ["", "| layer | filter | filterscope | Lucent | ratio |", "|---|--:|--:|--:|--:|"]
    for layer, (ours, theirs) in layers.items():
        lines += [f"| {layer} | {number} | {our:.4g} | {their:.4g} | {f'{our / their:.3f}' if their > 0 else '-'} |"
                  for number, (our, their) in enumerate(zip(ours, theirs))]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="build/release/filterscope", help="filterscope")
    parser.add_argument("--weights", required=True, help="Keras' HDF5 file of VGG16 without its dense layers")
    parser.add_argument("--keras", default="venv-keras/bin/python", help="Python with TensorFlow, tf-keras-vis and Pillow")
    parser.add_argument("--torch", default="venv-torch/bin/python", help="Python with torch-lucent")
    parser.add_argument("--only", nargs="+", default=["keras2016", "keras2019", "kerasio", "tf-keras-vis", "lucid"])
    parser.add_argument("--steps", type=int, default=48, help="of lucid; its own number is 512")
    parser.add_argument("--lucid-filters", type=int, default=16, help="of each layer, from number 0")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        versions, tables = {}, []
        rows, layers = [], {}
        if set(options.only) - {"lucid"}:
            rows, used = compare_ascents(options)
            versions |= used
            tables += ["## Step by step", "", *report_ascents(rows), ""]
        if "lucid" in options.only:
            layers, used = compare_lucid(options)
            versions |= used
            tables += ["## lucid", "", *report_lucid(layers, options.steps), ""]
    except (measuring.Refusal, OSError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    program = subprocess.run([options.program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    used = ", ".join([program, *(f"{name} {version}" for name, version in versions.items())])
    head = ["# Recipes and what they were made after", "", f"{measuring.processor_name()}, one thread; {used}. "
            f"Weights: {re.sub('.*/', '', options.weights)}.", ""]
    (options.out / "report.md").write_text("\n".join(head + tables))
    measuring.write_json(options.out / "recipes.json", {"versions": versions, "program": program, "ascents": rows, "lucid": layers})
    print(f"{options.out}/report.md")


if __name__ == "__main__":
    main()

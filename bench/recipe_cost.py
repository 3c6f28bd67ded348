#!/usr/bin/env python3
"""Time of an iteration of each recipe of a single stage, as a ratio to the recipe seed, on the CPU or a GPU.

    bench/recipe_cost.py [--program PROGRAM] [--selector SELECTOR] [--size N] [--iterations N] [--rounds N] [OPTION OF render...]

Each round renders with every recipe in turn, so that a slower phase of the machine meets all of them; the ratio is that of the
shortest times of the ascent, which the manifests hold. All recipes look at images of one size, so the network costs the same.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile


def ascent_seconds(program, recipe, selector, size, iterations, options, folder):
    subprocess.run([program, "render", selector, "--recipe", recipe, "--size", str(size), "--iterations", str(iterations),
                    "--out", folder, "--force", "--quiet", *options], check=True)
    return json.loads((folder / "manifest.json").read_text())["phases"]["ascent"]


def single_stage_recipes(program):
    names = [line.split()[0] for line in
             subprocess.run([program, "recipes"], check=True, capture_output=True, text=True).stdout.splitlines() if line.strip()]
    shown = [subprocess.run([program, "recipes", name], check=True, capture_output=True, text=True).stdout for name in names]
    return [name for name, text in zip(names, shown) if len(json.loads(text)["stages"]) == 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/filterscope")
    parser.add_argument("--selector", default="block3_conv3:0-15")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments, options = parser.parse_known_args()
    program = str(pathlib.Path(arguments.program).resolve())
    recipes = single_stage_recipes(program)
    best = dict.fromkeys(recipes, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for recipe in recipes:
                best[recipe] = min(best[recipe], ascent_seconds(program, recipe, arguments.selector, arguments.size,
                                                                arguments.iterations, options, pathlib.Path(folder) / recipe))
    for recipe in recipes:
        print(f"{recipe:<16} {1000 * best[recipe] / arguments.iterations:8.2f} ms per iteration, "
              f"{best[recipe] / best['seed']:.3f} of seed's")


if __name__ == "__main__":
    main()

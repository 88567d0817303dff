"""What a step of the fit and the texture's network cost: `python -m headavatar.methods.neural_head_avatar.bench`.

The same table as `headavatar.ops.bench` writes: both CPU backends in turn, medians, and the shares of what the machine
can do. Below it the steps a second, and the peak memory of each in a process of its own. The clip is made up: an
ellipse of noise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from ... import head
from ...ops import backend, bench
from ...ops.bench_cases import Case
from ...ops.native import library
from ..made_up import made_up_clip, peak_megabytes
from ..registry import get
from .stack import CHANNELS
from .texture import Places, Texture
from .trainer import NeuralHeadAvatarTrainer

FRAMES, EXPRESSIONS = 48, 24
JOINT = {"geometry_steps": 0, "texture_steps": 0, "perceptual_weight": 0.0}
"""Only the longest stage, without LPIPS, whose weights need not be here; it adds a tenth."""
NUMBERS = 51
"""That a pixel's fragment, eight interpolated attributes, blended outline and truth are, with their gradients."""
FACTOR = 7.4e5
"""Entries of the smoothing solve's two factors."""


def trainer_of(size: int, **settings: Any) -> NeuralHeadAvatarTrainer:
    """A fit of preset `fast` to a made-up clip of size × size pixels, of which each step is one of the joint stage."""
    chosen = get("neural-head-avatar").resolve("fast", {**JOINT, **settings})
    clip = made_up_clip(FRAMES, size, EXPRESSIONS)
    return NeuralHeadAvatarTrainer(clip, chosen, name="bench", head=head.load("embedded"))


def step_case(size: int, **settings: Any) -> Case:
    """A full step at size × size pixels; other settings of the fit as they are named."""
    chosen: Any = get("neural-head-avatar").resolve("fast", {**JOINT, **settings})
    texels = (EXPRESSIONS + 7) * CHANNELS * chosen.table_size**2 + 2 * CHANNELS * chosen.map_size**2
    pixels = chosen.frames_per_step * size * size

    def make() -> Callable[[], object]:
        fit, steps = trainer_of(size, **settings), itertools.count()
        return lambda: fit.step(next(steps))

    # blending reads the tables, Adam reads and writes them and two moments; a solve there, and one for its gradient
    moved = 4 * (7 * texels + NUMBERS * pixels) + 2 * 12 * FACTOR
    name = f"full step of a mesh avatar, {chosen.frames_per_step} frames"
    return Case(name, f"{size} x {size}", make, moved, 20 * texels + 2 * 2 * 3 * FACTOR)


def siren_case(places: int, preset: str) -> Case:
    """The texture's network of a preset over one frame's places, forward and backward; no kernel but that of the map's
    reading is ours, so both backends take as long."""
    chosen: Any = get("neural-head-avatar").resolve(preset, {"texture": "siren"})
    condition = 16
    sizes = (chosen.map_features + 3, *[chosen.hidden] * chosen.layers)
    products = sum(a * b for a, b in itertools.pairwise(sizes)) + (sizes[-1] + 32) * chosen.shader_hidden

    def make() -> Callable[[], object]:
        texture = Texture.fresh(
            map_size=chosen.map_size, features=chosen.map_features, width=chosen.hidden, layers=chosen.layers,
            shader_width=chosen.shader_hidden, condition=condition, everywhere=True,
            mapping_width=chosen.mapping_hidden, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        leaves = [texture.map, *texture.parameters]
        for leaf in leaves:
            leaf.requires_grad_()
        normals = torch.nn.functional.normalize(torch.randn(places, 3), dim=1)
        seen = Places(torch.rand(places, 2), torch.rand(places, 3) * 2 - 1, normals, torch.ones(places) > 0)
        told, weights = torch.rand(1, condition), torch.randn(places, 3)

        def call() -> None:
            for leaf in leaves:
                leaf.grad = None
            texture.colors([seen], texture.prepare(told))[0].backward(weights)

        return call

    size = f"{places / 1e3:.0f}k places, {chosen.layers} layers of {chosen.hidden}"
    moved = 4 * (2 * chosen.map_size**2 * chosen.map_features + places * 12)
    return Case(f"SIREN of {preset}, forward + backward", size, make, moved, 3 * 2 * places * products, repeat=1)


def peak_memory(size: int, name: str) -> float:
    """Megabytes that three steps on a backend bring this process to."""
    with backend.use(name):
        fit = trainer_of(size)
        for index in range(3):
            fit.step(index)
    return peak_megabytes()


def peak_memory_apart(size: int, name: str) -> float:
    """`peak_memory` of a process of its own."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--one", json.dumps([size, name])]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and write its tables to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="edges of the frames, pixels")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each case")
    parser.add_argument("--one", default="", help="measure the memory of [SIZE, BACKEND], given as JSON, and no more")
    options = parser.parse_args(arguments)
    if options.one:
        sys.stdout.write(f"{peak_memory(*json.loads(options.one))}\n")
        return 0
    if library.load().handle is None:
        sys.stderr.write(f"nothing to compare: {library.load().reason}\n")
        return 6
    nets = [bench.measure(siren_case(n, preset), options.rounds) for n, preset in ((32768, "fast"), (8192, "paper"))]
    steps = [bench.measure(step_case(size), options.rounds) for size in options.sizes]
    sys.stdout.write(bench.report([*nets, *steps], True) + "\n")
    for size, row in zip(options.sizes, steps, strict=True):
        for name, milliseconds in (("native", row.native_ms), ("reference", row.reference_ms)):
            peak = peak_memory_apart(size, name)
            rate = 1e3 / milliseconds
            sys.stdout.write(f"{size} x {size}, {name}: {rate:.2f} steps a second, {peak:.0f} MB at most\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

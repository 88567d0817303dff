"""What a step and a picture cost as work grows: `python -m headavatar.methods.nerf_blendshape.bench FOLDER`.

Number of tables, samples on a ray, resolution and clip length are changed one at a time, each in a process of its own,
so that its peak memory is its own too. Writes costs.csv and costs.png. The clip is made up: an ellipse of noise.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ...scene import ARKIT_NAMES
from ..made_up import made_up_clip, peak_megabytes

BASE = {"expressions": 24, "samples": 10, "size": 256, "frames": 300}
AXES: dict[str, tuple[int, ...]] = {
    "expressions": (6, 24, 51), "samples": (5, 10, 20), "size": (128, 256, 512), "frames": (75, 300, 1200),
}  # fmt: skip
LABELS = {
    "expressions": "expressions with a table (K)", "samples": "most samples on a ray",
    "size": "edge of a frame, pixels", "frames": "frames of the clip",
}  # fmt: skip
FIGURES = ("step_ms", "render_ms", "memory_mb")


def measure(expressions: int, samples: int, size: int, frames: int) -> dict[str, float]:
    """Median milliseconds of a step and of a picture on one core, and the peak of this process's memory in megabytes.

    The milliseconds are the processor's, so that other programs do not count. No picture is an avatar's first.
    """
    import torch

    from ... import head
    from .. import get, trainer_class

    torch.set_num_threads(1)
    spec = get("nerf-blendshape")
    settings = spec.resolve("balanced", {"samples": samples, "perceptual_weight": 0.0})
    clip = made_up_clip(frames, size, min(expressions, len(ARKIT_NAMES)))
    trainer = trainer_class(spec)(clip, settings, name="bench", head=head.load("embedded"), seed=0, device="cpu")
    times: dict[str, list[float]] = {"step_ms": [], "render_ms": []}
    for index in range(6):
        start = time.process_time()
        trainer.step(index)
        times["step_ms"].append(1e3 * (time.process_time() - start))
        avatar = trainer.avatar()
        avatar.render(clip.params[index], clip.camera)  # an avatar's first picture prepares its tables
        start = time.process_time()
        avatar.render(clip.params[index], clip.camera)
        times["render_ms"].append(1e3 * (time.process_time() - start))
    peak = peak_megabytes()
    return {name: float(np.median(values[1:])) for name, values in times.items()} | {"memory_mb": peak}


def measure_apart(point: dict[str, int]) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--one", json.dumps(point)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """One panel per axis: time to the left, memory to the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(AXES), figsize=(16, 3.6), constrained_layout=True)
    for panel, axis in zip(panels, AXES, strict=True):
        chosen = [row for row in rows if row["axis"] == axis]
        x = [row[axis] for row in chosen]
        panel.plot(x, [row["step_ms"] for row in chosen], "o-", color="tab:blue", label="step, 8192 rays")
        panel.plot(x, [row["render_ms"] for row in chosen], "s-", color="tab:green", label="picture")
        panel.set(xlabel=LABELS[axis], ylabel="milliseconds on one core")
        panel.set_ylim(0, 1.5 * panel.get_ylim()[1])
        right = panel.twinx()
        right.plot(x, [row["memory_mb"] for row in chosen], "^--", color="tab:red", label="peak memory")
        right.set(ylabel="megabytes")
        right.set_ylim(0, 1.2 * right.get_ylim()[1])
        if axis == next(iter(AXES)):
            panel.legend(loc="upper right")
            right.legend(loc="lower right")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Measure every point, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=".", type=Path, help="where costs.csv and costs.png go")
    parser.add_argument("--one", default="", help="measure one point, given as JSON, in this process")
    options = parser.parse_args(arguments)
    if options.one:
        sys.stdout.write(json.dumps(measure(**json.loads(options.one))) + "\n")
        return 0
    known: dict[tuple[int, ...], dict[str, float]] = {}
    rows = []
    for axis, values in AXES.items():
        for value in values:
            point = BASE | {axis: value}
            key = tuple(point.values())
            if key not in known:
                known[key] = measure_apart(point)
            rows.append({"axis": axis, **point, **{name: round(known[key][name], 1) for name in FIGURES}})
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    options.folder.mkdir(parents=True, exist_ok=True)
    with (options.folder / "costs.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    draw(rows, options.folder / "costs.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The one training loop: steps, a table of figures, checkpoints, and going on after a kill.

A step depends on its number, the seed and the trainer's state only, so a run that was interrupted ends with the same
avatar, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from headavatar.errors import HeadAvatarError
from headavatar.fit.checkpoints import Checkpoints
from headavatar.methods import Avatar, Trainer
from headavatar.progress import Reporter

ROWS = 20
"""Rows of the table of a whole fit."""
SHOWN = ("loss", "train_psnr", "moved_deg", "moved_mm")
"""Figures of steps that the table has columns for."""
CHECKPOINT_S = 20.0
"""Seconds between checkpoints: what a kill can cost."""

Row = dict[str, float | int]


def fit(
    trainer: Trainer, checkpoints: Checkpoints, reporter: Reporter, look: Callable[[Avatar, int], dict[str, float]],
    *, resume: bool, rates: str = "",
) -> list[Row]:  # fmt: skip
    """Run a trainer to its end.

    Args:
        trainer: at its start.
        checkpoints: where the state is kept while the fit runs.
        reporter: told about every step, with a row now and then.
        look: renders holdout frames of the avatar as it stands after some steps, and returns figures for the row.
        resume: go on from the last checkpoint, if there is one.
        rates: options that set smaller step sizes, for the error of a fit that diverges.
    Returns:
        one row per look: step, loss, train_psnr, rays_per_s, seconds, and what `look` gave.
    """
    total = trainer.total_steps
    start, rows = checkpoints.restore(trainer) if resume else (0, [])
    if start:
        reporter.info(f"resumed at step {start} of {total}")
    before = float(rows[-1]["seconds"]) if rows else 0.0
    every = max(1, total // ROWS)
    began = saved = time.monotonic()
    recent: list[dict[str, float]] = []
    since = began
    with reporter.task("fit", total, start) as task:
        for index in range(start, total):
            figures = trainer.step(index)
            if not math.isfinite(figures["loss"]):
                raise HeadAvatarError(
                    f"The fit diverged at step {index}.", why="the loss is not a number",
                    fix=f"use smaller step sizes: {rates}" if rates else "use smaller step sizes",
                )  # fmt: skip
            recent.append(figures)
            task.advance(1, loss=round(figures["loss"], 4), psnr=round(figures["train_psnr"], 1))
            done = index + 1
            if done % every == 0 or done == total:
                now = time.monotonic()
                row: Row = {
                    "step": done, **_means(recent), "rays_per_s": round(sum(f["rays"] for f in recent) / (now - since)),
                    "seconds": round(before + now - began, 1),
                }  # fmt: skip
                row |= look(trainer.avatar(), done)
                rows.append(row)
                reporter.row("fit", row)
                recent, since = [], time.monotonic()
            if done < total and time.monotonic() - saved > CHECKPOINT_S:
                checkpoints.save(trainer, done, rows)
                saved = time.monotonic()
    return rows


def _means(recent: list[dict[str, float]]) -> dict[str, float]:
    """Means over some steps of what the table shows; "moved_deg" and "moved_mm" where a fit corrects its poses."""
    names = [name for name in SHOWN if all(name in f for f in recent)]
    return {name: round(sum(f[name] for f in recent) / len(recent), 5) for name in names}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory."""
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_cpu")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )

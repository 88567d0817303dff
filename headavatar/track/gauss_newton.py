"""Sparse least squares over a clip: one block of unknowns per frame, coupled to its neighbors in time only.

The normal equations of such a problem are banded, so all frames are solved at once and exactly, at a cost linear in
their number.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from headavatar.errors import InputError
from headavatar.scene import Array

REFERENCE_STEP_S = 1.0 / 30.0
RIDGES = (0.0, 1e-6, 1e-4, 1e-2)
"""Growth of the diagonal, tried in turn: blocks summed in float32 may be indefinite by their rounding."""
_BOUND_ROUNDS = 4


def smoothness_weights(times_s: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and stencil of the second difference in time, for frames at uneven steps.

    A motion whose acceleration is white noise strays from the straight line between its neighbors with a variance that
    grows with the third power of the step; so frames far apart hardly hold each other.

    Args:
        times_s: (T,) increasing.
    Returns:
        weights (T-2,) relative to steps of 1/30 s, and stencils (T-2, 3): the coefficients of x[i-1], x[i], x[i+1].
    """
    before, after = times_s[1:-1] - times_s[:-2], times_s[2:] - times_s[1:-1]
    mean = (before + after) / 2
    stencil = torch.stack([mean / before, -mean * (1 / before + 1 / after), mean / after], 1)
    return (REFERENCE_STEP_S / mean) ** 3, stencil


def add_smoothness(
    bands: Tensor,
    gradient: Tensor,
    values: Tensor,
    strength: Tensor,
    times_s: Tensor,
    differences: Tensor | None = None,
) -> None:
    """Add the second-difference prior on every frame's unknowns to the normal equations, in place.

    Args:
        bands: (T, 3, D) diagonals that couple frame i with frames i, i+1, i+2, unknown by unknown.
        gradient: (T, D).
        values: (T, D) present values; where `differences` is given, only its shape counts.
        strength: (D,) weight of each unknown's squared second difference at steps of 1/30 s.
        times_s: (T,).
        differences: (T-1, D) first differences, for unknowns such as rotations whose difference is no subtraction.
    """
    if len(values) < 3:
        return
    weights, stencil = smoothness_weights(times_s.to(values.dtype))
    if differences is None:
        differences = values[1:] - values[:-1]
    # a stencil a, -(a+c), c applied to values is c*(x2-x1) - a*(x1-x0)
    second = stencil[:, 2:] * differences[1:] - stencil[:, :1] * differences[:-1]
    pull = weights[:, None] * strength * second
    scale = weights[:, None] * strength
    for k in range(3):
        rows = slice(k, len(values) - 2 + k)
        gradient[rows] += stencil[:, k : k + 1] * pull
        for m in range(k, 3):
            bands[rows, m - k] += stencil[:, k : k + 1] * stencil[:, m : m + 1] * scale


def solve_frames(blocks: Tensor, bands: Tensor, gradient: Tensor) -> Tensor:
    """Solve H x = -g where H has a dense block per frame and diagonal coupling to the next two frames.

    Args:
        blocks: (T, D, D) symmetric positive definite.
        bands: (T, 3, D) as `add_smoothness` fills them.
        gradient: (T, D).
    Returns:
        (T, D) step, float64.
    Raises:
        InputError: H is not positive definite by far.
    """
    right = -gradient.double().numpy().ravel()
    for ridge in RIDGES:
        banded = _banded(blocks, bands)
        banded[0] *= 1 + ridge
        try:
            step = solveh_banded(banded, right, lower=True, overwrite_ab=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
        return torch.from_numpy(step.reshape(gradient.shape))
    raise InputError(
        "The head's motion cannot be solved for.", why="the poses or landmarks it starts from contradict each other",
        fix="look at the overlay or the landmarks; a wrong convention of imported poses does this",
    )  # fmt: skip


def _banded(blocks: Tensor, bands: Tensor) -> Array:
    """H of `solve_frames` as its diagonals, lower form: banded[i - j, j] = H[i, j]."""
    frames, size = blocks.shape[:2]
    banded = np.zeros((2 * size + 1, frames * size), order="F")  # LAPACK's order: it would copy any other
    dense = blocks.double().numpy()
    diagonal = np.arange(size)
    coupling = bands.double().numpy()
    starts = np.arange(frames) * size
    for row in range(size):
        for column in range(row + 1):
            banded[row - column, starts + column] = dense[:, row, column]
    banded[0] += coupling[:, 0].ravel()
    for ahead in (1, 2):
        if frames > ahead:
            columns = (starts[: frames - ahead, None] + diagonal).ravel()
            banded[ahead * size, columns] = coupling[: frames - ahead, ahead].ravel()
    return banded


def solve_bounded(blocks: Tensor, bands: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The same with bounds on the step, by holding the unknowns that would cross theirs and solving for the others.

    Args:
        blocks, bands, gradient: as for `solve_frames`; not changed.
        lower, upper: (T, D) least and greatest step allowed; infinite where there is no bound.
    Returns:
        (T, D) step, float64.
    """
    held = (lower == upper) | ((lower >= 0) & (gradient > 0)) | ((upper <= 0) & (gradient < 0))
    step = torch.zeros_like(gradient)
    for _ in range(_BOUND_ROUNDS):
        step = _solve_held(blocks, bands, gradient, torch.where(held, step, 0.0), held)
        crossing = ~held & ((step < lower) | (step > upper))
        step = step.clamp(lower, upper)
        if not crossing.any():
            break
        held |= crossing
    return step


def _solve_held(blocks: Tensor, bands: Tensor, gradient: Tensor, given: Tensor, held: Tensor) -> Tensor:
    free = (~held).to(blocks.dtype)
    right = gradient + (blocks @ given[..., None])[..., 0] + bands[:, 0] * given
    free_bands = bands.clone()
    free_bands[:, 0] *= free
    for ahead in (1, 2):
        if ahead < len(given):
            coupling = bands[:-ahead, ahead]
            right[:-ahead] += coupling * given[ahead:]
            right[ahead:] += coupling * given[:-ahead]
            free_bands[:-ahead, ahead] *= free[:-ahead] * free[ahead:]
    inner = blocks * free[:, :, None]
    inner *= free[:, None, :]
    inner.diagonal(dim1=1, dim2=2).add_(1 - free)
    return solve_frames(inner, free_bands, right * free) + given

"""The authors' own weights as an avatar of ours, and an avatar of ours as their weights.

What their state holds, by name:

    encoder.embeddings_mean (1, 246456, 4), encoder.embeddings (K, 246456, 4), encoder.offsets (17,)   hash tables
    sigma_net.params, color_net.params   flat vectors of tiny-cuda-nn's networks
    density_grid (129, 129, 129)   x first; a point looks at the nearest node, nodes on the box's faces included

A flat vector is the matrices in order, none with a bias, each (outputs, inputs) row by row, the last one's outputs
padded to a multiple of 16 (8 where the graphics card was too old for fused networks); both networks' inputs, 64 and 80,
are such multiples, so no input is padded. The color network takes the 16 harmonics of the direction before the 64
features. Hash, dense levels and cell places are those of `ops.HashGridSpec`. Weights of the tables are the coefficients
as they are, clamped to their range, and 1; density is softplus of the first output, per unit of a box of side 0.12.

Ours differ in three things, all of which can be converted exactly: tables answer to shares of a range, the color
network takes features first, and the unit is the metre.

Source: Gao et al. 2022 and what their released program reads; the sources of tiny-cuda-nn (fully_fused_mlp.cu,
cutlass_mlp.cu, encodings/spherical_harmonics.h) and of torch-ngp's grid encoder for the layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ... import ops
from ...dialects.nerfblendshape import READER_AXES, READER_BOUND, READER_SCALE
from ...errors import InputError, UsageError
from ...scene import ARKIT_NAMES, Array
from ..conditioning import Conditioning
from .avatar import NerfBlendshapeAvatar
from .field import HARMONICS, Field
from .rays import Cube

SPEC = ops.HashGridSpec(levels=16, features=4, log2_table=14, base_resolution=16, finest_resolution=1024)
SIGMA = (SPEC.width, 64, 64, 64, 64, 65)
COLOR = (64 + HARMONICS**2, 64, 3)
NODES = 129
DENSE = 10.0
"""Nodes above this, or above the grid's mean, are occupied."""
ALIGNMENTS = (16, 8)
"""Multiples that outputs are padded to, by fused networks and by those of older graphics cards."""

SAMPLES = 96
SPACING = 1 / 150
"""Distance of samples, in sides of the box: about theirs, which grows from 1/150 to 1/128 with the distance."""


@dataclass(frozen=True)
class Surroundings:
    """What the weights do not say.

    Attributes:
        space: (4, 4) from our head space, metres, to that of the poses that they were trained with: turn and scale.
        low, high: (C,) what coefficients are clamped to.
        names: (C,) ARKit's names of the coefficients, or nothing where they are the tracker's own.
    """

    space: Array
    low: Array
    high: Array
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """Weights in the authors' layout.

    Attributes:
        checkpoint: what `torch.save` takes: tensors, numbers and lists of them.
        around: what goes with them.
        bound: half side of the box in their units, for their option `--bound`.
    """

    checkpoint: dict[str, Any]
    around: Surroundings
    bound: float


def avatar_of(
    checkpoint: Mapping[str, Any], around: Surroundings, *, name: str, head_model: str, identity: Array,
    device: str = "cpu",
) -> NerfBlendshapeAvatar:  # fmt: skip
    """An avatar from the authors' weights.

    Args:
        checkpoint: what their program saved, loaded: a dict with "model", or the model's state itself.
        around: of the data set that they were trained on.
        name: of the avatar.
        head_model, identity: that the clip was tracked with; the weights know no head model.
        device: it computes on.
    Raises:
        InputError: the weights are not of the published configuration, or not for these coefficients.
    """
    model = checkpoint.get("model", checkpoint)
    mean, tables = _tensor(model, "encoder.embeddings_mean"), _tensor(model, "encoder.embeddings")
    offsets = _tensor(model, "encoder.offsets").long().tolist()
    if offsets != list(SPEC.offsets) or tables.shape[1:] != (SPEC.entries, SPEC.features) or len(mean) != 1:
        raise _other(f"its hash tables are {tuple(tables.shape)} with {len(offsets) - 1} levels")
    if len(tables) != len(around.low):
        raise InputError(
            f"These weights take {len(tables)} coefficients, and the workspace's recording has {len(around.low)}.",
            why="They were trained on another data set.",
            fix="Import that person's data set first, and then the weights into its workspace.",
        )
    low, span = around.low.astype(np.float64), around.high.astype(np.float64) - around.low
    active = np.flatnonzero(span > 0)
    blended = torch.empty(1 + len(active), SPEC.parameters)
    # Tables answer to shares of a range here: what the lowest values give joins the neutral one.
    torch.add(mean.reshape(-1), torch.from_numpy(low).float() @ tables.reshape(len(tables), -1), out=blended[0])
    torch.mul(
        tables.reshape(len(tables), -1)[active], torch.from_numpy(span[active]).float()[:, None], out=blended[1:]
    )  # fmt: skip
    color = matrices(_tensor(model, "color_net.params"), COLOR, "color_net")
    color[0] = torch.cat([color[0][:, HARMONICS**2 :], color[0][:, : HARMONICS**2]], 1).contiguous()
    cube = _cube(around.space, READER_BOUND)
    scale = 2 * READER_BOUND / cube.side
    sigma = matrices(_tensor(model, "sigma_net.params"), SIGMA, "sigma_net")
    sigma, color = ([weight.to(device) for weight in weights] for weights in (sigma, color))
    return NerfBlendshapeAvatar(
        name=name, head_model=head_model, identity=identity,
        field=Field(SPEC, blended.to(device), sigma, color, scale, 0.0),
        conditioning=_conditioning(around, active), cube=cube,
        occupied=_occupied(_tensor(model, "density_grid"), checkpoint.get("mean_density")).to(device), samples=SAMPLES,
        spacing_m=SPACING * cube.side, settings={"released": "nerfblendshape", "coefficients": len(tables)},
    )  # fmt: skip


def checkpoint_of(avatar: NerfBlendshapeAvatar) -> Written:
    """An avatar's weights as the authors' program loads them.

    Raises:
        UsageError: it is of another architecture than theirs; says what differs.
    """
    field, conditioning, cube = avatar.field, avatar.conditioning, avatar.cube
    differs = _differences(avatar)
    if differs:
        raise UsageError(
            f"The avatar {avatar.name!r} cannot be written as the authors' weights.",
            why=f"Their program knows one architecture; here {'; '.join(differs)}.",
            fix="Fit one with `headavatar fit --preset paper`.",
        )
    chosen = np.arange(len(conditioning.low)) if conditioning.recorded else conditioning.active
    low, high = conditioning.low[chosen], conditioning.high[chosen]
    tables = torch.zeros(len(chosen), SPEC.parameters)
    rows = np.searchsorted(chosen, conditioning.active)
    span = torch.from_numpy(high[rows] - low[rows])
    tables[rows] = field.tables[1:].detach().cpu() / span[:, None]
    mean = field.tables[0].detach().cpu() - torch.from_numpy(low) @ tables
    color = [weight.detach().cpu() for weight in field.color_weights]
    features = color[0].shape[1] - HARMONICS**2
    color[0] = torch.cat([color[0][:, features:], color[0][:, :features]], 1)
    bound = field.density_scale * cube.side / 2
    grid = torch.where(_nodes(avatar.occupied.cpu()), 2 * DENSE, 0.0)
    shape = (-1, SPEC.entries, SPEC.features)
    checkpoint = {
        "epoch": 0, "global_step": 0, "mean_count": 0, "mean_density": DENSE,
        "stats": {"loss": [], "valid_loss": [], "results": [], "checkpoints": [], "best_result": None},
        "model": {
            "density_grid": grid, "step_counter": torch.zeros(64, 2, dtype=torch.int32),
            "encoder.embeddings_mean": mean.reshape(shape), "encoder.embeddings": tables.reshape(shape),
            "encoder.offsets": torch.tensor(SPEC.offsets, dtype=torch.int32),
            "sigma_net.params": flat([weight.detach().cpu() for weight in field.sigma_weights]),
            "encoder_dir.params": torch.zeros(0), "color_net.params": flat(color),
        },
    }  # fmt: skip
    names = () if conditioning.recorded else tuple(ARKIT_NAMES[i] for i in chosen)
    return Written(checkpoint, Surroundings(_space(cube, bound), low, high, names), bound)


def matrices(params: torch.Tensor, sizes: tuple[int, ...], what: str) -> list[torch.Tensor]:
    """A flat vector of tiny-cuda-nn as matrices (outputs, inputs), the last one without its padding.

    Args:
        params: the vector.
        sizes: inputs, widths of the hidden layers, outputs.
        what: it is, for the message.
    Raises:
        InputError: it is of another length.
    """
    for alignment in ALIGNMENTS:
        wide = [*sizes[1:-1], -(-sizes[-1] // alignment) * alignment]
        counts = [rows * columns for rows, columns in zip(wide, sizes[:-1], strict=True)]
        if params.shape == (sum(counts),):
            shapes = zip(params.float().split(counts), wide, sizes[:-1], strict=True)
            found = [part.reshape(rows, columns).clone() for part, rows, columns in shapes]
            found[-1] = found[-1][: sizes[-1]].contiguous()
            return found
    raise _other(f"{what} has {tuple(params.shape)} parameters")


def flat(weights: list[torch.Tensor]) -> torch.Tensor:
    """Matrices (outputs, inputs) as a flat vector of fused networks."""
    pad = -len(weights[-1]) % ALIGNMENTS[0]
    last = torch.cat([weights[-1], weights[-1].new_zeros(pad, weights[-1].shape[1])])
    return torch.cat([weight.reshape(-1) for weight in [*weights[:-1], last]])


def _tensor(model: Mapping[str, Any], name: str) -> torch.Tensor:
    value = model.get(name)
    if not isinstance(value, torch.Tensor):
        raise _other(f"it has no {name}")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise InputError(f"{name} of these weights holds numbers that are not finite.", fix="Copy the file again.")
    return value.float() if value.is_floating_point() else value


def _other(why: str) -> InputError:
    return InputError(
        "These are not NeRFBlendShape's weights in the published configuration.",
        why=f"{why[0].upper()}{why[1:]}.", fix="Name a file that its own program saved.",
    )  # fmt: skip


def _cube(space: Array, bound: float) -> Cube:
    """The box as we say where it is: their program scales and turns its poses, and looks inside [-bound, bound]^3."""
    linear, shift = space[:3, :3], space[:3, 3]
    unit_m = float(np.cbrt(1 / np.linalg.det(linear)))
    return Cube(
        (-np.linalg.solve(linear, shift)).astype(np.float32), 2 * bound * unit_m / READER_SCALE,
        READER_AXES @ linear * unit_m,
    )  # fmt: skip


def _space(cube: Cube, bound: float) -> Array:
    """(4, 4) from our head space to that of the poses in which their program finds the box."""
    space = np.eye(4)
    space[:3, :3] = 2 * bound / (READER_SCALE * cube.side) * READER_AXES.T @ cube.axes
    space[:3, 3] = -space[:3, :3] @ np.asarray(cube.center, np.float64)
    return space


def _conditioning(around: Surroundings, active: Array) -> Conditioning:
    nothing = np.zeros(0, np.float32)
    low, high = around.low.astype(np.float32), around.high.astype(np.float32)
    if not around.names:
        return Conditioning(active.astype(np.int64), low, high, nothing, nothing, recorded=True)
    places = np.array([ARKIT_NAMES.index(name) for name in around.names])
    all_low, all_high = np.zeros((2, len(ARKIT_NAMES)), np.float32)
    all_low[places], all_high[places] = low, high
    if (np.diff(places) <= 0).any():
        raise _other("its coefficients are not in the order of ARKit's names")
    return Conditioning(places[active], all_low, all_high, nothing, nothing)


def _occupied(grid: torch.Tensor, mean: Any) -> torch.Tensor:
    """(256, 256, 256) bool: voxels of half a node's distance, so that each has one nearest node."""
    if grid.shape != (NODES, NODES, NODES):
        raise _other(f"its density grid is {tuple(grid.shape)}")
    known = isinstance(mean, (int, float, np.number, torch.Tensor)) and np.size(mean) == 1
    level = min(DENSE, float(mean) if known else float(grid.mean()))
    node = (torch.arange(2 * NODES - 2) + 1) // 2
    return (grid > level)[node][:, node][:, :, node]


def _nodes(occupied: torch.Tensor) -> torch.Tensor:
    """(129, 129, 129) bool: nodes that are nearest to a place in some occupied voxel."""
    side = len(occupied)
    found = occupied
    for axis in range(3):
        edges = torch.arange(side, dtype=torch.float64)
        first = torch.floor(edges / side * (NODES - 1) + 0.5).long()
        last = torch.ceil((edges + 1) / side * (NODES - 1) + 0.5).long() - 1
        shape = list(found.shape)
        shape[axis] = NODES
        made = torch.zeros(shape, dtype=torch.int32)
        for node in (first, last, (first + last) // 2):
            made.index_add_(axis, node, found.to(torch.int32))
        found = made > 0
    return found


def _differences(avatar: NerfBlendshapeAvatar) -> list[str]:
    field, found = avatar.field, []
    sigma = (field.sigma_weights[0].shape[1], *(len(weight) for weight in field.sigma_weights))
    color = (field.color_weights[0].shape[1], *(len(weight) for weight in field.color_weights))
    if field.spec != SPEC:
        found.append(f"the hash grid is {field.spec.levels} levels of {field.spec.features} up to "
                     f"{field.spec.finest_resolution}, not 16 of 4 up to 1024")  # fmt: skip
    if sigma != SIGMA or color != COLOR:
        found.append(f"the networks are {sigma} and {color}, not {SIGMA} and {COLOR}")
    if field.density_shift != 0:
        found.append(f"density is softplus(x {field.density_shift:+g}), not softplus(x)")
    if len(avatar.conditioning.pose_low):
        found.append("the head's pose has tables")
    if avatar.warp is not None:
        found.append("points are displaced before they are looked up")
    return found

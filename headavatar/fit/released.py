"""An avatar from weights that somebody else's program has fitted, in place of a fit of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from headavatar.dialects import torch_files
from headavatar.errors import InputError
from headavatar.methods import Avatar
from headavatar.methods.nerf_blendshape.released import Surroundings, avatar_of
from headavatar.workspace import Workspace, layout


def avatar(workspace: Workspace, path: Path, name: str, device: str) -> Avatar:
    """Make the avatar that NeRFBlendShape's weights are.

    Args:
        workspace: imported from the data set that they were trained on, which says poses, coefficients and ranges.
        path: the weights.
        name: of the avatar.
        device: it computes on.
    Raises:
        InputError: the file is not NeRFBlendShape's weights, or the workspace is of another data set.
    """
    tracked = workspace.read_npz(layout.PARAMS)
    if "recorded_space" not in tracked:
        raise InputError(
            f"{workspace.root.name} does not say what these weights were trained on.",
            why="They hold neither camera and poses nor coefficients and their range: their data set does.",
            fix="Import that first: headavatar import FOLDER --from nerfblendshape; then the weights with -w.",
        )
    low, high = tracked["recorded_range"]
    around = Surroundings(tracked["recorded_space"], low, high, tuple(str(name) for name in tracked["recorded_names"]))
    checkpoint = torch_files.load(path, "a NeRFBlendShape checkpoint", "Name the .pth.tar that its program saved.")
    made: Any = avatar_of(
        checkpoint, around, name=name, head_model=str(tracked["head_model"]),
        identity=np.asarray(tracked["shape"], np.float32), device=device,
    )  # fmt: skip
    return cast(Avatar, made)


def rows(look: Callable[[Avatar, int], dict[str, float]], made: Avatar) -> list[dict[str, float | int]]:
    """The table of a fit that did not take place: one row, with what holdout frames look like."""
    return [{"step": 0, "seconds": 0.0, "rays_per_s": 0, **look(made, 0)}]

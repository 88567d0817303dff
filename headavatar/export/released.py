"""An avatar's weights for NeRFBlendShape's own program, beside the data set that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headavatar.errors import UsageError
from headavatar.export.nerf_dataset import Expressed
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.released import checkpoint_of
from headavatar.render.avatars import open_avatar
from headavatar.scene import ARKIT_NAMES, Array, Clip
from headavatar.workspace import Workspace

ABOUT = """{file}
                  weights of the avatar, for that program: --bound {bound:.6g} --basis_num {count} --add_mean
                  --use_checkpoint {file}
"""


@dataclass(frozen=True)
class Weights:
    """What is written.

    Attributes:
        file: its name.
        checkpoint: what `torch.save` takes.
        place: the data set's space and coefficients that go with it.
        about: what the README says.
    """

    file: str
    checkpoint: dict[str, Any]
    place: tuple[Array, Expressed]
    about: str


def weights(workspace: Workspace, name: str, clip: Clip) -> Weights:
    """An avatar as the authors' weights.

    Args:
        workspace: its.
        name: of the avatar.
        clip: whose frames are written with it.
    Raises:
        UsageError: it is of another method or architecture.
    """
    avatar = open_avatar(workspace, name, "cpu").avatar
    if not isinstance(avatar, NerfBlendshapeAvatar):
        raise UsageError(
            f"The avatar {avatar.name!r} cannot be written as NeRFBlendShape's weights.",
            why=f"It is of the method {avatar.method}.",
            fix="Leave out --avatar to write the data set alone.",
        )
    written = checkpoint_of(avatar)
    around = written.around
    values = avatar.conditioning.expressions(clip.params)
    if around.names:
        values = values[:, [ARKIT_NAMES.index(name) for name in around.names]]
    file = f"{avatar.name}.pth.tar"
    about = ABOUT.format(file=file, bound=written.bound, count=len(around.low))
    expressed = Expressed(np.asarray(values, np.float64), around.low, around.high, around.names)
    return Weights(file, written.checkpoint, (around.space, expressed), about)

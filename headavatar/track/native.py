"""What a folder's own numbers say where the head model is the one that they belong to: FLAME, added by the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headavatar.dialects.recording import Imported
from headavatar.head import HeadModel, added, flame
from headavatar.scene import Array
from headavatar.track.placement import Placement


@dataclass(frozen=True)
class Native:
    """What needs no fitting.

    Attributes:
        placement: of the head in the folder's poses.
        identity: (S,), or None where the folder does not say it.
        expression: (T, E), or None.
        residual_mm: what ARKit's coefficients cannot say of the expressions, root mean square over the face.
        jaw, eyes: (T, 3) and (T, 6) rotations that they leave over, or None.
    """

    placement: Placement
    identity: Tensor | None = None
    expression: Tensor | None = None
    residual_mm: float = 0.0
    jaw: Array | None = None
    eyes: Array | None = None


def unit_m(space: Array) -> float:
    """Metres in the unit of a space, from its (4, 4) that takes our head space there."""
    return float(np.cbrt(1 / np.linalg.det(space[:3, :3])))


def understood(head: HeadModel, found: Imported) -> Native | None:
    """Take a folder's numbers as they are meant.

    Args:
        head: the head model that the clip is tracked with.
        found: the folder.
    Returns:
        None where the head model is another than the folder's.
    """
    native = found.native
    if head.name == "embedded" and found.space is not None:  # our own export, read back
        unit = unit_m(found.space)
        placed = Placement(unit * found.space[:3, :3], 1.0, unit * found.space[None, :3, 3])
        known = torch.from_numpy(native["arkit"]).float() if "arkit" in native else None
        return Native(placed, expression=known)
    if head.name == "embedded" or str(added.native_arrays(head.name)["kind"]) != "flame":
        return None
    model = flame.load(head.name)
    shape = native.get("shape")
    vectors = [-model.shift]
    if not found.metric or "expr" not in native:
        return None
    if found.poses.levers.shape[1]:
        if shape is None:
            return None
        root, neck = model.joints(shape)[[flame.ROOT, flame.NECK]]
        vectors = [root, neck - root, -neck, -model.shift]
    placement = Placement(np.eye(3), 1.0, np.stack(vectors))
    if shape is None or "jaw_pose" not in native or "eyelids" in native:
        return Native(placement)  # metrical-tracker's lids are not FLAME's to say, and INSTA leaves out the jaw
    still = np.zeros((len(found), 3))
    converted = flame.convert(
        model, head, shape, native["expr"], still, still, still, native["jaw_pose"], native["eyes_pose"]
    )
    return Native(
        placement, torch.from_numpy(converted.params.identity), torch.from_numpy(converted.params.expression),
        float(converted.residual_mm.mean()), converted.params.jaw, converted.params.eyes,
    )  # fmt: skip

"""The head's shape: a subdivided head model, moved by offsets that hold hair and what else identity cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...head import HeadModel, to_world
from ...scene import Camera, HeadParams
from .offsets import Offsets

STILL = ("eyes", "teeth", "tongue", "lashes")
"""Parts without offsets: what turns in a joint or stands behind the lips keeps its shape."""
LOOSE = ("scalp", "ears", "neck", "curtain")
"""Parts that hair may cover or that the collar pushes, which move by themselves as the head tilts."""


@dataclass(frozen=True)
class Poses:
    """Head parameters of B frames as tensors; fields as `HeadParams`."""

    expression: Tensor
    rotation: Tensor
    translation: Tensor
    neck: Tensor
    jaw: Tensor
    eyes: Tensor

    @staticmethod
    def of(params: HeadParams, device: str | torch.device = "cpu") -> Poses:
        names = ("expression", "rotation", "translation", "neck", "jaw", "eyes")
        return Poses(*(torch.as_tensor(getattr(params, name), dtype=torch.float32, device=device) for name in names))

    def __len__(self) -> int:
        return len(self.expression)

    def __getitem__(self, frames: Tensor | list[int]) -> Poses:
        return Poses(*(part[frames] for part in vars(self).values()))


class Geometry:
    """A head whose rest shape is its model's plus offsets.

    Args:
        head: subdivided.
        identity: (S,) of the person.
        offsets: of each vertex.
        pose_range: (2, 6) lowest and highest rotation (radians) and translation (metres) in training.
    """

    def __init__(self, head: HeadModel, identity: Tensor, offsets: Offsets, pose_range: Tensor) -> None:
        self.head, self.identity, self.offsets, self.pose_range = head, identity, offsets, pose_range
        self.faces = head.faces
        with torch.no_grad():
            neutral = torch.zeros(1, len(head.expression_names), device=identity.device)
            self.rest = head.vertices(identity, neutral)[0]

    def shaped(self, poses: Poses, static: Tensor | None = None) -> Tensor:
        """(B, V, 3) vertices in head space, metres; `static` (V, 3) is the offsets' own where it is at hand."""
        offset = self.offset(poses, static)
        return self.head.vertices(self.identity, poses.expression, poses.neck, poses.jaw, poses.eyes, offset=offset)

    def posed(self, poses: Poses, static: Tensor | None = None) -> Tensor:
        """(B, V, 3) vertices in world space, metres; `static` as for `shaped`."""
        return to_world(self.shaped(poses, static), poses.rotation, poses.translation)

    def offset(self, poses: Poses, static: Tensor | None = None) -> Tensor:
        """(B, V, 3) what the frames add to the head at rest, head space, metres; `static` as for `shaped`."""
        return self.offsets(poses.neck, self.shares(poses), static)

    def shares(self, poses: Poses) -> Tensor:
        """(B, 6) rotation and translation as shares of what training showed, in [-1, 1]."""
        low, high = self.pose_range
        pose = torch.cat([poses.rotation, poses.translation], 1)
        return (2 * (pose - low) / (high - low).clamp_min(1e-6) - 1).clamp(-1, 1)

    def moved(self, poses: Poses | None = None) -> HeadModel:
        """The head model with the offsets of one frame in its template; those of an unturned neck if None."""
        with torch.no_grad():
            return self.head.with_offset(self.offsets.static() if poses is None else self.offset(poses)[0])

    def state(self) -> dict[str, Tensor]:
        """What a fit changes."""
        return self.offsets.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            for name, tensor in self.offsets.state().items():
                tensor.copy_(state[name])


def movable(head: HeadModel) -> Tensor:
    """(V, 1) 1 where a vertex may be offset, 0 in the parts that are `STILL`."""
    still = torch.zeros(head.vertex_count, dtype=torch.bool)
    for region in STILL:
        if region in head.regions:
            still |= head.regions[region].cpu()
    return (~still).float()[:, None].to(head.template.device)


def followers(head: HeadModel, by_pose: bool) -> Tensor:
    """How far offsets depend on the neck's turn and on the head's pose.

    Args:
        head: the head model.
        by_pose: whether they depend on the pose at all.
    Returns:
        (V, 9): 1 at the neck's foot and 0 on the skull for the neck's three axes; for the pose's six, 1 where hair may
        be and at the neck, 0 on the face, whose motion is tracked.
    """
    neck = (1 - head.weights[:, :1]).clamp(0, 1)
    loose = torch.zeros(head.vertex_count, dtype=torch.bool, device=neck.device)
    for region in LOOSE if by_pose else ():
        if region in head.regions:
            loose |= head.regions[region].to(neck.device)
    return torch.cat([neck.expand(-1, 3), torch.maximum(loose[:, None].float(), neck * by_pose).expand(-1, 6)], 1)


def project(points: Tensor, camera: Camera) -> Tensor:
    """World points to the picture.

    Args:
        points: (B, V, 3) world space, metres.
    Returns:
        (B, V, 3): x and y in pixels, depth along the camera's z in metres.
    """
    view = torch.as_tensor(camera.world_to_camera, dtype=points.dtype, device=points.device)
    K = torch.as_tensor(camera.K, dtype=points.dtype, device=points.device)
    local = points @ view[:3, :3].T + view[:3, 3]
    depth = local[..., 2:]
    # depth is kept where it is behind the camera: the rasteriser cuts faces there itself
    safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
    return torch.cat([(local @ K.T)[..., :2] / safe, depth], -1)

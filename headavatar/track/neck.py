"""How the neck bends: while the skull turns, the torso stays about as it is.

The torso is believed to face where the head faces for most of the clip, and to move slowly. Where the neck's skin ends
before the background its outline says how it leans, frame by frame. A neck that is broader than the model's shifts both
sides all the time, so what most frames agree on counts as the person's shape, not as a bend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.head.model import JOINT_LIMITS_RAD
from headavatar.head.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from headavatar.scene import Array
from headavatar.track.frames import Frames
from headavatar.track.gauss_newton import add_smoothness, solve_frames
from headavatar.track.landmark_fit import Motion, project, projection_jacobian, rotation_steps
from headavatar.track.outline import BACKGROUND, BODY_SKIN, NECK, Rim
from headavatar.track.settings import NeckWeights

_CHUNK = 64
_WALK_PX = 0.5
_STEADY = 3
"""Samples on either side of the outline that must show skin and background."""
_MOVING = 0.1
"""What follows the torso by less than this is no outline of the neck's foot."""


@dataclass(frozen=True)
class Clip:
    """The pictures as the neck's outline is looked for in them.

    Attributes:
        parsing: (T, H, W) indices into `PARSING_CLASSES`.
        valid: (H, W) bool, where the crop shows the picture.
        focal: pixels at this size.
        center: (2,) principal point at this size, pixels.
        times_s: (T,).
        unit_px: (T,) one percent of the distance between the outer eye corners, pixels at this size.
        train: (T,) bool, frames that say how the torso is held and what the neck is like.
    """

    parsing: Frames
    valid: Array
    focal: float
    center: Tensor
    times_s: Tensor
    unit_px: Tensor
    train: Tensor


def estimate(head: HeadModel, identity: Tensor, motion: Motion, clip: Clip, weights: NeckWeights) -> Tensor:
    """The neck of every frame.

    Args:
        head: the head model.
        identity: (S,) standard deviations.
        motion: of all T frames.
        clip: their pictures.
        weights: of the torso's stillness against the outline.
    Returns:
        (T, 3) rotation of the skull relative to the torso, axis-angle, within the neck's limits.
    """
    skull = motion.rotation.double()
    believed = believed_torso(skull, clip.train)
    foot = _Foot.of(head, identity)
    torso = believed
    bias: Tensor | None = None
    for _ in range(weights.iterations):
        blocks, gradient, bias = foot.assemble(motion, torso, clip, weights, bias)
        stray = matrix_to_axis_angle(torso @ believed.transpose(1, 2))
        blocks.diagonal(dim1=1, dim2=2).add_(weights.still)
        gradient += weights.still * stray
        bands = torch.zeros(len(motion), 3, 3, dtype=torch.float64)
        strength = torch.full((3,), weights.smooth, dtype=torch.float64)
        add_smoothness(bands, gradient, torch.zeros_like(gradient), strength, clip.times_s, rotation_steps(torso))
        torso = axis_angle_to_matrix(solve_frames(blocks, bands, gradient).clamp(-0.3, 0.3)) @ torso
    low, high = torch.tensor(JOINT_LIMITS_RAD["neck"], dtype=torch.float64)
    return matrix_to_axis_angle(torso.transpose(1, 2) @ skull).clamp(low, high).float()


def believed_torso(skull: Tensor, train: Tensor) -> Tensor:
    """(T, 3, 3) the torso's rotation as far as the (T, 3, 3) skull's tells it: its median one, of training frames."""
    middle = matrix_to_axis_angle(skull[train]).quantile(0.5, dim=0)
    return axis_angle_to_matrix(middle).expand(len(skull), 3, 3).clone()


@dataclass(frozen=True)
class _Foot:
    """The neck's K vertices below the skull.

    Attributes:
        head: the head model.
        identity: (S,).
        vertices: (K,) of the head.
        follows: (K, 1) how far each follows the torso.
        pivot: (3,) the neck's joint, head space, metres.
        faces: (F, 3) into the K vertices.
        edges: (N, 2) into the K vertices; beside: (N, 2) faces; opposite: (N, 2) their corners off the edge.
    """

    head: HeadModel
    identity: Tensor
    vertices: Tensor
    follows: Tensor
    pivot: Tensor
    faces: Tensor
    edges: Tensor
    beside: Tensor
    opposite: Tensor

    @staticmethod
    def of(head: HeadModel, identity: Tensor) -> _Foot:
        rim = Rim.of(head)
        follows = 1 - head.weights[:, :1]
        chosen = (rim.parts[rim.beside] == NECK).all(1) & (follows[rim.edges].mean((1, 2)) > _MOVING)
        faces, beside = torch.unique(rim.beside[chosen], return_inverse=True)
        vertices, corners = torch.unique(rim.faces[faces], return_inverse=True)
        place = torch.zeros(head.vertex_count, dtype=torch.long)
        place[vertices] = torch.arange(len(vertices))
        pivot = head.joint_positions(identity)[0]
        return _Foot(
            head, identity, vertices, follows[vertices], pivot, corners, place[rim.edges[chosen]], beside,
            place[rim.opposite[chosen]],
        )  # fmt: skip

    def assemble(
        self, motion: Motion, torso: Tensor, clip: Clip, weights: NeckWeights, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normal equations (T, 3, 3), (T, 3) of small turns of the torso, and the bias (2,) of the two sides."""
        parts = []
        for start in range(0, len(motion), _CHUNK):
            rows = slice(start, start + _CHUNK)
            parts.append(self._rows(motion[rows], torso[rows].float(), clip, rows, weights))
        frame, jacobian, residual, weight, side = (torch.cat(part) for part in zip(*parts, strict=True))
        if bias is None:
            bias = torch.stack([_median(residual[(side == k) & clip.train[frame]]) for k in range(2)])
        residual = residual - bias[side]
        weight = weight / (1 + (residual / weights.robust).square())
        weighted = jacobian * weight[:, None]
        blocks = torch.zeros(len(motion), 3, 3, dtype=torch.float64)
        blocks.index_add_(0, frame, weighted[:, :, None] * jacobian[:, None])
        gradient = torch.zeros(len(motion), 3, dtype=torch.float64)
        gradient.index_add_(0, frame, weighted * residual[:, None])
        return blocks, gradient, bias

    def _rows(
        self, motion: Motion, torso: Tensor, clip: Clip, rows: slice, weights: NeckWeights
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Frame, jacobian (M, 3), residual, weight and side (M,) of the places on the outline, of some frames."""
        rest = self.head.vertices(self.identity, motion.expression, subset=self.vertices) - self.pivot
        lever = rest @ torso.transpose(1, 2)
        turned = rest @ motion.rotation.transpose(1, 2)
        joint = motion.rotation @ self.pivot + motion.translation
        world = joint[:, None] + turned + self.follows * (lever - turned)
        corners = world[:, self.faces]
        normals = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
        front = (normals * corners[:, :, 0]).sum(2) < 0
        frame, edge = (front[:, self.beside[:, 0]] != front[:, self.beside[:, 1]]).nonzero(as_tuple=True)
        screen = project(world, clip.focal, clip.center)
        ends = screen[frame[:, None], self.edges[edge]]
        near = torch.where(front[frame, self.beside[edge, 0]], 0, 1)
        inward = screen[frame, self.opposite[edge].gather(1, near[:, None])[:, 0]]
        pixels, along = ends.mean(1), ends[:, 1] - ends[:, 0]
        length = along.norm(dim=1).clamp(min=1e-6)
        normal = torch.stack([along[:, 1], -along[:, 0]], 1) / length[:, None]
        normal = normal * ((pixels - inward) * normal).sum(1, keepdim=True).sign()
        unit = clip.unit_px[rows][frame]
        shown = np.where(clip.valid, clip.parsing[rows], np.uint8(255))
        shift, found = _shift(shown, frame.numpy(), pixels.numpy(), normal.numpy(), (weights.reach * unit).numpy())
        kept = torch.from_numpy(found)
        frame, edge, normal, unit, length = frame[kept], edge[kept], normal[kept], unit[kept], length[kept]
        points = world[frame[:, None], self.edges[edge]].mean(1)
        arms = (self.follows * lever)[frame[:, None], self.edges[edge]].mean(1)
        by_point = torch.einsum("mi,mij->mj", normal, projection_jacobian(points, clip.focal)) / unit[:, None]
        jacobian = torch.linalg.cross(arms, by_point)
        residual = -torch.from_numpy(shift[found]).float() / unit
        weight = weights.place * length / weights.spacing_px
        side = (normal[:, 0] > 0).long()
        return frame + rows.start, jacobian.double(), residual.double(), weight.double(), side


def _shift(parsing: Array, frame: Array, pixels: Array, normals: Array, reach_px: Array) -> tuple[Array, Array]:
    """(M,) how far each place is from where the neck's skin ends before the background, and whether it was found."""
    half = max(int(np.ceil(reach_px.max(initial=1.0) / _WALK_PX)), 1)
    steps = (np.arange(-half - _STEADY, half + _STEADY) + 0.5) * _WALK_PX
    at = np.floor(pixels[:, None] + normals[:, None] * steps[:, None]).astype(np.int64)
    height, width = parsing.shape[1:]
    inside = (at >= 0).all(2) & (at[..., 0] < width) & (at[..., 1] < height)
    classes = parsing[frame[:, None], at[..., 1].clip(0, height - 1), at[..., 0].clip(0, width - 1)]
    skin, behind = (classes == BODY_SKIN) & inside, (classes == BACKGROUND) & inside
    edges = np.arange(_STEADY, len(steps) - _STEADY + 1)  # between steps[k - 1] and steps[k]
    ends = np.ones((len(frame), len(edges)), bool)
    for k in range(_STEADY):
        ends &= skin[:, edges - 1 - k] & behind[:, edges + k if k else edges]
    places = (edges - half - _STEADY) * _WALK_PX
    distance = np.where(ends & (np.abs(places) <= reach_px[:, None]), np.abs(places), np.inf)
    best = distance.argmin(1)
    return places[best], np.isfinite(distance[np.arange(len(frame)), best])


def _median(values: Tensor) -> Tensor:
    return values.median() if len(values) else torch.zeros((), dtype=values.dtype)

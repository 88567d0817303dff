"""Where a fit of landmarks starts: each frame's pose by itself, and the frames that tell most."""

from __future__ import annotations

import torch
from torch import Tensor

from headavatar.head.rotations import matrix_to_axis_angle
from headavatar.track.landmark_fit import Motion, Observation, Person
from headavatar.track.landmark_model import LandmarkModel


def initial_motion(model: LandmarkModel, person: Person, seen: Observation) -> Motion:
    """Pose of every frame by aligning the head's points to the network's, depth included, as similarities.

    Source: Umeyama 1991, eq. 40-43, batched over frames.
    """
    source = model.surface.shape(person.identity) + person.offset
    if model.habits is not None:
        source = source + model.habits.place
    target = torch.cat([seen.landmarks, seen.depth[..., None]], -1) * torch.tensor([1.0, -1.0, -1.0])
    weights = model.weights / model.weights.sum()
    source_mean = (weights[:, None] * source).sum(0)
    target_mean = (weights[:, None] * target).sum(1)
    a, b = source - source_mean, target - target_mean[:, None]
    u, s, vh = torch.linalg.svd(torch.einsum("l,tlc,ld->tcd", weights, b, a))
    sign = torch.ones(len(s), 3)
    sign[:, 2] = torch.det(u) * torch.det(vh)
    rotation = u @ torch.diag_embed(sign) @ vh
    scale = (s * sign).sum(1) / (weights[:, None] * a * a).sum()
    depth = person.focal / scale
    pixels = target_mean[:, :2] * torch.tensor([1.0, -1.0])
    middle = torch.stack(
        [(pixels[:, 0] - seen.center[0]) / scale, -(pixels[:, 1] - seen.center[1]) / scale, -depth], -1
    )
    translation = middle - torch.einsum("tij,j->ti", rotation, source_mean)
    return Motion(rotation, translation, 0.5 * seen.scores)


def keyframes(seen: Observation, candidates: Tensor, rotation: Tensor, count: int) -> Tensor:
    """Of the candidates the `count` that differ most in pose and expression, by farthest-point sampling, sorted."""
    features = torch.cat([matrix_to_axis_angle(rotation) * 3, seen.scores], 1)[candidates]
    if len(candidates) <= count:
        return candidates
    distance = (features - features.median(0).values).norm(dim=1)
    chosen = [int(distance.argmin())]
    distance = (features - features[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (features - features[chosen[-1]]).norm(dim=1))
    return candidates[torch.tensor(sorted(chosen))]

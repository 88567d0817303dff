"""How far to trust a track: landmark error, jitter and outline."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops.raster import rasterize
from headavatar.scene import PARSING_CLASSES, Array
from headavatar.track.habits import Habits
from headavatar.track.landmark_fit import Motion, Person, project, rotation_steps
from headavatar.track.landmark_model import OUTER_EYE_CORNERS

_IRIS_START = 468


def landmark_error(
    head: HeadModel, person: Person, motion: Motion, center: Tensor, landmarks: Array, habits: Habits | None
) -> tuple[Array, Array]:
    """Distance of each frame's landmarks from the model's, over the distance between the outer eye corners.

    Args:
        head: the head model, evaluated in full.
        person, motion: the track.
        center: (2,) principal point, pixels.
        landmarks: (T, 478, 3) the network's, pixels.
        habits: that the track allowed for.
    Returns:
        (T,) mean over the points, and the model's points (T, 478, 2), pixels.
    """
    with torch.no_grad():
        points = head.landmark_model().points(person.identity, motion.expression) + person.offset
        if habits is not None:
            points = points + habits.seen_from(motion.rotation, motion.translation)
            points = points + torch.tensordot(motion.expression, habits.expression_basis(head.expression_names), 1)
    world = points @ motion.rotation.transpose(1, 2) + motion.translation[:, None]
    pixels = project(world, person.focal, center).numpy()
    seen = landmarks[..., :2]
    right, left = OUTER_EYE_CORNERS
    # turned to the side the corners draw together: the fitted head's own distance, seen from the front, takes over
    corners = np.linalg.norm(seen[:, left] - seen[:, right], axis=1)
    front = person.focal * (points[:, left] - points[:, right]).norm(dim=1).numpy()
    front = front / -motion.translation[:, 2].numpy()
    scale = np.maximum(corners, 0.6 * front)
    return np.linalg.norm(pixels - seen, axis=2).mean(1) / scale, pixels


def jitter_deg(rotation: Tensor) -> float:
    """Root mean square of the rotations' second difference from frame to frame, degrees."""
    steps = rotation_steps(rotation)
    if len(steps) < 2:
        return 0.0
    return float(torch.rad2deg((steps[1:] - steps[:-1]).norm(dim=1).square().mean().sqrt()))


def jitter_px(points: Array) -> float:
    """Root mean square of the second difference of (T, L, 2) projected points from frame to frame, pixels."""
    if len(points) < 3:
        return 0.0
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(np.sqrt((second**2).sum(-1).mean()))


def silhouette_iou(head: HeadModel, world: Tensor, focal: float, center: Tensor, parsing: Array) -> float | None:
    """Overlap of the rendered face with what parsing calls the face's skin, one frame.

    The face is the mesh without scalp, neck and the inside of the mouth. Pixels that parsing calls hair or other (a
    hand, glasses) hide the face, or would, and count in neither.

    Args:
        head: the head model.
        world: (V, 3) posed vertices.
        focal, center: of the camera at the parsing's size, pixels.
        parsing: (H, W) indices into `PARSING_CLASSES`.
    Returns:
        intersection over union, or None where neither is in the picture.
    """
    screen = torch.cat([project(world, focal, center), -world[:, 2:]], 1)
    seen = rasterize(screen, head.faces, *parsing.shape).face_index.numpy()
    outside = torch.zeros(head.vertex_count, dtype=torch.bool)
    for region in ("scalp", "neck"):
        outside |= head.regions[region]
    is_face = ~outside[head.faces].any(1).numpy()
    counted = ~np.isin(parsing, [PARSING_CLASSES.index("hair"), PARSING_CLASSES.index("other")])
    drawn = (seen >= 0) & is_face[seen] & counted
    true = (parsing == PARSING_CLASSES.index("face_skin")) & counted
    union = int((drawn | true).sum())
    return int((drawn & true).sum()) / union if union else None

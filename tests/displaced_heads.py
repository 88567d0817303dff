"""Heads with hair and a beard that no identity expresses: a displaced mesh, filmed with everything known.

The generator's head is subdivided; its scalp is pushed out by 15 to 35 mm with a fringe over the forehead, its chin and
jaw by 5 to 10 mm. What a fit makes of the pictures is measured against the mesh that made them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import synthetic
import torch
from scipy.spatial import cKDTree

from headavatar.head import HeadModel
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.head.subdivide import subdivided
from headavatar.head.surface import Surface, normals
from headavatar.methods.neural_head_avatar.smoothing import Smoother
from headavatar.scene import ARKIT_NAMES, PARSING_CLASSES, Array, Camera, Clip, HeadParams, Split

HAIR_M = (0.015, 0.035)
BEARD_M = (0.005, 0.010)
FRINGE_M = 0.030
"""How far down the fringe hangs from the hairline."""
NAPE_M = 0.012
"""How far hair reaches down the neck."""
LEAN = 0.35
"""How far hair leans from the skin's normals: the tangent of the largest angle."""
TURN_RAD = (0.25, 0.80, 0.08)
"""How far the head nods, turns and tilts to either side."""
HIDDEN = ("mouth_interior", "sockets", "eyes", "teeth", "tongue", "lashes")
_JAW = (152, 148, 176, 149, 150, 136, 172, 377, 400, 378, 379, 365, 397, 175, 199, 200)
_HAIR_COLOR, _BEARD_COLOR = (0.20, 0.12, 0.07), (0.42, 0.29, 0.21)


@dataclass(frozen=True)
class Displaced:
    """A head that the model cannot express.

    Attributes:
        bare: the subdivided head. truth: the same with the displacement in its template.
        offset: (V, 3) of it, metres.
        hair, fringe, beard: (V,) bool, what of the skin was displaced, the fringe a part of the hair.
        params: of T frames.
        camera: that saw them.
    """

    bare: HeadModel
    truth: HeadModel
    offset: Array
    hair: Array
    fringe: Array
    beard: Array
    params: HeadParams
    camera: Camera

    def rest(self, head: HeadModel) -> Array:
        """(V, 3) a head's vertices with this one's identity, at rest."""
        neutral = torch.zeros(1, len(ARKIT_NAMES))
        return np.asarray(head.vertices(torch.from_numpy(self.params.identity), neutral)[0].double().numpy())

    def skin(self) -> Array:
        """(V,) bool: what can be seen from outside."""
        hidden = torch.stack([self.bare.regions[name] for name in HIDDEN]).any(0).numpy()
        return np.asarray(~hidden)


@cache
def fine_head() -> HeadModel:
    """The generator's head, subdivided once per run."""
    return subdivided(synthetic.head())


def make(frames: int, size: int, seed: int) -> Displaced:
    """Make a person with hair and beard who turns to either side.

    Args:
        frames: T.
        size: side of the pictures, pixels.
        seed: of person, hair, beard and motion.
    """
    rng = np.random.default_rng(seed)
    params = synthetic.motion(frames, rng)
    t = np.linspace(0, 2 * np.pi, frames, endpoint=False)
    turns = (np.sin(2 * t + rng.uniform(0, 6)), np.sin(t + rng.uniform(0, 6)), np.sin(3 * t + rng.uniform(0, 6)))
    params.rotation[:] = np.stack(turns, 1) * TURN_RAD
    # the head turns about the neck, not about the ears
    pivot = np.array([0.0, -0.05, 0.02])
    params.translation[:] += pivot - axis_angle_to_matrix_np(params.rotation) @ pivot
    focal = size / 2 / np.tan(np.radians(22.5))
    camera = Camera(K=np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]), width=size, height=size)
    bare = fine_head()
    rest = bare.vertices(torch.from_numpy(params.identity), torch.zeros(1, len(ARKIT_NAMES)))[0]
    hair, fringe, beard = _masks(bare, rest)
    offset = _offsets(bare, rest, hair, fringe, beard, rng)
    truth = bare.with_offset(torch.from_numpy(offset).float())
    return Displaced(bare, truth, offset, hair, fringe, beard, params, camera)


def film(made: Displaced, seed: int = 0) -> Clip:
    """The clip that a method sees, the truth standing for a track; normals are those of the bare head, as a track's."""
    rng = np.random.default_rng(seed)
    params = made.params
    tensors = [torch.from_numpy(a) for a in (params.identity, params.expression, params.rotation, params.translation)]
    with torch.no_grad():
        skin = synthetic.skin_of(made.truth, params, rng)
        skin.colors[torch.from_numpy(made.beard)] = torch.tensor(_BEARD_COLOR)
        skin.colors[torch.from_numpy(made.hair)] = torch.tensor(_HAIR_COLOR)
        faces = made.truth.faces.numpy()
        skin.classes[made.hair[faces].all(1)] = PARSING_CLASSES.index("hair")
        shown, facing = [], []
        for i in range(len(params)):
            one = [tensors[0], *(tensor[i : i + 1] for tensor in tensors[1:])]
            shown.append(synthetic.render(made.truth, made.truth.posed(*one)[0], skin, made.camera))
            facing.append(synthetic.render(made.bare, made.bare.posed(*one)[0], skin, made.camera)[4])
        points = made.truth.landmark_points(made.truth.posed(*tensors)).double().numpy()
    images, _, mattes, parsing, _ = (list(part) for part in zip(*shown, strict=True))
    pixels, depth = made.camera.project(points)
    landmarks = np.concatenate([pixels, (depth - depth.mean(1, keepdims=True))[..., None]], -1).astype(np.float32)
    times, side = np.arange(len(params)) / synthetic.FPS, made.camera.width
    return Clip(
        images, mattes, parsing, landmarks, made.camera, params, times, np.arange(len(params)),
        np.ones((side, side), bool), Split.named("blocks", times), normals=facing,
    )  # fmt: skip


def surface_errors(made: Displaced, vertices: Array, faces: Array) -> dict[str, tuple[float, float]]:
    """How far the true surface is from another one, at rest.

    Args:
        vertices: (N, 3) head space, metres. faces: (F, 3).
    Returns:
        region -> mean and 95th percentile of the distances of the region's points from the other surface, mm; what
        was displaced first, then the rest of the skin by the head's regions, then "all".
    """
    rest, skin = made.rest(made.truth), made.skin()
    away_mm = np.full(len(rest), np.nan)
    away_mm[skin] = Surface(vertices, faces).nearest(rest[skin]).distance * 1000
    regions = {name: mask.numpy() for name, mask in made.bare.regions.items()}
    front = rest[:, 2] > np.median(rest[made.hair, 2])
    displaced = made.hair | made.beard
    masks = {
        "hair, front half": made.hair & ~made.fringe & front, "hair, back half": made.hair & ~made.fringe & ~front,
        "fringe": made.fringe, "beard": made.beard, "face": regions["face"] & ~displaced,
        "ears": regions["ears"] & ~displaced, "neck": regions["neck"] & ~displaced, "all": np.ones(len(rest), bool),
    }  # fmt: skip
    result = {}
    for name, mask in masks.items():
        chosen = away_mm[mask & skin]
        result[name] = float(chosen.mean()), float(np.percentile(chosen, 95))
    return result


def skin_faces(made: Displaced) -> Array:
    """(F, 3) the triangles of `made`'s heads that can be seen from outside."""
    faces = made.bare.faces.numpy()
    return np.asarray(faces[made.skin()[faces].all(1)])


def _masks(head: HeadModel, rest: torch.Tensor) -> tuple[Array, Array, Array]:
    """(V,) bool hair, its fringe, and beard."""
    regions = {name: mask.numpy() for name, mask in head.regions.items()}
    points, marks = rest.numpy(), head.landmark_points(rest[None])[0].numpy()
    scalp = regions["scalp"] & ~regions["neck"] & ~regions["ears"]
    free = regions["face"] & ~regions["ears"] & ~regions["eyelids"] & ~regions["sockets"]
    brows = marks[[70, 63, 105, 66, 107, 300, 293, 334, 296, 336], 1].max()
    near = cKDTree(points[scalp]).query(points)[0] < FRINGE_M
    fringe = free & near & (points[:, 1] > brows + 0.012)
    beard = free & (cKDTree(marks[list(_JAW)]).query(points)[0] < 0.014)
    nape = regions["neck"] & ~regions["ears"] & (cKDTree(points[scalp]).query(points)[0] < NAPE_M)
    return scalp | nape | fringe, fringe, beard & ~scalp & ~fringe


def _offsets(
    head: HeadModel, rest: torch.Tensor, hair: Array, fringe: Array, beard: Array, rng: np.random.Generator
) -> Array:
    """(V, 3) metres along smoothed normals that lean to one side here and to another there."""
    points = rest.numpy().astype(np.float64)
    smooth, smoother = (Smoother(head.faces, head.vertex_count, weight) for weight in (1.5, 30.0))
    ways = smoother.solve(torch.from_numpy(normals(points, head.faces.numpy()))).numpy()
    ways /= np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
    ways = ways + LEAN * np.sin(points @ rng.normal(0, 20.0, (3, 3)) + rng.uniform(0, 2 * np.pi, 3)) / np.sqrt(3)

    def varying(low: float, high: float, wave: float) -> Array:
        bumps = np.cos(points @ rng.normal(0, wave, (3, 6)) + rng.uniform(0, 2 * np.pi, 6)).sum(1) / np.sqrt(3)
        return np.asarray((low + high) / 2 + (high - low) / 2 * np.tanh(bumps))

    thick = np.where(hair, varying(*HAIR_M, 25.0), 0) * np.where(fringe, 0.5, 1.0)
    thick = thick + np.where(beard, varying(*BEARD_M, 40.0), 0)
    # steep where hair ends, but no face turned over
    heights = smooth.solve(torch.from_numpy(thick)[:, None]).numpy()
    still = torch.stack([head.regions[name] for name in HIDDEN]).any(0).numpy()
    return np.asarray(heights * ways * ~still[:, None])

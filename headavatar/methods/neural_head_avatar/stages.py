"""The three stages of the fit as data: what moves in each, how fast, and what is minimized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A stretch of the fit.

    Attributes:
        name: "geometry", "texture" or "joint".
        steps: how many.
        falls: what step sizes are multiplied with at its start and at its end.
        offset_lr, volume_lr, turning_lr: step sizes of the offsets, of hair's volume, and of what neck and pose change.
        map_lr, network_lr: step sizes of the texture's maps and its networks; 0 holds still.
        color: weight of |color - truth|.
        perceptual: weight of LPIPS on a patch.
        silhouette: weight of |alpha - matte|.
        smooth, edge, surface, flip: weights of the mesh's energies.
        normal: weight of the normals' Laplacians.
        landmark: weight of the distance of lids' and lips' landmarks.
        semantic: weight of hair, eyes and mouth as drawn against those of the picture.
        closed: weight of the gap between lids that are closed.
    """

    name: str
    steps: int
    falls: tuple[float, float]
    offset_lr: float
    volume_lr: float
    turning_lr: float
    map_lr: float
    network_lr: float
    color: float
    perceptual: float
    silhouette: float
    smooth: float
    edge: float
    surface: float
    flip: float
    normal: float
    landmark: float
    semantic: float
    closed: float

    @property
    def joint(self) -> bool:
        """Whether mesh and colors move together."""
        return self.name == "joint"

    @property
    def shades(self) -> bool:
        """Whether colors are needed."""
        return self.color > 0 or self.perceptual > 0


def stages_of(settings: Any) -> tuple[Stage, ...]:
    """The stages that a fit's settings ask for, in order; those of no steps are left out.

    Source: Grassal et al. 2022, section 4 and table 1 of the supplement: geometry, texture, joint.
    """
    s = settings
    mesh = {
        "silhouette": s.silhouette_weight, "smooth": s.smooth_weight, "edge": s.edge_weight,
        "surface": s.surface_weight, "flip": s.flip_weight, "normal": s.normal_weight, "landmark": s.landmark_weight,
        "semantic": s.semantic_weight, "closed": s.closed_weight,
    }  # fmt: skip
    painted = dict.fromkeys(mesh, 0.0) | {"silhouette": s.silhouette_weight}
    whole = (1.0, s.final_lr)
    begins = min(max(s.perceptual_from, 0.0), 1.0)
    half, middle = round(s.joint_steps * begins), s.final_lr**begins
    share, rate = s.joint_share, s.joint_rate
    moving = (share * s.offset_lr, share * s.volume_lr, s.turning_lr, s.map_lr * rate, s.network_lr * rate, 1.0)
    stages = (
        # one shape for all poses first: what pose may change would explain each outline by itself
        Stage("geometry", s.geometry_steps, whole, s.offset_lr, s.volume_lr, 0.0, 0.0, 0.0, 0.0, 0.0, **mesh),
        Stage("texture", s.texture_steps, whole, 0.0, 0.0, 0.0, s.map_lr, s.network_lr, 1.0, 0.0, **painted),
        Stage("joint", half, (1.0, middle), *moving, 0.0, **mesh),
        Stage("joint", s.joint_steps - half, (middle, s.final_lr), *moving, s.perceptual_weight, **mesh),
    )
    return tuple(stage for stage in stages if stage.steps > 0)


def rate_at(stage: Stage, progress: float) -> float:
    """What a stage's step sizes are multiplied with after a share of its steps: falling evenly in the logarithm."""
    start, end = stage.falls
    return start * (end / start) ** progress if start > 0 else 0.0


def stage_at(stages: tuple[Stage, ...], index: int) -> tuple[Stage, float]:
    """The stage that a step belongs to, and the share of its steps that are done."""
    for stage in stages:
        if index < stage.steps:
            return stage, index / stage.steps
        index -= stage.steps
    return stages[-1], 1.0

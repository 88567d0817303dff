"""Settings and presets of nerf-blendshape, and its entry in the registry; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from ...ranges import A_SHARE, AT_LEAST_ONE
from ..base import MethodSpec, option


@dataclass(frozen=True)
class NerfBlendshapeSettings:
    """Every number that shapes a fit; all counts are counts, none is a time."""

    steps: int = option(1800, "Optimization steps.", within=AT_LEAST_ONE)
    rays: int = option(8192, "Rays a step, shared by its frames.", within=AT_LEAST_ONE)
    frames_per_step: int = option(4, "Frames a step; each needs its own blended table.", within=AT_LEAST_ONE)
    samples: int = option(10, "Most samples on one ray.", within=AT_LEAST_ONE)
    levels: int = option(12, "Levels of the hash grid.", within=AT_LEAST_ONE)
    features: int = option(2, "Features a level.", choices=(2, 4))
    log2_table: int = option(14, "Entries of a hashed level, as a power of two.", within=(4, 24))
    base_resolution: int = option(16, "Cells along an edge at the coarsest level.", within=AT_LEAST_ONE)
    finest_resolution: int = option(512, "Cells along an edge at the finest level.", within=AT_LEAST_ONE)
    hidden: int = option(64, "Width of both networks.", within=AT_LEAST_ONE)
    sigma_layers: int = option(1, "Hidden layers of the density network.", within=AT_LEAST_ONE)
    geometry_features: int = option(
        15, "Features handed from the density network to the color network.", within=AT_LEAST_ONE
    )
    density: str = option(
        "steep", "The density's law: soon opaque, or as published.", choices=("steep", "published")
    )  # fmt: skip
    table_lr: float = option(1e-2, "Step size of the tables.")
    network_lr: float = option(2e-3, "Step size of the networks.")
    final_lr: float = option(
        0.05, "Step sizes at the end, as a share of those at the start, where they fall smoothly.", within=A_SHARE
    )
    decay: str = option("smooth", "How step sizes fall: smoothly, or twice to a third.", choices=("smooth", "drops"))
    weight_decay: float = option(0.0, "Weight decay of the networks.")
    schedule: str = option(
        "sharp", "What is minimized when: ours, or the published three phases.", choices=("sharp", "published")
    )
    alpha_weight: float = option(0.5, "Weight of |alpha - matte|.")
    spread_weight: float = option(
        0.3, "Weight of the metres between places that a ray's light comes from: surfaces instead of fog.",
        added_later=True,
    )  # fmt: skip
    sparsity: float = option(1e-9, "Weight of the sum of the expression tables' absolute values.")
    background: str = option(
        "random", "What rays are composited over in training: random colors and white, or the clip's background.",
        choices=("random", "plate"),
    )  # fmt: skip
    random_background: float = option(
        0.5, "Share of rays composited over random colors instead of white.", within=A_SHARE
    )
    focus: bool = option(True, "Look more often at face, mouth and eyes than at the rest of the picture.")
    perceptual_weight: float = option(0.3, "Weight of LPIPS on patches; 0 leaves it out.")
    perceptual_network: str = option("alex", "Network of that LPIPS.", choices=("alex", "vgg"))
    perceptual_from: float = option(0.8, "Share of the steps after which patches join.", within=A_SHARE)
    patch: int = option(128, "Edge of a patch, pixels.", within=(16, inf))
    mixing: int = option(
        24, "Tables that a learned matrix mixes into one for each expression; 0 learns each by itself.",
        added_later=True,
    )  # fmt: skip
    hold_views: bool = option(
        True, "Color what is seen from outside training's directions as from the nearest of them.", added_later=True,
    )  # fmt: skip
    whole_neck: bool = option(
        False, "Make up what clothes hide of the neck from the tracked mesh and the skin beside it.", added_later=True,
    )  # fmt: skip
    whole_head: bool = option(
        True, "Show sides and back that no frame showed as a smooth surface, in pictures beyond training's directions.",
        added_later=True,
    )  # fmt: skip
    pose_tables: bool = option(True, "Give the head's rotation and place tables of their own, for neck and light.")
    surface_warp: bool = option(True, "Fetch what expressions move from where the tracked mesh says that it came.")
    warp_nodes: int = option(32, "Nodes along an edge of the grid of displacements.", within=(4, inf))
    pose_nodes: int = option(16, "Nodes along an edge of the displacements learned for the pose; 0 has none.")
    warp_lr: float = option(3e-4, "Step size of those displacements, in edges of the modelled cube.")
    warp_until: float = option(0.5, "Share of the steps during which they learn.", within=A_SHARE)
    pose_lr: float = option(
        0.0, "Step size of what every training frame's pose is off by, while displacements learn; 0 trusts the track.",
        added_later=True,
    )  # fmt: skip
    shell_m: float = option(0.012, "How far the head may stand off the tracked face, metres.")
    hair_m: float = option(0.12, "How far hair may stand off the tracked scalp, metres.")
    grid: int = option(128, "Voxels along an edge of the occupancy grid.", choices=(64, 96, 128, 129, 160, 192))
    volume: str = option(
        "sight", "What cuts the occupancy grid: what rays saw, or the density under every expression, as published.",
        choices=("sight", "density"),
    )  # fmt: skip
    spacing_mm: float = option(2.5, "Samples on a ray need not lie closer than this, millimetres.", within=(0.01, inf))


PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"steps": 500},
    "balanced": {},
    "quality": {"steps": 6000, "samples": 14, "log2_table": 15},
    "paper": {
        "steps": 30000,
        "rays": 2048,
        "frames_per_step": 2,
        "samples": 48,
        "spacing_mm": 1.0,
        "levels": 16,
        "features": 4,
        "finest_resolution": 1024,
        "sigma_layers": 4,
        "geometry_features": 64,
        "table_lr": 1e-3,
        "network_lr": 1e-3,
        "decay": "drops",
        "weight_decay": 1e-6,
        "schedule": "published",
        "sparsity": 2.2e-8,
        "spread_weight": 0.0,
        "background": "plate",
        "focus": False,
        "perceptual_weight": 0.1,
        "perceptual_network": "vgg",
        "mixing": 0,
        "hold_views": False,
        "whole_head": False,
        "pose_tables": False,
        "surface_warp": False,
        "pose_nodes": 0,
        "hair_m": 0.07,
        "grid": 129,
        "volume": "density",
        "density": "published",
    },
}
"""`paper` is the published configuration, on ARKit's expressions and within the voxels that mattes allow."""

SPEC = MethodSpec(
    name="nerf-blendshape",
    title="hash-grid radiance field, one table per expression, blended into one per frame",
    needs=("torch",),
    settings=NerfBlendshapeSettings,
    presets=PRESETS,
    trainer="headavatar.methods.nerf_blendshape.trainer:NerfBlendshapeTrainer",
    avatar="headavatar.methods.nerf_blendshape.avatar:NerfBlendshapeAvatar",
    models=lambda settings: (f"lpips_{settings.perceptual_network}",) if settings.perceptual_weight > 0 else (),
    version=9,
    rates=("table_lr", "network_lr"),
    source="Gao et al., Reconstructing Personalized Semantic Facial NeRF Models From Monocular Video, 2022",
)

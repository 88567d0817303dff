"""Settings and presets of neural-head-avatar, and its entry in the registry; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from ...ranges import A_SHARE, AT_LEAST_ONE
from ..base import MethodSpec, option


@dataclass(frozen=True)
class NeuralHeadAvatarSettings:
    """Every number that shapes a fit; all counts are counts, none is a time."""

    geometry_steps: int = option(200, "Steps that shape the mesh alone.")
    texture_steps: int = option(200, "Steps that paint it.")
    joint_steps: int = option(1200, "Steps that do both.", within=AT_LEAST_ONE)
    frames_per_step: int = option(2, "Frames a step.", within=AT_LEAST_ONE)
    offsets: str = option(
        "smooth", "How offsets are held: as smoothed vectors, or in the published network.", choices=("smooth", "siren")
    )  # fmt: skip
    pose_offsets: bool = option(True, "Let hair and neck move with the head's pose (smoothed vectors only).")
    teeth_lowered: bool = option(True, "Set the upper teeth as low as the person's lips ask for.")
    curtain: str = option(
        "auto", "A sheet beside and behind the neck for long hair: where the parsing shows some, always, or never.",
        choices=("auto", "on", "off"),
    )  # fmt: skip
    smoothing: float = option(30.0, "How far a smoothed vector carries its neighbors along.")
    texture: str = option(
        "stack", "What gives colors: a stack of maps that expressions blend, or the published network over one map.",
        choices=("stack", "siren"),
    )  # fmt: skip
    sparsity: float = option(1e-7, "Weight of the sum of the absolute values of a stack's maps.")
    bake: bool = option(False, "Write the network into a stack of maps at the end, which draws fast and exports.")
    map_size: int = option(256, "Edge of the texture's maps, texels.", within=(8, 8192))
    table_size: int = option(128, "Edge of what expressions add to a stack, texels.", within=(8, 8192))
    map_features: int = option(16, "Features of a texel, for the network.", within=AT_LEAST_ONE)
    hidden: int = option(64, "Width of the texture's network.", within=AT_LEAST_ONE)
    layers: int = option(3, "Layers of the texture's network.", within=AT_LEAST_ONE)
    shader_hidden: int = option(64, "Width of the layer that light acts in.", within=AT_LEAST_ONE)
    mapping_hidden: int = option(
        64, "Width of the layers that turn a condition into scales and shifts.", within=AT_LEAST_ONE
    )
    condition: str = option(
        "expression", "What the texture is told: how the mouth stands, there alone, or every expression, everywhere.",
        choices=("mouth", "expression"),
    )  # fmt: skip
    condition_noise: float = option(0.1, "Noise on conditions in training, standard deviations.")
    offset_lr: float = option(3e-3, "Step size of the offsets.")
    volume_lr: float = option(5e-3, "Step size of hair's volume.")
    turning_lr: float = option(4e-4, "Step size of what neck and pose do to offsets, in the joint stage.")
    map_lr: float = option(3e-3, "Step size of the texture's map.")
    network_lr: float = option(2e-3, "Step size of the networks.")
    final_lr: float = option(0.1, "Step sizes at a stage's end, as a share of those at its start.", within=A_SHARE)
    joint_share: float = option(0.1, "Step size of the offsets in the joint stage, as a share.")
    pose_lr: float = option(
        0.0, "Step size of what every training frame's pose and expression are off by, in the joint stage; 0 trusts "
        "the track.", added_later=True,
    )  # fmt: skip
    joint_rate: float = option(1.0, "Step sizes of the texture in the joint stage, as a share.")
    silhouette_weight: float = option(1.0, "Weight of |alpha - matte|.")
    smooth_weight: float = option(0.0, "Weight of the offsets' Laplacian, squared millimeters.")
    edge_weight: float = option(0.0, "Weight of long edges on the scalp.")
    surface_weight: float = option(2e-3, "Weight of the offsets' length on the face, squared millimeters.")
    flip_weight: float = option(0.0, "Weight of faces that turn over.")
    normal_weight: float = option(0.0, "Weight of the Laplacians of normal maps.")
    landmark_weight: float = option(0.3, "Weight of lids' and lips' distance from their landmarks.")
    semantic_weight: float = option(0.0, "Weight of hair, eyes and mouth where the picture shows them.")
    closed_weight: float = option(0.0, "Weight of the gap between closed lids, squared millimeters.")
    perceptual_weight: float = option(0.1, "Weight of LPIPS on patches; 0 leaves it out.")
    perceptual_from: float = option(0.5, "Share of the joint stage after which LPIPS joins.", within=A_SHARE)
    perceptual_network: str = option(
        "alex", "Network of that LPIPS; or a face recognition network's features, whose weights `models add` took in.",
        choices=("alex", "vgg", "arcface"),
    )  # fmt: skip
    patch: int = option(128, "Edge of a patch, pixels.", within=(16, inf))


PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    "balanced": {"joint_steps": 3000},
    "quality": {"joint_steps": 8000, "map_size": 512, "table_size": 256},
    "paper": {
        "geometry_steps": 2344,
        "texture_steps": 6250,
        "joint_steps": 6250,
        "frames_per_step": 6,
        "offsets": "siren",
        "pose_offsets": False,
        "texture": "siren",
        "condition": "mouth",
        "map_features": 64,
        "hidden": 256,
        "layers": 8,
        "shader_hidden": 128,
        "mapping_hidden": 256,
        "offset_lr": 1e-5,
        "map_lr": 1e-4,
        "network_lr": 1e-4,
        "joint_share": 0.2,
        "joint_rate": 0.2,
        "final_lr": 0.5,
        "smooth_weight": 1e-3,
        "edge_weight": 0.01,
        "flip_weight": 0.1,
        "perceptual_network": "vgg",
        "perceptual_from": 0.0,
    },
}
"""`paper` is the published configuration in sizes and step sizes, its epochs counted for 750 frames on three cards; its
energies are ours, and LPIPS stands for its features of a face recognition network. Vectors that a solve smooths need no
energy for it, nor against long edges and turned faces: without these three nothing changes (BENCHMARKS.md)."""


def _models(settings: NeuralHeadAvatarSettings) -> tuple[str, ...]:
    """What is fetched; a face recognition network is the user's own."""
    if settings.perceptual_weight <= 0 or settings.perceptual_network == "arcface":
        return ()
    return (f"lpips_{settings.perceptual_network}",)


SPEC = MethodSpec(
    name="neural-head-avatar",
    title="a mesh with hair, and a texture that expression and light change",
    needs=("torch",),
    settings=NeuralHeadAvatarSettings,
    presets=PRESETS,
    trainer="headavatar.methods.neural_head_avatar.trainer:NeuralHeadAvatarTrainer",
    avatar="headavatar.methods.neural_head_avatar.avatar:NeuralHeadAvatar",
    models=_models,
    version=4,
    halved=("frames_per_step", 1, "frames a step"),
    rates=("offset_lr", "volume_lr", "map_lr"),
    source="Grassal et al., Neural Head Avatars from Monocular RGB Videos, 2022",
)

"""Weights of a network that recognizes faces, of which the first half compares pictures; from the user's own file.

Source: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019, a ResNet of 18 layers.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from headavatar.pretrained.catalog import ARCFACE
from headavatar.pretrained.own_weights import OwnWeights, norm_shapes

WIDTHS = (64, 128)
"""Channels of the layers that are used; the file holds two more, and what makes an identity of them."""
BLOCKS = 2
UNUSED = ("layer3.", "layer4.", "bn2.", "fc.", "features.")


def shapes() -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that the compared features need."""
    found: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 3, 3), **norm_shapes("bn1", 64), "prelu.weight": (64,)}
    before = 64
    for layer, width in enumerate(WIDTHS, 1):
        for block in range(BLOCKS):
            name = f"layer{layer}.{block}"
            found |= norm_shapes(f"{name}.bn1", before)
            found[f"{name}.conv1.weight"] = (width, before, 3, 3)
            found |= norm_shapes(f"{name}.bn2", width)
            found[f"{name}.prelu.weight"] = (width,)
            found[f"{name}.conv2.weight"] = (width, width, 3, 3)
            found |= norm_shapes(f"{name}.bn3", width)
            if block == 0:
                found[f"{name}.downsample.0.weight"] = (width, before, 1, 1)
                found |= norm_shapes(f"{name}.downsample.1", width)
            before = width
    return found


def _left_over(name: str) -> bool:
    return name.startswith(UNUSED) or name.endswith(".num_batches_tracked")


_WEIGHTS = OwnWeights(
    ARCFACE, "the face recognition network", shapes(), _left_over,
    "--set neural-head-avatar.perceptual_network=alex",
)  # fmt: skip


def add(file: Path) -> Path:
    """Take in a file of weights, `backbone.pth` of a ResNet of 18 layers; see `OwnWeights.add`."""
    return _WEIGHTS.add(file)


def load() -> dict[str, Tensor]:
    """The weights that were added; see `OwnWeights.load`."""
    return _WEIGHTS.load()

"""Weights of a network that sees a face's normals: no registry carries them, so the user's own file is taken in.

The file is read as tensors only, must hold every tensor that the network needs in its exact shape, and is kept in the
cache as safetensors.

Source: Abrevaya, Boukhayma, Torr and Boyer, Cross-modal Deep Face Normals with Deactivable Skip Connections, CVPR 2020.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from headavatar.pretrained.catalog import FACE_NORMALS
from headavatar.pretrained.own_weights import OwnWeights, norm_shapes

UNUSED = ("base_model.", "layer0_2.", "layer1_2.", "layer2_2.", "layer3_2.", "layer4_2.", "conv_last_2.")
"""The file also holds the backbone a second time, and what turns normals into pictures and back."""
UNUSED_END = "_2.0"


def shapes() -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that the network needs: a ResNet-18 and a decoder with skips."""
    found: dict[str, tuple[int, ...]] = {"layer0.0.weight": (64, 3, 7, 7), **norm_shapes("layer0.1", 64)}
    before = 64
    for layer, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{layer}.{'1.' if layer == 1 else ''}{block}"  # the first layer's pooling stands before it
            source = before if block == 0 else width
            found |= {f"{name}.conv1.weight": (width, source, 3, 3), f"{name}.conv2.weight": (width, width, 3, 3)}
            found |= norm_shapes(f"{name}.bn1", width) | norm_shapes(f"{name}.bn2", width)
            if source != width:
                found[f"{name}.downsample.0.weight"] = (width, source, 1, 1)
                found |= norm_shapes(f"{name}.downsample.1", width)
        before = width
    convolutions = {
        "conv_original_size0.0": (64, 3, 3), "conv_original_size1.0": (64, 64, 3), "layer0_1x1.0": (64, 64, 1),
        "layer1_1x1.0": (64, 64, 1), "layer2_1x1.0": (128, 128, 1), "layer3_1x1.0": (256, 256, 1),
        "layer4_1x1.0": (768, 512, 1), "conv_up3.0": (640, 768, 3), "conv_up2.0": (320, 640, 3),
        "conv_up1.0": (320, 320, 3), "conv_up0.0": (192, 320, 3), "conv_original_size2.0": (64, 192, 3),
        "conv_last": (3, 64, 1),
    }  # fmt: skip
    for name, (out, into, side) in convolutions.items():
        found |= {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}
    return found


def _left_over(name: str) -> bool:
    stem = name.rpartition(".")[0]
    return name.startswith(UNUSED) or stem.endswith(UNUSED_END) or name.endswith(".num_batches_tracked")


_WEIGHTS = OwnWeights(
    FACE_NORMALS, "the network of face normals", shapes(), _left_over, "--set preprocess.normals=landmarks"
)  # fmt: skip


def add(file: Path) -> Path:
    """Take in a file of weights; see `OwnWeights.add`."""
    return _WEIGHTS.add(file)


def load() -> dict[str, Tensor]:
    """The weights that were added; see `OwnWeights.load`."""
    return _WEIGHTS.load()

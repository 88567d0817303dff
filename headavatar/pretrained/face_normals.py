"""Weights of a network that sees a face's normals: no registry carries them, so the user's own file is taken in.

The file is read as tensors only, must hold every tensor that the network needs in its exact shape, and is kept in the
cache as safetensors.

Source: Abrevaya, Boukhayma, Torr and Boyer, Cross-modal Deep Face Normals with Deactivable Skip Connections, CVPR 2020.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headavatar.errors import ModelError
from headavatar.pretrained import cache
from headavatar.pretrained.catalog import FACE_NORMALS

HOME = FACE_NORMALS.home
ADD = f"headavatar models add {FACE_NORMALS.name} model.pth"

UNUSED = ("base_model.", "layer0_2.", "layer1_2.", "layer2_2.", "layer3_2.", "layer4_2.", "conv_last_2.")
"""The file also holds the backbone a second time, and what turns normals into pictures and back."""
UNUSED_END = "_2.0"


def add(file: Path) -> Path:
    """Take in a file of weights.

    Args:
        file: the authors' state dictionary, as torch saves it.
    Returns:
        the weights in the cache.
    Raises:
        ModelError: it cannot be read, holds anything but tensors, or is not this network.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{file} cannot be read as weights", why=why, fix=f"get model.pth by {HOME}") from error
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise ModelError(f"{file} is no state dictionary", why="it holds no tensors by name", fix=f"see {HOME}")
    weights = _checked(content, file)
    with cache.staging() as folder:
        save_file({name: tensor.float().contiguous() for name, tensor in weights.items()}, folder / "file")
        return cache.place(folder / "file", cache.location(FACE_NORMALS))


def load() -> dict[str, Tensor]:
    """The weights that were added.

    Raises:
        ModelError: none were, or the file is damaged.
    """
    file = cache.location(FACE_NORMALS)
    if not file.exists():
        raise ModelError(
            "the network of face normals is missing", why=f"no registry carries it; it comes from {HOME}",
            fix=f"{ADD}, or leave it out: --set preprocess.normals=landmarks",
        )  # fmt: skip
    try:
        return _checked(load_file(file), file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is damaged", why=str(error), fix=ADD) from error


def shapes() -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor that the network needs: a ResNet-18 and a decoder with skips."""
    found: dict[str, tuple[int, ...]] = {"layer0.0.weight": (64, 3, 7, 7), **_norm("layer0.1", 64)}
    before = 64
    for layer, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{layer}.{'1.' if layer == 1 else ''}{block}"  # the first layer's pooling stands before it
            source = before if block == 0 else width
            found |= {f"{name}.conv1.weight": (width, source, 3, 3), f"{name}.conv2.weight": (width, width, 3, 3)}
            found |= _norm(f"{name}.bn1", width) | _norm(f"{name}.bn2", width)
            if source != width:
                found[f"{name}.downsample.0.weight"] = (width, source, 1, 1)
                found |= _norm(f"{name}.downsample.1", width)
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


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{field}": (width,) for field in ("weight", "bias", "running_mean", "running_var")}


def _checked(content: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The tensors that the network needs; the file may hold no others but those known to be left over."""
    wanted = shapes()
    missing = [name for name in wanted if name not in content]
    wrong = [
        f"{name} is {tuple(content[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in content and tuple(content[name].shape) != shape
    ]
    strange = [name for name in content if name not in wanted and not _left_over(name)]
    if missing or wrong or strange:
        parts = [f"{len(missing)} tensors are missing, such as {missing[0]}"] if missing else []
        parts += wrong[:1]
        parts += [f"{len(strange)} do not belong to it, such as {strange[0]}"] if strange else []
        raise ModelError(f"{file} is not the network of face normals", why="; ".join(parts), fix=f"see {HOME}")
    return {name: content[name] for name in wanted}


def _left_over(name: str) -> bool:
    stem = name.rpartition(".")[0]
    return name.startswith(UNUSED) or stem.endswith(UNUSED_END) or name.endswith(".num_batches_tracked")

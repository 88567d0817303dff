"""LPIPS' weights: taken out of their pickles once, without running what a pickle may hold, and kept as safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from headavatar.pretrained import cache
from headavatar.pretrained.catalog import ENTRIES
from headavatar.pretrained.fetch import fetch
from headavatar.pretrained.unpickle import unpickle
from headavatar.progress import Reporter

_NETWORKS = {"alex": ("lpips_alex", "AlexNet_0"), "vgg": ("lpips_vgg", "VGG16_0")}


@dataclass(frozen=True)
class LpipsWeights:
    """Weights of one network of LPIPS 0.1.

    Attributes:
        convolutions: (out, in, kernel, kernel) weight and (out,) bias of each convolution, in order, float32.
        heads: (1, channels, 1, 1) weight of each compared layer, in order, float32.
    """

    convolutions: list[tuple[torch.Tensor, torch.Tensor]]
    heads: list[torch.Tensor]


def load(network: Literal["alex", "vgg"], reporter: Reporter | None = None) -> LpipsWeights:
    """Weights of LPIPS on AlexNet or VGG16, fetched and converted where that has not been done yet.

    Raises:
        ModelError: the file cannot be had, or is not the one that it should be.
    """
    name, body = _NETWORKS[network]
    entry = ENTRIES[name]
    converted = cache.location(entry).with_name(f"{entry.filename}.{entry.sha256[:8]}.safetensors")
    if not converted.exists():
        tensors = _tensors(unpickle(fetch(name, reporter), "a file of weights", "delete it and fetch it again"), body)
        with cache.staging() as folder:
            save_file(tensors, folder / "file")
            cache.place(folder / "file", converted)
    tensors = load_file(converted)
    count = sum(key.endswith(".bias") for key in tensors)
    return LpipsWeights(
        [(tensors[f"convolution{i}.weight"], tensors[f"convolution{i}.bias"]) for i in range(count)],
        [tensors[f"head{i}.weight"] for i in range(len(tensors) - 2 * count)],
    )


def _tensors(arrays: dict[str, Any], body: str) -> dict[str, torch.Tensor]:
    """Flax's (kernel, kernel, in, out) to torch's (out, in, kernel, kernel), under plain names."""
    tensors: dict[str, torch.Tensor] = {}
    for i in range(len(arrays[body])):
        layer = arrays[body][f"Conv_{i}"]
        tensors[f"convolution{i}.weight"] = _torch_order(layer["kernel"])
        tensors[f"convolution{i}.bias"] = torch.from_numpy(np.array(layer["bias"], np.float32))
    for i in range(sum(key.startswith("NetLinLayer_") for key in arrays)):
        tensors[f"head{i}.weight"] = _torch_order(arrays[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])
    return tensors


def _torch_order(kernel: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.array(kernel, np.float32).transpose(3, 2, 0, 1)))

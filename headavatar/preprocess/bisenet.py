"""Parsing into the nineteen classes of CelebAMask-HQ by BiSeNet on a ResNet-18, folded into `PARSING_CLASSES`.

Source: Yu et al., BiSeNet: Bilateral Segmentation Network for Real-Time Semantic Segmentation, ECCV 2018, section 3.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from headavatar.preprocess.parsing import SelfieMulticlass
from headavatar.scene import PARSING_CLASSES, Array

SIDE = 512
WINDOW = 1.9
"""Side of the square that the network sees, in face heights: on a wider view it finds no hair."""
FEATHER_SHARE = 0.06
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)

_FOLD = {
    "background": (0,),
    "hair": (17,),
    "body_skin": (14,),
    "face_skin": (1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13),  # skin, brows, eyes, ears, nose, mouth, lips
    "clothes": (16,),
    "other": (6, 9, 15, 18),  # glasses, earring, necklace, hat
}


class Nineteen:
    """BiSeNet around the face; beyond it, and where no face is known, the six-class network.

    Args:
        model: BiSeNet's file.
        wide: the six-class network's file.
    """

    def __init__(self, model: Path, wide: Path) -> None:
        self.weights: dict[str, Tensor] = torch.load(model, map_location="cpu", weights_only=True)
        self.wide = SelfieMulticlass(wide)

    def run(self, frame: Array, points: Array | None) -> Array:
        probabilities = self.wide.run(frame, points)
        if points is None:
            return probabilities
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        side = WINDOW * float(high[1] - low[1])
        corner = (low + high) / 2 - side * np.array([0.5, 0.55])
        scale = SIDE / side
        view = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float64)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        close = cv2.warpAffine(frame, view, (SIDE, SIDE), flags=method, borderMode=cv2.BORDER_REPLICATE)
        folded = self._close(close)
        margin = round(FEATHER_SHARE * SIDE)
        inside: Array = np.zeros((SIDE, SIDE), np.float32)
        inside[margin:-margin, margin:-margin] = 1
        inside = cv2.GaussianBlur(inside, (0, 0), margin / 2)
        stack = np.concatenate([folded, inside[..., None]], -1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (frame.shape[1], frame.shape[0])
        back = np.stack([cv2.warpAffine(stack[..., k], view, size, flags=flags) for k in range(stack.shape[-1])], -1)
        share = back[..., -1:]
        mixed = share * back[..., :-1] + (1 - share) * probabilities
        return np.asarray(mixed / np.maximum(mixed.sum(-1, keepdims=True), 1e-6))

    def _close(self, image: Array) -> Array:
        """(SIDE, SIDE, 6) probabilities of a close view, uint8 RGB."""
        normal = (image.astype(np.float32) / 255 - _MEAN) / _STD
        with torch.inference_mode():
            logits = _bisenet(torch.from_numpy(normal.transpose(2, 0, 1)[None].copy()), self.weights)
            nineteen = logits.softmax(1)[0].permute(1, 2, 0).numpy()
        return np.stack([nineteen[..., list(_FOLD[name])].sum(-1) for name in PARSING_CLASSES], -1)


def _bisenet(image: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Logits (1, 19, H, W) of an image (1, 3, H, W), normalised as for ImageNet."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            weights[f"{name}.{field}"] for field in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, weight, bias)

    def unit(x: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.conv.weight"]
        return functional.relu(norm(functional.conv2d(x, weight, padding=weight.shape[-1] // 2), f"{name}.bn"))

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        y = functional.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = functional.relu(norm(y, f"{name}.bn1"))
        y = norm(functional.conv2d(y, weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
        if f"{name}.downsample.0.weight" in weights:
            x = functional.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride)
            x = norm(x, f"{name}.downsample.1")
        return functional.relu(x + y)

    def mean(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def attend(x: Tensor, name: str) -> Tensor:
        y = unit(x, f"{name}.conv")
        gate = norm(functional.conv2d(mean(y), weights[f"{name}.conv_atten.weight"]), f"{name}.bn_atten")
        return y * gate.sigmoid()

    def grown(x: Tensor, like: Tensor) -> Tensor:
        return functional.interpolate(x, like.shape[2:], mode="nearest")

    trunk = "cp.resnet"
    x = functional.conv2d(image, weights[f"{trunk}.conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(functional.relu(norm(x, f"{trunk}.bn1")), 3, 2, 1)
    levels = []
    for layer in range(1, 5):
        x = block(block(x, f"{trunk}.layer{layer}.0", 1 if layer == 1 else 2), f"{trunk}.layer{layer}.1", 1)
        levels.append(x)
    eighth, sixteenth, last = levels[1:]
    context = attend(last, "cp.arm32") + unit(mean(last), "cp.conv_avg")
    context = unit(grown(context, sixteenth), "cp.conv_head32")
    context = unit(grown(context + attend(sixteenth, "cp.arm16"), eighth), "cp.conv_head16")
    fused = unit(torch.cat([eighth, context], 1), "ffm.convblk")
    gate = functional.relu(functional.conv2d(mean(fused), weights["ffm.conv1.weight"]))
    fused = fused + fused * functional.conv2d(gate, weights["ffm.conv2.weight"]).sigmoid()
    logits = functional.conv2d(unit(fused, "conv_out.conv"), weights["conv_out.conv_out.weight"])
    return functional.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=True)

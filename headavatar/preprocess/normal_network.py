"""Normals of the face by a network: ResNet-18 down, convolutions up, skips that can be switched off.

Source: Abrevaya, Boukhayma, Torr and Boyer, Cross-modal Deep Face Normals with Deactivable Skip Connections, CVPR 2020,
section 3; the window is that of Grassal et al., Neural Head Avatars from Monocular RGB Videos, CVPR 2022.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from headavatar.head.landmarks import MEDIAPIPE_TO_68
from headavatar.pretrained import face_normals
from headavatar.scene import Array

SIDE = 256
WINDOW = 1.2
"""Side of the square that the network sees, in longer sides of the box around the 68 landmarks."""
_SKIPS = (512, 512, 256, 256, 128)
"""Channels of each step of the decoder that no skip meets; the rest takes the larger of itself and the skip."""


class NormalNetwork:
    """The network with the weights that the user added.

    Raises:
        ModelError: there are none, or they are damaged.
    """

    def __init__(self) -> None:
        self.weights = face_normals.load()

    def run(self, frame: Array, points: Array, matte: Array) -> Array:
        """A face's normals.

        Args:
            frame: (H, W, 3) uint8 RGB.
            points: (478, 3) landmarks, pixels.
            matte: (H, W) float in [0, 1]: there are no normals off the person.
        Returns:
            (H, W, 3) uint8, normal * 0.5 + 0.5 in camera space with x right, y up, z to the viewer; 0 where there are
            none.
        """
        marks = points[list(MEDIAPIPE_TO_68), :2]
        low, high = marks.min(0), marks.max(0)
        side = WINDOW * float((high - low).max())
        corner = (low + high) / 2 - side / 2
        scale = SIDE / side
        # pixel centers lie at +0.5 here and at whole numbers for cv2
        shift = 0.5 * scale - 0.5 - corner * scale
        view = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        close = cv2.warpAffine(frame, view, (SIDE, SIDE), flags=method, borderMode=cv2.BORDER_REPLICATE)
        picture = torch.from_numpy(close.transpose(2, 0, 1)[None].copy()).float() / 255
        with torch.inference_mode():
            normals = functional.normalize(network(picture, self.weights), dim=1)[0].permute(1, 2, 0).numpy()
        size = (frame.shape[1], frame.shape[0])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = np.asarray(cv2.warpAffine(normals, view, size, flags=flags))
        length = np.linalg.norm(back, axis=2)
        seen = (length > 0.5) & (matte > 0.5)
        picture_of = np.round((back / np.maximum(length, 1e-6)[..., None] * 0.5 + 0.5) * 255)
        return np.where(seen[..., None], picture_of, 0).astype(np.uint8)


def network(image: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Normals (1, 3, H, W), of any length, of an image (1, 3, H, W) in [0, 1]; sides are multiples of 32."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.weight"]
        return functional.relu(functional.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2))

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            weights[f"{name}.{field}"] for field in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, weight, bias)

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        y = functional.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
        y = functional.conv2d(functional.relu(norm(y, f"{name}.bn1")), weights[f"{name}.conv2.weight"], padding=1)
        if f"{name}.downsample.0.weight" in weights:
            x = functional.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride)
            x = norm(x, f"{name}.downsample.1")
        return functional.relu(norm(y, f"{name}.bn2") + x)

    skips = [conv(conv(image, "conv_original_size0.0"), "conv_original_size1.0")]
    x = functional.conv2d(image, weights["layer0.0.weight"], stride=2, padding=3)
    x = functional.relu(norm(x, "layer0.1"))
    skips.append(conv(x, "layer0_1x1.0"))
    x = functional.max_pool2d(x, 3, 2, 1)
    for layer, prefix in enumerate(("layer1.1", "layer2", "layer3", "layer4"), 1):
        x = block(block(x, f"{prefix}.0", 1 if layer == 1 else 2), f"{prefix}.1", 1)
        skips.append(conv(x, f"layer{layer}_1x1.0"))
    x = skips.pop()
    for name, free in zip(("conv_up3", "conv_up2", "conv_up1", "conv_up0", "conv_original_size2"), _SKIPS, strict=True):
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = conv(torch.cat([x[:, :free], torch.maximum(x[:, free:], skips.pop())], 1), f"{name}.0")
    return functional.conv2d(x, weights["conv_last.weight"], weights["conv_last.bias"])

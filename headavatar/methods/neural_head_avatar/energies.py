"""What a picture of the mesh is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

LIDS = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
        263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)  # fmt: skip
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
        78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)  # fmt: skip
"""MediaPipe's points along the edges of lids and lips."""


def masked_l1(seen: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Mean absolute difference over the pixels that count.

    Args:
        seen, truth: (B, H, W, C) or (B, H, W).
        counted: (B, H, W) in {0, 1}.
    """
    difference = (seen - truth).abs()
    if difference.ndim == 4:
        difference = difference.mean(-1)
    return (difference * counted).sum() / counted.sum().clamp_min(1)


def landmark_distance(pixels: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance of landmarks in shares of the face's height, each frame's common shift left out.

    Args:
        pixels: (B, L, 2) on the mesh.
        wanted: (B, L, 2) in the picture; not finite where a frame has none.
    Source: Grassal et al. 2022, section 4.1, landmarks and closed eyes.
    """
    known = torch.isfinite(wanted).all(-1).all(-1)
    if not known.any():
        return pixels.sum() * 0
    pixels, wanted = pixels[known], wanted[known]
    size = (wanted.amax(1) - wanted.amin(1)).amax(-1)[:, None, None].clamp_min(1)
    return ((pixels - wanted).abs() / size).mean()


def normal_laplacian(normals: Tensor, mask: Tensor) -> Tensor:
    """A normal map less its blur: wrinkles and edges without the large shape, which networks guess badly.

    Args:
        normals: (B, H, W, 3).
        mask: (B, H, W) in {0, 1}, what counts in the blur.
    Returns:
        (B, H, W, 3), 0 outside the mask.
    Source: Grassal et al. 2022, equation 9; there a Gaussian of σ = max(H, W) / 50, here a box of the same variance.
    """
    radius = max(1, round(max(mask.shape[1:]) / 50 * 3**0.5))
    edge = 2 * radius + 1
    stacked = torch.cat([normals * mask[..., None], mask[..., None]], -1).permute(0, 3, 1, 2)
    blurred = avg_pool2d(stacked, edge, 1, radius).permute(0, 2, 3, 1)
    return (normals - blurred[..., :3] / blurred[..., 3:].clamp_min(1e-4)) * mask[..., None]

"""What a picture of the mesh is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ...head.landmarks import EYE_LEFT, EYE_RIGHT, LIDS_LEFT, LIDS_RIGHT

LIDS = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
        263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)  # fmt: skip
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
        78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)  # fmt: skip
"""MediaPipe's points along the edges of lids and lips."""
SHUT = 0.3
"""A gap of this share of the usual one counts as none: landmarks of closed lids never touch."""


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


def apertures(points: Tensor) -> Tensor:
    """How far eyes are open: the mean gap of the lids in shares of the eye's width.

    Args:
        points: (T, 478, 2 or 3) of a picture or a mesh.
    Returns:
        (T, 2) right and left.
    """
    found = []
    for pairs, ring in ((LIDS_RIGHT, EYE_RIGHT), (LIDS_LEFT, EYE_LEFT)):
        width = (points[:, ring[0]] - points[:, ring[8]]).norm(dim=-1).clamp_min(1e-9)
        gaps = torch.stack([(points[:, upper] - points[:, lower]).norm(dim=-1) for upper, lower in pairs], -1)
        found.append(gaps.mean(-1) / width)
    return torch.stack(found, 1)


def closedness(points: Tensor) -> Tensor:
    """(T, 2) 1 where an eye is closed, 0 from a quarter open on, by the landmarks (T, 478, 2) of a clip's pictures.

    An eye is open as on the clip's median; where a frame has no landmarks nothing is closed.
    """
    open_by = apertures(points)
    usual = open_by.nanmedian(0).values.clamp_min(1e-9)
    return (1 - 4 * (open_by / usual - SHUT).clamp_min(0)).clamp_min(0).nan_to_num(0.0)


def closed_energy(points: Tensor, closed: Tensor) -> Tensor:
    """How far lids gape that should touch.

    Args:
        points: (B, 478, 3) landmarks on the mesh, meters.
        closed: (B, 2) of `closedness`.
    Returns:
        () mean over eyes of closedness times the mean squared gap, mm².
    Source: Grassal et al. 2022, section 3.4, the eye-closed term.
    """
    gaps = []
    for pairs in (LIDS_RIGHT, LIDS_LEFT):
        ends = torch.tensor(pairs, device=points.device)
        gap = (points[:, ends[:, 0]] - points[:, ends[:, 1]]) * 1000
        gaps.append(gap.square().sum(-1).mean(-1))
    return (torch.stack(gaps, 1) * closed).mean()


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
    # a box is two strips: 38 readings of a pixel instead of 361 at 256 pixels
    blurred = avg_pool2d(avg_pool2d(stacked, (edge, 1), 1, (radius, 0)), (1, edge), 1, (0, radius)).permute(0, 2, 3, 1)
    return (normals - blurred[..., :3] / blurred[..., 3:].clamp_min(1e-4)) * mask[..., None]

"""Two ways to let pictures move outlines, fitted side by side: why `ops.antialias` is the one that was kept."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from headavatar import head, ops
from headavatar.head.subdivide import subdivided
from headavatar.head.surface import normals
from headavatar.methods.neural_head_avatar.smoothing import Smoother

SIZE = 192
STEPS = 90
YAWS_RAD = (-1.2, -0.6, 0.0, 0.6, 1.2)


class ScreenGradient(torch.autograd.Function):
    """The screen-space image gradient: what a surface's motion on the picture changes is read off the picture.

    Where the surface moves by d, the picture changes by minus its own gradient times d. Source: P.-W. Grassal et al.,
    Neural Head Avatars from Monocular RGB Videos, 2022, section 3.3.
    """

    @staticmethod
    def forward(ctx, picture: Tensor, places: Tensor) -> Tensor:
        """picture (B, H, W, C), and where on it each pixel's point of the surface is (B, H, W, 2)."""
        ctx.save_for_backward(picture)
        return picture.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        (picture,) = ctx.saved_tensors
        along_x, along_y = torch.zeros_like(picture), torch.zeros_like(picture)
        along_x[:, :, 1:-1] = (picture[:, :, 2:] - picture[:, :, :-2]) / 2
        along_y[:, 1:-1] = (picture[:, 2:] - picture[:, :-2]) / 2
        return grad, -torch.stack(((grad * along_x).sum(-1), (grad * along_y).sum(-1)), -1)


def by_screen_gradient(fragments: ops.Fragments, pixels: Tensor, faces: Tensor) -> Tensor:
    fixed = ops.Fragments(fragments.face_index, fragments.bary.detach(), fragments.depth.detach())
    mask = fragments.mask[..., None].float()
    return ScreenGradient.apply(mask, ops.interpolate(pixels[..., :2].contiguous(), faces, fixed))


def by_antialiasing(fragments: ops.Fragments, pixels: Tensor, faces: Tensor) -> Tensor:
    return ops.antialias(fragments.mask[..., None].float(), fragments, pixels, faces)


def seen_from(points: Tensor, yaw: float) -> Tensor:
    """(V, 3) pixels and depth of a head in the middle of the picture."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=points.dtype)
    camera = (points @ turn.T) * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.0, 0.0, 1.0])
    return torch.cat((camera[:, :2] / camera[:, 2:] * (2.4 * SIZE) + SIZE / 2, camera[:, 2:]), 1)


def hard_mask(points: Tensor, faces: Tensor, yaw: float) -> Tensor:
    return ops.rasterize(seen_from(points, yaw), faces, SIZE, SIZE).mask


def intersection_over_union(points: Tensor, other: Tensor, faces: Tensor) -> float:
    masks = [torch.stack([hard_mask(p, faces, yaw) for yaw in YAWS_RAD]) for p in (points, other)]
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def blurred(mask: Tensor, sigma: float) -> Tensor:
    """(B, H, W, 1) masks blurred, as the paper compares them."""
    if sigma == 0:
        return mask
    offsets = torch.arange(-int(3 * sigma), int(3 * sigma) + 1)
    row = torch.exp(-0.5 * (offsets / sigma) ** 2)
    row = row / row.sum()
    planes = mask.permute(0, 3, 1, 2)
    planes = torch.nn.functional.conv2d(planes, row.view(1, 1, 1, -1), padding=(0, len(row) // 2))
    return torch.nn.functional.conv2d(planes, row.view(1, 1, -1, 1), padding=(len(row) // 2, 0)).permute(0, 2, 3, 1)


def fitted(way, start: Tensor, truth: Tensor, faces: Tensor, smoother: Smoother, sigma: float, generator):
    """The points after fitting their outlines to those of `truth`, and CPU seconds of a step's drawing."""
    latent = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([latent], lr=3e-3, betas=(0.9, 0.9))
    targets = {yaw: by_antialiasing(
        ops.rasterize(p := seen_from(truth, yaw)[None], faces, SIZE, SIZE), p, faces) for yaw in YAWS_RAD}  # fmt: skip
    spent = 0.0
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / STEPS)
        yaw = YAWS_RAD[int(torch.randint(len(YAWS_RAD), (1,), generator=generator))]
        offset = smoother.solve(latent)
        pixels = seen_from(start + offset, yaw)[None]
        before = time.process_time()
        drawn = way(ops.rasterize(pixels.detach(), faces, SIZE, SIZE), pixels, faces)
        (along,) = torch.autograd.grad(
            (blurred(drawn, sigma) - blurred(targets[yaw], sigma)).abs().mean() * SIZE, pixels
        )  # fmt: skip
        spent += time.process_time() - before
        optimizer.zero_grad()
        pixels.backward(along)
        optimizer.step()
    return (start + smoother.solve(latent)).detach(), spent / STEPS


@pytest.mark.slow
def test_antialiasing_fits_outlines_at_least_as_well_as_the_screen_gradient():
    seed = torch.seed() % 2**31
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    model = subdivided(head.load())
    start, faces = model.template.clone(), model.faces
    start = start - (start.amax(0) + start.amin(0)) / 2
    smoother = Smoother(faces, len(start), 30.0)
    outward = torch.from_numpy(np.asarray(normals(start.numpy(), faces.numpy()), dtype=np.float32))
    bumps = smoother.solve(torch.randn(len(start), 1, generator=generator)) * 0.05
    hair = 0.02 * torch.sigmoid((start[:, 1:2] - 0.03) / 0.01)
    truth = start + outward * (hair + bumps)
    before = intersection_over_union(start, truth, faces)
    found = {}
    for sigma in (0.0, 2.0):
        for way in (by_antialiasing, by_screen_gradient):
            points, seconds = fitted(way, start, truth, faces, smoother, sigma, generator)
            found[way.__name__, sigma] = intersection_over_union(points, truth, faces)
            print(f"{way.__name__} sigma {sigma}: IoU {before:.4f} -> {found[way.__name__, sigma]:.4f}, "
                  f"{1e3 * seconds:.1f} ms a step")  # fmt: skip
    assert found["by_antialiasing", 0.0] > 0.97
    assert found["by_screen_gradient", 0.0] < before + 0.05  # pixels beside the outline see no surface to pull
    assert found["by_antialiasing", 2.0] > found["by_screen_gradient", 2.0] - 0.002

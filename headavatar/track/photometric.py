"""Sharpen the rigid pose of every frame by the picture itself.

The training frames say which color each point of the head's surface has; then the rotation and translation of every
frame move until the picture shows those colors where the points project, and the colors are gathered anew. Each round
is Gauss-Newton on all frames at once, robust against what moves by itself, with the landmarks' pose as a weak anchor
and a mild prior on smooth motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from headavatar.head.rotations import matrix_to_axis_angle
from headavatar.scene import PARSING_CLASSES, Array
from headavatar.track.frames import Changed, Frames
from headavatar.track.gauss_newton import add_smoothness, solve_frames
from headavatar.track.landmark_fit import (
    Motion,
    advance,
    cross_jacobian,
    project,
    projection_jacobian,
    rotation_steps,
)
from headavatar.track.settings import PhotometricStep
from headavatar.track.surfels import Surfels, seen_by_view

CHUNK = 24
HEAD_CLASSES = ("hair", "body_skin", "face_skin", "other")
_GAIN_PRIOR = 0.02
_SWEEPS = 3
_TOE = 0.05
"""Added to colors before their logarithm is taken, so that noise in the dark does not count."""
_MAX_STEP = torch.tensor([0.05, 0.05, 0.05, 0.01, 0.01, 0.03], dtype=torch.float64)


@dataclass(frozen=True)
class Pictures:
    """Frames as the solver reads them.

    Attributes:
        images: (T, H, W, 3) uint8, read when indexed.
        trust: (T, H, W) uint8, 255 where a pixel shows the head, made when indexed.
        focal: pixels at this size.
        center: (2,) principal point, pixels at this size.
        times_s: (T,).
    """

    images: Frames
    trust: Frames
    focal: float
    center: Tensor
    times_s: Tensor

    @staticmethod
    def head_pixels(parsing: Frames, valid: Array) -> Frames:
        """(T, H, W) uint8 trust from parsing indices and the clip's valid pixels, kept clear of the outline."""
        of_class = np.array([255 * (name in HEAD_CLASSES) for name in PARSING_CLASSES], np.uint8)
        shown = valid.astype(np.uint8)
        kernel = np.ones((5, 5), np.uint8)  # pictures of 256 pixels bleed over their outline by two

        def trusted(classes: Array) -> Array:
            return np.asarray(cv2.erode(of_class[classes] * shown, kernel))

        return Changed(parsing, trusted, parsing.shape[1:])

    def blurred(self, sigma: float, scale: float) -> Pictures:
        """The same pictures blurred, and smaller by `scale`."""
        height, width = (int(round(n * scale)) for n in self.images.shape[1:3])

        def smaller(image: Array) -> Array:
            return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))

        def blurred(image: Array) -> Array:
            image = image if scale == 1 else smaller(image)
            return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma)) if sigma > 0 else image

        return Pictures(
            Changed(self.images, blurred, (height, width, 3)),
            self.trust if scale == 1 else Changed(self.trust, smaller, (height, width)),
            self.focal * scale, self.center * scale, self.times_s,
        )  # fmt: skip


@dataclass(frozen=True)
class Anchor:
    """Where the landmarks hold a pose: the motion they gave, and its information (T, 6, 6)."""

    motion: Motion
    information: Tensor


@dataclass(frozen=True)
class Colors:
    """What the surfels look like.

    Attributes:
        mean: (N, 3) logarithms of the colors, a toe added, under light that is the same everywhere.
        confidence: (N,) in [0, 1], how much was seen of each.
        light: (9, 3) added to the logarithm by the direction that a surfel faces in world space, in spherical
            harmonics: the lamps stay where they are while the head turns.
    """

    mean: Tensor
    confidence: Tensor
    light: Tensor

    def expected(self, harmonics: Tensor) -> Tensor:
        """(B, N, 3) colors in [0, 1] that frames should show, of surfels that face as the (B, N, 9) harmonics say."""
        return (self.mean + harmonics @ self.light).exp() - _TOE


@dataclass(frozen=True)
class _View:
    """Surfels as B frames see them: world points and arms (B, N, 3), pixels (B, N, 2), weights (B, N), (B, N, 9)."""

    world: Tensor
    arm: Tensor
    pixels: Tensor
    weight: Tensor
    harmonics: Tensor


class PhotometricFit:
    """Refines rigid poses.

    Args:
        surfels: of the person.
        pictures: all frames.
        vertices: (V, 3) the person's head at rest, head space.
        faces: (F, 3).
        train: (T,) bool, frames that may give colors.
        anchor: the landmarks' say.
    """

    def __init__(
        self, surfels: Surfels, pictures: Pictures, vertices: Tensor, faces: Tensor, train: Tensor, anchor: Anchor
    ) -> None:
        self.surfels, self.pictures, self.train, self.anchor = surfels, pictures, train, anchor
        self.seen, self.view = seen_by_view(surfels, vertices, faces, anchor.motion.rotation, anchor.motion.translation)

    def run(self, motion: Motion, step: PhotometricStep) -> tuple[Motion, Tensor, Tensor]:
        """One round: gather colors at this blur, then move the poses.

        Returns:
            the motion, and every frame's PSNR (T,) against the same colors before and after.
        """
        pictures = self.pictures.blurred(step.blur_px, step.scale)
        colors = self.gather(pictures, motion)
        before = self.psnr(pictures, motion, colors)
        for _ in range(step.iterations):
            motion = self._move(pictures, motion, colors, step)
        return motion, before, self.psnr(pictures, motion, colors)

    def _views(self, motion: Motion, pictures: Pictures, frames: slice) -> _View:
        rotation = motion.rotation[frames]
        points = self.surfels.surface.points(self.surfels.shape, self.anchor.motion.expression[frames])
        arm = points @ rotation.transpose(1, 2)
        world = arm + motion.translation[frames, None]
        toward = -torch.nn.functional.normalize(world, dim=-1)
        normals = self.surfels.normals @ rotation.transpose(1, 2)
        facing = (normals * toward).sum(-1)
        pixels = project(world, pictures.focal, pictures.center)
        weight = self.seen[self.view[frames]] * ((facing - 0.15) / 0.85).clamp(min=0)
        trust = torch.from_numpy(pictures.trust[frames]).float()[:, None] / 255
        weight = weight * (sample(trust, pixels)[:, 0] > 0.9)
        return _View(world, arm, pixels, weight * self.surfels.rigidity, harmonics(normals))

    def gather(self, pictures: Pictures, motion: Motion) -> Colors:
        """The colors and the light that the training frames agree on, robustly, each frame's exposure evened out."""
        count = len(self.surfels)
        colors = Colors(torch.zeros(count, 3), torch.zeros(count), torch.zeros(9, 3))
        for sweep in range(_SWEEPS):
            total, heap = torch.zeros(count), torch.zeros(count, 3)
            basis_heap, basis_square = torch.zeros(count, 8), torch.zeros(8, 8)
            mixed = torch.zeros(8, 3)
            for frames in chunks(len(motion)):
                kept = self.train[frames]
                if not kept.any():
                    continue
                view = self._views(motion, pictures, frames)
                seen = sample(images_of(pictures, frames), view.pixels).transpose(1, 2)
                weight = view.weight * kept[:, None]
                if sweep:
                    expected = colors.expected(view.harmonics)
                    gain, bias = exposure(expected, seen, weight)
                    seen = (seen - bias[:, None]) / gain[:, None]
                    weight = weight * cauchy(seen - expected, 0.06)
                tone = (seen.clamp(min=0) + _TOE).log()
                heap += (weight[..., None] * tone).sum(0)
                total += weight.sum(0)
                turned = view.harmonics[..., 1:]
                weighted = weight[..., None] * turned
                basis_heap += weighted.sum(0)
                basis_square += weighted.flatten(0, 1).T @ turned.flatten(0, 1)
                mixed += weighted.flatten(0, 1).T @ tone.flatten(0, 1)
            some = total.clamp(min=1e-6)[:, None]
            # every surfel's own color is eliminated: the light is what is left when the same skin turns in it
            matrix = basis_square - basis_heap.T @ (basis_heap / some)
            right = mixed - basis_heap.T @ (heap / some)
            prior = 1e-3 * basis_square.trace() / 8 * torch.eye(8)
            light = torch.cat([torch.zeros(1, 3), torch.linalg.solve(matrix + prior, right)])
            mean = (heap - basis_heap @ light[1:]) / some
            colors = Colors(mean, (total / (0.02 * float(self.train.sum()))).clamp(max=1), light)
        return colors

    def _move(self, pictures: Pictures, motion: Motion, colors: Colors, step: PhotometricStep) -> Motion:
        blocks, gradient = [], []
        for frames in chunks(len(motion)):
            block, slope = self._normal(pictures, motion, colors, frames, step.robust)
            blocks.append(block)
            gradient.append(slope)
        system, slope = torch.cat(blocks), torch.cat(gradient)
        information = self.anchor.information * step.anchor
        system = system + information
        away = torch.cat(
            [matrix_to_axis_angle(motion.rotation @ self.anchor.motion.rotation.transpose(1, 2)),
             motion.translation - self.anchor.motion.translation], 1
        ).double()  # fmt: skip
        slope = slope + (information @ away[..., None])[..., 0]
        system.diagonal(dim1=1, dim2=2).mul_(1 + 1e-3)
        bands = torch.zeros(len(motion), 3, 6, dtype=torch.float64)
        strength = torch.tensor([step.smooth_rotation] * 3 + [step.smooth_translation] * 3, dtype=torch.float64)
        shifts = motion.translation[1:] - motion.translation[:-1]
        differences = torch.cat([rotation_steps(motion.rotation), shifts], 1).double()
        add_smoothness(bands, slope, torch.zeros_like(slope), strength, self.pictures.times_s, differences)
        return advance(motion, solve_frames(system, bands, slope).clamp(-_MAX_STEP, _MAX_STEP))

    def _normal(
        self, pictures: Pictures, motion: Motion, colors: Colors, frames: slice, robust: float
    ) -> tuple[Tensor, Tensor]:
        view = self._views(motion, pictures, frames)
        pixels, images = view.pixels, images_of(pictures, frames)
        seen = sample(images, pixels).transpose(1, 2)
        weight = view.weight * colors.confidence
        expected = colors.expected(view.harmonics)
        gain, bias = exposure(expected, seen, weight)
        residual = seen - (expected * gain[:, None] + bias[:, None])
        weight = weight * cauchy(residual, robust) / robust**2
        step = 0.75
        across = torch.tensor([step, 0.0])
        down = torch.tensor([0.0, step])
        by_x = (sample(images, pixels + across) - sample(images, pixels - across)).transpose(1, 2) / (2 * step)
        by_y = (sample(images, pixels + down) - sample(images, pixels - down)).transpose(1, 2) / (2 * step)
        slopes = torch.stack([by_x, by_y], -1)
        by_point = projection_jacobian(view.world, pictures.focal)
        jacobian = torch.cat([cross_jacobian(by_point, view.arm), by_point], -1)
        rows = slopes @ jacobian  # (B, N, 3 colors, 6)
        weighted = (rows * weight[..., None, None]).flatten(1, 2)
        block = weighted.transpose(1, 2) @ rows.flatten(1, 2)
        slope = weighted.transpose(1, 2) @ residual.flatten(1)[..., None]
        return block.double(), slope[..., 0].double()

    def psnr(self, pictures: Pictures, motion: Motion, colors: Colors) -> Tensor:
        """(T,) PSNR of the surfels' colors against the pictures, exposure evened out."""
        errors = []
        for frames in chunks(len(motion)):
            view = self._views(motion, pictures, frames)
            weight = view.weight * colors.confidence
            seen = sample(images_of(pictures, frames), view.pixels).transpose(1, 2)
            expected = colors.expected(view.harmonics)
            gain, bias = exposure(expected, seen, weight)
            squared = (seen - (expected * gain[:, None] + bias[:, None])).square().mean(-1)
            errors.append((weight * squared).sum(1) / weight.sum(1).clamp(min=1e-6))
        return -10 * torch.log10(torch.cat(errors).clamp(min=1e-8))


def chunks(frames: int) -> list[slice]:
    """Slices of at most CHUNK frames."""
    return [slice(i, min(i + CHUNK, frames)) for i in range(0, frames, CHUNK)]


def images_of(pictures: Pictures, frames: slice) -> Tensor:
    """(B, 3, H, W) float in [0, 1]."""
    return torch.from_numpy(pictures.images[frames]).permute(0, 3, 1, 2).float() / 255


def sample(images: Tensor, pixels: Tensor) -> Tensor:
    """(B, C, N) bilinear samples of (B, C, H, W) images at (B, N, 2) pixels, centers at +0.5."""
    size = torch.tensor([images.shape[3], images.shape[2]])
    grid = 2 * pixels / size - 1
    return torch.nn.functional.grid_sample(
        images, grid[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )[:, :, 0]


def cauchy(residual: Tensor, scale: float) -> Tensor:
    """Robust weight of (..., 3) color residuals."""
    return 1 / (1 + residual.square().sum(-1) / scale**2)


def harmonics(normals: Tensor) -> Tensor:
    """(..., 9) spherical harmonics up to the second order of unit vectors, without their constants."""
    x, y, z = normals.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)


def exposure(mean: Tensor, seen: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and bias (B, 3) that bring expected colors (B, N, 3) nearest to those seen (B, N, 3), held near 1 and 0."""
    weight = (weight / weight.sum(1, keepdim=True).clamp(min=1e-6))[..., None]
    x_mean, y_mean = (weight * mean).sum(1), (weight * seen).sum(1)
    x, y = mean - x_mean[:, None], seen - y_mean[:, None]
    variance = (weight * x * x).sum(1)
    gain = ((weight * x * y).sum(1) + _GAIN_PRIOR**2) / (variance + _GAIN_PRIOR**2)
    gain = gain.clamp(0.5, 2.0)
    return gain, y_mean - gain * x_mean

"""Surfels as frames see them: where they project, what they show there, and which of them the head itself hides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops.raster import rasterize
from headavatar.track.appearance import Glimpse, harmonics
from headavatar.track.landmark_fit import Motion, Person, project
from headavatar.track.pictures import Pictures, chunks, images_of, sample
from headavatar.track.surfels import Surfels
from headavatar.workers import in_order

CHUNK = 8
_RASTER = 128
_SLACK_M = 0.006
_LEAST_FACING = 0.15
_LEAST_TRUST = 0.9
_SLOPE_PX = 0.75

Result = TypeVar("Result")


@dataclass(frozen=True)
class View:
    """N surfels as B frames see them.

    Attributes:
        world, arm: (B, N, 3) places, in world space and from the head's origin.
        normals: (B, N, 3) directions that the surfels face, world space.
        pixels: (B, N, 2).
        images: (B, 3, H, W) the frames.
        glimpse: what they show.
    """

    world: Tensor
    arm: Tensor
    normals: Tensor
    pixels: Tensor
    images: Tensor
    glimpse: Glimpse

    def slopes(self) -> tuple[Tensor, Tensor]:
        """(B, N, 3) derivatives of the shown colors by the pixel's x and y."""
        across, down = torch.tensor([_SLOPE_PX, 0.0]), torch.tensor([0.0, _SLOPE_PX])
        ahead = sample(self.images, torch.cat([self.pixels + across, self.pixels + down], 1))
        behind = sample(self.images, torch.cat([self.pixels - across, self.pixels - down], 1))
        by_x, by_y = ((ahead - behind) / (2 * _SLOPE_PX)).transpose(1, 2).chunk(2, 1)
        return by_x, by_y


@dataclass(frozen=True)
class Look:
    """What stays the same while some frames are looked at.

    Attributes:
        surfels: N points.
        shape: (N, 3) their places at rest, relief included, head space.
        pictures: of the whole clip.
        frames: (n,) positions in the clip.
        seen: (n, N) bool: not hidden by the head itself.
        focal: pixels at the pictures' size.
    """

    surfels: Surfels
    shape: Tensor
    pictures: Pictures
    frames: Tensor
    seen: Tensor
    focal: float

    def view(self, motion: Motion, rows: slice) -> View:
        """The surfels in some rows of `frames`; `motion` is that of all n."""
        part = motion[rows]
        arm = self.surfels.surface.points(self.shape, part.expression) @ part.rotation.transpose(1, 2)
        world = arm + part.translation[:, None]
        normals = self.surfels.normals @ part.rotation.transpose(1, 2)
        facing = -(normals * torch.nn.functional.normalize(world, dim=-1)).sum(-1)
        pixels = project(world, self.focal, self.pictures.center)
        frames = self.frames[rows].numpy()
        trust = torch.from_numpy(self.pictures.trust[frames]).float()[:, None] / 255
        weight = self.seen[rows] * ((facing - _LEAST_FACING) / (1 - _LEAST_FACING)).clamp(min=0)
        weight = weight * (sample(trust, pixels)[:, 0] > _LEAST_TRUST)
        images = images_of(self.pictures, frames)
        colors = sample(images, pixels).transpose(1, 2)
        return View(world, arm, normals, pixels, images, Glimpse(colors, weight, harmonics(normals)))

    def each(
        self, motion: Motion, work: Callable[[slice, View], Result], given: Tensor | None = None
    ) -> Iterator[tuple[slice, Result]]:
        """What `work` makes of the frames, a few at a time and on all cores.

        Args:
            motion: of all n frames.
            work: from rows of `frames`, and the view of them.
            given: (T,) bool; rows where none is true are left out.
        """
        rows = chunks(len(self.frames), CHUNK)
        if given is not None:
            rows = [some for some in rows if given[self.frames[some]].any()]
        return in_order(lambda some: (some, work(some, self.view(motion, some))), rows)

    def glimpses(self, motion: Motion, given: Tensor, work: Callable[[Glimpse], Result]) -> Iterator[Result]:
        """What `work` makes of what the frames show of which (T,) bool `given` is true."""

        def of(rows: slice, view: View) -> Result:
            shown = view.glimpse
            weight = shown.weight * given[self.frames[rows]][:, None]
            return work(Glimpse(shown.colors, weight, shown.harmonics))

        return (found for _, found in self.each(motion, of, given))


def visible(
    head: HeadModel, person: Person, motion: Motion, surfels: Surfels, shape: Tensor, pictures: Pictures, focal: float
) -> Tensor:
    """(n, N) bool: surfels that the head as it is posed does not hide, by a raster of each frame's mesh.

    Args:
        head, person: whose mesh hides.
        motion: of n frames.
        surfels: N points.
        shape: (N, 3) their places at rest, head space.
        pictures: whose camera looks.
        focal: pixels at the pictures' size.
    """
    rows, columns = pictures.images.shape[1:3]
    scale = _RASTER / columns
    height = round(rows * scale)
    focal, center = focal * scale, pictures.center * scale

    def of(frames: slice) -> Tensor:
        part = motion[frames]
        turn = part.rotation.transpose(1, 2)
        world = head.vertices(person.identity, part.expression) @ turn + part.translation[:, None]
        points = surfels.surface.points(shape, part.expression) @ turn + part.translation[:, None]
        screen = torch.cat([project(world, focal, center), -world[..., 2:]], -1)
        pixels = project(points, focal, center).long()
        seen = torch.zeros(len(part), len(surfels), dtype=torch.bool)
        for k in range(len(part)):
            depth = rasterize(screen[k], head.faces, height, _RASTER).depth
            front = depth[pixels[k, :, 1].clamp(0, height - 1), pixels[k, :, 0].clamp(0, _RASTER - 1)]
            seen[k] = (-points[k, :, 2] < front + _SLACK_M) | (front <= 0)
        return seen

    return torch.cat(list(in_order(of, chunks(len(motion), CHUNK))))

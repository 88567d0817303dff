"""What cuts the volume: rays of training, which must not take away what a further turn of the head shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from headavatar.methods.nerf_blendshape import unseen
from headavatar.methods.nerf_blendshape.marching import ray_light
from headavatar.methods.nerf_blendshape.occupancy import LAYER, Sight
from headavatar.methods.nerf_blendshape.rays import Cube
from headavatar.methods.nerf_blendshape.sightings import Sightings
from headavatar.methods.nerf_blendshape.unseen import completed
from headavatar.scene import Camera, HeadParams, RenderOutput

GRID = 32


def seen_from_the_front(rng: np.random.Generator, wall: int) -> Sight:
    """Rays along -z that end at an opaque wall; every voxel before it is passed by, none behind it is reached."""
    sight = Sight(GRID, "cpu")
    places = np.stack(np.meshgrid(*(np.arange(GRID),) * 3, indexing="ij"), -1).reshape(-1, 3)
    at, before = places[:, 2] == wall, places[:, 2] >= wall
    positions = torch.from_numpy((places + rng.uniform(0.1, 0.9, places.shape)) / GRID).float()
    sight.add(positions, torch.from_numpy(at).float(), torch.from_numpy(before).float())
    return sight


def test_below_hair_a_layer_stays_that_no_ray_reached(rng: np.random.Generator) -> None:
    wall, margin, border = int(rng.integers(10, 25)), int(rng.integers(1, 3)), int(rng.integers(8, 24))
    hairy = torch.zeros(GRID, GRID, GRID, dtype=torch.bool)
    hairy[:border] = True
    kept = seen_from_the_front(rng, wall).cut(torch.ones_like(hairy), margin, hairy)
    depths = torch.arange(GRID)
    near = (depths - wall).abs() <= margin
    # One voxel behind the wall neighbors one that light reached, but lies within any margin.
    below = near | ((depths < wall) & (depths >= wall - LAYER))
    assert torch.equal(kept[0, 0], below)
    assert torch.equal(kept[-1, 0], near)


def test_what_rays_passed_through_goes_even_where_hair_can_be(rng: np.random.Generator) -> None:
    wall = int(rng.integers(5, 20))
    everywhere = torch.ones(GRID, GRID, GRID, dtype=torch.bool)
    kept = seen_from_the_front(rng, wall).cut(everywhere, 1, everywhere)
    assert not kept[..., wall + 2 :].any()


def test_light_falls_along_each_ray_by_what_lies_before(rng: np.random.Generator) -> None:
    counts = rng.integers(0, 6, 5)
    optical = rng.exponential(0.5, counts.sum())
    offsets = np.concatenate([[0], counts.cumsum()])
    light = ray_light(
        torch.from_numpy(optical).float(), torch.from_numpy(np.repeat(np.arange(5), counts)).int(),
        torch.from_numpy(offsets),
    )  # fmt: skip
    wanted = np.concatenate(
        [np.exp(-(optical[a:b].cumsum() - optical[a:b])) for a, b in zip(offsets, offsets[1:], strict=False)]
    )
    np.testing.assert_allclose(light.numpy(), wanted, rtol=1e-5)


class Wall:
    """An avatar whose pictures show an opaque wall across the cube, seen by a camera on the axis z; see `Avatar`."""

    def __init__(self, occupied: torch.Tensor, wall: int) -> None:
        self.occupied, self.cube, self.wall_z = occupied, Cube(np.zeros(3, np.float32), 1.0), wall / GRID - 0.5

    def moved_by(self, params: HeadParams) -> None:
        return None

    def render(self, params: HeadParams, camera: Camera, background: tuple[float, float, float]) -> RenderOutput:
        size = camera.height, camera.width
        depth = np.full(size, AWAY - self.wall_z, np.float32)
        return RenderOutput(np.ones((*size, 3), np.float32), np.ones(size, np.float32), depth, lambda: depth)


AWAY = 20.0


def looked_at_a_wall(wall: int, chin_y: float, counted: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three voxels' depth of wall, of which the lowest quarter is missing; what is completed, and what was there."""
    occupied = torch.zeros(GRID, GRID, GRID, dtype=torch.bool)
    occupied[:, GRID // 4 :, wall - 1 : wall + 2] = True
    view = np.diag([1.0, -1.0, -1.0, 1.0])  # the camera's y points down and its z away from it
    view[2, 3] = AWAY
    size = counted.shape[1]
    K = np.array([[0.9 * AWAY * size, 0, size / 2], [0, 0.9 * AWAY * size, size / 2], [0, 0, 1.0]])
    params = HeadParams.neutral(1, np.zeros(4, np.float32))
    bare = torch.ones_like(occupied)
    avatar: Any = Wall(occupied, wall)
    seen = Sightings.of(avatar, params, Camera(K, size, size, view), counted)
    found = completed(occupied, seen, bare, chin_y)
    return *found, occupied


def test_behind_skin_voxels_back_it_that_no_picture_shows(rng: np.random.Generator) -> None:
    wall = int(rng.integers(12, 26))
    now, backing, before = looked_at_a_wall(wall, -1.0, np.ones((1, 2 * GRID, 2 * GRID), bool))
    assert torch.equal(now, before)
    depths = torch.arange(GRID)
    behind = (depths < wall - 1) & (depths >= wall - 1 - unseen.LAYER)
    assert torch.equal(backing[GRID // 2, GRID // 2], behind)
    assert not backing[:, :, wall + 2 :].any()


def test_a_neck_goes_on_where_clothes_always_covered_it(rng: np.random.Generator) -> None:
    wall = int(rng.integers(12, 26))
    counted = np.ones((1, 2 * GRID, 2 * GRID), bool)
    for covered in (False, True):
        if covered:
            counted[:, int(1.2 * GRID) :] = False  # the picture's lower part
        now, backing, before = looked_at_a_wall(wall, 0.0, counted)
        column = now[GRID // 2, :, wall + 1] & ~before[GRID // 2, :, wall + 1]
        expected = torch.zeros(GRID, dtype=torch.bool)
        if covered:
            expected[GRID // 4 - unseen.NECK : GRID // 4] = True
        assert torch.equal(column, expected)
        assert not (backing & now).any()

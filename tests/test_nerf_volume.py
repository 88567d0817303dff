"""What cuts the volume: rays of training, which must not take away what a further turn of the head shows."""

from __future__ import annotations

import numpy as np
import torch

from headavatar.methods.nerf_blendshape.marching import ray_light
from headavatar.methods.nerf_blendshape.occupancy import LAYER, Sight

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

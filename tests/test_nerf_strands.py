"""Strands that are made up where no frame shows hair: as strong as those seen, fixed to the head, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from small_fit import frontal, trained

from headavatar.methods.nerf_blendshape import strands
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.proxy import Proxy
from headavatar.methods.nerf_blendshape.rays import Cube
from headavatar.methods.nerf_blendshape.sightings import Sightings
from headavatar.scene import Array, Camera, Clip

SIZE = 160


def pictures(rng: np.random.Generator, differ: float) -> tuple[Array, Sightings]:
    """Three pictures of shaded hair whose streaks differ by that much, and where the hair is."""
    shade = gaussian_filter(rng.normal(size=(3, SIZE, SIZE)), (0, 30, 30), mode="wrap")
    streaks = gaussian_filter(rng.normal(size=(3, SIZE, SIZE)), (0, 12, 1), mode="wrap")
    brightness = np.log(0.3) + 0.1 * shade / shade.std() + differ * streaks / streaks.std()
    rgb = np.repeat((np.exp(brightness) - strands.DARK)[..., None], 3, 3).astype(np.float32)
    hair = np.zeros((3, SIZE, SIZE), bool)
    hair[:, 20:120, 20:140] = True
    rgb[~hair] = rng.uniform(0, 1, ((~hair).sum(), 3))  # skin, background and whatever is no hair
    whole = np.ones((3, SIZE, SIZE), np.float32)
    camera = Camera(np.array([[200.0, 0, 80], [0, 200.0, 80], [0, 0, 1]]), SIZE, SIZE)
    turn, shift = np.tile(np.eye(3, dtype=np.float32), (3, 1, 1)), np.zeros((3, 3), np.float32)
    cube = Cube(np.zeros(3, np.float32), 0.36)
    return hair, Sightings(turn, shift, camera, whole > 0, whole, whole, whole, rgb, cube, None)


def test_they_differ_as_much_as_those_that_were_seen(rng: np.random.Generator) -> None:
    differ = rng.uniform(0.06, 0.2)
    hair, seen = pictures(rng, differ)
    found = strands.amount(hair, seen)
    assert 0.6 * differ < found < 1.05 * differ  # what is broad of a streak counts as shade
    toward = rng.normal(size=(20000, 3))
    laid = torch.from_numpy(strands.laid(toward, np.zeros(3), np.full(20000, found)))
    made_up = strands.shading(laid[laid[:, 1].abs() < 0.9 * found]).log()  # at the crown and opposite it they fade
    assert abs(float(made_up.mean())) < 0.1 * found  # no darker or brighter on the whole
    assert 0.85 * found < float(made_up.std()) < 1.15 * found


def test_smooth_hair_gets_none_and_a_bald_head_neither(rng: np.random.Generator) -> None:
    hair, seen = pictures(rng, 0.0)
    assert strands.amount(hair, seen) < 0.02
    assert strands.amount(np.zeros_like(hair), seen) == 0.0
    points = rng.normal(size=(50, 3))
    none = strands.shading(torch.from_numpy(strands.laid(points, np.zeros(3), np.zeros(50))))
    assert torch.equal(none, torch.ones(50))


def test_they_run_down_from_the_crown(rng: np.random.Generator) -> None:
    """Neighbors along a strand are alike, neighbors across are not."""
    down, around = rng.uniform(0.8, 2.0, 4000), rng.uniform(-np.pi, np.pi, 4000)

    def brightness(down: Array, around: Array) -> Array:
        y, radius = np.cos(down), np.sin(down)
        toward = np.stack([radius * np.sin(around), y, radius * np.cos(around)], 1)
        found: Array = strands.shading(torch.from_numpy(toward.astype(np.float32))).log().numpy()
        return found

    here, step = brightness(down, around), 0.08
    along = brightness(down + step, around - strands.SWIRL * step)
    across = brightness(down, around + step)
    assert np.corrcoef(here, along)[0, 1] > 0.85
    assert np.corrcoef(here, across)[0, 1] < 0.5


@pytest.fixture(scope="module")
def clip() -> Clip:
    return frontal()


@pytest.fixture(scope="module")
def avatar(clip: Clip) -> NerfBlendshapeAvatar:
    return trained(clip, steps=60).avatar()


def test_faces_and_what_was_seen_stay_as_they_are(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    """Strands are laid on the whole proxy, faces too; the field in front of it does not change."""
    proxy = avatar.proxy
    assert proxy is not None and proxy.strands is not None
    assert proxy.strands.shape == proxy.vertices.shape
    points = avatar.cube.to_head(proxy.vertices.numpy())
    combed = replace(proxy, strands=torch.from_numpy(strands.laid(points, points.mean(0), np.full(len(points), 0.2))))
    front = clip.params[int(clip.split.train[0])]
    back = replace(front, rotation=np.array([[0.0, np.pi, 0.0]], np.float32))
    try:
        pictures = []
        for one in (replace(proxy, strands=None), combed):
            avatar.proxy = one
            pictures.append([avatar.render(params, clip.camera).rgb for params in (front, back)])
    finally:
        avatar.proxy = proxy
    (front_before, back_before), (front_after, back_after) = pictures
    assert np.array_equal(front_before, front_after)
    assert np.abs(back_before - back_after).max() > 0.05


def test_they_stay_in_their_place_on_a_head_that_turns(avatar: NerfBlendshapeAvatar, rng: np.random.Generator) -> None:
    """Of the same place, two views show the same streak."""
    proxy = avatar.proxy
    assert proxy is not None
    points = avatar.cube.to_head(proxy.vertices.numpy())
    combed = replace(
        proxy, strands=torch.from_numpy(strands.laid(points, points.mean(0), np.full(len(points), 0.2))),
        colors=torch.full_like(proxy.colors, 0.4), light=torch.zeros(3),
    )  # fmt: skip
    camera = Camera(np.array([[600.0, 0, 128], [0, 600.0, 128], [0, 0, 1]]), 256, 256)
    shown = []
    for angle in (0.0, rng.uniform(0.1, 0.3)):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, -1, 0], [np.sin(angle), 0, -np.cos(angle)]])
        shift = np.array([0.0, 0.0, 0.9])
        layer = combed.draw(combed.vertices, avatar.cube, (turn, shift), camera)
        local = points @ turn.T + shift
        u, v = (local[:, :2] / local[:, 2:] * 600 + 128).astype(int).clip(0, 255).T
        seen = np.abs(layer.depth.numpy()[v, u] - local[:, 2]) < 0.002
        shown.append((layer.rgb.numpy()[v, u, 0], seen))
    both = shown[0][1] & shown[1][1]
    assert both.sum() > 500
    assert np.corrcoef(shown[0][0][both], shown[1][0][both])[0, 1] > 0.7  # a pixel's corner apart, on fine strands


def test_files_hold_them_and_those_without_open(avatar: NerfBlendshapeAvatar) -> None:
    proxy = avatar.proxy
    assert proxy is not None and proxy.strands is not None
    named = proxy.tensors()
    again = Proxy.from_tensors(named)
    assert again is not None and again.strands is not None and torch.equal(again.strands, proxy.strands)
    older = Proxy.from_tensors({name: value for name, value in named.items() if name != "proxy.strands"})
    assert older is not None and older.strands is None
    with pytest.raises(ValueError, match="strands"):
        Proxy.from_tensors(named | {"proxy.strands": proxy.strands[:-1]})

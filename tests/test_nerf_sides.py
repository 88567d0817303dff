"""Seen from where no camera was: hair no thicker than outlines showed it, and no light through the skull."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from small_fit import clip_of, rendered, trainer_of

from headavatar.methods.nerf_blendshape import unseen
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.occupancy import dilate, voxel_centers
from headavatar.methods.nerf_blendshape.rays import Cube, head_to_camera
from headavatar.methods.nerf_blendshape.sides import Sides
from headavatar.methods.nerf_blendshape.standoff import SLACK_M, STRIDE, Standoff, measured, solid
from headavatar.methods.nerf_blendshape.trainer import NerfBlendshapeTrainer
from headavatar.methods.residuals import Residual
from headavatar.scene import Array, Camera, Clip, HeadParams

RADIUS_M, AWAY_M, GRID, SIZE = 0.09, 1.2, 80, 320


def ball(rng: np.random.Generator) -> tuple[Array, Array]:
    """Points and triangles of a skull that is a ball."""
    points = rng.normal(size=(600, 3))
    points *= RADIUS_M / np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32), ConvexHull(points).simplices


def filmed(thickness_m: Array) -> tuple[Array, HeadParams, Camera]:
    """Mattes of a ball with hair of some thickness for each frame, which a camera on the axis z sees."""
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[2, 3] = AWAY_M
    focal = 3.2 * SIZE
    camera = Camera(np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1.0]]), SIZE, SIZE, view)
    u, v = np.meshgrid(*(np.arange(SIZE) + 0.5 - SIZE / 2,) * 2)
    sine = np.sin(np.arctan(np.hypot(u, v) / focal))
    mattes = np.stack([(sine * AWAY_M < RADIUS_M + one) * np.uint8(255) for one in thickness_m])
    return mattes, HeadParams.neutral(len(thickness_m), np.zeros(4, np.float32)), camera


def test_hair_is_as_thick_all_around_as_outlines_show_it(rng: np.random.Generator) -> None:
    points, faces = ball(rng)
    thick = rng.uniform(0.01, 0.03)
    mattes, params, camera = filmed(np.full(3, thick))
    cube = Cube(np.zeros(3, np.float32), 0.36)
    found = measured(
        points, faces, np.ones(len(points), bool), cube, GRID, mattes, np.ones_like(mattes, bool), params, camera
    )
    voxel = cube.side / GRID
    radius = np.linalg.norm(cube.to_head(voxel_centers(GRID)), axis=1).reshape((GRID,) * 3)
    shell = torch.from_numpy((radius > RADIUS_M) & (radius < RADIUS_M + 0.03))
    across = STRIDE * AWAY_M / (3.2 * SIZE) + 2 * voxel  # followed pixels lie apart, and the skull is made of voxels
    assert (found.thickness[shell] - thick).abs().max() < across
    allowed = found.allowed(1.0).numpy()
    assert allowed[radius < RADIUS_M + thick + SLACK_M - across - voxel].all()
    assert not allowed[radius > RADIUS_M + thick + across + SLACK_M].any()
    assert not found.core.numpy()[radius > RADIUS_M + thick].any()


def test_hair_that_swung_out_once_may_do_so_again(rng: np.random.Generator) -> None:
    points, faces = ball(rng)
    mattes, params, camera = filmed(np.array([0.012] * 9 + [0.03]))
    cube = Cube(np.zeros(3, np.float32), 0.36)
    found = measured(
        points, faces, np.ones(len(points), bool), cube, GRID, mattes, np.ones_like(mattes, bool), params, camera
    )
    side = found.reach[2 * GRID // 3, GRID // 2, GRID // 2]
    assert side > 0.02


def test_a_skull_open_at_the_neck_is_solid(rng: np.random.Generator) -> None:
    points, faces = ball(rng)
    open_below = faces[points[faces][..., 1].min(1) > -0.06]
    cube = Cube(np.zeros(3, np.float32), 0.3)
    inside = solid(points, open_below, cube, GRID)
    centers = cube.to_head(voxel_centers(GRID))
    deep = (np.linalg.norm(centers, axis=1) < RADIUS_M - 0.02) & (centers[:, 1] > -0.02)
    assert inside.reshape(-1)[deep].all()
    assert not inside.reshape(-1)[np.linalg.norm(centers, axis=1) > RADIUS_M + 0.02].any()


def test_rays_must_end_where_they_run_through_the_skull(rng: np.random.Generator, generator: torch.Generator) -> None:
    cube = Cube(np.zeros(3, np.float32), 0.36)
    radius = torch.from_numpy(np.linalg.norm(cube.to_head(voxel_centers(GRID)), axis=1).reshape((GRID,) * 3)).float()
    skull = Standoff(radius - RADIUS_M, torch.zeros_like(radius), torch.zeros_like(radius))
    sides = Sides.of(skull, radius < 0.14, cube, torch.tensor([[0.5, 0.5, 0.5 + AWAY_M / cube.side]]))
    origins, directions, deep = sides.draw(500, generator)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(500))
    nearest = torch.linalg.cross(origins - 0.5, directions).norm(dim=1) * cube.side
    assert deep[nearest < RADIUS_M - 0.01].all()
    assert not deep[nearest > RADIUS_M + 0.01].any()
    assert (nearest > RADIUS_M).any()


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A head of whose back no frame shows anything."""
    whole = clip_of(rendered())
    frontal = np.flatnonzero(np.abs(whole.params.rotation[:, 1]) < np.radians(12))
    return replace(whole, split=replace(whole.split, train=np.intersect1d(whole.split.train, frontal)))


def fitted(clip: Clip, **settings: object) -> NerfBlendshapeTrainer:
    trainer = trainer_of(clip, steps=100, **settings)
    for index in range(trainer.total_steps):
        trainer.step(index)
    return trainer


def shadow(voxels: torch.Tensor, cube: Cube, params: HeadParams, camera: Camera) -> Array:
    """(H, W) bool: pixels that the middle of a voxel falls on."""
    rotation, translation = head_to_camera(params, camera)
    centers = cube.to_head(voxel_centers(voxels.shape[0])[voxels.reshape(-1).numpy()])
    seen = (centers @ rotation[0].T + translation[0]) @ camera.K.T
    u, v = np.floor(seen[:, :2] / seen[:, 2:]).astype(int).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    found = np.zeros((camera.height, camera.width), bool)
    found[v[inside], u[inside]] = True
    return found


def grown(mask: Array, pixels: int) -> Array:
    return dilate(torch.from_numpy(mask)[None].expand(3, -1, -1), pixels)[1].numpy()


def test_a_head_filmed_from_the_front_is_whole_from_the_side(clip: Clip, tmp_path: Path) -> None:
    trainer = fitted(clip, standoff=1.25, side_rays=512)
    avatar = trainer.avatar()
    assert trainer.sides is not None
    avatar.save(tmp_path)
    again, bare = NerfBlendshapeAvatar.load(tmp_path), NerfBlendshapeAvatar.load(tmp_path)
    bare.sides = None
    hull = trainer.hull.clone()
    for step in range(1, unseen.NECK + 1):  # a neck goes on below it
        hull[:, :-step] |= trainer.hull[:, step:]
    for side in (-0.75, 0.75):
        params = replace(clip.params[0], rotation=np.array([[0.0, side, 0.0]], np.float32))
        alpha = avatar.render(params, clip.camera).alpha
        sure = ~grown(~shadow(trainer.sides.core & trainer.hull, trainer.cube, params, clip.camera), 3)
        assert sure.sum() > 100
        assert alpha[sure].mean() > 0.9
        outside = ~grown(shadow(hull, trainer.cube, params, clip.camera), 3)
        assert alpha[outside].max() < 1 / 255  # a pixel may lie between its neighbors
        assert np.array_equal(again.render(params, clip.camera).alpha, alpha)
        shown = avatar.render(params, clip.camera)
        beside = np.abs(shown.alpha - bare.render(params, clip.camera).alpha) > 0.2
        assert beside.any()
        at = torch.from_numpy(np.flatnonzero(beside))  # poses are refined by the colors that pictures show
        colors = avatar.colors_at(params, clip.camera, at, Residual.zero(1)).detach().numpy()
        assert np.abs(colors - shown.rgb[beside]).mean() < 0.02

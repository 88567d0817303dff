"""Seen from where no camera was: a whole head, as thick as outlines showed it, in colors that were seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.spatial import ConvexHull, cKDTree
from small_fit import frontal, trained, trainer_of

from headavatar import ops
from headavatar.errors import WorkspaceError
from headavatar.methods.nerf_blendshape import proxy_colors, proxy_shape
from headavatar.methods.nerf_blendshape.avatar import FADE_RAD, NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.occupancy import dilate, voxel_centers
from headavatar.methods.nerf_blendshape.proxy import Layer, in_front
from headavatar.methods.nerf_blendshape.rays import Cube, RayFrames, head_to_camera
from headavatar.methods.nerf_blendshape.sightings import LOOK_PX, Sightings, fitted, shrunk
from headavatar.methods.nerf_blendshape.standoff import STRIDE, Standoff, measured, solid
from headavatar.methods.nerf_blendshape.trainer import NerfBlendshapeTrainer
from headavatar.methods.nerf_blendshape.warp import carried
from headavatar.methods.residuals import Residual
from headavatar.scene import Array, Camera, Clip, HeadParams, Surface

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
    assert (found.reach[shell] - thick).abs().max() < across


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


def looks(pitch_rad: Array, radius_m: float) -> Sightings:
    """Pictures of a ball of hair that bows."""
    _, _, camera = filmed(np.zeros(1))
    u, v = np.meshgrid(*(np.arange(SIZE) + 0.5 - SIZE / 2,) * 2)
    sight = np.stack([u / camera.K[0, 0], v / camera.K[1, 1], np.ones_like(u)], 2)
    sight /= np.linalg.norm(sight, axis=2, keepdims=True)
    along, middle = AWAY_M * sight[..., 2], AWAY_M * np.sqrt(1 - sight[..., 2] ** 2)
    hit = middle < radius_m
    front = along - np.sqrt(np.maximum(radius_m**2 - middle**2, 0))
    facing = np.where(hit, np.sqrt(np.maximum(1 - (middle / radius_m) ** 2, 0)), 0)
    cosine, sine = np.cos(pitch_rad), np.sin(pitch_rad)
    bowed = np.zeros((len(pitch_rad), 3, 3))
    bowed[:, 0, 0], bowed[:, 1, 1], bowed[:, 1, 2], bowed[:, 2, 1], bowed[:, 2, 2] = 1, cosine, -sine, sine, cosine
    turn = np.diag([1.0, -1.0, -1.0]) @ bowed
    depth, alpha, facing = (
        np.repeat(one[None].astype(np.float32), len(pitch_rad), 0)
        for one in (np.where(hit, front * sight[..., 2], 0), hit, facing)
    )
    shift = np.tile(np.float32([0, 0, AWAY_M]), (len(pitch_rad), 1))
    return Sightings(
        turn.astype(np.float32), shift, camera, np.ones(depth.shape, bool), depth, alpha, facing,
        np.zeros((*depth.shape, 3), np.float32), Cube(np.zeros(3, np.float32), 0.36), None,
    )  # fmt: skip


@pytest.mark.parametrize("bows", [True, False])
def test_a_few_bows_tell_how_high_the_crown_is(rng: np.random.Generator, bows: bool) -> None:
    hair, angle = 0.008, np.radians(rng.uniform(30, 40))
    pitch = np.radians(rng.uniform(-4, 4, 32))
    if bows:
        pitch[rng.choice(32, 3, replace=False)] = angle
    seen = looks(pitch, RADIUS_M + hair)
    grid = 2 * GRID
    away = torch.from_numpy(np.linalg.norm(seen.cube.to_head(voxel_centers(grid)), axis=1) - RADIUS_M).float()
    standoff = Standoff(away.reshape((grid,) * 3), torch.full((grid,) * 3, 0.03))
    volume = proxy_shape.solid(standoff, seen, -2 * RADIUS_M, -3 * RADIUS_M)
    crown = np.array([0.0, np.cos(angle), -np.sin(angle)])
    heights = np.arange(0, 0.05, 0.001)
    cells = np.floor(seen.cube.to_unit((RADIUS_M + heights)[:, None] * crown) * volume.shape[0]).astype(int)
    stands = heights[volume[tuple(cells.T)] > 0.5].max()
    voxel = seen.cube.side / volume.shape[0]
    if bows:
        assert abs(stands - hair) < 2 * voxel
    else:
        assert stands > hair + 2 * voxel  # so high what hides behind the front could be


@pytest.fixture(scope="module")
def clip() -> Clip:
    return frontal()


@pytest.fixture(scope="module")
def trainer(clip: Clip) -> NerfBlendshapeTrainer:
    return trained(clip, steps=100)


@pytest.fixture(scope="module")
def avatar(trainer: NerfBlendshapeTrainer) -> NerfBlendshapeAvatar:
    return trainer.avatar()


def turned(clip: Clip, yaw_rad: float) -> HeadParams:
    return replace(clip.params[0], rotation=np.array([[0.0, yaw_rad, 0.0]], np.float32))


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


@pytest.mark.parametrize("yaw_rad", [-0.8, 0.8, 1.6, 3.1])
def test_a_head_filmed_from_the_front_is_whole_from_every_side(
    clip: Clip, trainer: NerfBlendshapeTrainer, avatar: NerfBlendshapeAvatar, yaw_rad: float
) -> None:
    params = turned(clip, yaw_rad)
    skull = trainer.skull
    inside = torch.from_numpy(solid(skull.points, skull.faces, avatar.cube, 64))
    inside[:, : int(avatar.cube.to_unit(np.array([0, skull.chin_y, 0]))[1] * 64)] = False  # clothes cover the neck
    seen = avatar.render(params, clip.camera)
    sure = ~grown(~shadow(inside, avatar.cube, params, clip.camera), 2)
    assert sure.sum() > 100
    assert np.quantile(seen.alpha[sure], 0.02) > 0.9
    outside = ~grown(shadow(dilate(inside, 8), avatar.cube, params, clip.camera), 2)
    above = np.arange(clip.camera.height)[:, None] < np.flatnonzero(sure.any(1)).max()
    assert seen.alpha[outside & above].max() < 0.1
    known = seen.depth[sure]
    assert known.min() > 0 and np.ptp(known) < 0.3


def test_pictures_within_training_do_not_know_of_it(
    clip: Clip, avatar: NerfBlendshapeAvatar, rng: np.random.Generator
) -> None:
    bare = replaced(avatar, None)
    for frame in rng.choice(clip.split.train, 4, replace=False):
        params = clip.params[int(frame)]
        seen, without = (one.render(params, clip.camera) for one in (avatar, bare))
        assert np.array_equal(seen.rgb, without.rgb) and np.array_equal(seen.depth, without.depth)


def replaced(avatar: NerfBlendshapeAvatar, proxy: None) -> NerfBlendshapeAvatar:
    """The same avatar without its proxy."""
    return NerfBlendshapeAvatar(
        name=avatar.name, head_model=avatar.head_model, identity=avatar.identity, field=avatar.field,
        conditioning=avatar.conditioning, cube=avatar.cube, occupied=avatar.occupied, samples=avatar.samples,
        settings=avatar.settings, spacing_m=avatar.spacing_m, warp=avatar.warp, backing=avatar.backing,
        views=avatar.views, proxy=proxy,
    )  # fmt: skip


def test_it_fades_in_beyond_training(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    yaws = np.linspace(0, 1.5, 200)
    eyes = [RayFrames.of(turned(clip, yaw), clip.camera, avatar.cube).origins[0] for yaw in yaws]
    shares = np.array([avatar.seen_from(eye)[1] for eye in eyes])
    assert shares[0] == 0 and shares[-1] == 1 and (np.diff(shares) >= 0).all()
    assert np.diff(shares).max() < 2 * (yaws[1] - yaws[0]) / (FADE_RAD[1] - FADE_RAD[0])
    middle = turned(clip, float(yaws[np.abs(shares - 0.5).argmin()]))
    between = [avatar.render(turned(clip, float(middle.rotation[0, 1]) + d), clip.camera).rgb for d in (0.0, 0.002)]
    assert np.abs(between[1] - between[0]).mean() < 0.01


def test_saved_and_opened_it_shows_the_same(clip: Clip, avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    avatar.save(tmp_path)
    again, params = NerfBlendshapeAvatar.load(tmp_path), turned(clip, 0.9)
    assert np.array_equal(again.render(params, clip.camera).rgb, avatar.render(params, clip.camera).rgb)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    tensors["proxy.faces"][0, 0] = len(tensors["proxy.vertices"])
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WorkspaceError, match="no vertex"):
        NerfBlendshapeAvatar.load(tmp_path)


def test_an_avatar_of_the_version_before_opens(clip: Clip, avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    bare, params = replaced(avatar, None), turned(clip, 0.9)
    bare.save(tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    tensors["sides"] = torch.ones_like(tensors["occupied"])  # voxels that its side rays were shown in
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    again = NerfBlendshapeAvatar.load(tmp_path)
    assert np.array_equal(again.render(params, clip.camera).rgb, bare.render(params, clip.camera).rgb)


def test_a_fit_that_is_resumed_at_its_end_has_it(clip: Clip, trainer: NerfBlendshapeTrainer) -> None:
    fresh = trainer_of(clip, steps=100)
    fresh.load_state({name: tensor.clone() for name, tensor in trainer.state().items()})
    assert fresh.proxy is not None and trainer.proxy is not None
    for name, tensor in trainer.proxy.tensors().items():
        assert torch.equal(fresh.proxy.tensors()[name], tensor)


def test_poses_are_refined_by_the_colors_that_pictures_show(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    bare = replaced(avatar, None)
    for yaw_rad in (0.9, -0.45):
        params = turned(clip, yaw_rad)
        shown = avatar.render(params, clip.camera)
        beside = np.abs(shown.rgb - bare.render(params, clip.camera).rgb).max(2) > 0.2
        assert beside.sum() > 20
        at = torch.from_numpy(np.flatnonzero(beside))
        colors = avatar.colors_at(params, clip.camera, at, Residual.zero(1)).detach().numpy()
        assert np.abs(colors - shown.rgb[beside]).mean() < 0.02


def test_its_surface_is_whole_too(clip: Clip, avatar: NerfBlendshapeAvatar, trainer: NerfBlendshapeTrainer) -> None:
    eyes = np.array([[0.0, 0.0, 1.0]])
    found = avatar.surface(turned(clip, 0.0), eyes, 0.005)
    scalp = trainer.skull.points[trainer.skull.scalp]
    back = scalp[scalp[:, 2] < scalp[:, 2].min() + 0.02]

    def near(surface: Surface) -> float:
        away, _ = cKDTree(surface.vertices).query(back)
        return float((away < 0.03).mean())

    assert near(found) > 0.9
    assert near(replaced(avatar, None).surface(turned(clip, 0.0), eyes, 0.005)) < 0.5


@pytest.mark.parametrize("choice", [{"whole_head": False}, {"hold_views": False}])
def test_it_can_be_left_out(clip: Clip, choice: dict[str, bool]) -> None:
    trainer = trainer_of(clip, steps=2, **choice)
    for index in range(2):
        trainer.step(index)
    assert trainer.avatar().proxy is None


def test_large_pictures_are_looked_at_small(rng: np.random.Generator) -> None:
    _, _, camera = filmed(np.zeros(1))
    small = shrunk(camera)
    assert max(small.width, small.height) == LOOK_PX < camera.width
    point = rng.uniform(-0.05, 0.05, (50, 3))
    large_px, small_px = (one.project(point)[0] for one in (camera, small))
    maps = np.arange(SIZE)[None, None] + np.zeros((1, SIZE, 1))  # each pixel's own column
    column = fitted(maps, small)[0, 0][small_px[:, 0].astype(int)]
    assert np.abs(column + 0.5 - large_px[:, 0]).max() <= 0.5 + SIZE / LOOK_PX


def test_points_are_carried_to_where_they_are_fetched_from(generator: torch.Generator) -> None:
    coarse = 0.01 * torch.randn(1, 6**3 * 4, generator=generator)
    warp = ops.refine(coarse, 24)
    points = 0.2 + 0.6 * torch.rand(300, 3, generator=generator)
    found = carried(points, warp[0])
    again = ops.warp_points(found, warp, torch.tensor([0, len(points)]))
    assert (again - points).abs().max() < 1e-3 < (found - points).abs().max()


def test_it_shows_where_light_comes_through(generator: torch.Generator) -> None:
    alpha = torch.tensor([0.0, 0.25, 1.0])
    field = ops.Composite(alpha[:, None] * torch.rand(3, 3, generator=generator), alpha, alpha * 2.0)
    layer = Layer(torch.rand(3, 3, generator=generator), torch.ones(3), torch.full((3,), 1.5))
    both = in_front(field, layer, torch.full((3,), 2.0))
    torch.testing.assert_close(both.alpha, torch.ones(3))
    torch.testing.assert_close(both.rgb, field.rgb + (1 - alpha)[:, None] * layer.rgb)
    torch.testing.assert_close(both.depth, torch.tensor([3.0, 0.25 * 2 + 0.75 * 3, 2.0]))
    nothing = Layer(torch.zeros(3, 3), torch.zeros(3), torch.full((3,), torch.inf))
    torch.testing.assert_close(in_front(field, nothing, torch.ones(3)).depth, field.depth)


def test_colors_that_no_picture_showed_lie_between_those_of_their_kind(rng: np.random.Generator) -> None:
    points, faces = ball(rng)
    colors, trust = rng.uniform(size=(len(points), 3)), (points[:, 2] > 0).astype(float)
    hair = points[:, 1] > 0
    found = proxy_colors.spread(colors, trust, faces, [(hair * 1.0, hair), (1.0 - hair, ~hair)])
    assert found.min() > colors.min() and found.max() < colors.max()
    assert np.abs(found - colors)[trust > 0].mean() < 0.5 * np.abs(colors - colors.mean(0)).mean()
    far = points[:, 2] < -0.8 * RADIUS_M
    for kind in (hair, ~hair):
        wanted = colors[kind & (trust > 0)].mean(0)
        assert np.abs(found[far & kind].mean(0) - wanted).max() < np.abs(colors - colors.mean(0)).mean()


def test_light_is_told_from_how_brightness_changes_as_a_head_turns(rng: np.random.Generator) -> None:
    count, frames = 5000, 24  # a head has more of both; of little, the pull to none would be seen
    light, albedo = rng.normal(0, 0.3, 3), rng.uniform(0.2, 0.8, count)
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    turns = [np.eye(3) + np.cross(np.eye(3), rng.normal(0, 0.2, 3)) for _ in range(frames)]
    seen = np.concatenate([normals @ turn.T for turn in turns])
    index = np.tile(np.arange(count), frames)
    bright = albedo[index] * np.exp(seen @ light)
    found, _ = proxy_colors._light(index, seen, np.repeat(bright[:, None], 3, 1), np.ones(len(index)), count)
    cosine = found @ light / np.linalg.norm(found) / np.linalg.norm(light)
    assert cosine > 0.99 and 0.8 < np.linalg.norm(found) / np.linalg.norm(light) < 1.1

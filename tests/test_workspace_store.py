"""The workspace on disk: atomic files, damaged files, newer schema, full and read-only disks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from headavatar.errors import WorkspaceError
from headavatar.workspace import Workspace, atomic, layout, load_camera, load_clip, load_params


def test_what_is_written_is_read_back(workspace: Workspace, rng: np.random.Generator) -> None:
    arrays = {"a": rng.normal(size=(3, 4)).astype(np.float32), "b": rng.integers(0, 9, 5)}
    image = rng.integers(0, 255, (6, 7, 3), dtype=np.uint8)
    workspace.write_npz("track/params.npz", **arrays)
    workspace.write_json("track/cameras.json", {"x": np.float32(1.5), "nan": float("nan"), "list": np.arange(3)})
    workspace.write_jsonl("source/frames.jsonl", [{"frame": 0}, {"frame": 1}])
    workspace.write_image("source/frames/000000.png", image)
    read = workspace.read_npz("track/params.npz")
    assert all(np.array_equal(arrays[name], read[name]) for name in arrays)
    assert workspace.read_json("track/cameras.json") == {"x": 1.5, "nan": None, "list": [0, 1, 2]}
    assert workspace.read_jsonl("source/frames.jsonl") == [{"frame": 0}, {"frame": 1}]
    from headavatar.workspace.clips import read_image

    assert np.array_equal(read_image(workspace.path("source/frames/000000.png")), image)
    assert workspace.written == {
        "track/params.npz", "track/cameras.json", "source/frames.jsonl", "source/frames/000000.png"
    }  # fmt: skip
    assert not list(workspace.path(layout.TMP).iterdir()), "temporary files were left behind"


def test_same_arrays_give_the_same_bytes(workspace: Workspace, rng: np.random.Generator) -> None:
    values = rng.normal(size=50)
    first = workspace.write_npz("a.npz", x=values).read_bytes()
    os.utime(workspace.path("a.npz"), (0, 0))
    assert workspace.write_npz("b.npz", x=values).read_bytes() == first


def test_a_failed_write_leaves_the_old_file(workspace: Workspace) -> None:
    workspace.write_text("a.txt", "old")
    with pytest.raises(RuntimeError), workspace.replace_file("a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), workspace.replace_dir("folder") as folder:
        (folder / "x").write_text("half")
        raise RuntimeError
    assert workspace.path("a.txt").read_text() == "old"
    assert not workspace.path("folder").exists()
    assert not list(workspace.path(layout.TMP).iterdir())


def test_a_folder_is_replaced_whole(workspace: Workspace) -> None:
    for names in (("a", "b"), ("c",)):
        with workspace.replace_dir("exports/x") as folder:
            for name in names:
                (folder / name).write_text(name)
    assert [path.name for path in workspace.path("exports/x").iterdir()] == ["c"]
    assert "exports/x/c" in workspace.written


def test_newer_schema_is_refused_with_the_version_that_reads_it(workspace: Workspace) -> None:
    workspace.update_info(schema=layout.SCHEMA + 1, written_by="9.8.7")
    with pytest.raises(WorkspaceError, match=r"9\.8\.7"):
        Workspace.open(workspace.root)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": "x"}', "null"])
def test_a_damaged_workspace_file_is_named(workspace: Workspace, content: str) -> None:
    workspace.path(layout.INFO).write_text(content)
    with pytest.raises(WorkspaceError, match=r"workspace\.json is damaged") as caught:
        Workspace.open(workspace.root)
    assert caught.value.fix


def test_damaged_and_missing_files_say_how_to_get_them_back(workspace: Workspace) -> None:
    workspace.write_text("track/params.npz", "not a zip")
    with pytest.raises(WorkspaceError, match=r"params\.npz is damaged") as caught:
        load_params(workspace)
    assert "track --force" in caught.value.fix
    with pytest.raises(WorkspaceError, match=r"cameras\.json is missing"):
        load_camera(workspace)


def test_a_folder_with_something_else_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WorkspaceError, match="not empty"):
        Workspace.create(tmp_path)
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.create(tmp_path / "thesis.txt")


@pytest.mark.parametrize(
    "code, word", [(errno.EROFS, "read-only"), (errno.ENOSPC, "full"), (errno.EACCES, "read-only")]
)
def test_errors_of_the_disk_are_explained(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(WorkspaceError, match=word):
        workspace.write_text("a.txt", "x")
    assert not workspace.path("a.txt").exists()


def test_a_full_disk_keeps_what_was_there(small_disk: Path) -> None:
    workspace = Workspace.create(small_disk / "a.avatar")
    workspace.write_text("source/a.txt", "first")
    with pytest.raises(WorkspaceError, match="full"):
        workspace.write_bytes("source/a.txt", bytes(10**6))
    assert workspace.path("source/a.txt").read_text() == "first"
    assert not list(workspace.path(layout.TMP).iterdir()), "the half-written file still takes space"


def test_a_read_only_disk_is_explained(small_disk: Path) -> None:
    workspace = Workspace.create(small_disk / "a.avatar")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(WorkspaceError, match="read-only"):
        workspace.write_text("source/a.txt", "x")
    with pytest.raises(WorkspaceError, match="read-only"):
        Workspace.create(small_disk / "b.avatar")


def test_a_clip_is_read_back(workspace: Workspace, rng: np.random.Generator) -> None:
    frames, used, side = 12, np.array([0, 1, 3, 4, 5, 7, 8, 10]), 16
    images = rng.integers(0, 255, (frames, side, side, 3), dtype=np.uint8)
    points = rng.normal(size=(frames, 478, 3)).astype(np.float32)
    for i, image in enumerate(images):
        workspace.write_image(f"source/frames/{layout.frame_name(i)}", image)
        for folder in ("head_mattes", "mattes", "parsing"):
            value = {"head_mattes": 1, "mattes": 2, "parsing": 3}[folder]
            workspace.write_image(f"source/{folder}/{layout.frame_name(i)}", np.full((side, side), value, np.uint8))
    valid = rng.integers(0, 2, (side, side), dtype=np.uint8) * 255
    workspace.write_image("source/valid.png", valid)
    workspace.write_jsonl("source/frames.jsonl", [{"frame": i, "time_s": i / 2} for i in range(frames)])
    workspace.write_npz("source/landmarks.npz", landmarks=points)
    shapes = {
        "expr": 52, "rotation": 3, "translation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6
    }  # fmt: skip
    tracked = {name: rng.normal(size=(len(used), n)).astype(np.float32) for name, n in shapes.items()}
    workspace.write_npz("track/params.npz", shape=np.zeros(100, np.float32), frame_idx=used, **tracked)
    K = [[20.0, 0, 8], [0, 20, 8], [0, 0, 1]]
    camera = {"K": K, "world_to_camera": np.eye(4).tolist(), "width": side, "height": side}
    workspace.write_json("track/cameras.json", camera)
    clip = load_clip(workspace)
    assert len(clip) == len(used) == len(clip.images) == len(clip.params)
    assert all(np.array_equal(clip.images[k], images[i]) for k, i in enumerate(used))
    assert np.array_equal(clip.images[-1], images[10])
    assert np.array_equal(clip.landmarks, points[used])
    assert np.array_equal(clip.times_s, used / 2)
    assert np.array_equal(clip.valid, valid > 0)
    assert np.array_equal(clip.params.eyes, tracked["eyes_pose"])
    assert clip.mattes[0].max() == 1 and load_clip(workspace, with_torso=True).mattes[0].max() == 2
    assert not set(clip.split.train) & set(clip.split.holdout)
    assert json.loads(workspace.path("track/cameras.json").read_text()) == camera
    workspace.path("source/frames", layout.frame_name(3)).write_bytes(b"")
    with pytest.raises(WorkspaceError, match=r"000003\.png"):
        load_clip(workspace).images[2]

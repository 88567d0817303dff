"""Where the user added FLAME, a folder's FLAME parameters are taken as they are: the same mesh in the same place."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import others_folders
import pytest
import synthetic
import torch

from headavatar.dialects import layouts
from headavatar.export import others
from headavatar.head import HeadModel, added, flame, load
from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES, Array, Camera
from headavatar.track import stage
from headavatar.track.settings import TrackSettings
from headavatar.workspace import Workspace, layout, load_clip

FRAMES, SIZE = 20, 96


class Told:
    """FLAME's own parameters of a clip, and where its vertices are in our world."""

    def __init__(self, model: flame.Flame, rng: np.random.Generator) -> None:
        t = np.linspace(0, 6, FRAMES)[:, None]

        def wave(size: int, amplitude: float) -> Array:
            return amplitude * np.sin(t * rng.uniform(0.5, 1.5, size) + rng.uniform(0, 6, size))

        self.shape = np.concatenate([rng.normal(0, 0.7, 20), np.zeros(280)])
        talk = np.zeros((FRAMES, len(ARKIT_NAMES)))
        for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp"):
            talk[:, ARKIT_NAMES.index(name)] = 0.4 + wave(1, 0.4)[:, 0]
        self.expression, self.jaw = flame.to_native(model, talk)
        self.jaw[:, 1:] = 0  # one of the layouts has no room for more
        self.rotation, self.neck, self.eyes = wave(3, 0.15), wave(3, 0.1), wave(6, 0.0)
        self.translation = wave(3, 0.01) - [0, 0, 0.6]
        tensors = [torch.from_numpy(np.asarray(part, np.float32)) for part in (
            self.shape, self.expression, self.rotation, self.neck, self.jaw, self.eyes, self.translation
        )]  # fmt: skip
        self.vertices = flame.flame_vertices(model, *tensors).double().numpy()


@pytest.fixture
def head(flame_cache: added.Report) -> HeadModel:
    return load("flame")


def preprocessed(folder: Path, head: HeadModel, told: Told, names: list[str]) -> tuple[Workspace, Array, Camera]:
    """A workspace in which FLAME's true mesh was seen, the landmarks on it, and the camera."""
    focal = 1.6 * SIZE
    camera = Camera(np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]]), SIZE, SIZE)
    points = head.landmark_points(torch.from_numpy(told.vertices)).numpy()
    pixels, depth = camera.project(points)
    blank = synthetic.make(FRAMES, SIZE, 1)
    seen = np.concatenate([pixels, (depth - depth.mean(1, keepdims=True))[..., None] * focal / 0.6], -1)
    clip = synthetic.SyntheticClip(**{**vars(blank), "landmarks": seen.astype(np.float32), "camera": camera})
    return others_folders.workspace(folder, clip, names), pixels, camera


def vhap(folder: Path, told: Told, camera: Camera) -> list[str]:
    for name in ("images", "flame_param"):
        (folder / name).mkdir(parents=True)
    K, rows = camera.K, []
    for i in range(FRAMES):
        cv2.imwrite(str(folder / "images" / f"{i:05d}_00.png"), np.zeros((SIZE, SIZE, 3), np.uint8))
        np.savez(
            folder / "flame_param" / f"{i:05d}.npz", shape=told.shape, expr=told.expression[[i]],
            rotation=told.rotation[[i]], neck_pose=told.neck[[i]], jaw_pose=told.jaw[[i]], eyes_pose=told.eyes[[i]],
            translation=told.translation[[i]],
        )  # fmt: skip
        rows.append({
            "timestep_index": i, "camera_index": 0, "transform_matrix": np.eye(4).tolist(), "fl_x": K[0, 0],
            "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": SIZE, "h": SIZE,
            "file_path": f"images/{i:05d}_00.png", "flame_param_path": f"flame_param/{i:05d}.npz",
        })  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps({"frames": rows}))
    return [f"{i:05d}_00.png" for i in range(FRAMES)]


def nha(folder: Path, told: Told, camera: Camera) -> list[str]:
    K, names = camera.K, [f"frame_{i:04d}/image_0000.png" for i in range(FRAMES)]
    for name in names:
        (folder / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / name), np.zeros((SIZE, SIZE, 3), np.uint8))
    turn = np.diag([-1.0, 1.0, -1.0])  # from our world to pytorch3d's camera
    root = flame.load("flame").joints(told.shape)[flame.ROOT]
    middle, half = np.radians([27.5, 0, 0]), np.radians([32.5, 0.1, 0.1])
    np.savez(
        folder / "tracked_flame_params.npz", shape=told.shape, expr=told.expression,
        rotation=matrix_to_axis_angle_np(turn @ axis_angle_to_matrix_np(told.rotation)),
        translation=(told.translation + root) @ turn, neck_pose=np.arctanh(told.neck / np.radians([90, 60, 80])),
        jaw_pose=np.arctanh((told.jaw - middle) / half),
        eyes_pose=np.arctanh(told.eyes / np.radians([50, 50, 0.1] * 2)),
        frame=np.arange(FRAMES), n_processed=FRAMES, RT=np.eye(3, 4), image_size=np.array([SIZE, SIZE]),
        K=np.array([K[0, 0], K[0, 2], SIZE - K[1, 2]]) / SIZE,
    )  # fmt: skip
    return names


@pytest.mark.parametrize("dialect", ["vhap", "nha"])
def test_the_mesh_is_where_flame_puts_it_and_goes_back(
    dialect: str, head: HeadModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    model = flame.load("flame")
    told = Told(model, rng)
    camera = preprocessed(tmp_path / "look.avatar", head, told, ["x"] * FRAMES)[2]
    names = {"vhap": vhap, "nha": nha}[dialect](tmp_path / "theirs", told, camera)
    workspace, pixels, _ = preprocessed(tmp_path / "one.avatar", head, told, names)
    settings = TrackSettings(
        refine="none", keyframes=16, texture_size=64, texture_frames=2, head="flame", imported_from=dialect,
        imported_folder=str(tmp_path / "theirs"), **synthetic.EXACT,
    )  # fmt: skip
    summary = stage.run(workspace, settings, RunContext())
    print(summary)
    assert summary["taken"] == ["camera", "head pose", "identity", "expression"] and summary["fitted"] == []
    clip = load_clip(workspace)
    kept = clip.frame_idx  # the pictures are not FLAME's, so that some may look covered
    assert len(kept) > FRAMES / 2
    world = np.stack(list(others.PosedHeads(head, clip.params)))
    skull = head.regions["face"].numpy() & ~head.regions["lips"].numpy()
    off_mm = 1000 * np.linalg.norm(world - told.vertices[kept], axis=-1)[:, skull]
    assert off_mm.mean() < 0.7, off_mm.mean()
    seen, _ = camera.project(head.landmark_points(torch.from_numpy(world)).numpy())
    assert np.linalg.norm(seen - pixels[kept], axis=-1).mean() < 0.5
    for name in ("vhap", "insta", "imavatar"):
        (tmp_path / name).mkdir()
        others.write(name, tmp_path / name, clip, head, range(len(clip)), lambda: None)
        back = layouts.read(name, tmp_path / name)
        root, neck = model.joints(np.asarray(clip.params.identity, np.float64))[:2]
        constants = np.stack([root, neck - root, -neck])[: back.poses.levers.shape[1]]
        origin = back.poses.translation + np.einsum("tkij,kj->ti", back.poses.levers, constants)
        turn = matrix_to_axis_angle_np(back.poses.rotation)
        np.testing.assert_allclose(turn, clip.params.rotation, atol=1e-4)
        np.testing.assert_allclose(origin - back.poses.rotation @ model.shift, clip.params.translation, atol=1e-4)
    assert workspace.read_npz(layout.PARAMS)["neck_pose"].any()

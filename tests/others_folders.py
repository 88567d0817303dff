"""Folders as VHAP, INSTA, IMavatar, metrical-tracker, NeRFBlendShape and Neural Head Avatars write them, of a known
clip.

Built from what those programs' own source says, not with our writers, so that a reader and a writer that are wrong in
the same way are found out. Their head model stands elsewhere than ours (`Foreign`), and turns about joints of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import synthetic
import torch

from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.scene import Array
from headavatar.workspace import Workspace, layout

FLIP = np.diag([1.0, -1.0, -1.0])
UNIT_M = 1.7
"""Metres in NeRFBlendShape's unit of length here."""


@dataclass(frozen=True)
class Foreign:
    """Another head model: a point u of our head space is turn u + shift in its own; it turns about root and neck."""

    turn: Array
    shift: Array
    root: Array
    neck: Array

    @staticmethod
    def random(rng: np.random.Generator) -> Foreign:
        return Foreign(
            axis_angle_to_matrix_np(rng.normal(0, 0.06, 3)), rng.normal(0, 0.02, 3),
            np.array([0, -0.15, -0.02]) + rng.normal(0, 0.01, 3), np.array([0, -0.07, -0.01]) + rng.normal(0, 0.01, 3),
        )  # fmt: skip

    def skull(self, clip: synthetic.SyntheticClip) -> tuple[Array, Array]:
        """(T, 3, 3) and (T, 3) from its head space to our world."""
        rotation = axis_angle_to_matrix_np(clip.params.rotation) @ self.turn.T
        return rotation, clip.params.translation - rotation @ self.shift

    def chain(self, clip: synthetic.SyntheticClip, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """(T, 3) root rotation, neck rotation and translation that give the same skull."""
        rotation, place = self.skull(clip)
        bend = np.cumsum(rng.normal(0, 0.02, (len(clip), 3)), 0)
        root = rotation @ np.swapaxes(axis_angle_to_matrix_np(bend), 1, 2)
        translation = place + rotation @ self.neck - root @ (self.neck - self.root) - self.root
        return matrix_to_axis_angle_np(root), bend, translation


def insta(folder: Path, clip: synthetic.SyntheticClip, foreign: Foreign, rng: np.random.Generator) -> list[str]:
    """The head stands still; frame 7 was lost; processes finished in any order. Returns the pictures' names."""
    for name in ("images", "meshes", "flame/exp"):
        (folder / name).mkdir(parents=True)
    width, height, K = clip.camera.width, clip.camera.height, clip.camera.K
    rotation, place = foreign.skull(clip)
    frames, names = [], [f"{i + 1:05d}.png" for i in range(len(clip))]
    for i, name in enumerate(names):
        rgba = np.dstack([clip.images[i][..., ::-1], clip.head_mattes[i]])
        cv2.imwrite(str(folder / "images" / name), rgba)
        if i == 7:
            continue
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = FLIP @ rotation[i], FLIP @ place[i]
        (folder / "flame" / "exp" / f"{i + 1:05d}.txt").write_text("\n".join(f"{x:.8f}" for x in rng.normal(0, 1, 100)))
        frames.append({
            "transform_matrix": np.linalg.inv(world_to_camera).tolist(), "file_path": f"images/{name}",
            "mesh_path": f"meshes/{i + 1:05d}.obj", "exp_path": f"flame/exp/{i + 1:05d}.txt",
            "depth_path": f"depth/{name}", "seg_mask_path": f"seg_mask/{name}",
        })  # fmt: skip
    shared = {"w": float(width), "h": float(height), "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
              "integer_depth_scale": 0.001}  # fmt: skip
    mixed = [frames[i] for i in rng.permutation(len(frames))]
    (folder / "transforms.json").write_text(json.dumps({**shared, "frames": mixed}))
    (folder / "transforms_test.json").write_text(json.dumps({**shared, "frames": frames[-5:]}))
    return names


def vhap(folder: Path, clip: synthetic.SyntheticClip, foreign: Foreign, rng: np.random.Generator) -> list[str]:
    """One camera at (0, 0, 1), then camera and head shifted together."""
    for name in ("images", "fg_masks", "flame_param"):
        (folder / name).mkdir(parents=True)
    width, height, K = clip.camera.width, clip.camera.height, clip.camera.K
    root, neck, translation = foreign.chain(clip, rng)
    translation = translation + [0, 0, 1]
    to_world = np.eye(4)
    to_world[2, 3] = 1
    to_world[:3, 3] -= translation.mean(0)
    translation = translation - translation.mean(0)
    frames, names = [], [f"{i:05d}_00.png" for i in range(len(clip))]
    intrinsics = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "w": width, "h": height}
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / "images" / name), clip.images[i][..., ::-1])
        cv2.imwrite(str(folder / "fg_masks" / name), clip.mattes[i])
        np.savez(
            folder / "flame_param" / f"{i:05d}.npz", translation=translation[[i]], rotation=root[[i]],
            neck_pose=neck[[i]], jaw_pose=rng.normal(0, 0.1, (1, 3)), eyes_pose=rng.normal(0, 0.1, (1, 6)),
            shape=rng.normal(0, 1, 300), expr=rng.normal(0, 1, (1, 100)), static_offset=np.zeros((1, 12, 3)),
        )  # fmt: skip
        frames.append({
            "timestep_index": i, "timestep_index_original": i, "timestep_id": str(i), "camera_index": 0,
            "camera_id": "0", **intrinsics, "transform_matrix": to_world.tolist(), "file_path": f"images/{name}",
            "fg_mask_path": f"fg_masks/{name}", "flame_param_path": f"flame_param/{i:05d}.npz",
        })  # fmt: skip
    table = {**intrinsics, "frames": frames, "timestep_indices": list(range(len(clip))), "camera_indices": [0]}
    (folder / "transforms.json").write_text(json.dumps(table))
    return names


def imavatar(folder: Path, clip: synthetic.SyntheticClip, foreign: Foreign, rng: np.random.Generator) -> list[str]:
    """The head four times as large, frames from 1, the first focal length negative."""
    for name in ("image", "mask"):
        (folder / name).mkdir(parents=True)
    width, height, K = clip.camera.width, clip.camera.height, clip.camera.K
    root, neck, translation = foreign.chain(clip, rng)
    frames = []
    for i in range(len(clip)):
        cv2.imwrite(str(folder / "image" / f"{i + 1}.png"), clip.images[i][..., ::-1])
        cv2.imwrite(str(folder / "mask" / f"{i + 1}.png"), clip.mattes[i])
        pose = np.concatenate([root[i], neck[i], rng.normal(0, 0.1, 9)])
        frames.append({
            "file_path": f"./image/{i + 1}", "world_mat": np.column_stack([np.eye(3), 4 * translation[i]]).tolist(),
            "expression": rng.normal(0, 1, 50).tolist(), "pose": pose.tolist(), "bbox": [-0.5, -0.5, 0.5, 0.5],
            "flame_keypoints": np.zeros((70, 2)).tolist(),
        })  # fmt: skip
    intrinsics = [-K[0, 0] / width, K[1, 1] / height, K[0, 2] / width, K[1, 2] / height]
    table = {"frames": frames, "intrinsics": intrinsics, "shape_params": rng.normal(0, 1, 100).tolist()}
    (folder / "flame_params.json").write_text(json.dumps(table))
    return [f"{i + 1}.png" for i in range(len(clip))]


def metrical_tracker(
    folder: Path, clip: synthetic.SyntheticClip, foreign: Foreign, rng: np.random.Generator
) -> list[str]:
    """Torch pickles of numpy arrays with leading axes of 1."""
    for name in ("checkpoint", "input"):
        (folder / name).mkdir(parents=True)
    width, height = clip.camera.width, clip.camera.height
    rotation, place = foreign.skull(clip)
    rows = np.eye(3, dtype=np.float32)[:2].reshape(1, 6)
    for i in range(len(clip)):
        cv2.imwrite(str(folder / "input" / f"{i:05d}.png"), clip.images[i][..., ::-1])
        frame = {
            "flame": {"exp": rng.normal(0, 1, (1, 100)).astype(np.float32), "shape": np.zeros((1, 300), np.float32),
                      "eyes": np.tile(rows, 2), "eyelids": np.zeros((1, 2), np.float32), "jaw": rows},
            "opencv": {"R": (FLIP @ rotation[i])[None].astype(np.float32),
                       "t": (FLIP @ place[i])[None].astype(np.float32), "K": clip.camera.K[None].astype(np.float32)},
            "img_size": np.array([height, width]), "frame_id": f"{i:05d}", "global_step": 12,
        }  # fmt: skip
        torch.save(frame, folder / "checkpoint" / f"{i:05d}.frame")
    return [f"{i:05d}.png" for i in range(len(clip))]


def nerfblendshape(
    folder: Path, clip: synthetic.SyntheticClip, foreign: Foreign, rng: np.random.Generator
) -> list[str]:
    """The head stands still, in a unit that nobody knows; frames in no order, more coefficients than count."""
    for name in ("ori_imgs", "head_imgs", "parsing"):
        (folder / name).mkdir(parents=True)
    width, height, K = clip.camera.width, clip.camera.height, clip.camera.K
    rotation, place = foreign.skull(clip)
    frames, names = [], [f"{i}.png" for i in range(len(clip))]
    cv2.imwrite(str(folder / "bc.jpg"), np.full((height, width, 3), synthetic.BACKGROUND[::-1], np.uint8))
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / "ori_imgs" / name), clip.images[i][..., ::-1])
        cv2.imwrite(str(folder / "head_imgs" / f"{i}.jpg"), clip.images[i][..., ::-1])
        colors = np.full((height, width, 3), 255, np.uint8)
        colors[clip.mattes[i] > 127] = (255, 0, 0)
        colors[clip.head_mattes[i] > 127] = (0, 0, 255)
        cv2.imwrite(str(folder / "parsing" / name), colors[..., ::-1])
        np.savetxt(folder / "ori_imgs" / f"{i}.lms", clip.landmarks[i, :, :2], "%f")
        pose = np.eye(4)  # camera to world, OpenGL's axes
        pose[:3, :3] = rotation[i].T
        pose[:3, 3] = -rotation[i].T @ place[i] / UNIT_M
        weights = np.concatenate([clip.params.expression[i, :46] ** 2, rng.normal(0, 9, 3)])
        frames.append({"img_id": i, "exp_ori": weights.tolist(), "transform_matrix": pose.tolist()})
    seen = np.array([row["exp_ori"] for row in frames[: -round(len(frames) / 5)]])[:, :46]
    np.savetxt(folder / "max_46.txt", seen.max(0))
    np.savetxt(folder / "min_46.txt", seen.min(0))
    table = {
        "h": height, "w": width, "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2] - 0.5, "cy": K[1, 2] - 0.5,
        "frames": [frames[i] for i in rng.permutation(len(frames))],
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(table))
    return names


def nha(folder: Path, clip: synthetic.SyntheticClip, foreign: Foreign, rng: np.random.Generator) -> list[str]:
    """A folder per frame; the tracker stopped before the last row, which is all zeros; the last fifth is held out."""
    width, height, K = clip.camera.width, clip.camera.height, clip.camera.K
    count, names = len(clip), [f"frame_{i:04d}/image_0000.png" for i in range(len(clip))]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / name), clip.images[i][..., ::-1])
        classes = np.zeros((height, width), np.uint16)
        classes[clip.mattes[i] > 127] = 16
        classes[clip.head_mattes[i] > 127] = rng.choice([1, 2, 10, 17])
        cv2.imwrite(str((folder / name).with_name("parsing_0000.png")), classes)
    held = round(count / 5)
    (folder / "split.json").write_text(
        json.dumps({"train": [*range(count - held)], "val": [*range(count - held, count)]})
    )
    (folder / "transforms.json").write_text(json.dumps({"scale": {"w_in": 2 * width, "w_out": width}}))
    root, neck, translation = foreign.chain(clip, rng)
    # its camera is at the origin of a world whose x points left and z away: ours turned by half a turn about y
    turn = np.diag([-1.0, 1.0, -1.0])
    root = matrix_to_axis_angle_np(turn @ axis_angle_to_matrix_np(root))
    translation = (translation + foreign.root) @ turn
    joints = {"neck_pose": neck, "jaw_pose": rng.uniform([0, -1e-4, -1e-4], [0.5, 1e-4, 1e-4], (count, 3)),
              "eyes_pose": np.tile(rng.uniform([-0.3, -0.3, -1e-4], [0.3, 0.3, 1e-4], (count, 3)), 2)}  # fmt: skip
    limits = {"neck_pose": [90, 60, 80], "eyes_pose": [50, 50, 0.1] * 2}
    stored = {key: np.arctanh(joints[key] / np.radians(limit)) for key, limit in limits.items()}
    stored["jaw_pose"] = np.arctanh((joints["jaw_pose"] / np.radians([65, 0.2, 0.2]) + [5 / 65, 0.5, 0.5]) * 2 - 1)
    rows = {"rotation": root, "translation": translation, "expr": rng.normal(0, 1, (count, 100)), **stored}
    rows = {key: np.concatenate([value, np.zeros((1, value.shape[1]))]).astype(np.float32)
            for key, value in rows.items()}  # fmt: skip
    side = max(width, height)
    (folder / "tracking_0").mkdir()
    np.savez(
        folder / "tracking_0" / "tracked_flame_params.npz", **rows, shape=rng.normal(0, 1, 300).astype(np.float32),
        texture=np.zeros(100), light=np.zeros((count + 1, 9, 3)), frame=np.arange(count + 1), n_processed=count,
        view=np.array(["image_0000.png"] * (count + 1)), RT=np.eye(3, 4), image_size=np.array([height, width]),
        K=np.array([K[0, 0] / side, K[0, 2] / width, 1 - K[1, 2] / height]),
    )  # fmt: skip
    return names


WRITERS = {
    "insta": insta, "vhap": vhap, "imavatar": imavatar, "metrical-tracker": metrical_tracker,
    "nerfblendshape": nerfblendshape, "nha": nha,
}  # fmt: skip


def workspace(root: Path, clip: synthetic.SyntheticClip, names: list[str]) -> Workspace:
    """The clip as preprocess leaves it when its pictures came from a folder."""
    made = synthetic.write_workspace(root, clip=clip)
    rows = list(made.read_jsonl(layout.FRAME_TABLE))
    made.write_jsonl(layout.FRAME_TABLE, [{**row, "file": name} for row, name in zip(rows, names, strict=True)])
    return made

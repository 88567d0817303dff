"""NeRFBlendShape's dataset folder: pictures of the head, landmarks, parsing in its color codes, poses, coefficients.

    transforms.json   h w fx fy cx cy; frames: img_id, exp_ori (46), transform_matrix (camera to world)
    head_imgs/N.jpg   the head on the background plate      ori_imgs/N.jpg, N.lms   the frame and its 478 points
    parsing/N.png     head blue, torso red, rest white      bc.jpg                  the background plate
    max_46.txt, min_46.txt

The head stands still and the camera moves: `transform_matrix` is OpenGL's camera to world (x right, y up, z backward)
where the world is head space, shifted so that the head's middle is the origin. Its reader multiplies translations by
0.33 and looks inside a box of half side 0.06, so ours are metres, shrunk where the head would not fit 0.06 / 0.33.

Source: Gao et al. 2022, "Reconstructing Personalized Semantic Facial NeRF Models From Monocular Video"; AD-NeRF's
color codes (Guo et al. 2021).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.render import panels
from headavatar.scene import ARKIT_NAMES, PARSING_CLASSES, Array, Camera, Clip, HeadParams

READER_SCALE = 0.33
READER_BOUND = 0.06

LEFT_OUT = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
"""46 of ARKit's 52 are written: these six are what a video's landmarks say least about."""

NAMES_46 = tuple(name for name in ARKIT_NAMES if name not in LEFT_OUT)

HEAD_COLOR, TORSO_COLOR, REST_COLOR = (0, 0, 255), (255, 0, 0), (255, 255, 255)

README = """NeRFBlendShape dataset

transform_matrix  4x4 camera to world, OpenGL axes (x right, y up, z backward); the head is fixed, +y up, +z out of the
                  face, +x to the subject's left, and its middle is the origin. Unit: metres times "scale" in
                  transforms.json. The reader's own factor 0.33 and bound 0.06 then hold the head.
exp_ori           46 of ARKit's 52 coefficients in [0, 1]; their names are "exp_names" in transforms.json. The basis is
                  not FaceWarehouse's. All 52 stand in "exp_52".
fx fy cx cy       pixels; the center of the first pixel is (0.5, 0.5).
*.lms             478 MediaPipe points, x y in pixels, one per line.
parsing           RGB (0,0,255) head, (255,0,0) clothes, white elsewhere.
max_46, min_46    over all frames but the holdout's.
img_id            position in this folder; "frame" is the frame's number in the workspace.
"""


def write_dataset(
    folder: Path, clip: Clip, people: Sequence[Array], frames: range, head_points: Array, background: Array | None,
    progress: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Write the folder.

    Args:
        folder: empty and existing.
        clip: tracked, its mattes the head's.
        people: T × (H, W) uint8, the whole person's mattes.
        frames: positions to write.
        head_points: (V, 3) the head at rest in head space, metres; fixes the box's middle and size.
        background: (H, W, 3) uint8 plate, or None for white.
        progress: called once per frame.
    Returns:
        scale, center_m and the number of frames.
    """
    center, scale = box_of(head_points)
    height, width = clip.camera.height, clip.camera.width
    plate = np.full((height, width, 3), 255, np.uint8) if background is None else background
    for name in ("head_imgs", "ori_imgs", "parsing"):
        (folder / name).mkdir()
    _save(folder / "bc.jpg", plate)
    rows = []
    for number, frame in enumerate(frames):
        image = clip.images[frame]
        # a workspace's frames carry the person's own color in soft edges, so the whole picture is put together again
        whole = image if background is None else panels.composite(image, people[frame], plate)
        _save(folder / "head_imgs" / f"{number}.jpg", panels.composite(image, clip.mattes[frame], plate))
        _save(folder / "ori_imgs" / f"{number}.jpg", whole)
        _save(folder / "parsing" / f"{number}.png", parsing_colors(clip.mattes[frame], clip.parsing[frame]))
        np.savetxt(folder / "ori_imgs" / f"{number}.lms", clip.landmarks[frame, :, :2], fmt="%.4f")
        expression = clip.params.expression[frame].astype(float)
        rows.append({
            "img_id": number,
            "frame": int(clip.frame_idx[frame]),
            "exp_ori": expression[_indices()].round(6).tolist(),
            "exp_52": expression.round(6).tolist(),
            "transform_matrix": head_fixed_pose(clip.params[frame], clip.camera, center, scale).tolist(),
        })  # fmt: skip
        progress()
    held = set(clip.split.holdout.tolist())
    seen = [row["exp_ori"] for row, frame in zip(rows, frames, strict=True) if frame not in held]
    coefficients = np.array(seen or [row["exp_ori"] for row in rows])
    np.savetxt(folder / "max_46.txt", coefficients.max(axis=0), fmt="%.6f")
    np.savetxt(folder / "min_46.txt", coefficients.min(axis=0), fmt="%.6f")
    K = clip.camera.K
    transforms = {
        "h": height, "w": width, "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
        "exp_names": list(NAMES_46), "exp_52_names": list(ARKIT_NAMES), "scale": scale, "center_m": center.tolist(),
        "frames": rows,
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(transforms, indent=1))
    (folder / "README.txt").write_text(README)
    return {"scale": scale, "center_m": center.tolist(), "frames": len(rows)}


def box_of(points: Array) -> tuple[Array, float]:
    """Middle (3,) of the head, metres, and the factor that makes it fit the reader's box."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2
    return np.asarray((low + high) / 2, np.float64), min(1.0, READER_BOUND / READER_SCALE / half)


def head_fixed_pose(params: HeadParams, camera: Camera, center: Array, scale: float) -> Array:
    """OpenGL camera-to-world of one frame, in the space where the head stands still.

    Args:
        params: T = 1.
        camera: the clip's.
        center: (3,) head space, metres; becomes the origin.
        scale: factor on positions.
    Returns:
        (4, 4).
    """
    head_to_world = np.eye(4)
    head_to_world[:3, :3] = axis_angle_to_matrix_np(params.rotation.astype(np.float64))[0]
    head_to_world[:3, 3] = params.translation[0]
    pose = np.linalg.inv(head_to_world) @ camera.camera_to_world @ np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = (pose[:3, 3] - center) * scale
    return np.asarray(pose)


def parsing_colors(matte: Array, parsing: Array) -> Array:
    """(H, W) head matte and (H, W) classes → (H, W, 3) RGB in AD-NeRF's codes."""
    colors = np.empty((*matte.shape, 3), np.uint8)
    colors[:] = REST_COLOR
    colors[parsing == PARSING_CLASSES.index("clothes")] = TORSO_COLOR
    colors[matte > 127] = HEAD_COLOR
    return colors


def _indices() -> list[int]:
    return [ARKIT_NAMES.index(name) for name in NAMES_46]


def _save(path: Path, rgb: Array) -> None:
    import cv2

    data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 97])[1]
    path.write_bytes(data.tobytes())

"""NeRFBlendShape's dataset folder: pictures of the head, landmarks, parsing in its color codes, poses, coefficients.

    transforms.json   h w fx fy cx cy; frames: img_id, exp_ori, transform_matrix (camera to world)
    head_imgs/N.jpg   the head on the background plate      ori_imgs/N.jpg, N.lms   the frame and its 478 points
    parsing/N.png     head blue, torso red, rest white      bc.jpg                  the background plate
    max_46.txt, min_46.txt

`dialects.nerfblendshape` says what its reader makes of it. The head stands still and the camera moves, in head space
shifted so that the head's middle is the origin. The unit is the metre, shrunk where head and hair would not fit the
reader's box; a clip or an avatar that came from such a folder keeps the folder's space, coefficients and their range.

Source: Gao et al. 2022, "Reconstructing Personalized Semantic Facial NeRF Models From Monocular Video"; AD-NeRF's
color codes (Guo et al. 2021).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.dialects.nerfblendshape import OPENGL, PIXEL_CENTER, READER_BOUND, READER_SCALE
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.render import panels
from headavatar.scene import ARKIT_NAMES, PARSING_CLASSES, Array, Camera, Clip, HeadParams

LEFT_OUT = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
"""46 of ARKit's 52 are written: these six are what a video's landmarks say least about."""

NAMES_46 = tuple(name for name in ARKIT_NAMES if name not in LEFT_OUT)

HAIR_M = 0.02
"""Room for hair around the head, metres."""

HEAD_COLOR, TORSO_COLOR, REST_COLOR = (0, 0, 255), (255, 0, 0), (255, 255, 255)

README = """NeRFBlendShape dataset

transform_matrix  4x4 camera to world, OpenGL axes (x right, y up, z backward); the head is fixed. "head_to_space" (4x4)
                  in transforms.json takes our head space (metres; +y up, +z out of the face, +x to the subject's left)
                  there. The reader's own factor 0.33 and bound hold the head.
exp_ori           {coefficients}
                  Our fit's 52 ARKit coefficients stand in "exp_52".
fx fy cx cy       pixels; the center of the first pixel is (0, 0), as its reader has it.
*.lms             478 MediaPipe points, x y in pixels, one per line; the center of the first pixel is (0.5, 0.5).
parsing           RGB (0,0,255) head, (255,0,0) clothes, white elsewhere.
max, min          {ranges}
img_id            position in this folder; "frame" is the frame's number in the workspace.
{weights}Read back: headavatar import nerfblendshape --from nerfblendshape
"""
ARKIT = """46 of ARKit's 52 coefficients in [0, 1]; their names are "exp_names" in transforms.json. The basis
                  is not FaceWarehouse's."""
NAMED = """{count} of ARKit's coefficients, those that the avatar answers to; names in "exp_names"."""
NAMELESS = """{count} coefficients of the tracker that the clip was imported from."""


@dataclass(frozen=True)
class Expressed:
    """The coefficients of a clip's T frames.

    Attributes:
        values: (T, C).
        low, high: (C,) what readers clamp them to.
        names: (C,) of ARKit's, or nothing.
    """

    values: Array
    low: Array
    high: Array
    names: tuple[str, ...] = ()

    @staticmethod
    def arkit(clip: Clip) -> Expressed:
        """46 of ARKit's, clamped to what frames show that are not held out."""
        values = clip.params.expression[:, [ARKIT_NAMES.index(name) for name in NAMES_46]].astype(np.float64)
        seen = np.delete(values, clip.split.holdout, axis=0)
        seen = seen if len(seen) else values
        return Expressed(values, seen.min(axis=0), seen.max(axis=0), NAMES_46)


def write_dataset(
    folder: Path, clip: Clip, people: Sequence[Array], frames: range, space: Array, expressed: Expressed,
    background: Array | None, weights: str, progress: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Write the folder.

    Args:
        folder: empty and existing.
        clip: tracked, its mattes the head's.
        people: T × (H, W) uint8, the whole person's mattes.
        frames: positions to write.
        space: (4, 4) from head space, metres, to the folder's, see `space_of`.
        expressed: coefficients of the clip's frames.
        background: (H, W, 3) uint8 plate, or None for white.
        weights: what the README says of weights that lie beside it; empty where there are none.
        progress: called once per frame.
    Returns:
        scale, center_m and the number of frames.
    """
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
        rows.append({
            "img_id": number,
            "frame": int(clip.frame_idx[frame]),
            "exp_ori": expressed.values[frame].astype(float).round(6).tolist(),
            "exp_52": clip.params.expression[frame].astype(float).round(6).tolist(),
            "transform_matrix": head_fixed_pose(clip.params[frame], clip.camera, space).tolist(),
        })  # fmt: skip
        progress()
    count = len(expressed.low)
    np.savetxt(folder / f"max_{count}.txt", expressed.high, fmt="%.6f")
    np.savetxt(folder / f"min_{count}.txt", expressed.low, fmt="%.6f")
    K = clip.camera.K
    scale, center = unit_of(space), -np.linalg.solve(space[:3, :3], space[:3, 3])
    transforms = {
        "h": height, "w": width, "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2] - PIXEL_CENTER,
        "cy": K[1, 2] - PIXEL_CENTER, "basis_num": count, "exp_52_names": list(ARKIT_NAMES), "scale": scale,
        "center_m": center.tolist(), "head_to_space": space.tolist(), "frames": rows,
    }  # fmt: skip
    if expressed.names:
        transforms["exp_names"] = list(expressed.names)
    (folder / "transforms.json").write_text(json.dumps(transforms, indent=1))
    kind = ARKIT if expressed.names == NAMES_46 else NAMED if expressed.names else NAMELESS
    ranges = "what coefficients are clamped to: their range over the frames that the holdout leaves"
    (folder / "README.txt").write_text(
        README.format(coefficients=kind.format(count=count), ranges=ranges, weights=weights)
    )
    return {"scale": scale, "center_m": center.tolist(), "coefficients": count, "frames": len(rows)}


def space_of(points: Array) -> Array:
    """(4, 4) from head space, metres, to one in which the reader's box holds head and hair.

    Args:
        points: (V, 3) the head at rest, head space, metres.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2 + HAIR_M
    space = np.diag([*[min(1.0, READER_BOUND / READER_SCALE / half)] * 3, 1.0])
    space[:3, 3] = -space[0, 0] * (low + high) / 2
    return space


def unit_of(space: Array) -> float:
    """How many of a space's units are a metre, from its (4, 4)."""
    return float(np.cbrt(np.linalg.det(space[:3, :3])))


def head_fixed_pose(params: HeadParams, camera: Camera, space: Array) -> Array:
    """OpenGL camera-to-world of one frame, in the space where the head stands still.

    Args:
        params: T = 1.
        camera: the clip's.
        space: (4, 4) from head space, metres, to that one.
    Returns:
        (4, 4).
    """
    head_to_world = np.eye(4)
    head_to_world[:3, :3] = axis_angle_to_matrix_np(params.rotation.astype(np.float64))[0]
    head_to_world[:3, 3] = params.translation[0]
    pose = space @ np.linalg.inv(head_to_world) @ camera.camera_to_world @ OPENGL
    pose[:3, :3] /= unit_of(space)
    return np.asarray(pose)


def parsing_colors(matte: Array, parsing: Array) -> Array:
    """(H, W) head matte and (H, W) classes → (H, W, 3) RGB in AD-NeRF's codes."""
    colors = np.empty((*matte.shape, 3), np.uint8)
    colors[:] = REST_COLOR
    colors[parsing == PARSING_CLASSES.index("clothes")] = TORSO_COLOR
    colors[matte > 127] = HEAD_COLOR
    return colors


def _save(path: Path, rgb: Array) -> None:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, 97] if path.suffix == ".jpg" else []
    data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1]
    path.write_bytes(data.tobytes())

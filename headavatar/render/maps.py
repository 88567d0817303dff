"""Depth and normals of rendered pictures, as files and as video."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np

from headavatar.render.cameras import Shot
from headavatar.render.panels import to_uint8
from headavatar.render.video import VideoWriter
from headavatar.scene import Array, RenderOutput
from headavatar.workspace import Workspace
from headavatar.workspace.atomic import write_image, write_json, write_npz

DEPTH_UNIT_M = 1e-4
"""One step of a depth PNG."""
SHOWN_M = 0.15
"""The video shows depths this far before and behind the head's origin, near bright and far dark."""
CONVENTIONS: dict[str, Any] = {
    "NNNNNN.png": "8-bit RGBA: color without background, straight alpha",
    "NNNNNN-depth.png": f"16-bit gray: distance along the camera's z, one step is {DEPTH_UNIT_M} m; 0 is nothing",
    "NNNNNN-normal.png": "16-bit RGB: (normal + 1) / 2 * 65535; 0 0 0 is nothing",
    "NNNNNN.npz": "depth: (H, W) float32 metres along the camera's z, 0 is nothing. alpha: (H, W) float32 in [0, 1]. "
    "normal: (H, W, 3) float32 unit vectors, 0 is nothing",
    "axes": "the camera's, of depth and normals: x right, y down, z forward; a normal points towards the camera",
    "cameras": "K in pixels, pixel centers at +0.5; world_to_camera to those axes, metres; head_to_world of that frame",
}


class MapWriter:
    """Writes each picture's color, depth and normals into a folder, and depth and normals as video beside it.

    Args:
        workspace: where.
        stem: the folder is `stem`-maps, the videos `stem`-depth.mp4 and `stem`-normal.mp4.
        fps: of the videos; None for a single picture, which gets none.

    Use it as a context manager: files appear when it ends well.
    """

    def __init__(self, workspace: Workspace, stem: str, fps: float | None) -> None:
        self.workspace, self.stem, self.fps = workspace, stem, fps
        self.files: list[str] = []
        self._stack = ExitStack()
        self._videos: dict[str, VideoWriter] = {}
        self._cameras: list[dict[str, Any]] = []

    def __enter__(self) -> MapWriter:
        self._folder = self._stack.enter_context(self.workspace.replace_dir(f"{self.stem}-maps"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is None:
            write_json(self._folder / "maps.json", {"conventions": CONVENTIONS, "frames": self._cameras})
            self.files = [f"{self.stem}-maps/maps.json", *(f"{self.stem}-{name}.mp4" for name in self._videos)]
        return self._stack.__exit__(kind, error, trace)

    def write(self, picture: RenderOutput, background: tuple[float, float, float], shot: Shot) -> None:
        """Add one picture.

        Args:
            picture: of the avatar.
            background: that it was rendered over, RGB in [0, 1].
            shot: what was rendered.
        """
        number = f"{len(self._cameras):06d}"
        alpha = picture.alpha[..., None]
        below = np.asarray(background, np.float32) * (1 - alpha)
        color = np.where(alpha > 1e-3, (picture.rgb - below) / np.maximum(alpha, 1e-3), 0.0)
        self._image(f"{number}.png", to_uint8(np.concatenate([color, alpha], -1)))
        steps = np.clip(np.round(picture.depth / DEPTH_UNIT_M), 0, 65535).astype(np.uint16)
        self._image(f"{number}-depth.png", steps)
        arrays = {"depth": picture.depth.astype(np.float32), "alpha": picture.alpha.astype(np.float32)}
        _, origin = shot.camera.project(np.asarray(shot.params.translation[0], np.float64))
        near = 1 - np.clip((picture.depth - (origin - SHOWN_M)) / (2 * SHOWN_M), 0, 1)
        self._frame("depth", np.repeat(to_uint8(np.where(picture.depth > 0, near, 0))[..., None], 3, axis=2))
        if picture.normal is not None:
            there = np.linalg.norm(picture.normal, axis=-1, keepdims=True) > 0
            unit = np.where(there, picture.normal * 0.5 + 0.5, 0.0)
            self._image(f"{number}-normal.png", np.round(unit * 65535).astype(np.uint16))
            arrays["normal"] = picture.normal.astype(np.float32)
            # As such pictures are usually shown: right is red, up is green, towards the viewer is blue.
            self._frame("normal", to_uint8(np.where(there, picture.normal * [0.5, -0.5, -0.5] + 0.5, 0.0)))
        write_npz(self._folder / f"{number}.npz", arrays)
        self._cameras.append({
            "number": number, "K": shot.camera.K, "world_to_camera": shot.camera.world_to_camera,
            "width": shot.camera.width, "height": shot.camera.height, "head_to_world": shot.head_to_world,
        })  # fmt: skip

    def _image(self, name: str, image: Array) -> None:
        write_image(self._folder / name, image, sync=False)

    def _frame(self, name: str, picture: Array) -> None:
        if self.fps is None:
            return
        if name not in self._videos:
            path = self._stack.enter_context(self.workspace.replace_file(f"{self.stem}-{name}.mp4"))
            self._videos[name] = self._stack.enter_context(VideoWriter(path, self.fps))
        self._videos[name].write(picture)

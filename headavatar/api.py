"""What Python programs use: `headavatar.open` gives a workspace, which gives avatars, which give pictures."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headavatar.errors import UsageError
from headavatar.methods.base import Avatar
from headavatar.pipeline.run import resolve_device
from headavatar.render.avatars import BACKGROUNDS, avatar_names, open_avatar
from headavatar.render.expressions import Handles
from headavatar.render.neutral import rest_of
from headavatar.render.stage import sized
from headavatar.scene import Array, Camera, HeadParams, RenderOutput
from headavatar.workspace import Workspace, load_camera, load_params
from headavatar.workspace.discovery import find_workspace

Vector = Array | Sequence[float]
DEVICES = ("auto", "cpu", "cuda")


def open_workspace(workspace: str | Path | None, device: str) -> OpenWorkspace:
    """See `headavatar.open`."""
    if device not in DEVICES:
        raise UsageError(f"There is no device {device!r}.", why=f"Known: {', '.join(DEVICES)}.")
    return OpenWorkspace(Workspace.open(find_workspace(workspace)), resolve_device(device))


@dataclass(frozen=True)
class OpenWorkspace:
    """A workspace, looked at.

    Attributes:
        workspace: its files.
        device: where its avatars are drawn, "cpu" or "cuda".
    """

    workspace: Workspace
    device: str

    @property
    def avatars(self) -> list[str]:
        """Names of the avatars that were fitted here."""
        return avatar_names(self.workspace)

    def avatar(self, name: str = "") -> OpenAvatar:
        """Load an avatar, of whatever method.

        Args:
            name: one of `avatars`; may be left out where there is only one.
        Raises:
            UsageError: there is none of that name, or several and no name was given.
            WorkspaceError: there is none yet, or its files or the track's are damaged.
            ModelError: the head model that it was fitted with is not here.
        """
        opened = open_avatar(self.workspace, name, self.device)
        return OpenAvatar(opened.name, opened.avatar, load_camera(self.workspace), load_params(self.workspace))


@dataclass(frozen=True)
class OpenAvatar:
    """An avatar with the clip that it was fitted to: what it needs to be drawn without being told everything.

    Attributes:
        name: of the avatar.
        avatar: the method's own object.
        camera: the clip's, which draws where no other is given.
        tracked: the clip's T frames.
    """

    name: str
    avatar: Avatar
    camera: Camera
    tracked: HeadParams

    @property
    def method(self) -> str:
        """What it was fitted with."""
        return self.avatar.method

    @property
    def handles(self) -> Handles:
        """What `expression` can set, ARKit's 52 names for all but some imported avatars, and what training showed."""
        return Handles.of(self.avatar)

    @property
    def rest(self) -> HeadParams:
        """One frame (T = 1): the person's resting face, the head where and as it is held for most of the clip."""
        return rest_of(self.tracked)

    def render(
        self,
        expression: Mapping[str, float] | Vector | None = None,
        camera: Camera | None = None,
        *,
        rotation: Vector | None = None,
        translation: Vector | None = None,
        neck: Vector | None = None,
        jaw: Vector | None = None,
        eyes: Vector | None = None,
        frame: int | None = None,
        size: int = 0,
        background: str | tuple[float, float, float] = "white",
    ) -> RenderOutput:
        """Draw one picture; what is not given is as in the person's rest, seen by the clip's camera.

        Args:
            expression: some by name, such as {"jawOpen": 0.5}, the others stay; or all of them, (52,) in [0, 1] in the
                order of `scene.ARKIT_NAMES`. A value beyond what training showed is warned of.
            camera: where from.
            rotation: (3,) head to world, axis-angle, radians; 0 looks along +z, which is at the clip's camera.
            translation: (3,) head to world, metres.
            neck: (3,) the skull relative to the torso, axis-angle, radians.
            jaw: (3,) on top of jawOpen, axis-angle, radians.
            eyes: (6,) left then right, on top of the gaze that eyeLook* express, axis-angle, radians.
            frame: start from this usable frame of the clip instead of the rest.
            size: width in pixels; 0 keeps the camera's.
            background: white, black, gray or green, or RGB in [0, 1].
        Returns:
            rgb (H, W, 3), alpha and depth (H, W), and the normals on demand.
        Raises:
            UsageError: an expression, a frame, a size or a background does not exist, or a vector has another length.

        Example:
            >>> import headavatar
            >>> anna = headavatar.open("anna.avatar").avatar("nha")
            >>> for amount in (0.0, 0.5, 1.0):
            ...     picture = anna.render({"jawOpen": amount}, rotation=[0, 0.3, 0], size=512)
            ...     pixels = (picture.rgb * 255).round().astype("uint8")  # (512, 512, 3) RGB
        """
        params = self.rest if frame is None else self.tracked[self._frame(frame)]
        given = {"rotation": (rotation, 3), "translation": (translation, 3), "neck": (neck, 3), "jaw": (jaw, 3),
                 "eyes": (eyes, 6)}  # fmt: skip
        parts = {name: _vector(value, count, name)[None] for name, (value, count) in given.items() if value is not None}
        params = replace(self._expressed(params, expression), **parts)
        return self.avatar.render(params, sized(camera or self.camera, size), _color(background))

    def _expressed(self, params: HeadParams, expression: Mapping[str, float] | Vector | None) -> HeadParams:
        if expression is None:
            return params
        handles = self.handles
        if isinstance(expression, Mapping):
            values = {name: _number(value) for name, value in expression.items()}
        else:
            vector = _vector(expression, len(handles.names), "expression")
            values = dict(zip(handles.names, vector.tolist(), strict=True))
        for name, value in values.items():
            handles.check(name, value)
        told = values if isinstance(expression, Mapping) else {name: value for name, value in values.items() if value}
        for note in handles.beyond(told):
            warnings.warn(note, stacklevel=3)
        return handles.put(params, values)

    def _frame(self, frame: int) -> int:
        count = len(self.tracked)
        if not -count <= frame < count:
            raise UsageError(
                f"There is no frame {frame}.",
                why=f"The clip has {count} usable ones.",
                fix=f"0 … {count - 1} are there.",
            )
        return frame % count


def _vector(value: Vector, count: int, what: str) -> Array:
    """(count,) float32.

    Raises:
        UsageError: it is of another length, or has what is no number.
    """
    try:
        vector = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        vector = np.empty(0, np.float32)
    if vector.shape != (count,) or not np.isfinite(vector).all():
        raise UsageError(f"{what} is not {count} numbers.", why=f"It has the shape {vector.shape}.")
    return vector


def _number(value: object) -> float:
    """A number, NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def _color(background: str | tuple[float, float, float]) -> tuple[float, float, float]:
    if not isinstance(background, str):
        red, green, blue = _vector(background, 3, "background").tolist()
        return red, green, blue
    if background not in BACKGROUNDS:
        raise UsageError(f"There is no background {background!r}.", why=f"Known: {', '.join(BACKGROUNDS)}.")
    return BACKGROUNDS[background]

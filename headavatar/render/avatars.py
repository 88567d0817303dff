"""Finding and opening the avatars of a workspace, and drawing one of their frames."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from headavatar.errors import UsageError, WorkspaceError
from headavatar.methods.base import Avatar
from headavatar.methods.registry import load_avatar
from headavatar.render.panels import to_uint8
from headavatar.scene import Array, Camera, HeadParams
from headavatar.workspace import Workspace, layout
from headavatar.workspace.clips import read_image

BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "gray": (0.5, 0.5, 0.5), "green": (0.0, 0.7, 0.25),
}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """An avatar and what its fit was told.

    Attributes:
        name: the folder under avatars/.
        avatar: loaded and ready to render.
        split: name of the split it was fitted on.
        with_torso: whether shoulders were supervised too.
    """

    name: str
    avatar: Avatar
    split: str
    with_torso: bool


def avatar_names(workspace: Workspace) -> list[str]:
    """Names of the finished avatars, sorted."""
    return sorted(file.parent.name for file in workspace.path(layout.AVATARS).glob("*/avatar.json"))


def resolve_name(workspace: Workspace, name: str) -> str:
    """The avatar that is meant.

    Args:
        name: as the user gave it; empty where the workspace has only one.
    Raises:
        WorkspaceError: there is none yet.
        UsageError: there is none of that name, or several and no name was given.
    """
    names = avatar_names(workspace)
    if name in names:
        return name
    if not names:
        raise WorkspaceError(
            f"{workspace.root} has no avatar yet.", why="Nothing was fitted here.", fix="Run `headavatar fit`."
        )
    if not name and len(names) == 1:
        return names[0]
    near = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"There is no avatar called {name!r}." if name else "Which avatar?",
        why=f"This workspace has: {', '.join(names)}.",
        fix=f"Did you mean `--avatar {near[0]}`?" if near else f"Add `--avatar {names[0]}`.",
    )


def open_avatar(workspace: Workspace, name: str, device: str) -> Opened:
    """Load an avatar of a workspace.

    Args:
        name: see `resolve_name`.
        device: "cpu" or "cuda".
    """
    name = resolve_name(workspace, name)
    folder = f"{layout.AVATARS}/{name}"
    told = workspace.read_json(f"{folder}/metrics.json")
    return Opened(
        name=name,
        avatar=load_avatar(workspace.path(folder), device),
        split=str(told["split"]),
        with_torso=bool(told["with_torso"]),
    )


def background_plate(workspace: Workspace, camera: Camera) -> Array | None:
    """The clip's clean background (H, W, 3) uint8, where preprocess found one."""
    file = workspace.path(layout.BACKGROUND)
    if not file.exists():
        return None
    plate = read_image(file)
    return plate if plate.shape[:2] == (camera.height, camera.width) else None


def draw(avatar: Avatar, params: HeadParams, camera: Camera, background: str = "white") -> Array:
    """One picture of an avatar.

    Args:
        params: one frame (T = 1).
        background: a key of `BACKGROUNDS`.
    Returns:
        (H, W, 3) uint8.
    """
    return to_uint8(avatar.render(params, camera, BACKGROUNDS[background]).rgb)

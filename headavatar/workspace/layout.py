"""Where everything lies in a workspace, schema 1: fixed names, relative to its root.

anna.avatar/
  workspace.json   schema, id, source video's digest, conventions
  config.toml      settings per stage, the only file that a person edits
  source/          frames/ mattes/ head_mattes/ parsing/ normals/ landmarks.npz frames.jsonl video.json …
  track/           params.npz cameras.json canonical.obj texture.png overlay.mp4 normals/ quality.json
  avatars/NAME/    avatar.json model.safetensors checkpoints/ metrics.json eval.json previews/
  renders/ exports/ reports/ logs/
  .state/          a record per stage, lock, tmp
"""

from __future__ import annotations

from typing import Any

SCHEMA = 1
"""Raised when an older version could no longer read what this one writes."""

SUFFIX = ".avatar"

INFO = "workspace.json"
CONFIG = "config.toml"
STATE = ".state"
TMP = ".state/tmp"
LOCK = ".state/lock"
LOGS = "logs"
AVATARS = "avatars"

VIDEO = "source/video.json"
FRAMES = "source/frames"
MATTES = "source/mattes"
HEAD_MATTES = "source/head_mattes"
PARSING = "source/parsing"
NORMALS = "source/normals"
HEAD_NORMALS = "track/normals"
VALID = "source/valid.png"
BACKGROUND = "source/background.png"
LANDMARKS = "source/landmarks.npz"
FRAME_TABLE = "source/frames.jsonl"
PARAMS = "track/params.npz"
CAMERAS = "track/cameras.json"
QUALITY = "track/quality.json"

CONVENTIONS: dict[str, Any] = {
    "camera": "OpenCV: x right, y down, z forward; pixel centers at +0.5",
    "world": "right-handed: x right, y up, z towards the viewer; metres",
    "rotations": "axis-angle, radians",
    "images": "RGB uint8",
    "expression": "ARKit's 52 coefficients in [0, 1], alphabetical",
}

OUTPUTS: dict[str, tuple[str, ...]] = {
    "preprocess": ("source/**/*",),
    "track": ("track/**/*",),
    "fit": ("avatars/{instance}/avatar.json", "avatars/{instance}/model.safetensors"),
    "eval": ("avatars/{instance}/eval.json",),
}
"""Glob patterns of what a stage must have left behind; other stages list what they wrote while they ran."""

PARTIAL: dict[str, tuple[str, ...]] = {"fit": ("avatars/{instance}/checkpoints",)}
"""Partial work that stages keep outside `.state/tmp`; worthless once the settings change."""


def frame_name(index: int) -> str:
    """The file name of one frame's picture."""
    return f"{index:06d}.png"


def instance_key(stage: str, instance: str = "") -> str:
    """What tells one result of a stage apart from the others: `fit.nerf-blendshape`, or `track`."""
    return f"{stage}.{instance}" if instance else stage

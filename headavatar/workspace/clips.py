"""Read a tracked workspace back as the dataclasses of `scene`: parameters, camera and clip."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from headavatar.errors import UsageError, WorkspaceError
from headavatar.scene import Array, Camera, Clip, HeadParams, Split
from headavatar.workspace import layout
from headavatar.workspace.store import Workspace

if TYPE_CHECKING:
    from headavatar.head import HeadModel

_CACHED_IMAGES = 64


class ImageSequence(Sequence[Array]):
    """Pictures of a clip, read from disk when asked for; the last few are kept.

    Args:
        files: one path per frame.
        gray: read (H, W) instead of (H, W, 3) RGB.
    """

    def __init__(self, files: Sequence[Path], *, gray: bool = False) -> None:
        self.files = list(files)
        self.gray = gray
        self._cache: OrderedDict[int, Array] = OrderedDict()

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSequence: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ImageSequence(self.files[index], gray=self.gray)
        index = range(len(self.files))[index]
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        image = read_image(self.files[index], gray=self.gray)
        self._cache[index] = image
        if len(self._cache) > _CACHED_IMAGES:
            self._cache.popitem(last=False)
        return image


class Differences(Sequence[Array]):
    """What one sequence of grayscale pictures has more than another, (H, W) uint8.

    Args:
        more, less: sequences of equal length.
    """

    def __init__(self, more: Sequence[Array], less: Sequence[Array]) -> None:
        self.more, self.less = more, less

    def __len__(self) -> int:
        return len(self.more)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Differences: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Differences(self.more[index], self.less[index])
        more, less = self.more[index], self.less[index]
        return np.where(more > less, more - less, 0).astype(np.uint8)


def read_image(path: Path, *, gray: bool = False) -> Array:
    """Read a picture as (H, W, 3) RGB or (H, W) gray, uint8.

    Raises:
        WorkspaceError: it is missing or damaged.
    """
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB) if len(data) else None
    except FileNotFoundError:
        image = None
    if image is None:
        raise WorkspaceError(
            f"{path} is missing or damaged.",
            why="It changed after the stage that wrote it was done.",
            fix="Run `headavatar preprocess --force`.",
        )
    return np.asarray(image)


def load_params(workspace: Workspace) -> HeadParams:
    """The tracked head parameters of the T usable frames."""
    data = workspace.read_npz(layout.PARAMS)
    nameless = "recorded" in data and len(data["recorded_names"]) == 0
    return HeadParams(
        identity=data["shape"], expression=data["expr"], rotation=data["rotation"], translation=data["translation"],
        neck=data["neck_pose"], jaw=data["jaw_pose"], eyes=data["eyes_pose"],
        recorded=data["recorded"] if nameless else None,
    )  # fmt: skip


def load_head(workspace: Workspace) -> HeadModel:
    """The head model that the clip was tracked with, with the tracked person's offset where there is one.

    Raises:
        ModelError: there is no such head model here.
        WorkspaceError: track/params.npz is missing or damaged.
    """
    import torch  # opening a workspace must not cost what torch takes to import

    from headavatar import head

    tracked = workspace.read_npz(layout.PARAMS)
    model = head.load(str(tracked["head_model"]))
    if "static_offset" not in tracked:
        return model
    return model.with_offset(torch.from_numpy(np.asarray(tracked["static_offset"], np.float32)))


def load_camera(workspace: Workspace) -> Camera:
    """The one camera of the clip."""
    data = workspace.read_json(layout.CAMERAS)
    return Camera(
        K=np.asarray(data["K"], np.float64),
        width=int(data["width"]),
        height=int(data["height"]),
        world_to_camera=np.asarray(data["world_to_camera"], np.float64),
    )


def load_clip(workspace: Workspace, split: str = "blocks", with_torso: bool = False) -> Clip:
    """The tracked clip as a method sees it.

    Args:
        workspace: preprocessed and tracked.
        split: "blocks" or "tail", see `scene.Split`; or "recorded", the frames that an imported folder holds out.
        with_torso: supervise the whole person's matte instead of the head without clothes.
    Raises:
        WorkspaceError: a file is missing or damaged.
        UsageError: the split is "recorded", and no folder said which frames those are.
    """
    tracked = workspace.read_npz(layout.PARAMS)
    frame_idx = np.asarray(tracked["frame_idx"], np.int64)
    rows = {row["frame"]: row for row in workspace.read_jsonl(layout.FRAME_TABLE)}
    times_s = np.array([rows[int(i)]["time_s"] for i in frame_idx], np.float64)
    landmarks = workspace.read_npz(layout.LANDMARKS)["landmarks"][frame_idx]

    def sequence(folder: str, gray: bool) -> ImageSequence:
        return ImageSequence([workspace.path(folder, layout.frame_name(int(i))) for i in frame_idx], gray=gray)

    people, heads = sequence(layout.MATTES, gray=True), sequence(layout.HEAD_MATTES, gray=True)
    return Clip(
        images=sequence(layout.FRAMES, gray=False),
        mattes=people if with_torso else heads,
        parsing=sequence(layout.PARSING, gray=True),
        landmarks=landmarks,
        camera=load_camera(workspace),
        params=load_params(workspace),
        times_s=times_s,
        frame_idx=frame_idx,
        valid=read_image(workspace.path(layout.VALID), gray=True) > 127,
        split=_recorded_split(tracked) if split == "recorded" else Split.named(split, times_s),
        covered=None if with_torso else Differences(people, heads),
        normals=sequence(folder, gray=False) if (folder := _normals_folder(workspace)) else None,
        background=read_image(plate) if (plate := workspace.path(layout.BACKGROUND)).exists() else None,
        scratch=workspace.root,
    )


def _recorded_split(tracked: Mapping[str, Array]) -> Split:
    """The split of the folder that a track was imported from."""
    if "held_out" not in tracked:
        raise UsageError(
            "No folder says which frames of this clip are held out.",
            why="`recorded` is the split of a folder that `headavatar import` read, and this clip has none.",
            fix="Choose --split blocks or --split tail.",
        )
    held = np.asarray(tracked["held_out"], bool)
    return Split("recorded", np.flatnonzero(~held), np.flatnonzero(held), np.zeros(0, np.int64))


def _normals_folder(workspace: Workspace) -> str:
    """Where the normals lie: a network's where one was asked for, else the fitted head's, else the landmarks'."""
    folders = [layout.HEAD_NORMALS, layout.NORMALS]
    if workspace.path(layout.VIDEO).exists() and workspace.read_json(layout.VIDEO).get("normals") == "network":
        folders.reverse()
    return next((folder for folder in folders if workspace.path(folder).is_dir()), "")

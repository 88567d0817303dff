"""What a folder says, and what one is written from, in our conventions: arrays and paths, no workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.scene import WORLD_TO_CAMERA, Array, Camera, HeadParams

ROOT_M, NECK_M = np.array([0.0, -0.15, -0.02]), np.array([0.0, -0.07, -0.01])
"""About where the joints of a head model such as FLAME are in its own space: inside the neck, 15 and 7 cm below the
head's middle."""


@dataclass(frozen=True)
class SkullPoses:
    """Where the skull is in each of T frames, but for a few constants that only the folder's head model knows.

    A point p of the skull, in the space of the folder's own head model, lies in our world at

        rotation p + translation + sum over k of levers[k] c[k]

    with constants c that do not change over the clip: the places of the joints that the head turns about.

    Attributes:
        rotation: (T, 3, 3).
        translation: (T, 3) metres.
        levers: (T, K, 3, 3).
        usual: (K, 3) metres, about what the constants are.
    """

    rotation: Array
    translation: Array
    levers: Array
    usual: Array

    @staticmethod
    def rigid(rotation: Array, translation: Array) -> SkullPoses:
        """A head that moves as one piece: (T, 3, 3) and (T, 3)."""
        return SkullPoses(rotation, translation, np.zeros((len(rotation), 0, 3, 3)), np.zeros((0, 3)))

    @staticmethod
    def chained(rotation: Array, neck: Array, translation: Array, *, at_root: bool = False) -> SkullPoses:
        """A head that turns about its root joint, and its skull about the neck joint on top of that.

        Args:
            rotation, neck: (T, 3) axis-angle.
            translation: (T, 3) metres.
            at_root: `translation` is where the root joint lies, not how far it has moved.
        Returns:
            poses whose constants are the root J0, the step J1 - J0 to the neck joint, and -J1.
        Source:
            Linear blend skinning as FLAME does it, for a vertex that follows the neck joint alone (Li et al. 2017,
            "Learning a model of facial shape and expression from 4D scans", equation 2).
        """
        root, turn = axis_angle_to_matrix_np(rotation), axis_angle_to_matrix_np(neck)
        skull = root @ turn
        still = np.broadcast_to(np.zeros((3, 3)) if at_root else np.eye(3), root.shape)
        usual = np.stack([ROOT_M, NECK_M - ROOT_M, -NECK_M])
        return SkullPoses(skull, np.asarray(translation, np.float64), np.stack([still, root, skull], 1), usual)

    def in_metres(self, unit: float) -> SkullPoses:
        """The same poses of a rigid head, which count in a unit of so many metres."""
        return SkullPoses(self.rotation, unit * self.translation, self.levers, self.usual)

    def seen_by(self, world_to_camera: Array) -> SkullPoses:
        """The same skull in the world whose camera is ours.

        Args:
            world_to_camera: (T, 4, 4) rigid, from these poses' world to OpenCV camera space.
        """
        change = np.linalg.inv(WORLD_TO_CAMERA) @ world_to_camera
        turn, shift = change[:, :3, :3], change[:, :3, 3]
        return SkullPoses(
            turn @ self.rotation,
            np.einsum("tij,tj->ti", turn, self.translation) + shift,
            turn[:, None] @ self.levers,
            self.usual,
        )

    def __getitem__(self, index: Array) -> SkullPoses:
        return SkullPoses(self.rotation[index], self.translation[index], self.levers[index], self.usual)


@dataclass(frozen=True)
class Coefficients:
    """Expressions in terms of the folder's own tracker.

    Attributes:
        values: (T, C).
        low, high: (C,) what they are clamped to: their range over the folder's training frames.
        names: (C,) ARKit's names for them, where that is what they are; else nothing.
    """

    values: Array
    low: Array
    high: Array
    names: tuple[str, ...] = ()

    def __getitem__(self, index: Array) -> Coefficients:
        return replace(self, values=self.values[index])


@dataclass(frozen=True)
class Imported:
    """What a folder holds of T tracked frames, in the order of time.

    Attributes:
        dialect: the layout's name.
        pictures: T files.
        masks: T files of the person's mattes, or nothing.
        mask_colors: "matte", or how the masks tell head and clothes apart, see `pictures.coded`.
        meshes: T OBJ files of the head in the space that `poses` start from, or nothing.
        points: T text files of MediaPipe's points in pixels of the pictures, or nothing.
        camera: the one camera, at our world's place for it.
        poses: of the skull.
        native: the folder's own numbers: shape (S,), expr (T, E), jaw_pose and neck_pose (T, 3), eyes_pose (T, 6),
            rotation and translation (T, 3); only those that it has. `arkit` (T, 52) are expressions in our terms.
        held_out: (T,) bool, the folder's own test frames.
        coefficients: its expressions in terms of a tracker whose head model nobody has, or nothing.
        metric: translations are metres; else in a unit that is only the same for all frames.
        space: (4, 4) from our head space, metres, to the poses' own, where our own export wrote the folder; turned,
            shifted, and scaled where the poses are not `metric`. None for a space that nobody knows.
        notes: what a person should know, a line each.
    """

    dialect: str
    pictures: tuple[Path, ...]
    camera: Camera
    poses: SkullPoses
    native: Mapping[str, Array]
    held_out: Array
    masks: tuple[Path, ...] = ()
    mask_colors: str = "matte"
    meshes: tuple[Path, ...] = ()
    points: tuple[Path, ...] = ()
    coefficients: Coefficients | None = None
    metric: bool = True
    space: Array | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def picture_source(self) -> str:
        """What `preprocess` reads to get these pictures: their folder, or a pattern for one camera's among several, or
        for one picture's of each folder.
        """
        return _source(self.pictures)

    @property
    def mask_source(self) -> str:
        """The same for the masks; empty where there are none."""
        return _source(self.masks) if self.masks else ""

    def __getitem__(self, index: Array) -> Imported:
        """Some of the frames."""
        pick = np.asarray(index)
        return replace(
            self,
            pictures=tuple(self.pictures[i] for i in pick),
            masks=tuple(self.masks[i] for i in pick) if self.masks else (),
            meshes=tuple(self.meshes[i] for i in pick) if self.meshes else (),
            points=tuple(self.points[i] for i in pick) if self.points else (),
            coefficients=None if self.coefficients is None else self.coefficients[pick],
            poses=self.poses[pick],
            native={key: value if key == "shape" else value[pick] for key, value in self.native.items()},
            held_out=self.held_out[pick],
        )


def _source(files: tuple[Path, ...]) -> str:
    """A folder; a pattern that keeps the ending of VHAP's names, which says the camera; or folder_*/NAME."""
    folder = files[0].parent
    if any(file.parent != folder for file in files):
        return str(folder.parent / re.sub(r"\d+$", "*", folder.name) / files[0].name)
    endings = {file.name[file.name.rfind("_") :] for file in files if "_" in file.name}
    others = any(file.is_file() and "_" in file.name and file.name[file.name.rfind("_") :] not in endings
                 for file in folder.iterdir())  # fmt: skip
    return str(folder / f"*{endings.pop()}") if len(endings) == 1 and others else str(folder)


@dataclass(frozen=True)
class Recording:
    """A tracked clip as a folder is written from it.

    Attributes:
        images: T × (H, W, 3) uint8 RGB.
        mattes: T × (H, W) uint8, the head.
        camera: the clip's, at our world's place for it.
        params: of the T frames; rotation and translation are the skull's.
        vertices: T × (V, 3) the posed head in our world, metres.
        faces: (F, 3).
        rest: (V, 3) the person's head at rest, head space.
        landmarks: (T, L, 2) pixels.
        head_model: whose coefficients the parameters are.
        held_out: (T,) bool.
        native: parameters in the terms of the layout's own head model, as in `Imported`, where they are known.
        shift: (3,) from that model's space to our head space, metres.
    """

    images: Sequence[Array]
    mattes: Sequence[Array]
    camera: Camera
    params: HeadParams
    vertices: Sequence[Array]
    faces: Array
    rest: Array
    landmarks: Array
    head_model: str
    held_out: Array
    native: Mapping[str, Array] = field(default_factory=dict)
    shift: Array = field(default_factory=lambda: np.zeros(3))

    def __len__(self) -> int:
        return len(self.params)

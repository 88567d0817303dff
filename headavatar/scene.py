"""What flows through the pipeline: cameras, head parameters, clips and renders; their axes and units.

Conventions, also written into every file:

* Camera space is OpenCV's: x right, y down, z forward; metres; pixel (0, 0) has its centre at (0.5, 0.5).
* World space is right-handed with x right, y up, z towards the viewer. A tracked clip has one camera, at the origin and
  looking along -z, so `world_to_camera` is diag(1, -1, -1, 1) and the head moves.
* Head space is the head model's: origin between the ears' height near the skull's base, +y up, +z out of the face, +x
  to the subject's left, metres. A frontal head has rotation 0.
* Rotations are axis-angle vectors in radians. Images are RGB, uint8 in files and clips, float in [0, 1] in renders.
* Expression is ARKit's 52 coefficients in [0, 1], in the order of `ARKIT_NAMES`.

Shapes: T frames, V vertices, S identity modes, E expressions, H W image. This module needs numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""Apple's 52 names, sorted; MediaPipe's scores come in this order too, but for `_neutral` and `tongueOut`."""

PARSING_CLASSES: tuple[str, ...] = ("background", "hair", "body_skin", "face_skin", "clothes", "other")
"""Values 0 … 5 of a parsing image."""

WORLD_TO_CAMERA: Array = np.diag([1.0, -1.0, -1.0, 1.0])
"""The fixed camera of a tracked clip: at the world's origin, looking along -z."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        K: (3, 3) intrinsics, pixels.
        world_to_camera: (4, 4) rigid transform from world to OpenCV camera space, metres.
        width, height: image size, pixels.
    """

    K: Array
    width: int
    height: int
    world_to_camera: Array = field(default_factory=lambda: WORLD_TO_CAMERA.copy())

    @property
    def camera_to_world(self) -> Array:
        return np.linalg.inv(self.world_to_camera)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Project world points.

        Args:
            points: (..., 3) world space, metres.
        Returns:
            pixels (..., 2) and depths (...,) in metres along the camera's z.
        """
        local = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth = local[..., 2]
        pixels = local @ self.K.T
        return pixels[..., :2] / depth[..., None], depth

    def scaled(self, width: int, height: int) -> Camera:
        """The same view at another resolution."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, K=scale @ self.K, width=width, height=height)


@dataclass(frozen=True)
class HeadParams:
    """Head parameters of T frames, for any head model.

    Attributes:
        identity: (S,) one identity for the clip, standard deviations.
        expression: (T, E) coefficients in [0, 1], order of `ARKIT_NAMES` for the embedded head.
        rotation: (T, 3) head to world, axis-angle: the skull's pose, whatever the neck does.
        translation: (T, 3) head to world, metres.
        neck: (T, 3) rotation of the skull relative to the torso, axis-angle; where it is 0 the torso moves with the
            skull. It bends the neck's foot and moves nothing above.
        jaw: (T, 3) jaw joint, axis-angle, on top of jawOpen's shape.
        eyes: (T, 6) left then right eyeball, axis-angle, on top of the gaze that eyeLook* express.
        recorded: (T, C) what another program's tracker says of the same expressions in terms of its own, whose names
            nobody knows; None where there is no such thing. An avatar that was fitted with them answers to them only.
    """

    identity: Array
    expression: Array
    rotation: Array
    translation: Array
    neck: Array
    jaw: Array
    eyes: Array
    recorded: Array | None = None

    @staticmethod
    def neutral(frames: int, identity: Array, expressions: int = len(ARKIT_NAMES)) -> HeadParams:
        """A head at rest at the world's origin."""
        zeros = np.zeros
        return HeadParams(
            np.asarray(identity, np.float32), zeros((frames, expressions), np.float32), zeros((frames, 3), np.float32),
            zeros((frames, 3), np.float32), zeros((frames, 3), np.float32), zeros((frames, 3), np.float32),
            zeros((frames, 6), np.float32),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, index: int | slice | Sequence[int] | Array) -> HeadParams:
        """The parameters of some frames; an int keeps the frame axis, with T = 1."""
        if isinstance(index, (int, np.integer)):
            index = slice(int(index), int(index) + 1) if index != -1 else slice(-1, None)
        return HeadParams(
            self.identity, self.expression[index], self.rotation[index], self.translation[index],
            self.neck[index], self.jaw[index], self.eyes[index],
            None if self.recorded is None else self.recorded[index],
        )  # fmt: skip


@dataclass(frozen=True)
class Split:
    """Which frames of a clip fit may see.

    Attributes:
        name: "blocks" or "tail", or "recorded" where an imported folder says it.
        train, holdout, guard: sorted positions into the clip's usable frames; guard frames belong to neither.
    """

    name: str
    train: Array
    holdout: Array
    guard: Array

    @staticmethod
    def blocks(times_s: Array, period_s: float = 5.0, held_s: float = 1.0, guard_s: float = 0.5) -> Split:
        """Of every `period_s` the last `held_s` are held out, with `guard_s` on either side used by neither.

        A clip shorter than two periods is divided in two, in the same proportions, so that a holdout exists.
        """
        t = np.asarray(times_s, np.float64)
        t = t - (t[0] if len(t) else 0.0)
        duration = float(t[-1]) if len(t) else 0.0
        if 0 < duration < 2 * period_s:
            scale = duration * (1 + 1e-6) / 2 / period_s
            period_s, held_s, guard_s = period_s * scale, held_s * scale, guard_s * scale
        phase = np.mod(t, period_s)
        held = phase >= period_s - held_s
        guard = ~held & ((phase >= period_s - held_s - guard_s) | ((phase < guard_s) & (t >= period_s)))
        return Split._from_masks("blocks", held, guard)

    @staticmethod
    def tail(times_s: Array, fraction: float = 0.2) -> Split:
        """The last fifth of the frames is held out."""
        n = len(times_s)
        held = np.arange(n) >= n - int(round(n * fraction))
        return Split._from_masks("tail", held, np.zeros(n, bool))

    @staticmethod
    def named(name: str, times_s: Array) -> Split:
        """Split by name; raises KeyError for an unknown one."""
        makers: dict[str, Callable[[Array], Split]] = {"blocks": Split.blocks, "tail": Split.tail}
        return makers[name](times_s)

    @staticmethod
    def _from_masks(name: str, held: Array, guard: Array) -> Split:
        return Split(name, np.flatnonzero(~held & ~guard), np.flatnonzero(held), np.flatnonzero(guard))


@dataclass(frozen=True)
class Clip:
    """What a method sees of a tracked video: its usable frames, in order.

    Image sequences are read lazily: index them with an int, `clip.images[i]`.

    Attributes:
        images: T × (H, W, 3) uint8 RGB.
        mattes: T × (H, W) uint8, the supervised alpha: the head without clothes, or the person with torso.
        parsing: T × (H, W) uint8, values index `PARSING_CLASSES`.
        landmarks: (T, 478, 3) MediaPipe points, x y in pixels of the crop, z in the same scale.
        camera: the one camera of the clip.
        params: head parameters of the T frames.
        times_s: (T,) seconds into the source video.
        frame_idx: (T,) indices of the frames in the workspace.
        valid: (H, W) bool, false where the crop leaves the picture; such pixels count in no loss and no figure.
        split: train and holdout positions.
        covered: T × (H, W) uint8, how much of each pixel is clothes in front of the head or where it may go on; what
            lies behind is unknown, so such pixels teach nothing and are white in truth and prediction alike. None
            where the torso is supervised too.
        normals: T × (H, W, 3) uint8, normal * 0.5 + 0.5 with x right, y up, z to the viewer, 0 where there is none: of
            the fitted head, or a network's where preprocess was asked for one. None for a clip that has none.
        background: (H, W, 3) uint8, what was seen behind the person, white where nothing ever was. None for a clip
            that has none.
        scratch: a folder on a disk that has room for what a method keeps out of memory while it works. None takes the
            system's folder for such files.
    """

    images: Sequence[Array]
    mattes: Sequence[Array]
    parsing: Sequence[Array]
    landmarks: Array
    camera: Camera
    params: HeadParams
    times_s: Array
    frame_idx: Array
    valid: Array
    split: Split
    covered: Sequence[Array] | None = None
    normals: Sequence[Array] | None = None
    background: Array | None = None
    scratch: Path | None = None

    def __len__(self) -> int:
        return len(self.frame_idx)


@dataclass(frozen=True)
class RenderOutput:
    """One rendered picture.

    Attributes:
        rgb: (H, W, 3) float32 in [0, 1], composited over the background that was asked for.
        alpha: (H, W) float32 in [0, 1].
        depth: (H, W) float32 metres along the camera's z, 0 where alpha is 0.
        find_normal: computes `normal`; None where the method has none.
    """

    rgb: Array
    alpha: Array
    depth: Array
    find_normal: Callable[[], Array] | None = None

    @cached_property
    def normal(self) -> Array | None:
        """(H, W, 3) float32 unit vectors in camera space, found when first asked for: few pictures need them."""
        return None if self.find_normal is None else self.find_normal()


@dataclass(frozen=True)
class Surface:
    """The skin of an avatar as triangles.

    Attributes:
        vertices: (V, 3) float32 head space, metres.
        faces: (F, 3) int64, counterclockwise seen from outside.
        colors: (V, 3) float32 RGB in [0, 1], as the video's light shows them.
    """

    vertices: Array
    faces: Array
    colors: Array

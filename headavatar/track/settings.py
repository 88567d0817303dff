"""Settings of `track`: what a user may turn, the presets, and the sub-stages as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headavatar.dialects import layouts
from headavatar.pretrained import cache
from headavatar.ranges import AT_LEAST_ONE
from headavatar.workspace.stages import StageSpec, setting


@dataclass(frozen=True)
class LandmarkWeights:
    """Weights of the landmark fit, per frame, where a landmark one percent of the eye distance off costs 1.

    Attributes:
        robust: beyond this many percent a landmark's pull stops growing.
        score: squared distance of a coefficient from the network's score.
        sparsity: absolute value of a coefficient.
        identity: squared identity coefficient, in standard deviations.
        focal: squared logarithm of the focal length over its prior.
        offset: squared offset of a landmark, per square metre; times `LandmarkModel.sameness`.
        smooth_rotation, smooth_translation, smooth_expression: squared second differences at 30 frames a second, per
            square radian, square metre and squared coefficient.
    """

    robust: float = 2.0
    score: float = 100.0
    sparsity: float = 10.0
    identity: float = 4.0
    focal: float = 1e4
    offset: float = 6e5
    smooth_rotation: float = 3e5
    smooth_translation: float = 1e7
    smooth_expression: float = 20.0


@dataclass(frozen=True)
class OutlineWeights:
    """Weights of the outline, where a place that is off by one percent of the eyes' distance costs 1, like a landmark.

    Attributes:
        place: squared distance from where the outline must run, per `spacing_px` of it.
        neck: the same for the neck, which moves by itself.
        spacing_px: length of outline that counts like one landmark.
        robust: beyond this many percent a place's pull falls.
        reach: how far the outline is searched, in percent of the eyes' distance.
    """

    place: float = 0.25
    neck: float = 0.06
    spacing_px: float = 3.0
    robust: float = 8.0
    reach: float = 25.0


@dataclass(frozen=True)
class NeckWeights:
    """Weights of the neck, where a place of its outline that is off as above costs 1.

    Attributes:
        still: squared turn of the torso away from where it is believed to face, per square radian.
        smooth: squared second difference of the torso's turn at 30 frames a second, per square radian.
        place: squared distance of the outline from where the neck's skin ends, per `spacing_px` of it.
        spacing_px, robust, reach: as in `OutlineWeights`.
        iterations: Gauss-Newton steps.
    """

    still: float = 1000.0
    smooth: float = 1e6
    place: float = 0.25
    spacing_px: float = 3.0
    robust: float = 4.0
    reach: float = 12.0
    iterations: int = 3


@dataclass(frozen=True)
class OffsetWeights:
    """Weights of the static offset, where a place of the outline that is off as above costs 1, and shifts are in mm.

    Attributes:
        smooth: squared difference of a vertex's shift from its neighbors' mean.
        mirror: squared difference from its mirror image's.
        magnitude: squared shift.
        still: the same where the surface has to stay.
        reach, robust: as in `OutlineWeights`; hair stands far off.
        face_reach: how far off skin may be.
        iterations: Gauss-Newton steps.
    """

    smooth: float = 30.0
    mirror: float = 0.1
    magnitude: float = 0.002
    still: float = 100.0
    reach: float = 30.0
    robust: float = 25.0
    face_reach: float = 8.0
    iterations: int = 4


@dataclass(frozen=True)
class LensWeights:
    """How the focal length is searched.

    Attributes:
        shortest, longest: that are tried, over the usual one.
        keyframes: that are fitted at each.
        surfels: at most.
        alike: share of what landmarks, outlines and beliefs cost that counts beside the colors' cost; what is wrong
            with them is wrong in all frames alike.
        belief: weight of the squared logarithm of the focal length over the usual one, per frame, in the cost of
            the last of `LENS_STEPS`.
    """

    shortest: float = 0.7
    longest: float = 6.0
    keyframes: int = 48
    surfels: int = 3000
    alike: float = 0.25
    belief: float = 5.0


@dataclass(frozen=True)
class PhotometricStep:
    """One sub-stage of aligning the head to the picture, in which colors are gathered and what may move moves.

    A surfel whose color is off by `robust` costs 1; so do, before they fade, landmarks off by one percent of the eyes'
    distance.

    Attributes:
        name: shown while it runs.
        moves: "pose", the rigid poses of all frames; "person", identity, focal length and the keyframes' poses and
            expressions; "all", poses and expressions of all frames.
        scale: of the pictures, 1 is full working size.
        blur_px: standard deviation of the blur at that scale.
        iterations: Gauss-Newton steps.
        robust: color residual, of 1, beyond which a point's pull falls.
        landmarks: share of the landmarks' say that is left.
        score, sparsity, identity, smooth_rotation, smooth_translation, smooth_expression: as in `LandmarkWeights`.
        mirror, rest: as in `ExpressionPrior.add`.
        colors_yield: where the person moves, colors move along within each Gauss-Newton step, not only after it.
    """

    name: str
    moves: str
    scale: float
    blur_px: float
    iterations: int
    robust: float = 0.08
    landmarks: float = 0.02
    score: float = 6.0
    sparsity: float = 0.4
    identity: float = 0.5
    smooth_rotation: float = 3e5
    smooth_translation: float = 1e7
    smooth_expression: float = 5.0
    mirror: float = 0.0
    rest: float = 0.0
    colors_yield: bool = False


_BELIEVED: dict[str, Any] = {"smooth_expression": 20.0, "mirror": 100.0, "rest": 10.0}
_PERSON: dict[str, Any] = _BELIEVED | {"colors_yield": True}

_BALANCED = (
    PhotometricStep("coarse poses", "pose", 0.5, 1.5, 6),
    PhotometricStep("person", "person", 0.5, 1.0, 3, robust=0.05, landmarks=0.01, **_PERSON),
    PhotometricStep("expressions", "all", 0.5, 1.0, 4, robust=0.05, **_BELIEVED),
    PhotometricStep("person again", "person", 1.0, 0.8, 4, robust=0.03, landmarks=0.01, **_PERSON),
    PhotometricStep("fine", "all", 1.0, 0.8, 6, robust=0.03, **_BELIEVED),
)

REFINEMENTS: Mapping[str, tuple[PhotometricStep, ...]] = {
    "none": (),
    "fast": (
        PhotometricStep("coarse poses", "pose", 0.5, 1.5, 4),
        PhotometricStep("expressions", "all", 0.5, 1.0, 3, robust=0.05, landmarks=0.02),
    ),
    "balanced": _BALANCED,
    "quality": (
        *_BALANCED,
        PhotometricStep("person once more", "person", 1.0, 0.8, 4, robust=0.03, landmarks=0.01, **_PERSON),
        PhotometricStep("sharp", "all", 1.0, 0.6, 4, robust=0.03, **_BELIEVED),
    ),
}
"""The sub-stages of photometric refinement that `refine` names."""

LENS_STEPS = (
    _BALANCED[0],
    replace(_BALANCED[1], iterations=5, landmarks=0.005, colors_yield=False),
    replace(_BALANCED[3], iterations=6, landmarks=0.002, colors_yield=False),
)
"""The sub-stages after which focal lengths are compared; that colors yield would cost as much again."""


@dataclass(frozen=True)
class TrackSettings:
    """What `track` can be told."""

    refine: str = setting(
        "balanced",
        "How far poses, expressions and the person are aligned to the picture itself.",
        choices=tuple(REFINEMENTS),
    )
    field_of_view_deg: float = setting(
        45.0,
        "Field of view of the uncropped video's longer side, degrees: what is believed before anything is seen.",
        within=(1, 170),
    )
    keyframes: int = setting(
        96, "Frames, all from the training part, that identity and focal length are fitted to.", within=AT_LEAST_ONE
    )
    outline_keyframes: int = setting(
        32, "Frames, of those, whose outline ears and skull follow; with 0 landmarks alone shape the head."
    )
    static_offset: bool = setting(
        False,
        "Let the head's surface leave the model where outlines ask for it: hair's bulk, a beard, a large nose.",
        added_later=True,
    )
    focal_lengths: int = setting(
        3,
        "Focal lengths that keyframes are fitted at, to take the one that pictures agree with; with 0 the believed "
        "field of view stands.",
        choices=(0, 3, 5, 7),
        added_later=True,
    )
    landmark_habits: bool = setting(
        True,
        "Read the landmarks as the network is known to see them on any head: shifted by its view and expression.",
        added_later=True,
    )
    surfels: int = setting(4000, "Points of the head's surface that are aligned to the picture.", within=AT_LEAST_ONE)
    person_keyframes: int = setting(48, "Frames that the person is aligned to the picture in.", within=AT_LEAST_ONE)
    texture_size: int = setting(512, "Side of the texture, pixels.", within=(16, 8192))
    texture_frames: int = setting(
        96, "Frames, all from the training part, that the texture is gathered from.", within=AT_LEAST_ONE
    )
    head: str = setting("embedded", "Head model: embedded, or the name of one that `headavatar models add` read.")
    imported_from: str = setting(
        "none", "Layout of the folder that gives camera and poses; none finds them.", choices=("none", *layouts.NAMES)
    )
    imported_folder: str = setting("", "That folder.", changes_result=False)


PRESETS: dict[str, dict[str, Any]] = {
    "fast": {
        "refine": "fast",
        "focal_lengths": 0,
        "landmark_habits": False,
        "keyframes": 64,
        "outline_keyframes": 24,
        "surfels": 3000,
        "texture_frames": 48,
    },
    "balanced": {},
    "quality": {
        "refine": "quality",
        "focal_lengths": 5,
        "keyframes": 160,
        "surfels": 6000,
        "texture_size": 1024,
        "texture_frames": 200,
    },
}


def head_file(name: str) -> str:
    """The file of a head model: what the tracked identity, expressions and texture are coefficients of."""
    if name == "embedded":
        return str(Path(__file__).parents[1] / "head" / "data" / "embedded.npz")
    return str(cache.added_head_model(name))


STAGE = StageSpec(
    name="track",
    version=11,
    settings=TrackSettings,
    run="headavatar.track.stage:run",
    upstream=("preprocess",),
    presets=PRESETS,
    inputs=lambda settings: (head_file(settings.head), settings.imported_folder),
)

"""Settings of the preprocess stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headavatar.pretrained import cache
from headavatar.pretrained.catalog import FACE_NORMALS
from headavatar.ranges import AT_LEAST_ONE
from headavatar.workspace.stages import StageSpec, setting

MINIMUM_USABLE_FRAMES = 24
"""Fewer usable frames than these cannot tell a head's shape from its expressions."""


@dataclass(frozen=True)
class PreprocessSettings:
    video: str = setting(
        "", "the video to read; anything ffmpeg decodes, or a folder of pictures", changes_result=False
    )
    fps: float = setting(
        25.0, "frames per second of a folder of pictures; a video says its own", added_later=True, within=(0.1, 1000)
    )
    masks: str = setting(
        "", "folder of the person's mattes, named like the pictures; else their transparency, else a network",
        changes_result=False,
    )  # fmt: skip
    mask_colors: str = setting(
        "matte", "what masks show: a matte; AD-NeRF's parsing, whose blue is the head and green and red the rest; or "
        "nineteen classes as gray values",
        choices=("matte", "parsing", "nineteen"), added_later=True,
    )  # fmt: skip
    start: float = setting(0.0, "seconds of the video to skip")
    max_frames: int = setting(0, "stop after this many frames; 0 takes all")
    every: int = setting(1, "take every K-th frame", within=AT_LEAST_ONE)
    size: int = setting(256, "side of the square crop, pixels", choices=(256, 512))
    matting: str = setting(
        "modnet", "network for the person's matte; rvm is GPL-3.0, selfie is light and coarse",
        choices=("modnet", "rvm", "selfie"),
    )  # fmt: skip
    parsing: str = setting(
        "six", "network for the parsing; nineteen was trained on data with a non-commercial licence",
        choices=("six", "nineteen"),
    )  # fmt: skip
    landmarks: str = setting(
        "mediapipe", "landmarks: MediaPipe's alone, corrected by face-alignment's 68 by confidence, or moved to these",
        choices=("mediapipe", "both", "face-alignment"), added_later=True,
    )  # fmt: skip
    normals: str = setting(
        "landmarks", "normals of the face: spanned by its landmarks, or a network's that `models add` took in",
        choices=("landmarks", "network"), added_later=True,
    )  # fmt: skip
    workers: int = setting(0, "threads that run networks; 0 takes one per core, four at most", changes_result=False)


PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"size": 256, "matting": "selfie"},
    "balanced": {},
    "quality": {"size": 512},
}


def models(settings: PreprocessSettings) -> tuple[str, ...]:
    """The networks that these settings use, by catalog name."""
    matting = {"modnet": "modnet", "rvm": "rvm", "selfie": "selfie_segmenter"}[settings.matting]
    parsing = ("selfie_multiclass",) if settings.parsing == "six" else ("selfie_multiclass", "bisenet")
    return ("face_landmarker", matting, *parsing)


def inputs(settings: PreprocessSettings) -> tuple[str, ...]:
    """The files from outside that these settings read."""
    added = cache.location(FACE_NORMALS)
    wanted = settings.normals == "network" and added.exists()  # where it is missing the stage says how to add it
    return (settings.video, settings.masks, str(added) if wanted else "")


STAGE = StageSpec(
    name="preprocess",
    version=3,
    settings=PreprocessSettings,
    run="headavatar.preprocess.stage:run",
    presets=PRESETS,
    models=models,
    inputs=inputs,
)

"""The report's pictures, as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headavatar.render import panels
from headavatar.scene import PARSING_CLASSES, Array

PARSING_COLORS = np.array(
    [[255, 255, 255], [120, 70, 30], [240, 170, 110], [255, 215, 180], [70, 110, 190], [150, 60, 160]], np.uint8
)
"""White background, brown hair, orange body, light face, blue clothes, purple rest; order of `PARSING_CLASSES`."""
assert len(PARSING_COLORS) == len(PARSING_CLASSES)

_JPEG_QUALITY = 85


def jpeg_uri(rgb: Array) -> str:
    """(H, W, 3) uint8 → data URI."""
    import cv2

    data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def thumbnail(rgb: Array, width_px: int = 144) -> Array:
    """Shrunk to a width, in proportion."""
    return panels.resize(rgb, width_px, max(1, round(rgb.shape[0] * width_px / rgb.shape[1])))


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, evenly spaced, the first and last among them."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, count).round().astype(int))]


def video_stills(path: Path, count: int) -> list[Array]:
    """Pictures spread evenly over a video, (H, W, 3) uint8 RGB; fewer where it cannot be read to its end."""
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = set(spread(range(total), count))
        stills = []
        for index in range(total):
            if not video.grab():
                break
            if index in wanted:
                fine, frame = video.retrieve()
                if fine:
                    stills.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        return [np.asarray(still) for still in stills]
    finally:
        video.release()


def error_map(truth: Array, predicted: Array, gain: float = 3.0) -> Array:
    """Mean absolute difference of two uint8 pictures, white where equal, towards red by `gain`."""
    difference = np.abs(truth.astype(np.float32) - predicted.astype(np.float32)).mean(axis=2) / 255.0
    share = np.clip(difference * gain, 0, 1)[..., None]
    return (np.array([255, 255, 255]) * (1 - share) + np.array([200, 20, 20]) * share).astype(np.uint8)

"""Track says of each frame what failed, and the rest of the pipeline leaves that frame out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import synthetic

from headavatar.preprocess.landmarks import face_sharpness
from headavatar.progress import RunContext
from headavatar.scene import PARSING_CLASSES, Array
from headavatar.track import stage
from headavatar.track.settings import TrackSettings
from headavatar.workspace import Workspace, layout, load_clip

FRAMES = 48
QUICK = TrackSettings(refine="none", keyframes=16, texture_size=64, texture_frames=4, **synthetic.EXACT)
HAND, CUP, SMEARED, LEAPT, BENT, CUT = (9, 10), (17,), (22, 23), (28,), (34,), (40,)
EXPECTED = (
    dict.fromkeys(HAND + CUP, "occluded") | dict.fromkeys(SMEARED, "blurred") | dict.fromkeys(LEAPT, "landmarks_lost")
    | dict.fromkeys(BENT, "off_the_model") | dict.fromkeys(CUT, "cut_off")
)  # fmt: skip


def cover(image: Array, landmarks: Array, color: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """Paint something round over part of the face, in place; returns where."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    center = low + (high - low) * rng.uniform(0.4, 0.6, 2)
    mask = np.zeros(image.shape[:2], np.uint8)
    axes = [int(n) for n in (high - low) * 0.27]
    cv2.ellipse(mask, [int(n) for n in center], axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    hidden = mask > 0
    image[hidden] = np.clip(np.array(color) + rng.normal(0, 5, (int(hidden.sum()), 3)), 0, 255)
    return hidden


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Any]]:
    """A clip in which some frames are spoiled, each in its own way, tracked."""
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    clip = synthetic.make(FRAMES, 160, seed)
    for i in HAND:  # a hand has the face's color, and parsing knows that it is none
        hidden = cover(clip.images[i], clip.exact[i], (200, 150, 122), rng)
        clip.parsing[i][hidden] = PARSING_CLASSES.index("body_skin")
    for i in CUP:  # parsing sees the face through the cup
        cover(clip.images[i], clip.exact[i], (60, 90, 160), rng)
    for i in SMEARED:
        clip.images[i] = cv2.blur(clip.images[i], (13, 13))
    for i in LEAPT:
        clip.landmarks[i, :, 0] += 45
    for i in BENT:
        clip.landmarks[i, :, :2] += 6 * np.sin(clip.landmarks[i, :, 1::-1] / 6)
    workspace = synthetic.write_workspace(tmp_path_factory.mktemp("verdicts") / "spoiled.avatar", clip=clip)
    table = workspace.read_jsonl(layout.FRAME_TABLE)
    for i, row in enumerate(table):
        row["sharpness"] = face_sharpness(clip.images[i], clip.exact[i])
    for i in CUT:
        table[i] |= {"usable": False, "reason": "cut_off"}
    workspace.write_jsonl(layout.FRAME_TABLE, table)
    return workspace, stage.run(workspace, QUICK, RunContext())


def test_every_frame_has_its_reason(spoiled: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, summary = spoiled
    rows = workspace.read_json(layout.QUALITY)["frames"]
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert {row["frame"]: row["reason"] for row in rows if not row["usable"]} == EXPECTED
    assert all(row["landmark_error"] is not None for row in rows if row["usable"])
    assert min(rows[i]["hidden"] for i in HAND + CUP) > max(row["hidden"] for row in rows if row["usable"])
    assert summary["frames"] == FRAMES and summary["usable"] == FRAMES - len(EXPECTED)
    assert summary["failed"]["occluded"] == len(HAND + CUP)
    assert "below_gate" not in summary


def test_fit_never_sees_them(spoiled: tuple[Workspace, dict[str, Any]]) -> None:
    clip = load_clip(spoiled[0])
    assert sorted(set(range(FRAMES)) - set(clip.frame_idx.tolist())) == sorted(EXPECTED)
    assert len(clip.images) == len(clip.params) == len(clip.landmarks) == FRAMES - len(EXPECTED)


def test_strict_refuses_a_clip_that_mostly_failed(tmp_path: Path) -> None:
    clip = synthetic.make(30, 96, 1)
    workspace = synthetic.write_workspace(tmp_path / "gone.avatar", clip=clip)
    table = workspace.read_jsonl(layout.FRAME_TABLE)
    points = workspace.read_npz(layout.LANDMARKS)
    for i in range(18, 30):  # as preprocess leaves it where the person walks away
        table[i] |= {"usable": False, "reason": "no_face", "sharpness": None}
        points["landmarks"][i], points["detected"][i] = np.nan, False
    workspace.write_jsonl(layout.FRAME_TABLE, table)
    workspace.write_npz(layout.LANDMARKS, **points)
    summary = stage.run(workspace, QUICK, RunContext())
    assert summary["usable"] == 18 and summary["failed"] == {"no_face": 12}
    assert any("18 of 30 frames" in line and "12 no face" in line for line in summary["below_gate"])

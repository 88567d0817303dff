"""How near a track comes to the truth of a made-up clip, in figures, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from talking_heads import Truth, head, posed

from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.preprocess import stage as preprocess_stage
from headavatar.preprocess.settings import PreprocessSettings
from headavatar.progress import RunContext
from headavatar.scene import ARKIT_NAMES, Array, Camera, HeadParams
from headavatar.track import stage as track_stage
from headavatar.track.landmark_model import OUTER_EYE_CORNERS
from headavatar.track.settings import PRESETS, TrackSettings
from headavatar.workspace import Workspace, layout
from headavatar.workspace.clips import load_camera, load_params

MOVED_MOST = 20
NOT_SKIN = ("neck", "mouth_interior", "teeth", "tongue", "lashes", "eyes")
OPEN_EYE = 0.5
"""An eye whose blink is above this in truth hides where it looks."""


@dataclass(frozen=True)
class Row:
    """Figures of one clip under one setting of the tracker."""

    clip: str
    refine: str
    figures: dict[str, Any]


def truth_figures(workspace: Workspace, truth: Truth) -> dict[str, Any]:
    """Compare a tracked workspace with the truth of the video that it was made of; returns what `compare` does."""
    source = {row["frame"]: row["source_frame"] for row in workspace.read_jsonl(layout.FRAME_TABLE)}
    rows = np.array([source[int(i)] for i in workspace.read_npz(layout.PARAMS)["frame_idx"]])
    video, camera = workspace.read_json(layout.VIDEO), load_camera(workspace)
    x, y, side = video["crop"]
    to_picture = np.array([[side / video["size"], 0, x], [0, side / video["size"], y], [0, 0, 1]])
    camera = Camera(K=to_picture @ camera.K, width=video["width"], height=video["height"])
    return compare(load_params(workspace), camera, truth, rows)


def compare(params: HeadParams, camera: Camera, truth: Truth, rows: Array) -> dict[str, Any]:
    """Compare a track with the truth.

    Args:
        params: of T frames.
        camera: in pixels of the whole picture.
        truth: of the video.
        rows: (T,) the video's frames that were tracked.
    Returns:
        frames: tracked ones. focal_ratio: focal length over the true one.
        vertex_mm: mean distance of the skin's vertices in camera space, after one scale about the camera's center.
        vertex_mm_similarity: the same after one scale and one shift along the viewing axis.
        rotation_deg: mean angle between the heads' rotations; rotation_deg_varying: without the constant part.
        neck_deg, neck_deg_varying: the same of the necks'. neck_deg_true: mean angle of the true necks.
        correlation, correlation_median, correlation_least: of the 20 coefficients that move the head most.
        worst: the five least correlated of them, "name correlation".
        gaze_deg, gaze_deg_world: mean angle of the eyeballs' forward directions in head and in world space, open eyes.
        landmark_nme: mean distance of the projected landmarks over the distance of the outer eye corners.
    """
    true = truth.params[rows]
    tensors = (params.identity, params.expression, params.rotation, params.translation)
    with torch.no_grad():
        found = head().landmark_model().posed(*(torch.from_numpy(a) for a in tensors)).double().numpy()
    return {
        "frames": len(rows),
        "focal_ratio": float(camera.K[0, 0] / truth.camera.K[0, 0]),
        **_vertex_errors(params, true),
        **_rotation_errors("rotation", params.rotation, true.rotation),
        **_rotation_errors("neck", params.neck, true.neck),
        "neck_deg_true": float(np.degrees(np.linalg.norm(true.neck, axis=1).mean())),
        **_correlations(params.expression, true.expression),
        **_gaze_errors(params, true),
        "landmark_nme": landmark_nme(camera.project(found)[0], truth, rows),
    }


def landmark_nme(pixels: Array, truth: Truth, rows: Array) -> float:
    """Mean distance of (T, 478, 2) landmarks from the true ones, over the true eye corners' distance as from the front.

    Args:
        pixels: of the whole picture.
        truth: of the clip.
        rows: (T,) which of its frames.
    """
    with torch.no_grad():
        world = head().landmark_points(posed(truth.params[rows])).double().numpy()
    left, right = (world[:, corner] for corner in OUTER_EYE_CORNERS)
    front = truth.camera.K[0, 0] * np.linalg.norm(left - right, axis=1) / -(left + right)[:, 2] * 2
    return float((np.linalg.norm(pixels - truth.camera.project(world)[0], axis=-1).mean(1) / front).mean())


def skin_vertices() -> Array:
    """Indices of the vertices that count: outer skin, scalp and ears included."""
    hidden = torch.zeros(head().vertex_count, dtype=torch.bool)
    for region in NOT_SKIN:
        hidden |= head().regions[region]
    return np.flatnonzero(~hidden.numpy())


def _vertex_errors(found: HeadParams, true: HeadParams) -> dict[str, float]:
    subset = torch.from_numpy(skin_vertices())
    with torch.no_grad():
        a, b = (
            head().posed(
                *(torch.from_numpy(x) for x in (p.identity, p.expression, p.rotation, p.translation, p.neck, p.jaw)),
                subset=subset,
            ).double().numpy()
            for p in (found, true)
        )  # fmt: skip
    scale = (a * b).sum() / (a * a).sum()
    plain = np.linalg.norm(scale * a - b, axis=-1).mean()
    # a scale and a shift along z: least squares with two unknowns
    z = a[..., 2]
    normal = np.array([[(a * a).sum(), z.sum()], [z.sum(), z.size]])
    scale, shift = np.linalg.solve(normal, np.array([(a * b).sum(), b[..., 2].sum()]))
    shifted = np.linalg.norm(scale * a + np.array([0, 0, shift]) - b, axis=-1).mean()
    return {"vertex_mm": float(plain * 1000), "vertex_mm_similarity": float(shifted * 1000)}


def _rotation_errors(name: str, found: Array, true: Array) -> dict[str, float]:
    relative = np.swapaxes(axis_angle_to_matrix_np(true), 1, 2) @ axis_angle_to_matrix_np(found)
    u, _, vh = np.linalg.svd(relative.mean(0))
    constant = u @ np.diag([1, 1, np.linalg.det(u @ vh)]) @ vh

    def mean_angle(rotations: Array) -> float:
        return float(np.degrees(np.linalg.norm(matrix_to_axis_angle_np(rotations), axis=1).mean()))

    return {f"{name}_deg": mean_angle(relative), f"{name}_deg_varying": mean_angle(relative @ constant.T)}


def moved_most(expression: Array) -> list[int]:
    """The coefficients that move the head most: deviation over time times root mean square displacement."""
    rest = torch.zeros(1, len(ARKIT_NAMES))
    with torch.no_grad():
        identity = torch.zeros(head().identity_size)
        moved = head().vertices(identity, torch.eye(len(ARKIT_NAMES))) - head().vertices(identity, rest)
    reach = moved.square().sum(-1).mean(-1).sqrt().numpy()
    return [int(k) for k in np.argsort(-expression.std(0) * reach)[:MOVED_MOST]]


def _correlations(found: Array, true: Array) -> dict[str, Any]:
    values = {}
    for k in moved_most(true):
        a, b = found[:, k] - found[:, k].mean(), true[:, k] - true[:, k].mean()
        values[ARKIT_NAMES[k]] = float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9))
    worst = sorted(values, key=values.__getitem__)
    return {
        "correlation": float(np.mean(list(values.values()))),
        "correlation_median": float(np.median(list(values.values()))),
        "correlation_least": values[worst[0]],
        "worst": [f"{name} {values[name]:.2f}" for name in worst[:5]],
    }


def _gaze_errors(found: HeadParams, true: HeadParams) -> dict[str, float]:
    near, far = (_forward(p) for p in (found, true))
    blink = true.expression[:, [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]]
    seen = blink < OPEN_EYE

    def angle(a: Array, b: Array) -> float:
        cosine = (a * b).sum(-1).clip(-1, 1)
        return float(np.degrees(np.arccos(cosine))[seen].mean())

    turned = [
        np.einsum("tij,tej->tei", axis_angle_to_matrix_np(p.rotation), d) for p, d in ((found, near), (true, far))
    ]
    return {"gaze_deg": angle(near, far), "gaze_deg_world": angle(*turned)}


def _forward(params: HeadParams) -> Array:
    """(T, 2, 3) where the left and the right eyeball look, head space."""
    gaze = head().gaze(torch.from_numpy(params.expression)).numpy().reshape(-1, 2, 3)
    turn = axis_angle_to_matrix_np(params.eyes.reshape(-1, 2, 3)) @ axis_angle_to_matrix_np(gaze)
    return np.asarray(turn[..., 2])


def preprocessed(video: Path, settings: PreprocessSettings) -> Workspace:
    """The workspace beside a video, preprocessed by the product's own stage where that was not done before."""
    path = video.with_suffix(".avatar")
    if (path / layout.VIDEO).exists():
        return Workspace.open(path)
    workspace = Workspace.create(path)
    preprocess_stage.run(workspace, settings, RunContext())
    return workspace


def track_clip(video: Path, size: int, refinements: Sequence[str] = ("none", "balanced", "quality")) -> list[Row]:
    """Track a filmed clip with each refinement, and compare it with its truth."""
    workspace = preprocessed(video, PreprocessSettings(video=str(video), size=size))
    truth = Truth.load(video.with_suffix(".npz"))
    rows = []
    for refine in refinements:
        settings = TrackSettings(**PRESETS.get(refine, {"refine": refine}))
        track_stage.run(workspace, settings, RunContext(resume=False))
        rows.append(Row(video.stem, refine, truth_figures(workspace, truth)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The clips by refinement, worst first."""
    lines = [
        f"{'clip':>6} {'refine':>9} {'frames':>6} {'vertex mm':>9} {'+shift':>6} {'rot °':>6} {'vary °':>6} "
        f"{'neck °':>6} {'vary °':>6} {'of °':>5} {'corr':>5} {'med':>5} {'least':>5} {'gaze °':>6} {'world':>6} "
        f"{'NME %':>6} {'focal':>6}  worst"
    ]
    ordered = sorted(rows, key=lambda row: (row.refine == "none", -row.figures["vertex_mm"]))
    for row in ordered:
        f = row.figures
        lines.append(
            f"{row.clip:>6} {row.refine:>9} {f['frames']:6d} {f['vertex_mm']:9.2f} {f['vertex_mm_similarity']:6.2f} "
            f"{f['rotation_deg']:6.2f} {f['rotation_deg_varying']:6.2f} {f['neck_deg']:6.2f} "
            f"{f['neck_deg_varying']:6.2f} {f['neck_deg_true']:5.1f} {f['correlation']:5.2f} "
            f"{f['correlation_median']:5.2f} {f['correlation_least']:5.2f} {f['gaze_deg']:6.2f} "
            f"{f['gaze_deg_world']:6.2f} {100 * f['landmark_nme']:6.2f} {f['focal_ratio']:6.2f}  "
            f"{', '.join(f['worst'])}"
        )
    return "\n".join(lines)

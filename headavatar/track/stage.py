"""The stage `track`: frames in; camera, head parameters, texture and a verdict on every frame out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel, load
from headavatar.head.rotations import matrix_to_axis_angle
from headavatar.progress import RunContext
from headavatar.scene import Array
from headavatar.track import imported, lens, measure, overlay, solve, verdicts
from headavatar.track import inputs as reading
from headavatar.track.canonical import obj_text
from headavatar.track.habits import Habits
from headavatar.track.inputs import Inputs
from headavatar.track.settings import TrackSettings
from headavatar.track.solve import Track
from headavatar.workers import in_order
from headavatar.workspace import Workspace, atomic, layout

JOINTS = {"neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6}
"""Rotations in params.npz and their sizes; expressions turn jaw and eyes, so these rest unless a folder gives them."""

GATE_LANDMARK_NME = 0.03
"""Above this mean landmark error `--strict` refuses the track."""


def run(workspace: Workspace, settings: TrackSettings, context: RunContext) -> dict[str, Any]:
    """Track a preprocessed clip and write `track/`.

    Args:
        workspace: preprocessed.
        settings: of the stage.
        context: reporter, seed and whether to go on from partial work.
    Returns:
        summary: frames, usable, failed (reason -> frames), landmark_nme, jitter_deg, jitter_px, silhouette_iou,
            seconds, fps, focal_px, focal_tried_px and focal_cost where several were tried, and below_gate where
            `--strict` refuses the track: the landmark error is too large, or too many frames failed.
    Raises:
        InputError: fewer than three frames show a usable face.
    """
    began = time.perf_counter()
    with torch.no_grad():
        head = load(settings.head)
        habits = Habits.load() if settings.landmark_habits else None
        clip = reading.read(workspace, head, settings.field_of_view_deg, habits)
        keep = _keeper(workspace, context.resume)
        said = imported.NOTHING
        tried: dict[str, Any] = {}
        if settings.imported_from == "none":
            if settings.focal_lengths:
                clip, found = lens.searched(head, clip, settings, context.reporter, context.seed, keep)
                tried = {"focal_tried_px": found.focal.round(2).tolist(), "focal_cost": found.cost.round(3).tolist()}
            track = solve.run(head, clip, settings, context.reporter, context.seed, keep)
        else:
            track, said = imported.run(workspace, head, clip, settings, context.reporter, keep)
        if track.static_offset is not None:
            head = head.with_offset(torch.from_numpy(track.static_offset))
        joints = said.joints
        if "neck_pose" not in joints:
            joints = joints | keep("neck", lambda: solve.bent_neck(head, clip, track))
        skin = keep("texture", lambda: _texture(head, clip, track, joints["neck_pose"], settings))
        summary = _write(workspace, head, clip, track, skin, joints | said.recorded, context) | said.summary | tried
    seconds = time.perf_counter() - began
    summary |= {"seconds": round(seconds, 2), "fps": round(len(clip) / seconds, 2)}
    if wrong := _wrong(summary) + said.wrong:
        summary["below_gate"] = wrong
    return summary


def _wrong(summary: dict[str, Any]) -> list[str]:
    """Why `--strict` refuses a track."""
    error, gate = summary["landmark_nme"], GATE_LANDMARK_NME
    off = f"landmarks are off by {error:.1%} of the eyes' distance, more than {gate:.0%}" if error > gate else ""
    few = verdicts.too_few(summary["failed"], summary["frames"])
    return [line for line in (off, few) if line]


def _keeper(workspace: Workspace, resume: bool) -> solve.Keep:
    """Store each step's arrays in the workspace's partial folder, and read them back after an interruption."""
    folder = workspace.partial_dir("track")

    def keep(name: str, compute: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        file = folder / f"{name}.npz"
        if resume and file.exists():
            with np.load(file, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        arrays = compute()
        atomic.write_npz(file, arrays)
        return arrays

    return keep


def _texture(head: HeadModel, clip: Inputs, track: Track, neck: Array, settings: TrackSettings) -> dict[str, Array]:
    texture = solve.gather_texture(head, clip, track, neck, settings)
    return {"rgb": (texture.rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)}


def _write(
    workspace: Workspace,
    head: HeadModel,
    clip: Inputs,
    track: Track,
    skin: dict[str, Array],
    more: dict[str, Array],
    context: RunContext,
) -> dict[str, Any]:
    """Write what was tracked; `more` are the joints, and what an imported folder says besides."""
    motion, frames = track.motion, len(track.kept)
    workspace.write_npz(
        layout.PARAMS,
        shape=track.person.identity.numpy(),
        expr=motion.expression.numpy(),
        rotation=matrix_to_axis_angle(motion.rotation.double()).float().numpy(),
        translation=motion.translation.numpy(),
        **{name: np.zeros((frames, size), np.float32) for name, size in JOINTS.items()} | more,
        frame_idx=clip.frame_idx[track.kept],
        landmark_offset=track.person.offset.numpy(),
        **({} if track.static_offset is None else {"static_offset": track.static_offset}),
        head_model=np.array(head.name),
    )
    camera = track.camera
    workspace.write_json(
        layout.CAMERAS,
        {"K": camera.K.tolist(), "world_to_camera": camera.world_to_camera.tolist(), "width": camera.width,
         "height": camera.height, "conventions": layout.CONVENTIONS},
    )  # fmt: skip
    workspace.write_image("track/texture.png", skin["rgb"])
    rest = head.vertices(track.person.identity, torch.zeros(1, len(head.expression_names)))[0]
    workspace.write_text("track/canonical.obj", obj_text(head, rest))
    workspace.write_text("track/canonical.mtl", "newmtl head\nKd 1 1 1\nmap_Kd texture.png\n")
    center = torch.as_tensor(camera.K[:2, 2], dtype=torch.float32)
    error, points = measure.landmark_error(head, track.person, motion, center, clip.landmarks[track.kept], clip.habits)
    overlaps = _overlay(workspace, head, clip, track, more["neck_pose"], points, context)
    judged = verdicts.rows(clip.table, clip.frame_idx, track.errors, track.kept, error, overlaps)
    network = workspace.read_npz(layout.LANDMARKS)["pose"][clip.frame_idx[track.kept], :3, :3]
    summary = _summary(clip, track, error, points, network, overlaps) | {"failed": verdicts.failures(judged)}
    workspace.write_json(layout.QUALITY, {"summary": summary, "frames": judged})
    return summary


def _overlay(
    workspace: Workspace, head: HeadModel, clip: Inputs, track: Track, neck: Array, points: Array, context: RunContext
) -> list[float | None]:
    """Write overlay.mp4 and the head's normals, and measure the outline's overlap on the way."""
    size = clip.images.shape[1]
    camera = track.camera.scaled(size, size)
    focal, center = float(camera.K[0, 0]), torch.as_tensor(camera.K[:2, 2], dtype=torch.float32)
    scale = size / clip.size
    whole_focal, whole_center = float(track.camera.K[0, 0]), torch.as_tensor(track.camera.K[:2, 2], dtype=torch.float32)
    overlaps: list[float | None] = []

    def picture(row: int) -> tuple[Array, float | None]:
        source = track.kept[row]
        world = _posed(head, track, neck, row)
        overlap = measure.silhouette_iou(head, world, focal, center, clip.parsing[source])
        normal, mask = overlay.surface(head, world, whole_focal, whole_center, clip.size)
        name = layout.frame_name(int(clip.frame_idx[source]))
        workspace.write_image(f"{layout.HEAD_NORMALS}/{name}", overlay.normal_picture(normal, mask))
        seen = clip.landmarks[source] * scale
        return overlay.picture(clip.images[source], normal, mask, points[row] * scale, seen), overlap

    def pictures() -> Iterator[Array]:
        with context.reporter.task("overlay", len(track.kept)) as task:
            for drawn, overlap in in_order(picture, range(len(track.kept))):
                overlaps.append(overlap)
                yield drawn
                task.advance()

    steps = np.diff(clip.times_s[track.kept])
    fps = float(np.clip(1 / max(float(np.median(steps)), 1e-3), 1, 60))
    with workspace.replace_file("track/overlay.mp4") as path:
        overlay.write_video(path, pictures(), 2 * size, size, fps)
    current = {layout.frame_name(int(i)) for i in clip.frame_idx[track.kept]}
    for file in workspace.path(layout.HEAD_NORMALS).iterdir():
        if file.name not in current:
            file.unlink()
    return overlaps


def _posed(head: HeadModel, track: Track, neck: Array, row: int) -> Tensor:
    motion, one = track.motion, slice(row, row + 1)
    vertices = head.vertices(track.person.identity, motion.expression[one], torch.from_numpy(neck[one]))[0]
    return vertices @ motion.rotation[row].T + motion.translation[row]


def _summary(
    clip: Inputs, track: Track, error: Array, points: Array, network: Array, overlaps: list[float | None]
) -> dict[str, Any]:
    known = [value for value in overlaps if value is not None]
    return {
        "frames": len(clip.table),
        "usable": len(track.kept),
        "landmark_nme": round(float(error.mean()), 5),
        "jitter_deg": round(measure.jitter_deg(track.motion.rotation), 4),
        "jitter_px": round(measure.jitter_px(points), 4),
        "jitter_deg_network": round(measure.jitter_deg(torch.from_numpy(network).float()), 4),
        "jitter_deg_landmarks": round(measure.jitter_deg(track.landmark_motion.rotation), 4),
        "silhouette_iou": round(float(np.mean(known)), 4) if known else None,
        "focal_px": round(float(track.camera.K[0, 0]), 2),
        "training_frames": int(track.train.sum()),
        "photometric": track.rounds,
    }

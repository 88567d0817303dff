"""Track by what somebody else tracked: camera and poses come from a folder, the rest is fitted under them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from headavatar.dialects import layouts, pictures
from headavatar.dialects.files import read_points, read_vertices
from headavatar.dialects.recording import Imported, SkullPoses
from headavatar.errors import InputError
from headavatar.head import HeadModel
from headavatar.progress import Reporter
from headavatar.scene import Array, Camera
from headavatar.track import measure, native, placement
from headavatar.track.inputs import Inputs, training_frames
from headavatar.track.landmark_fit import (
    RIGID,
    LandmarkFit,
    Motion,
    Observation,
    Person,
)
from headavatar.track.landmark_model import LandmarkModel
from headavatar.track.native import Native
from headavatar.track.normal import Normal
from headavatar.track.placement import Placement
from headavatar.track.settings import LandmarkWeights, TrackSettings
from headavatar.track.solve import Keep, Track
from headavatar.track.start import initial_motion, keyframes
from headavatar.workspace import Workspace, layout

WRONG_NME = 0.10
"""Above this landmark error the folder's axes or units are not what its layout's are."""
WRONG_TURN_DEG = 30.0
"""All head models look out of the face along +z with +y up, so their axes differ by less than this."""
WRONG_COVER = 0.85
"""A head's own mesh lies over more than this share of the face's landmarks."""
WRONG_SCALE = 1.3
"""Heads differ in size by less than this factor."""

_PERSON_ITERATIONS = 6
_ROUNDS = 12
_EXPRESSION_ITERATIONS = 6
_MESHES = 8
_FIXED = 1e12
"""Weight of the priors that hold the focal length and the poses."""


@dataclass(frozen=True)
class Verdict:
    """What an imported track says besides the track.

    Attributes:
        summary: joins the stage's.
        wrong: why a convention seems to be wrong, a line each.
        joints: neck_pose and jaw_pose (T, 3), eyes_pose (T, 6), as params.npz has them; only those that are known.
        recorded: what else of the folder params.npz keeps, see `kept`.
    """

    summary: dict[str, object]
    wrong: list[str]
    joints: dict[str, Array]
    recorded: dict[str, Array]


NOTHING = Verdict({}, [], {}, {})
"""Of a track that is not imported."""


def run(
    workspace: Workspace, head: HeadModel, inputs: Inputs, settings: TrackSettings, reporter: Reporter, keep: Keep
) -> tuple[Track, Verdict]:
    """Track a clip whose camera and poses a folder gives.

    Args:
        workspace: preprocessed from the folder's pictures.
        head: the head model.
        inputs: the clip.
        settings: name the folder and its layout.
        reporter: hears of progress.
        keep: stores arrays and gives them back after an interruption.
    Raises:
        InputError: the folder cannot be read, or is not the one that the workspace was made from.
    """
    found = layouts.read(settings.imported_from, Path(settings.imported_folder))
    rows, found = matched(workspace, inputs, found)
    camera = cropped(found.camera, workspace.read_json(layout.VIDEO))
    known = native.understood(head, found)
    unit = 1.0 if found.metric else native.unit_m(found.space) if known and found.space is not None else None
    done = keep("imported", lambda: fit(head, inputs, rows, camera, found.poses, known, unit, settings, reporter))
    person = Person(torch.from_numpy(done["identity"]), torch.from_numpy(done["offset"]), float(camera.K[0, 0]))
    motion = Motion(*(torch.from_numpy(done[key]) for key in ("rotation", "translation", "expression")))
    center = torch.as_tensor(camera.K[:2, 2], dtype=torch.float32)
    errors = np.zeros(len(inputs))
    errors[rows], _ = measure.landmark_error(head, person, motion, center, inputs.landmarks[rows], inputs.habits)
    train = training_frames(inputs.times_s[rows])
    track = Track(rows, train, person, motion, camera, motion, errors, [])
    covered = mesh_cover(found, camera, inputs.landmarks[rows])
    scale = 1.0 if unit is None else float(done["scale"])  # a unit that nobody knows cannot be wrong
    verdict = judge(found, known, float(errors[rows].mean()), float(done["turned_deg"]), scale, covered)
    if (astray := points_astray(found, camera, inputs.landmarks[rows])) > WRONG_NME:
        verdict.wrong.append(
            f"the folder's own landmarks lie off by {astray:.0%} of the eyes' distance: they are of other pictures"
        )
    for line in verdict.wrong:
        reporter.warn(line)
    return track, replace(verdict, joints=joints(found, known, done["turn"]), recorded=kept(found, done))


def matched(workspace: Workspace, inputs: Inputs, found: Imported) -> tuple[Array, Imported]:
    """Positions into the inputs of the frames that the folder tracked, and the folder's frames in the same order.

    Raises:
        InputError: too few of the workspace's pictures are the folder's.
    """
    names = {row["frame"]: row.get("file", "") for row in workspace.read_jsonl(layout.FRAME_TABLE)}
    source = Path(found.picture_source)
    place = {pictures.label(path, source): position for position, path in enumerate(found.pictures)}
    pairs = [(row, place.get(names[int(frame)], -1)) for row, frame in enumerate(inputs.frame_idx)]
    rows, positions = np.array([pair for pair in pairs if pair[1] >= 0], np.int64).reshape(-1, 2).T
    if len(rows) < layouts.LEAST_FRAMES:
        raise InputError(
            f"Only {len(rows)} of the usable pictures are tracked in the folder.",
            why="The workspace was made from other pictures, or their names differ.",
            fix="Make a new one with `headavatar import FOLDER --from LAYOUT --out NEW`.",
        )
    return rows, found[positions]


def cropped(camera: Camera, video: dict[str, object]) -> Camera:
    """A camera of the whole picture as the one of the clip's crop.

    Args:
        camera: of the pictures.
        video: as in source/video.json: crop [x, y, side] and size.
    """
    x, y, side = (float(value) for value in video["crop"])  # type: ignore[attr-defined]
    size = int(video["size"])  # type: ignore[call-overload]
    cut = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])
    return Camera(np.diag([size / side, size / side, 1.0]) @ cut @ camera.K, size, size, camera.world_to_camera)


def fit(
    head: HeadModel, inputs: Inputs, rows: Array, camera: Camera, poses: SkullPoses, known: Native | None,
    unit: float | None, settings: TrackSettings, reporter: Reporter,
) -> dict[str, Array]:  # fmt: skip
    """Fit what the folder does not say: our head's place in its poses, identity and expressions.

    Args:
        head, inputs, settings, reporter: as for `run`.
        rows: (T,) positions into the inputs.
        camera: of the crop; its focal length is held.
        poses: of the T frames.
        known: what need not be fitted.
        unit: of the poses, metres; where nobody knows it, it is fitted too.
    """
    model = LandmarkModel.of(head, inputs.habits)
    seen = Observation.of(inputs.landmarks[rows], inputs.scores[rows], inputs.times_s[rows], camera)
    focal = float(camera.K[0, 0])
    whole = LandmarkFit(model, seen, LandmarkWeights(focal=_FIXED), focal)
    candidates = torch.from_numpy(np.flatnonzero(training_frames(inputs.times_s[rows])))
    start = initial_motion(model, whole.stranger(), seen)
    frames = keyframes(seen, candidates, start.rotation, settings.keyframes)
    keys = LandmarkFit(model, seen[frames], whole.weights, focal)
    if known is None:
        person, placed, unit = _placed(keys, start[frames], poses[frames.numpy()], unit, reporter)
        poses = poses.in_metres(unit)
    else:
        poses = poses.in_metres(unit or 1.0)
        placed = known.placement
        person = _under(keys, placed, poses[frames.numpy()], known, frames)
    motion = placed.motion(poses, 0.5 * seen.scores)
    if known is not None and known.expression is not None:
        motion = replace(motion, expression=known.expression)
    else:
        with suppress(torch.linalg.LinAlgError):
            motion = whole.fit_motion(person, motion, _EXPRESSION_ITERATIONS, posed=True)
    return {
        "identity": person.identity.numpy(), "offset": person.offset.numpy(), "rotation": motion.rotation.numpy(),
        "translation": motion.translation.numpy(), "expression": motion.expression.numpy(),
        "turn": placed.turn, "turned_deg": np.array(placed.turned_deg), "scale": np.array(placed.scale),
        "unit": np.array(unit or 1.0), "origin": placed.vectors[-1],
    }  # fmt: skip


def _placed(
    keys: LandmarkFit, start: Motion, poses: SkullPoses, unit: float | None, reporter: Reporter
) -> tuple[Person, Placement, float]:
    """The person, the head's place in the poses, by turns, on keyframes; and the poses' unit, metres."""
    every = torch.arange(len(start))
    with reporter.task("placing the head", 1 + _ROUNDS) as task:
        person, motion = keys.refine_person(every, keys.stranger(), start, 2, offsets=False)
        person, motion = keys.refine_person(every, person, motion, _PERSON_ITERATIONS)
        unit = placement.unit_m(poses, motion) if unit is None else unit
        poses = poses.in_metres(unit)
        placed = placement.first(poses, motion)
        task.advance()
        with suppress(torch.linalg.LinAlgError):  # poses that make no sense, such as a head behind the camera
            for _ in range(_ROUNDS):
                motion = placed.motion(poses, motion.expression)
                person, motion = keys.refine_person(every, person, motion, 1, add=_held(True, False, False))
                placed = placement.refine(keys, person, poses, placed, motion)
                task.advance()
    return person, placed, unit


def _under(keys: LandmarkFit, placed: Placement, poses: SkullPoses, known: Native, frames: Tensor) -> Person:
    """The person under known poses, on keyframes; of what is known too, only the landmarks' offsets are left to fit."""
    person, expression = keys.stranger(), 0.5 * keys.seen.scores
    if known.identity is not None:
        person = replace(person, identity=known.identity)
    if known.expression is not None:
        expression = known.expression[frames]
    held = _held(True, known.expression is not None, known.identity is not None)
    return keys.refine_person(
        torch.arange(len(frames)), person, placed.motion(poses, expression), _PERSON_ITERATIONS, add=held
    )[0]


def _held(poses: bool, expressions: bool, identity: bool) -> Callable[[Normal, Person, Motion], None]:
    """What may not move in a fit of the person."""

    def add(system: Normal, person: Person, motion: Motion) -> None:
        own = torch.zeros(system.blocks.shape[1], dtype=system.blocks.dtype)
        own[:RIGID], own[RIGID:] = _FIXED * poses, _FIXED * expressions
        system.blocks.add_(torch.diag(own))
        if identity and system.shared_block is not None:
            system.shared_block.diagonal().add_(_FIXED)

    return add


def mesh_cover(found: Imported, camera: Camera, landmarks: Array) -> float | None:
    """How much of the face the folder's own meshes lie over, as the folder's cameras see them.

    Args:
        found: the folder.
        camera: of the crop.
        landmarks: (T, L, 3) pixels.
    Returns:
        share of the landmarks inside the meshes' outlines, over some frames; None where there are no meshes.
    """
    if not found.meshes:
        return None
    shares = []
    for i in np.unique(np.linspace(0, len(found) - 1, _MESHES).astype(int)):
        world = read_vertices(found.meshes[i]) @ found.poses.rotation[i].T + found.poses.translation[i]
        pixels, depth = camera.project(world)
        if len(world) < 3 or depth.min() <= 0:
            shares.append(0.0)
            continue
        outline = cv2.convexHull(pixels.astype(np.float32))
        inside = [cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in landmarks[i, :, :2]]
        shares.append(float(np.mean(inside)))
    return float(np.mean(shares))


def points_astray(found: Imported, camera: Camera, landmarks: Array) -> float:
    """How far the folder's own landmarks lie from those that were found here.

    Args:
        found: the folder.
        camera: of the crop.
        landmarks: (T, 478, 3) pixels of the crop.
    Returns:
        mean distance over the distance of the eyes' outer corners, over some frames; 0 where there are none to compare.
    """
    far = []
    to_crop = camera.K @ np.linalg.inv(found.camera.K)
    for i in np.unique(np.linspace(0, len(found) - 1, _MESHES).astype(int)) if found.points else ():
        theirs, ours = read_points(found.points[i]), landmarks[i, :, :2]
        if theirs.shape == ours.shape:
            there = theirs @ to_crop[:2, :2].T + to_crop[:2, 2]
            far.append(np.linalg.norm(there - ours, axis=1).mean() / np.linalg.norm(ours[33] - ours[263]))
    return float(np.mean(far)) if far else 0.0


def kept(found: Imported, done: dict[str, Array]) -> dict[str, Array]:
    """What of a folder a track keeps besides camera and poses: arrays of params.npz.

    Args:
        found: the folder.
        done: what `fit` gave.
    Returns:
        held_out (T,) bool; and where the folder has coefficients of its own, recorded (T, C), recorded_range (2, C),
        recorded_names (C,), empty where they are not ARKit's, and recorded_space (4, 4), from our head space, metres,
        to the folder's.
    """
    arrays: dict[str, Array] = {"held_out": found.held_out} if found.held_out.any() else {}
    if found.coefficients is None:
        return arrays
    space = np.eye(4)
    space[:3, :3], space[:3, 3] = done["turn"], done["origin"]
    space[:3] /= float(done["unit"]) * float(done["scale"])
    values = found.coefficients
    return arrays | {
        "recorded": values.values.astype(np.float32),
        "recorded_range": np.stack([values.low, values.high]).astype(np.float32),
        "recorded_names": np.array(values.names, np.str_), "recorded_space": space,
    }  # fmt: skip


def judge(
    found: Imported, known: Native | None, error: float, turned_deg: float, scale: float, covered: float | None
) -> Verdict:
    """Whether a folder means what its layout says.

    Args:
        found: the folder.
        known: what was taken from it besides camera and poses.
        error: mean landmark error over the distance of the eyes' outer corners.
        turned_deg: angle between its head's axes and ours.
        scale: of its world.
        covered: share of the face that its own meshes lie over, where it has any.
    """
    wrong = []
    if covered is not None and covered < WRONG_COVER:
        wrong.append(f"the folder's own meshes lie over {covered:.0%} of the face: a convention is wrong (camera)")
    if not error <= WRONG_NME:
        wrong.append(
            f"the imported head misses the landmarks by {error:.0%} of the eyes' distance: a convention is wrong "
            f"(axes, units or camera); is this really {found.dialect}? See track/overlay.mp4"
        )
    if turned_deg > WRONG_TURN_DEG:
        wrong.append(
            f"the imported head is turned by {turned_deg:.0f}° against ours at rest: a convention is wrong (axes); "
            f"is this really {found.dialect}? See track/overlay.mp4"
        )
    if not 1 / WRONG_SCALE < scale < WRONG_SCALE:
        wrong.append(f"the imported head fits only when scaled by {scale:.2f}: a convention is wrong (units)")
    parts = {"identity": known and known.identity, "expression": known and known.expression}
    summary: dict[str, object] = {
        "imported": found.dialect,
        "taken": ["camera", "head pose", *(name for name, value in parts.items() if value is not None)],
        "fitted": [name for name, value in parts.items() if value is None],
        "notes": list(found.notes),
        "turned_deg": round(turned_deg, 2),
        "scale": round(scale, 4),
    }
    if known is not None and known.expression is not None:
        summary["expression_residual_mm"] = round(known.residual_mm, 3)
    if covered is not None:
        summary["mesh_cover"] = round(covered, 4)
    if found.coefficients is not None:
        summary["coefficients"] = found.coefficients.values.shape[1]
    return Verdict(summary, wrong, {}, {})


def joints(found: Imported, known: Native | None, turn: Array) -> dict[str, Array]:
    """What the folder says of the joints in terms of our head, whose axes `turn` (3, 3) takes to the folder's."""
    parts = {"jaw_pose": known.jaw, "eyes_pose": known.eyes} if known else {}
    if "neck_pose" in found.native:
        parts["neck_pose"] = found.native["neck_pose"] @ turn
    return {key: np.asarray(value, np.float32) for key, value in parts.items() if value is not None}

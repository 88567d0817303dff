"""FLAME in its own parameters, and the way between them and the head that headavatar makes of it.

FLAME (Li, Bolkart, Black, Li and Romero, Learning a model of facial shape and expression from 4D scans, 2017) speaks in
shape and expression coefficients of a PCA and in the rotations of a root, a neck, a jaw and two eyeballs. Its file is
the user's own: `headavatar models add flame generic_model.pkl` reads it once, and what it was found to say is kept.

FLAME's space has head space's axes, x to the subject's left, y up, z out of the face, metres, and another origin:
a point of head space is the same point of FLAME's space plus `shift`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from headavatar.errors import ModelError
from headavatar.head.model import GAZE_LIMITS_RAD, HeadModel, path_of
from headavatar.head.rotations import axis_angle_to_matrix, axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.head.store import read_native
from headavatar.scene import ARKIT_NAMES, Array, HeadParams

ROOT, NECK, JAW, EYE_A, EYE_B = range(5)
"""FLAME's joints; `Flame.eye_order` says which eye is the left one."""

_STEPS = 600
_LOOKS = tuple(name for name in ARKIT_NAMES if name.startswith("eyeLook"))


@dataclass(frozen=True, eq=False)
class Flame:
    """What a FLAME file holds, and how it relates to the head made of it.

    Attributes:
        template: (V, 3) metres, FLAME's space.
        shape_basis: (S, V, 3) metres per standard deviation.
        expression_basis: (K, V, 3) metres per standard deviation.
        pose_basis: (36, V, 3) metres per entry of the rotations of neck, jaw and eyes, less the identity, row by row.
        joint_regressor: (5, V).
        weights: (V, 5) skinning.
        shift: (3,) from FLAME's space to head space, metres.
        eye_order: (2,) FLAME's joints of the left and the right eye.
        arkit: (52, K) expression coefficients of each ARKit shape at 1.
        arkit_jaw: (52, 3) jaw rotation of each, axis-angle, radians.
        residual_mm: (52,) what FLAME cannot say of each shape: root mean square over the vertices that it moves.
        moved_mm: (52,) how far the shape moves these.
    """

    template: Array
    shape_basis: Array
    expression_basis: Array
    pose_basis: Array
    joint_regressor: Array
    weights: Array
    shift: Array
    eye_order: Array
    arkit: Array
    arkit_jaw: Array
    residual_mm: Array
    moved_mm: Array

    def joints(self, shape: Array) -> Array:
        """(5, 3) joints of (S',) shape coefficients, S' ≤ S, FLAME's space."""
        return self.joint_regressor @ (self.template + np.tensordot(shape, self.shape_basis[: len(shape)], 1))


def load(name: str = "flame") -> Flame:
    """What was kept of a FLAME file that the user added.

    Args:
        name: under which it was added.
    Raises:
        ModelError: it was not added, or is no FLAME model.
    """
    arrays = read_native(path_of(name))
    if str(arrays.get("kind")) != "flame":
        raise ModelError(
            f"the head model {name!r} is no FLAME model", why=f"it was added as {arrays.get('kind', name)}",
            fix="headavatar models add flame generic_model.pkl",
        )  # fmt: skip
    return Flame(**{field.name: arrays[field.name] for field in fields(Flame)})


def flame_vertices(
    flame: Flame,
    shape: Tensor,
    expression: Tensor,
    global_pose: Tensor | None = None,
    neck: Tensor | None = None,
    jaw: Tensor | None = None,
    eyes: Tensor | None = None,
    translation: Tensor | None = None,
) -> Tensor:
    """FLAME as its own papers and programs pose it.

    Args:
        flame: the model.
        shape: (S',) or (B, S') standard deviations; missing ones are 0.
        expression: (B, K') standard deviations; missing ones are 0.
        global_pose, neck, jaw: (B, 3) axis-angle, radians.
        eyes: (B, 6) axis-angle of joints 3 and 4, as files keep them.
        translation: (B, 3) metres, added at the end.
    Returns:
        (B, V, 3) FLAME's space, metres.
    Source:
        FLAME, equations 1 to 5; linear blend skinning as in SMPL (Loper et al. 2015).
    """
    tensor = _tensors(flame, expression.dtype)
    count, size = len(expression), shape.shape[-1]
    shaped = tensor["template"] + torch.tensordot(shape.to(expression.dtype), tensor["shape_basis"][:size], 1)
    shaped = shaped + torch.tensordot(expression, tensor["expression_basis"][: expression.shape[1]], 1)
    joints = tensor["joint_regressor"] @ shaped
    rest = torch.zeros(count, 3, dtype=expression.dtype)
    parts = [rest if part is None else part for part in (global_pose, neck, jaw)]
    parts += [rest, rest] if eyes is None else [eyes[:, :3], eyes[:, 3:]]
    rotations = axis_angle_to_matrix(torch.stack(parts, 1))
    features = (rotations[:, 1:] - torch.eye(3, dtype=expression.dtype)).flatten(1)
    points = shaped + torch.tensordot(features, tensor["pose_basis"], 1)
    turns = [rotations[:, ROOT], rotations[:, ROOT] @ rotations[:, NECK]]
    turns += [turns[NECK] @ rotations[:, joint] for joint in (JAW, EYE_A, EYE_B)]
    places = [joints[:, ROOT]]
    for joint, parent in ((NECK, ROOT), (JAW, NECK), (EYE_A, NECK), (EYE_B, NECK)):
        bone = joints[:, joint] - joints[:, parent]
        places.append(places[parent] + (turns[parent] @ bone[..., None])[..., 0])
    shifts = torch.stack(places, 1) - (torch.stack(turns, 1) @ joints[..., None])[..., 0]
    blend = torch.einsum("vj,bjrc->bvrc", tensor["weights"], torch.cat([torch.stack(turns, 1), shifts[..., None]], -1))
    posed = (blend[..., :3] @ points[..., None])[..., 0] + blend[..., 3]
    return posed if translation is None else posed + translation[:, None]


def to_native(flame: Flame, expression: Array) -> tuple[Array, Array]:
    """ARKit's coefficients as FLAME's.

    Args:
        flame: the model.
        expression: (T, 52) in [0, 1].
    Returns:
        expression coefficients (T, K), standard deviations, and jaw rotations (T, 3), axis-angle. Gaze is the head
        model's own: `head.gaze(expression)`.
    """
    return expression @ flame.arkit, expression @ flame.arkit_jaw


@dataclass(frozen=True)
class Converted:
    """FLAME's parameters of T frames as the head's.

    Attributes:
        params: what the head model takes; its jaw and eyes hold what ARKit's coefficients leave over.
        offset: (V, 3) metres at rest, head space: what shape coefficients beyond the head's identity modes add.
        residual_mm: (T,) root mean square over the face of what ARKit's coefficients cannot say.
    """

    params: HeadParams
    offset: Array
    residual_mm: Array


@dataclass(frozen=True)
class FlameParams:
    """FLAME's own parameters of T frames, as files keep them.

    Attributes:
        shape: (S',) standard deviations.
        expression: (T, K).
        global_pose, neck, jaw: (T, 3) axis-angle, radians.
        translation: (T, 3) metres.
        eyes: (T, 6) axis-angle of joints 3 and 4.
    """

    shape: Array
    expression: Array
    global_pose: Array
    translation: Array
    neck: Array
    jaw: Array
    eyes: Array


def from_native(flame: Flame, head: HeadModel, expression: Array, jaw: Array, eyes: Array) -> tuple[Array, Array]:
    """FLAME's coefficients as ARKit's, by bounded least squares over the face's vertices.

    The eyeLook* coefficients are the eyes' rotations; all others follow from expression and jaw.

    Args:
        flame: the model.
        head: the head made of it.
        expression: (T, K') standard deviations.
        jaw: (T, 3) axis-angle.
        eyes: (T, 6) left then right, axis-angle.
    Returns:
        (T, 52) in [0, 1], and (T,) the residual, root mean square over the face, millimetres.
    Source:
        Accelerated projected gradient descent (Beck and Teboulle 2009) on the normal equations.
    """
    face = head.regions["face"] | head.regions["lips"] | head.regions["eyelids"]
    subset = torch.nonzero(face)[:, 0]
    zero = torch.zeros(1, len(head.expression_names))
    identity = torch.zeros(head.identity_size)
    with torch.no_grad():
        rest = head.vertices(identity, zero, subset=subset)[0].numpy()
        full = torch.eye(len(head.expression_names))
        # half way: a rotation's secant serves the usual coefficients better than its value at 1
        basis = 2 * (head.vertices(identity, 0.5 * full, subset=subset).numpy() - rest)
        wanted = np.concatenate([
            flame_vertices(
                flame, torch.zeros(1), torch.from_numpy(expression[i : i + 64]).float(),
                jaw=torch.from_numpy(jaw[i : i + 64]).float(),
            )[:, subset].numpy() + flame.shift.astype(np.float32)
            for i in range(0, len(expression), 64)
        ])  # fmt: skip
    goal = (wanted - rest).reshape(len(wanted), -1).astype(np.float64)
    rows = basis.reshape(len(basis), -1).astype(np.float64)
    looks = [ARKIT_NAMES.index(name) for name in _LOOKS]
    result = np.zeros((len(goal), len(rows)))
    result[:, looks] = _gaze_coefficients(eyes)
    free = np.setdiff1d(np.arange(len(rows)), looks)
    aim = goal - result @ rows
    gram = rows[free] @ rows[free].T
    # a shape that hardly adds to the others is left alone: a coefficient of 1 costs as much as 0.1 mm all over
    gram += np.eye(len(free)) * len(subset) * 1e-8
    result[:, free] = _bounded(gram, aim @ rows[free].T)
    residual = np.sqrt(((goal - result @ rows) ** 2).sum(1) / len(subset)) * 1000
    return result.astype(np.float32), residual.astype(np.float32)


def convert(
    flame: Flame,
    head: HeadModel,
    shape: Array,
    expression: Array,
    global_pose: Array,
    translation: Array,
    neck: Array,
    jaw: Array,
    eyes: Array,
) -> Converted:
    """FLAME's parameters, as other trackers write them, as the head model's.

    Args:
        flame, head: the same model.
        shape: (S',) standard deviations.
        expression: (T, K').
        global_pose, neck, jaw: (T, 3) axis-angle.
        translation: (T, 3) metres: a point of the torso is at R (p - joint 0) + joint 0 + translation.
        eyes: (T, 6) axis-angle of joints 3 and 4.
    """
    modes = min(len(shape), head.identity_size)
    identity = np.zeros(head.identity_size, np.float32)
    identity[:modes] = shape[:modes]
    offset = np.tensordot(shape[modes:], flame.shape_basis[modes : len(shape)], 1) + np.zeros_like(flame.template)
    left_right = np.concatenate([eyes[:, 3 * k : 3 * k + 3] for k in flame.eye_order - EYE_A], 1)
    coefficients, residual = from_native(flame, head, expression, jaw, left_right)
    gaze = head.gaze(torch.from_numpy(coefficients)).numpy()
    torso, skull = axis_angle_to_matrix_np(global_pose), axis_angle_to_matrix_np(neck)
    rotation = torso @ skull
    params = HeadParams(
        identity=identity, expression=coefficients, rotation=matrix_to_axis_angle_np(rotation).astype(np.float32),
        translation=(translation + _lever(flame, shape, torso, skull) - rotation @ flame.shift).astype(np.float32),
        neck=np.asarray(neck, np.float32), jaw=_left_over(jaw, coefficients @ flame.arkit_jaw),
        eyes=np.concatenate([_left_over(left_right[:, k : k + 3], gaze[:, k : k + 3]) for k in (0, 3)], 1),
    )  # fmt: skip
    return Converted(params, offset.astype(np.float32), residual)


def convert_back(flame: Flame, head: HeadModel, params: HeadParams) -> FlameParams:
    """The head's parameters as FLAME's; what only the lids' own shapes can say is left out.

    Args:
        flame, head: the same model.
        params: of T frames.
    """
    expression, jaw = to_native(flame, params.expression)
    gaze = head.gaze(torch.from_numpy(np.asarray(params.expression, np.float32))).numpy()
    eyes = np.concatenate([_composed(params.eyes[:, k : k + 3], gaze[:, k : k + 3]) for k in (0, 3)], 1)
    skull, rotation = axis_angle_to_matrix_np(params.neck), axis_angle_to_matrix_np(params.rotation)
    torso = rotation @ skull.swapaxes(1, 2)
    lever = _lever(flame, params.identity, torso, skull)
    return FlameParams(
        shape=np.asarray(params.identity), expression=expression, global_pose=matrix_to_axis_angle_np(torso),
        translation=params.translation + rotation @ flame.shift - lever, neck=np.asarray(params.neck),
        jaw=_composed(params.jaw, jaw),
        eyes=np.concatenate([eyes[:, 3 * k : 3 * k + 3] for k in np.argsort(flame.eye_order)], 1),
    )  # fmt: skip


def _lever(flame: Flame, shape: Array, torso: Array, skull: Array) -> Array:
    """(T, 3) where FLAME's origin goes as root and neck turn about their joints."""
    joints = flame.joints(shape)
    return np.asarray(torso @ (joints[NECK] - joints[ROOT]) - torso @ skull @ joints[NECK] + joints[ROOT])


def _composed(after: Array, first: Array) -> Array:
    return matrix_to_axis_angle_np(axis_angle_to_matrix_np(after) @ axis_angle_to_matrix_np(first))


def _left_over(whole: Array, part: Array) -> Array:
    """(T, 3) the rotation that is still to be made after `part` for it to be `whole`."""
    turn = axis_angle_to_matrix_np(whole) @ axis_angle_to_matrix_np(part).swapaxes(1, 2)
    return matrix_to_axis_angle_np(turn).astype(np.float32)


def _gaze_coefficients(eyes: Array) -> Array:
    """(T, 8) eyeLook* coefficients, order of `_LOOKS`, of (T, 6) rotations left then right."""
    columns = []
    for name in _LOOKS:
        way, side = name.removeprefix("eyeLook").removesuffix("Left").removesuffix("Right"), name.endswith("Right")
        outward = -1.0 if side else 1.0
        turn = {"In": -outward, "Out": outward}.get(way)
        angle = turn * eyes[:, 3 * side + 1] if turn else eyes[:, 3 * side] * (1.0 if way == "Down" else -1.0)
        columns.append(np.clip(angle / GAZE_LIMITS_RAD[way], 0, 1))
    return np.stack(columns, 1)


def _bounded(gram: Array, right: Array) -> Array:
    """(T, N) minimizers of ½ x G x - r x over [0, 1], for (N, N) and (T, N)."""
    scale = np.sqrt(np.diag(gram))
    gram, right = gram / np.outer(scale, scale), right / scale
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    current = np.zeros_like(right)
    ahead, pace = current, 1.0
    for _ in range(_STEPS):
        following = np.clip(ahead - step * (ahead @ gram - right), 0, scale)
        quicker = 0.5 + np.sqrt(0.25 + pace * pace)
        ahead = following + (pace - 1) / quicker * (following - current)
        current, pace = following, quicker
    return current / scale


@lru_cache(maxsize=4)
def _tensors(flame: Flame, dtype: torch.dtype) -> dict[str, Tensor]:
    names = ("template", "shape_basis", "expression_basis", "pose_basis", "joint_regressor", "weights")
    return {name: torch.from_numpy(np.asarray(getattr(flame, name))).to(dtype) for name in names}

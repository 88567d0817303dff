"""One actor's motion on another's head.

Relative transfer, the default: what the driver does away from the driver's rest is done away from the target's rest.

    expression   e = e_t + g · (e_d(t) - e_d)                 g is 1, or the ratio of the two clips' ranges
    lids         the gap's closing goes rest ↦ rest and closed ↦ closed, linear between; the blink makes up the rest
    rotations    R = R_t · (R_d⁻¹ · R_d(t))                   composed, as rotations do not subtract
    translation  x, y scaled by the inter-pupil distances' ratio, z by the depths' ratio
    recorded     r = r_t + (r_d(t) - r_d), where the same other tracker gave both clips coefficients of its own

Index d: the driver at rest; t: the target at rest. Identity, camera and texture are always the target's.

Source: NeuralHeadAvatars (Grassal et al. 2022) adds differences to the target's rest; it subtracts axis-angles
componentwise, which is wrong for large rotations, hence the composition here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headavatar.head.rotations import axis_angle_to_matrix_np, matrix_to_axis_angle_np
from headavatar.reenact.motion import Motion
from headavatar.render.neutral import lid_closing
from headavatar.scene import ARKIT_NAMES, Array, HeadParams

_GAIN_LIMITS = (0.5, 2.0)
_MOVES = 0.08
"""A coefficient that spans less than this over a clip says nothing about its range."""


def transfer_absolute(driver: Motion, target: HeadParams) -> HeadParams:
    """The driver's own parameters on the target's identity."""
    return replace(driver.params, identity=target.identity)


def transfer_relative(
    driver: Motion, driver_rest: HeadParams, target: HeadParams, target_rest: HeadParams, *,
    interpupil_m: float, range_gain: bool = False, movement: float = 1.0,
) -> HeadParams:  # fmt: skip
    """Move the target as the driver moves, each measured from its own rest.

    Args:
        driver: T frames.
        driver_rest, target_rest: one frame each (T = 1).
        target: the target's whole clip; its ranges are taken from it.
        interpupil_m: the target's distance between the eye joints, metres.
        range_gain: scale each coefficient by how far it goes in the target's clip over the driver's, 0.5 … 2.
        movement: factor on head translation; 0 keeps the head's place.
    Returns:
        T frames of the target.
    """
    moving = driver.params
    expression = _expressions(moving, driver_rest, target, target_rest, range_gain)
    scale = interpupil_m / driver.interpupil_m
    depth_ratio = target_rest.translation[0, 2] / (driver_rest.translation[0, 2] or -1.0)
    # a wrong focal length moves depth alone, so a step in depth is worth its share of the distance
    scales = np.array([scale, scale, depth_ratio if depth_ratio > 0 else scale])
    step = (moving.translation - driver_rest.translation) * scales * movement
    eyes = [
        _compose(moving.eyes[:, part], driver_rest.eyes[:, part], target_rest.eyes[:, part])
        for part in (slice(0, 3), slice(3, 6))
    ]
    return HeadParams(
        identity=target.identity,
        expression=expression.astype(np.float32),
        rotation=_compose(moving.rotation, driver_rest.rotation, target_rest.rotation),
        translation=(target_rest.translation + step).astype(np.float32),
        neck=_compose(moving.neck, driver_rest.neck, target_rest.neck),
        jaw=_compose(moving.jaw, driver_rest.jaw, target_rest.jaw),
        eyes=np.concatenate(eyes, axis=1),
        recorded=_recorded(moving, driver_rest, target_rest),
    )


def _recorded(moving: HeadParams, driver_rest: HeadParams, target_rest: HeadParams) -> Array | None:
    """(T, C) coefficients of another tracker, where driver and target have as many."""
    known = [params.recorded for params in (moving, driver_rest, target_rest)]
    if any(values is None for values in known) or known[0].shape[1] != known[2].shape[1]:  # type: ignore[union-attr]
        return None
    return np.asarray(known[2] + (known[0] - known[1]), np.float32)  # type: ignore[operator]


def smooth(params: HeadParams, sigma_frames: float) -> HeadParams:
    """A Gaussian over time on everything but identity.

    Args:
        params: T frames.
        sigma_frames: standard deviation, frames; 0 changes nothing.
    """
    if sigma_frames <= 0:
        return params
    radius = int(np.ceil(3 * sigma_frames))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_frames) ** 2)
    kernel /= kernel.sum()

    def filtered(values: Array) -> Array:
        padded = np.pad(values.astype(np.float64), ((radius, radius), (0, 0)), mode="edge")
        return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1).astype(np.float32)

    def filtered_rotation(vectors: Array) -> Array:
        # average the matrices and go back to the nearest rotation: no trouble at the ends of an axis-angle
        matrices = axis_angle_to_matrix_np(vectors.astype(np.float64)).reshape(len(vectors), 9)
        u, _, vt = np.linalg.svd(filtered(matrices).reshape(-1, 3, 3).astype(np.float64))
        u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
        return matrix_to_axis_angle_np(u @ vt).astype(np.float32)

    return HeadParams(
        params.identity, filtered(params.expression), filtered_rotation(params.rotation), filtered(params.translation),
        filtered_rotation(params.neck), filtered_rotation(params.jaw),
        np.concatenate([filtered_rotation(params.eyes[:, :3]), filtered_rotation(params.eyes[:, 3:])], axis=1),
        None if params.recorded is None else filtered(params.recorded),
    )  # fmt: skip


def _expressions(
    moving: HeadParams, driver_rest: HeadParams, target: HeadParams, target_rest: HeadParams, range_gain: bool
) -> Array:
    rest_d, rest_t = driver_rest.expression[0].astype(np.float64), target_rest.expression[0].astype(np.float64)
    gain = np.ones_like(rest_d)
    if range_gain:
        reach_d = np.quantile(moving.expression, 0.98, axis=0) - rest_d
        reach_t = np.quantile(target.expression, 0.98, axis=0) - rest_t
        known = (reach_d > _MOVES) & (reach_t > _MOVES)
        gain[known] = np.clip(reach_t[known] / reach_d[known], *_GAIN_LIMITS)
    result = rest_t + gain * (moving.expression - rest_d)
    result = np.clip(result, 0.0, 1.0)
    for side in ("Left", "Right"):
        driver_closing = lid_closing(moving.expression, side)
        low_d, low_t = lid_closing(rest_d[None], side)[0], lid_closing(rest_t[None], side)[0]
        high_d = _closed(driver_closing, low_d)
        high_t = _closed(lid_closing(target.expression, side), low_t)
        wanted = np.interp(driver_closing, [low_d, high_d], [low_t, high_t])
        wanted += np.minimum(driver_closing - low_d, 0.0) + np.maximum(driver_closing - high_d, 0.0)
        blink = ARKIT_NAMES.index(f"eyeBlink{side}")
        result[:, blink] = np.clip(result[:, blink] + wanted - lid_closing(result, side), 0.0, 1.0)
    return result


def _closed(closing: Array, rest: float) -> float:
    """The closing at which a person's lids are tracked to meet: what the clip's strongest frames show.

    A clip without a blink shows less; then 0.6, where tracked lids usually meet.
    """
    meeting = min(max(float(np.quantile(closing, 0.99)), 0.6), 1.1)
    return max(meeting, rest + 0.05)  # a rest with closed lids, chosen by hand, is no wider than closed


def _compose(moving: Array, driver_rest: Array, target_rest: Array) -> Array:
    """R_t · (R_d⁻¹ · R_d(t)) as axis-angle: (T, 3), (1, 3), (1, 3) → (T, 3)."""
    now = axis_angle_to_matrix_np(np.asarray(moving, np.float64))
    rest_d = axis_angle_to_matrix_np(np.asarray(driver_rest, np.float64))[0]
    rest_t = axis_angle_to_matrix_np(np.asarray(target_rest, np.float64))[0]
    return matrix_to_axis_angle_np(rest_t @ rest_d.T @ now).astype(np.float32)

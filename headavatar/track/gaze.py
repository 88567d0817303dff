"""Where the eyes look, by the dark disc of the iris between the lids.

A network's irises move too little with the eyes, above all up and down. Where the head and its lids lie right on the
picture, the picture says it directly: what is seen between the lids lies on an eyeball, and is bright or dark by its
angle from the axis of gaze alone. That profile of brightness is learnt over the clip; the gaze of a frame, common to
both eyes, is where the profile explains the picture best. Since some forty pixels show an eye, the result is weighed
with what was known before and with the neighboring frames, and eyes that are shut get theirs from those.

Source: the idea of a disc on a ball between the lids is that of Daugman 1993 and Wood et al. 2016 ("A 3D morphable eye
region model for gaze estimation"), here with a radial profile in place of an edge or a texture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.head.model import GAZE_LIMITS_RAD, JOINTS
from headavatar.scene import Array
from headavatar.track.landmark_fit import Motion, Person, project
from headavatar.track.pictures import Pictures, chunks, images_of, sample
from headavatar.track.shut_eyes import blinks, lids_held, looking_on, opening

SIDES = ("Left", "Right")
OPENINGS = (
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
)
"""Landmarks around the left and the right eye's opening, in order."""

IRIS_M = 0.0059
"""Radius of an iris; nearly everybody's."""

_CHUNK = 32
_SPACING = np.radians(5)
_PLACES = (np.radians(50), np.radians(40))
"""Half the field of places on an eyeball that are looked at, to the sides and up and down."""
_GRID = np.radians(3)
_NEAR = 2.5 * _GRID
_BINS, _WIDEST = 36, 1.2
_EDGE = 0.06
_FIRST_DEPTH = 0.8
_ROUNDS = 3
_LEARNT = 96
"""Frames, at most, that the profile is learnt from."""
_ROBUST = 0.3
_COUNT = 0.5
"""Of a pixel's worth: neighboring pixels share their errors."""
_BELIEVED = (np.radians(12), np.radians(15))
"""How far the gaze may be from what was known, to the sides and up and down."""
_LID_PX, _SOFT_PX = 0.3, 1.5
"""Nearer to a lid than this lashes and shadows are seen; from there on trust grows to its full."""
_LEAST_PX = 3.0
_NARROW = 0.45
"""Share of what is usually open below which an eye shows lashes rather than itself."""
_HIDDEN = 3.0
"""Cost of a pupil behind a lid in eyes that are open."""
_CLEAR = np.radians(6)
"""Standard deviation up to which a frame's gaze is clear."""
_SHUT = 1.001 / _BELIEVED[1] ** 2
"""What is known of the pitch of a frame whose eyes are shut."""
_STEADY, _SACCADE = np.radians(4), np.radians(3)
"""Change of gaze within a thirtieth of a second, and beyond which size it counts as a jump."""


@dataclass(frozen=True)
class Eyes:
    """What the pictures show between the lids.

    Attributes:
        places: (N, 3) unit vectors from an eyeball's center, head space.
        value: (T, 2, N) logarithm of the brightness there, left and right eye.
        weight: (T, 2, N) pixels that a place stands for; 0 where a lid covers it.
        iris: angle between the axis of gaze and the iris' rim, radians.
    """

    places: Tensor
    value: Tensor
    weight: Tensor
    iris: float


def refine_gaze(
    head: HeadModel, person: Person, motion: Motion, pictures: Pictures, train: Tensor, focal: float
) -> Motion:
    """Turn the eyes to where the pictures show the irises.

    Args:
        head: the head model.
        person, motion: the track; head and lids must lie right already.
        pictures: of the motion's T frames.
        train: (T,) bool, frames that the irises' brightness may be learnt from.
        focal: pixels, at the pictures' size.
    Returns:
        the motion with other eyeLook* coefficients, and in blinks with lids that need no look down to be shut.
    """
    with torch.no_grad():
        eyes = look(head, person, motion, pictures, focal)
        known = gaze_of(head, motion.expression)
        angles, information = find(eyes, known, train)
        angles = leveled(angles, information, known.numpy(), train.numpy())
        times_s = pictures.times_s.numpy()
        blinking = blinks(information[:, 1] <= _SHUT, opening(head, motion.expression), times_s)
        angles = steadied(*looking_on(angles, information, blinking, times_s), times_s)
        turned = with_gaze(head, motion.expression, torch.from_numpy(angles).float())
        return replace(motion, expression=lids_held(head, motion.expression, turned, blinking))


def gaze_of(head: HeadModel, expression: Tensor) -> Tensor:
    """(T, 2) yaw to the subject's left and pitch down, radians: the mean of both eyes under (T, E) expressions."""
    turn = head.gaze(expression)
    return torch.stack([turn[:, 1] + turn[:, 4], turn[:, 0] + turn[:, 3]], 1) / 2


def with_gaze(head: HeadModel, expression: Tensor, angles: Tensor) -> Tensor:
    """(T, E) expressions whose eyes look along (T, 2) yaw to the subject's left and pitch down, within the limits."""
    yaw, pitch = angles.unbind(1)
    changed = expression.clone()
    for side, outwards in zip(SIDES, (1.0, -1.0), strict=True):
        turns = {"Out": outwards * yaw, "In": -outwards * yaw, "Down": pitch, "Up": -pitch}
        for way, turn in turns.items():
            changed[:, head.expression_names.index(f"eyeLook{way}{side}")] = (turn / GAZE_LIMITS_RAD[way]).clamp(0, 1)
    return changed


def forward(angles: Tensor) -> Tensor:
    """(..., 3) unit vectors that eyes with (..., 2) yaw and pitch, one axis-angle vector, look along; head space."""
    size = angles.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    sine = size.sin() / size
    return torch.cat([angles[..., :1] * sine, -angles[..., 1:] * sine, size.cos()], -1)


def look(head: HeadModel, person: Person, motion: Motion, pictures: Pictures, focal: float) -> Eyes:
    """Sample the pictures on the eyeballs, between the lids; arguments as `refine_gaze`."""
    lids = head.landmark_model()
    centers = _centers(head, person)
    radius = _radius(head, person)
    places = forward(_lattice(_PLACES, _SPACING))
    openings, images = torch.tensor(OPENINGS), pictures.images.shape
    values, weights, distances = [], [], []
    for part in chunks(len(motion), _CHUNK):
        moved = motion[part]
        turned, shifted = moved.rotation.transpose(1, 2), moved.translation[:, None]
        points = (lids.points(person.identity, moved.expression) + person.offset) @ turned + shifted
        contour = project(points, focal, pictures.center)[:, openings]
        normal = (places @ turned)[:, None]
        world = (centers @ turned + shifted)[:, :, None] + radius * normal
        pixels = project(world, focal, pictures.center)
        seen = images_of(pictures, part).mean(1, keepdim=True)
        brightness = sample(seen, pixels.flatten(1, 2)).reshape(pixels.shape[:3])
        facing = -(normal * torch.nn.functional.normalize(world, dim=-1)).sum(-1).clamp(max=0)
        area = (_SPACING * radius * focal / world[..., 2]).square() * facing
        within = (pixels >= 1).all(-1) & (pixels[..., 0] < images[2] - 1) & (pixels[..., 1] < images[1] - 1)
        clear = ((depth_inside(pixels, contour) - _LID_PX) / _SOFT_PX).clamp(0, 1)
        values.append((brightness + 0.05).log())
        weights.append(clear * area * within)
        distances.append(-moved.translation[:, 2])
    weight = torch.cat(weights)
    shown = weight.sum(2, keepdim=True)
    wide = shown * torch.cat(distances)[:, None, None].square()
    least = _NARROW * wide.flatten(1).amax(1).quantile(0.75)
    return Eyes(
        places,
        torch.cat(values),
        weight * ((shown >= _LEAST_PX) & (wide >= least)),
        float(np.arcsin(min(IRIS_M / radius, 1))),
    )


def _centers(head: HeadModel, person: Person) -> Tensor:
    """(2, 3) eyeballs' centers, head space: behind the lids as in the mean head.

    A millimetre is three degrees of gaze, and the identity is not known that well where nothing is seen; the lids are,
    and an eyeball's place behind them hardly varies between people.
    """
    rest = torch.zeros(1, len(head.expression_names))
    lids = head.landmark_model()
    nobody = torch.zeros_like(person.identity)
    arm = head.joint_positions(nobody)[JOINTS.index("eye_left") :] - lids.points(nobody, rest)[
        0, torch.tensor(OPENINGS)
    ].mean(1)
    return (lids.points(person.identity, rest)[0] + person.offset)[torch.tensor(OPENINGS)].mean(1) + arm


def _radius(head: HeadModel, person: Person) -> float:
    """Of the eyeball, metres, by what lies in front."""
    eye = head.template + torch.tensordot(person.identity, head.identity_basis, 1)
    arm = eye[head.regions["eye_left"]] - head.joint_positions(person.identity)[JOINTS.index("eye_left")]
    length = arm.norm(dim=1)
    return float(length[arm[:, 2] > 0.5 * length].median())


def _lattice(half: tuple[float, float], spacing: float) -> Tensor:
    """(N, 2) angles around 0, rows of one yaw after the other."""
    yaw, pitch = (torch.arange(-round(size / spacing), round(size / spacing) + 1) * spacing for size in half)
    return torch.cartesian_prod(yaw, pitch).float()


def depth_inside(points: Tensor, contour: Tensor) -> Tensor:
    """How far points lie inside of closed contours.

    Args:
        points: (..., N, 2).
        contour: (..., C, 2) corners in order.
    Returns:
        (..., N) distance to the nearest edge, negative outside.
    """
    nearest = torch.full(points.shape[:-1], torch.inf)
    inside = torch.zeros(points.shape[:-1], dtype=torch.bool)
    for a, b in zip(contour.unbind(-2), contour.roll(-1, -2).unbind(-2), strict=True):
        a, b = a[..., None, :], b[..., None, :]
        edge, arm = b - a, points - a
        along = ((arm * edge).sum(-1) / edge.square().sum(-1).clamp(min=1e-12)).clamp(0, 1)
        nearest = torch.minimum(nearest, (arm - along[..., None] * edge).square().sum(-1))
        crossing = (a[..., 1] > points[..., 1]) != (b[..., 1] > points[..., 1])
        left = arm[..., 0] * edge[..., 1] < edge[..., 0] * arm[..., 1]
        inside ^= crossing & (left == (edge[..., 1] > 0))
    return torch.where(inside, 1.0, -1.0) * nearest.sqrt()


def find(eyes: Eyes, known: Tensor, train: Tensor) -> tuple[Array, Array]:
    """The gaze of every frame by itself.

    Args:
        eyes: what is seen of T frames.
        known: (T, 2) what was believed before: yaw to the subject's left and pitch down, radians.
        train: (T,) bool, frames that the profile is learnt from.
    Returns:
        (T, 2) angles, and how much is known of them, (T, 2), one over square radians.
    """
    limits = GAZE_LIMITS_RAD["Out"], max(GAZE_LIMITS_RAD["Up"], GAZE_LIMITS_RAD["Down"])
    grid = _lattice(limits, _GRID)
    grid = grid[grid[:, 1] > -GAZE_LIMITS_RAD["Up"] - _GRID]
    learnt = torch.nonzero(train & (eyes.weight.sum((1, 2)) > 0))[:, 0]
    learnt = learnt[torch.linspace(0, len(learnt) - 1, min(_LEARNT, len(learnt))).round().long()]
    middle = (torch.arange(_BINS) + 0.5) * (_WIDEST / _BINS)
    profile = -_FIRST_DEPTH * torch.sigmoid((eyes.iris - middle) / _EDGE)
    for _ in range(_ROUNDS if len(learnt) else 0):
        angles, _ = _search(eyes, learnt, known, grid, profile)
        profile = _learn(eyes, learnt, angles, profile)
    return tuple(part.double().numpy() for part in _search(eyes, torch.arange(len(known)), known, grid, profile))  # type: ignore[return-value]


def _read(profile: Tensor, angle: Tensor) -> Tensor:
    """The profile at some angles, between its bins."""
    place = (angle * (_BINS / _WIDEST) - 0.5).clamp(0, _BINS - 1.001)
    lower = place.long()
    return torch.lerp(profile[lower], profile[lower + 1], place - lower)


def _angle(places: Tensor, axis: Tensor) -> Tensor:
    return (axis @ places.T).clamp(-1, 1).arccos()


def _search(eyes: Eyes, frames: Tensor, known: Tensor, grid: Tensor, profile: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and inverse variance (n, 2) of the gaze of some frames, over the grid around the best place."""
    model = _read(profile, _angle(eyes.places, forward(grid)))
    believed = torch.tensor(_BELIEVED, dtype=torch.float32)
    pupil = (eyes.places @ forward(grid).T).argmax(0)
    means, informations = [], []
    for part in frames.split(4):
        cost = 0.5 * ((grid - known[part, None]) / believed).square().sum(-1)
        for side in range(2):
            value, weight = eyes.value[part, side, None], eyes.weight[part, side, None]
            cost += _COUNT * _cost(value - model, weight)
            open_ = (weight.sum(-1) > 0).float()
            cost += _HIDDEN / 2 * open_ * (weight[:, 0, pupil] <= 0)
        best = grid[cost.argmin(1)]
        near = ((grid - best[:, None]).abs() < _NEAR).all(-1)
        share = torch.softmax(torch.where(near, -cost, -torch.inf), 1)[..., None]
        mean = (share * grid).sum(1)
        means.append(mean)
        spread = (share * (grid - mean[:, None]).square()).sum(1)
        shut = eyes.weight[part].sum((1, 2)) == 0
        means[-1][shut] = known[part][shut]
        informations.append(torch.where(shut[:, None], believed**-2, 1 / (spread + _GRID**2 / 12)))
    return torch.cat(means), torch.cat(informations)


def _cost(residual: Tensor, weight: Tensor) -> Tensor:
    """Sum of saturating costs over the last dimension, brighter or darker light taken out."""
    residual = residual - _light(residual, weight)
    squared = residual.square()
    return (weight * squared / (squared + _ROBUST**2)).sum(-1)


def _light(residual: Tensor, weight: Tensor) -> Tensor:
    """What (..., N) residuals have in common, highlights left out; (..., 1)."""
    mean = (weight * residual).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp(min=1e-6)
    trust = weight / ((residual - mean).square() + _ROBUST**2)
    return (trust * residual).sum(-1, keepdim=True) / trust.sum(-1, keepdim=True).clamp(min=1e-6)


def _learn(eyes: Eyes, frames: Tensor, angles: Tensor, profile: Tensor) -> Tensor:
    """The profile that fits the frames' gaze (n, 2) best; bins without pixels take their neighbors'."""
    total, count = torch.zeros(_BINS), torch.zeros(_BINS)
    for part, gaze in zip(frames.split(_CHUNK), angles.split(_CHUNK), strict=True):
        angle = _angle(eyes.places, forward(gaze))[:, None].expand(-1, 2, -1)
        weight = eyes.weight[part]
        model = _read(profile, angle)
        residual = eyes.value[part] - model
        residual = residual - _light(residual, weight)
        trust = weight / (residual.square() + _ROBUST**2).square()
        bins = (angle * (_BINS / _WIDEST)).long().clamp(max=_BINS - 1).flatten()
        total.index_add_(0, bins, (trust * (model + residual)).flatten())
        count.index_add_(0, bins, trust.flatten())
    filled = count > 1e-3 * count.max()
    at = np.flatnonzero(filled.numpy())
    return torch.from_numpy(np.interp(np.arange(_BINS), at, (total / count)[filled].numpy())).float()


def leveled(angles: Array, information: Array, known: Array, train: Array) -> Array:
    """Bring the gaze to the level of what was known.

    What eyes do up and down is plain to see, how far up they look at all is not: it goes with the height of the
    eyeballs' centers, and a millimetre is three degrees. Networks know better: on five made-up heads the irises' level
    was off by 4 to 10 degrees, the networks' by 0.4 to 1.0 and once by 7. To the sides the errors of the eyes cancel.

    Args:
        angles, information: (T, 2) as `find` gives them.
        known: (T, 2) radians.
        train: (T,) bool, frames that may tell the level.
    """
    clear = train & (information[:, 1] > 1 / _CLEAR**2)
    if not clear.any():
        return angles
    higher = np.median((known - angles)[clear, 1])
    shut = information[:, 1] <= _SHUT  # these were told by the networks alone
    return angles + np.stack([np.zeros(len(angles)), np.where(shut, 0.0, higher)], 1)


def steadied(angles: Array, information: Array, times_s: Array) -> Array:
    """Weigh every frame's gaze with its neighbors'; eyes rest, then jump.

    Args:
        angles, information: (T, 2) as `find` gives them.
        times_s: (T,).
    Returns:
        (T, 2) radians.
    """
    if len(angles) < 2:
        return angles
    pull = 1 / (_STEADY**2 * np.maximum(30 * np.diff(times_s), 0.5))
    result = angles
    for _ in range(4):
        step = np.linalg.norm(np.diff(result, axis=0), axis=1)
        coupling = pull / (1 + (step / _SACCADE) ** 2)
        columns = []
        for axis in range(2):
            bands = np.zeros((2, len(angles)))
            bands[1] = information[:, axis]
            bands[1, 1:] += coupling
            bands[1, :-1] += coupling
            bands[0, 1:] = -coupling
            columns.append(solveh_banded(bands, information[:, axis] * angles[:, axis]))
        result = np.stack(columns, 1)
    return result

"""Makes a head for the pipeline of another head model: what its file does not say comes from the embedded head.

The two neutral heads are laid onto each other; regions, landmarks and ARKit's expressions then carry over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from headavatar.head import landmarks, unwrap
from headavatar.head.build.eyeballs import IRIS_RADIUS, fit_sphere
from headavatar.head.carry import Expressed, carry, express
from headavatar.head.model import HeadModel
from headavatar.head.native import NativeHead
from headavatar.head.registration import HIDDEN, Registration, Skin, register
from headavatar.head.store import HeadData
from headavatar.head.surface import Spots, Surface, normals
from headavatar.scene import ARKIT_NAMES, Array

_NOT_SKIN = ("eyes", "lashes", "teeth", "tongue")
_WEIGHTS = {"scalp": 0.1, "neck": 0.1, "ears": 0.1, "sockets": 0.1, "mouth_interior": 0.3, "face": 1.0, "lips": 3.0,
            "eyelids": 3.0}  # fmt: skip
"""How much vertices of each region count where expressions are fitted; the later one wins."""


@dataclass(frozen=True)
class Derived:
    """A head made of a native one.

    Attributes:
        data: the head.
        shift: (3,) from the native space to head space, metres.
        expressed: ARKit's expressions in the native head's terms.
        distance_mm: median and 95th percentile of how far the laid embedded head is from the native skin.
    """

    data: HeadData
    shift: Array
    expressed: Expressed
    distance_mm: tuple[float, float]


def derive(native: NativeHead, head: HeadModel, name: str) -> Derived:
    """Make a head for the pipeline.

    Args:
        native: checked.
        head: the embedded head.
        name: what the new one is called.
    """
    is_eye = native.weights[:, 2:] > 0.5
    eye_faces = np.asarray(is_eye.any(1))[native.faces].all(1)
    inner = np.any([np.zeros(len(native.template), bool), *native.inner.values()], 0)
    skin_faces = native.faces[~eye_faces & ~inner[native.faces].any(1)]
    laid = register(head, _skin(native, is_eye, skin_faces, native.faces[eye_faces]))
    spots = _spots(head, laid, skin_faces)
    regions = _regions(head, native, spots, is_eye)
    chosen, bary = _landmarks(head, laid, native, regions)
    if native.arkit is None:
        own = head.faces.numpy()
        wanted = spots.of(carry(head, laid), own)
        wanted[:, is_eye.any(1)] = 0
        weight = np.full(len(native.template), 1e-3)
        for region, value in _WEIGHTS.items():
            weight[regions[region]] = value
        expressed = express(native, wanted, weight)
    else:
        none = np.zeros((len(ARKIT_NAMES), 0))
        zero = np.zeros(len(ARKIT_NAMES))
        expressed = Expressed(none, np.zeros((len(ARKIT_NAMES), 3)), zero, zero, native.arkit)
    shift = -laid.translation
    uvs, uv_faces = native.uvs, native.uv_faces
    if uvs is None or uv_faces is None:
        uvs, uv_faces = unwrap.layout(native.template, native.faces, regions)
    data = HeadData(
        name=name, template=native.template + shift, identity_basis=native.identity_basis,
        expression_basis=expressed.basis, expression_names=ARKIT_NAMES, quads=native.faces[:, [0, 1, 2, 2]],
        uvs=uvs, uv_quads=uv_faces[:, [0, 1, 2, 2]], weights=native.weights, joints=native.joints + shift,
        joint_basis=native.joint_basis, regions=regions, landmark_faces=chosen, landmark_bary=bary,
        mirror=_mirror(native, laid, is_eye), jaw_turns=expressed.jaw,
    )  # fmt: skip
    outer = ~np.any([head.regions[region].numpy() for region in HIDDEN], 0)
    away = laid.error_m[outer] * 1000
    return Derived(data, shift, expressed, (float(np.median(away)), float(np.percentile(away, 95))))


def _skin(native: NativeHead, is_eye: Array, skin_faces: Array, eye_faces: Array) -> Skin:
    balls = np.flatnonzero(is_eye.any(1))
    place = np.full(len(native.template), -1)
    place[balls] = np.arange(len(balls))
    return Skin(
        native.template, skin_faces, native.weights[:, 1], native.joints[1], native.joints[2:], native.template[balls],
        place[eye_faces], is_eye[balls, 1].astype(int),
    )  # fmt: skip


def _spots(head: HeadModel, laid: Registration, skin_faces: Array) -> Spots:
    """Where each native vertex lies on the embedded head's skin; with parted lips, so that they are told apart."""
    faces = head.faces.numpy()
    other = np.any([head.regions[region].numpy() for region in _NOT_SKIN], 0)
    surface = Surface(laid.opened, faces, ~other[faces].any(1))
    return surface.nearest(laid.other_opened, normals(laid.other_opened, skin_faces), least=0.0)


def _regions(head: HeadModel, native: NativeHead, spots: Spots, is_eye: Array) -> dict[str, Array]:
    """name → (V,) bool, all that the embedded head has; parts that the native one lacks are empty."""
    corner = head.faces.numpy()[spots.faces, spots.bary.argmax(1)]
    eyes = is_eye.any(1)
    regions = {name: mask.numpy()[corner] & ~eyes for name, mask in head.regions.items()}
    inner = np.any([np.zeros_like(eyes), *native.inner.values()], 0)
    regions = {name: mask & ~inner for name, mask in regions.items()}
    for name in ("teeth", "teeth_upper", "teeth_lower", "tongue", "lashes"):
        regions[name] = np.zeros_like(eyes)
    for name, mask in native.inner.items():
        regions[name] |= mask
    regions["eye_left"], regions["eye_right"], regions["eyes"] = is_eye[:, 0], is_eye[:, 1], eyes
    regions["iris"] = np.zeros_like(eyes)
    for own in is_eye.T:
        center, radius = _sphere(native.template[own])
        arm = native.template - center
        near_axis = np.linalg.norm(arm[:, :2], axis=1) < 1.05 * min(IRIS_RADIUS, radius)
        regions["iris"] |= own & near_axis & (arm[:, 2] > 0)
    return regions


def _sphere(points: Array) -> tuple[Array, float]:
    center, radius = fit_sphere(points[None])
    return center[0], float(radius[0])


def _landmarks(
    head: HeadModel, laid: Registration, native: NativeHead, regions: dict[str, Array]
) -> tuple[Array, Array]:
    """Triangles (478,) and weights (478, 3) of MediaPipe's landmarks on the native head."""
    faces = head.faces.numpy()
    corners, bary = faces[head.landmark_faces.numpy()], head.landmark_bary.numpy()
    points = np.einsum("nkc,nk->nc", laid.opened[corners], bary)
    facing = np.einsum("nkc,nk->nc", normals(laid.opened, faces)[corners], bary)
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
    hidden = np.any([regions[name] for name in HIDDEN], 0)
    spots = Surface(laid.other_opened, native.faces, np.asarray(~hidden[native.faces].all(1))).nearest(points, facing)
    chosen, weights = spots.faces.copy(), spots.bary.copy()
    for eye, indices in (("eye_left", landmarks.IRIS_LEFT), ("eye_right", landmarks.IRIS_RIGHT)):
        own = regions[eye]
        center, radius = _sphere(native.template[own])
        around = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]) * min(IRIS_RADIUS, 0.9 * radius)
        front = np.sqrt(radius**2 - (around**2).sum(1))
        ball = Surface(native.template, native.faces, np.asarray(own[native.faces].all(1)))
        found = ball.nearest(center + np.concatenate([around, front[:, None]], 1))
        chosen[list(indices)], weights[list(indices)] = found.faces, found.bary
    return chosen, weights


def _mirror(native: NativeHead, laid: Registration, is_eye: Array) -> Array:
    """(V,) the vertex nearest to each one's mirror image, lips parted."""
    middle = native.joints[2:, 0].mean()
    points = laid.other_opened
    inner = np.any([np.zeros(len(points), bool), *native.inner.values()], 0)
    flipped = (points - [middle, 0, 0]) * [-1, 1, 1] + [middle, 0, 0]
    image = np.arange(len(points))
    for group in (is_eye.any(1), inner, ~is_eye.any(1) & ~inner):
        if not group.any():
            continue
        index = np.flatnonzero(group)
        image[index] = index[cKDTree(points[index]).query(flipped[index])[1]]
    return image

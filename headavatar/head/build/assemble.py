"""Put the head together: which vertices it has, its faces, its regions, its skinning and its joints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headavatar.head.build import eyeballs, neck, teeth
from headavatar.head.build.source import RawHead
from headavatar.scene import Array

JOINTS = ("neck", "jaw", "eye_left", "eye_right")

# The cut through the neck: a point on it, metres, in MakeHuman's frame, and how much it falls towards the front.
_CUT_HEIGHT, _CUT_DEPTH, _CUT_SLOPE = 0.640, 0.05, 0.28
_SOCKET_RADIUS, _LIP_DEPTH = 0.021, 0.009
_SIDES = {"eye_left": "l", "eye_right": "r"}
_LASHES = [f"helper-{side}-eyelashes-{k}" for side in "lr" for k in "12"]


@dataclass(frozen=True)
class Assembly:
    """The head's topology and the maps that carry MakeHuman's vertices to it.

    Attributes:
        raw: MakeHuman's head.
        mean: (N, 3) the average person's.
        clip: the skin.
        lashes, tongue: (K,) vertices of the raw head taken as they are.
        arches: upper and lower teeth.
        eye: (K, 3) an eyeball of radius 1.
        slices: part -> its vertices in the assembled head: skin, lashes, tongue, teeth_…, eye_….
        quads: (Q, 4); a triangle repeats its last corner.
        own_uvs: (Q, 4, 2) texture layout of all parts but the skin, each in a scale of its own.
    """

    raw: RawHead
    mean: Array
    clip: neck.Clip
    lashes: Array
    tongue: Array
    arches: tuple[teeth.Arch, teeth.Arch]
    eye: Array
    slices: dict[str, slice]
    quads: Array
    own_uvs: Array

    @property
    def vertex_count(self) -> int:
        return max(s.stop for s in self.slices.values())

    def shape(self, raw: Array) -> Array:
        """(M, N, 3) positions of raw heads to (M, V, 3), eyeballs placed by fitting spheres."""
        pieces = [self.clip.apply(raw), raw[:, self.lashes], raw[:, self.tongue]]
        pieces += [arch.matrix @ raw[:, arch.index] + arch.offset for arch in self.arches]
        for side in _SIDES.values():
            center, radius = fit_eye(self.raw, raw, side)
            pieces.append(center[:, None] + self.eye * radius[:, None, None])
        return np.concatenate(pieces, 1)

    def displacement(self, raw: Array) -> Array:
        """(E, N, 3) displacements to (E, V, 3); eyeballs stay, for they turn about their joints."""
        pieces = [self.clip.apply(raw), raw[:, self.lashes], raw[:, self.tongue]]
        pieces += [arch.matrix @ raw[:, arch.index] for arch in self.arches]
        pieces += [np.zeros((len(raw), len(self.eye), 3))] * len(_SIDES)
        return np.concatenate(pieces, 1)

    def scalar(self, raw: Array, eyes: float = 0.0) -> Array:
        """(N,) values of raw vertices to (V,)."""
        pieces = [self.clip.apply(raw[:, None])[:, 0], raw[self.lashes], raw[self.tongue]]
        pieces += [arch.matrix @ raw[arch.index] for arch in self.arches]
        return np.concatenate([*pieces, np.full(2 * len(self.eye), eyes)])

    def joints(self, raw: Array) -> Array:
        """(M, N, 3) raw heads to (M, 4, 3) joints, order of `JOINTS`."""

        def middle(name: str) -> Array:
            return raw[:, self.raw.group(name)].mean(1)

        neck_joint = 0.5 * (middle("joint-neck") + middle("joint-head"))
        eyes = [fit_eye(self.raw, raw, side)[0] for side in _SIDES.values()]
        return np.stack([neck_joint, middle("joint-mouth"), *eyes], 1)


def fit_eye(head: RawHead, raw: Array, side: str) -> tuple[Array, Array]:
    """Centers (M, 3) and radii (M,) of an eyeball, "l" or "r", in (M, N, 3) raw heads."""
    helper = head.group(f"helper-{side}-eye")
    rest = head.vertices[helper]
    # The helper's front is its cornea: the sphere is the rest of it.
    ball = helper[rest[:, 2] < rest[:, 2].min() + 0.75 * np.ptp(rest[:, 2])]
    return eyeballs.fit_sphere(raw[:, ball])


def assemble(raw: RawHead, mean: Array) -> Assembly:
    """Choose the head's vertices and faces from the raw mesh.

    Args:
        raw: MakeHuman's head.
        mean: (N, 3) the average person's, whose neck the plane cuts.
    """
    body = raw.quads[raw.groups == "body"]
    normal = np.array([0.0, 1.0, _CUT_SLOPE])
    skin_vertices = np.unique(body)
    seed = skin_vertices[np.argmax(raw.vertices[skin_vertices, 1])]
    clip = neck.clip(mean, body, np.array([0, _CUT_HEIGHT, _CUT_DEPTH]), normal / np.linalg.norm(normal), int(seed))
    lashes, tongue = raw.group(*_LASHES), raw.group("helper-tongue")
    upper = teeth.arch(raw.vertices, raw.quads[raw.groups == "helper-upper-teeth"], upper=True)
    lower = teeth.arch(raw.vertices, raw.quads[raw.groups == "helper-lower-teeth"], upper=False)
    radius = np.mean([fit_eye(raw, raw.vertices[None], side)[1][0] for side in _SIDES.values()])
    eye, eye_quads, eye_uv = eyeballs.eyeball(float(radius))

    skin = clip.quads()
    pieces: list[tuple[str, int, Array, Array]] = [("skin", len(clip.first), skin, np.zeros((*skin.shape, 2)))]
    for part, index, groups in (("lashes", lashes, _LASHES), ("tongue", tongue, ["helper-tongue"])):
        faces = np.concatenate([np.flatnonzero(raw.groups == group) for group in groups])
        uv = np.concatenate([_cell(raw.uvs[raw.groups == group], k, len(groups)) for k, group in enumerate(groups)])
        pieces.append((part, len(index), np.searchsorted(index, raw.quads[faces]), uv))
    for part, arch in zip(("teeth_upper", "teeth_lower"), (upper, lower), strict=True):
        pieces.append((part, len(arch.matrix), arch.quads, arch.uv))
    pieces += [(part, len(eye), eye_quads, eye_uv) for part in _SIDES]

    slices, quads, at = {}, [], 0
    for part, count, faces, _ in pieces:
        slices[part] = slice(at, at + count)
        quads.append(faces + at)
        at += count
    own = np.concatenate([uv for *_, uv in pieces])
    head = Assembly(raw, mean, clip, lashes, tongue, (upper, lower), eye / radius, slices, np.concatenate(quads), own)
    order = _mirror_diagonals(head.quads, mirror(head))
    return replace(
        head, quads=np.take_along_axis(head.quads, order, 1), own_uvs=np.take_along_axis(own, order[..., None], 1)
    )


def _cell(uv: Array, k: int, count: int) -> Array:
    """Stretch a layout over the k-th of so many equal bands."""
    low, high = uv.reshape(-1, 2).min(0), uv.reshape(-1, 2).max(0)
    flat = (uv - low) / (high - low)
    return np.stack([flat[..., 0], (k + 0.02 + 0.96 * flat[..., 1]) / count], -1)


def mirror(head: Assembly) -> Array:
    """(V,) each vertex's mirror image, found by position."""
    rest = head.shape(head.raw.vertices[None])[0]
    flipped = rest * [-1, 1, 1]
    image = np.empty(len(rest), int)
    # Upper and lower parts touch: look among vertices of the same part, and of either eye.
    groups = [np.r_[s] for part, s in head.slices.items() if part not in _SIDES]
    groups.append(np.concatenate([np.r_[head.slices[part]] for part in _SIDES]))
    for group in groups:
        own = rest[group]
        image[group] = group[((own**2).sum(1) - 2 * flipped[group] @ own.T).argmin(1)]
    return image


def _mirror_diagonals(quads: Array, image: Array) -> Array:
    """(Q, 4) order of each quad's corners that makes the right half's triangles mirror images of the left half's."""
    lookup = {tuple(sorted(set(quad))): i for i, quad in enumerate(quads.tolist())}
    order = np.tile(np.arange(4), (len(quads), 1))
    for i, quad in enumerate(quads):
        j = lookup[tuple(sorted(set(image[quad].tolist())))]
        if j > i:
            a, b, c, d = image[quad]
            wanted = [a, d, c, b] if quad[2] != quad[3] else [a, c, b, b]
            order[j] = [quads[j].tolist().index(vertex) for vertex in wanted]
    return order


def skinning(head: Assembly) -> Array:
    """(V, 4) weights of the joints; each vertex's weights are nested, not exclusive.

    The neck's weight is how much of the neck's turn a vertex follows; jaw and eyes turn inside the neck's frame.
    """
    raw = head.raw

    def follow(bones: list[str]) -> Array:
        return np.sum([raw.bone_weights[b] for b in bones if b in raw.bone_weights], 0)

    skull = follow(raw.children("head"))
    column = skull + sum(w * follow([bone]) for bone, w in (("neck03", 0.8), ("neck02", 0.45), ("neck01", 0.15)))
    total = np.maximum(np.sum(list(raw.bone_weights.values()), 0), 1e-9)
    weights = np.zeros((head.vertex_count, len(JOINTS)))
    weights[:, 0] = head.scalar(np.clip(column / total, 0, 1), eyes=1.0)
    weights[:, 1] = head.scalar(np.clip(follow(raw.children("jaw")) / total, 0, 1))
    # The cut's rim belongs to the torso.
    rest = head.shape(head.mean[None])[0]
    height = ((rest - [0, _CUT_HEIGHT, _CUT_DEPTH]) @ [0, 1, _CUT_SLOPE]) / np.hypot(1, _CUT_SLOPE)
    ramp = np.clip(height / 0.03, 0, 1)
    weights[:, 0] *= ramp * ramp * (3 - 2 * ramp)
    for part in ("teeth_upper", "teeth_lower", "tongue", "lashes"):
        weights[head.slices[part], 0] = 1.0
        weights[head.slices[part], 1] = part in ("teeth_lower", "tongue")
    weights[head.slices["eye_left"], 2] = 1.0
    weights[head.slices["eye_right"], 3] = 1.0
    return weights


def regions(head: Assembly) -> dict[str, Array]:
    """Named vertex masks (V,)."""
    masks = {}
    for part in ("lashes", "tongue", "teeth_upper", "teeth_lower", "eye_left", "eye_right", "skin"):
        mask = np.zeros(head.vertex_count, bool)
        mask[head.slices[part]] = True
        masks[part] = mask
    masks["teeth"] = masks["teeth_upper"] | masks["teeth_lower"]
    masks["eyes"] = masks["eye_left"] | masks["eye_right"]
    masks["iris"] = np.zeros(head.vertex_count, bool)
    for part in _SIDES:
        start = head.slices[part].start
        masks["iris"][start : start + 1 + eyeballs.SEGMENTS * (eyeballs.LIMBUS_RING + 1)] = True
    painted = {name: head.scalar(value) > 0.5 for name, value in head.raw.painted.items()}
    masks["mouth_interior"] = painted["inside-mouth"] & masks["skin"]
    for name in ("lips", "ears", "eyelids"):
        masks[name] = painted[name] & masks["skin"] & ~masks["mouth_interior"]
    masks["face"] = (painted["face"] | painted["lips"] | painted["eyelids"]) & masks["skin"] & ~masks["mouth_interior"]
    rest = head.shape(head.mean[None])[0]
    centers = head.joints(head.mean[None])[0, 2:]
    behind_lids = np.linalg.norm(rest[:, None] - centers, axis=-1).min(1) < _SOCKET_RADIUS
    outer = masks["skin"] & ~masks["mouth_interior"] & ~masks["ears"] & ~masks["face"]
    masks["sockets"] = outer & behind_lids
    # The paint leaves out the strip where the lips turn inwards.
    red = rest[masks["lips"]]
    near_lips = np.linalg.norm(rest[:, None] - red[None], axis=-1).min(1) < _LIP_DEPTH
    masks["lips"] |= outer & near_lips & ~behind_lids
    outer &= ~masks["sockets"] & ~masks["lips"]
    jaw_line = rest[masks["face"], 1].min() + 0.025
    masks["neck"] = outer & ((skinning(head)[:, 0] < 0.9) | (rest[:, 1] < jaw_line))
    masks["scalp"] = outer & ~masks["neck"]
    del masks["skin"]
    return masks

"""A parametric head: identity, expression, joints and skinning, batched and differentiable in torch."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.head.store import HeadData, read, triangulate
from headavatar.pretrained import cache

JOINTS = ("neck", "jaw", "eye_left", "eye_right")

GAZE_LIMITS_RAD = {"In": 0.61, "Out": 0.61, "Up": 0.44, "Down": 0.52}
"""How far an eyeball turns at an eyeLook* coefficient of 1: 35° to either side, 25° up, 30° down."""

JOINT_LIMITS_RAD = {
    "neck": ((-0.7, -0.9, -0.6), (0.7, 0.9, 0.6)),
    "jaw": ((-0.05, -0.15, -0.1), (0.5, 0.15, 0.1)),
    "eye_left": ((-0.5, -0.65, -0.1), (0.6, 0.65, 0.1)),
    "eye_right": ((-0.5, -0.65, -0.1), (0.6, 0.65, 0.1)),
}
"""Lowest and highest axis-angle component of each joint, radians; x nods down, y turns to the subject's left."""


class HeadModel(torch.nn.Module):
    """A head that takes an identity and T expressions and poses.

    Attributes:
        name: of the model.
        expression_names: E names.
        template: (V, 3) mean head at rest, head space, metres.
        identity_basis: (S, V, 3) metres per standard deviation.
        expression_basis: (E, V, 3) metres at coefficient 1.
        faces: (F, 3) triangles, counter-clockwise seen from outside.
        quads: (Q, 4); a triangle repeats its last corner.
        uvs: (U, 2) in [0, 1], v up.
        uv_faces: (F, 3) into uvs. uv_quads: (Q, 4) into uvs.
        weights: (V, 4) how far a vertex follows each joint of `JOINTS`.
        regions: name -> (V,) bool.
        landmark_faces: (478,) and landmark_bary: (478, 3): MediaPipe's points on the surface.
        mirror: (V,) each vertex's mirror image.
    """

    template: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    faces: Tensor
    quads: Tensor
    uvs: Tensor
    uv_faces: Tensor
    uv_quads: Tensor
    weights: Tensor
    joint_template: Tensor
    joint_basis: Tensor
    landmark_faces: Tensor
    landmark_bary: Tensor
    mirror: Tensor
    _gaze: Tensor
    _jaw: Tensor

    def __init__(self, data: HeadData) -> None:
        super().__init__()
        self.name = data.name
        self.expression_names = data.expression_names
        self.joints = JOINTS
        arrays = {
            "template": data.template, "identity_basis": data.identity_basis,
            "expression_basis": data.expression_basis, "faces": triangulate(data.quads), "quads": data.quads,
            "uvs": data.uvs, "uv_quads": data.uv_quads,
            "uv_faces": data.uv_quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)[_kept_halves(data)],
            "weights": data.weights, "joint_template": data.joints, "joint_basis": data.joint_basis,
            "landmark_faces": data.landmark_faces, "landmark_bary": data.landmark_bary, "mirror": data.mirror,
        }  # fmt: skip
        for key, array in arrays.items():
            self.register_buffer(key, torch.from_numpy(array).clone(), persistent=False)
        self.regions = {key: torch.from_numpy(mask) for key, mask in data.regions.items()}
        self._points = _SkinnedPoints(self.template, self.identity_basis, self.expression_basis, self.weights)
        self._subset: tuple[Tensor, _SkinnedPoints] | None = None
        self.register_buffer("_gaze", _gaze_directions(self.expression_names), persistent=False)
        self.register_buffer("_jaw", torch.from_numpy(data.jaw_turns).float(), persistent=False)
        self._turns_jaw = bool(data.jaw_turns.any())

    def with_offset(self, offset: Tensor) -> HeadModel:
        """The same model with a template of another shape, for what identity cannot say of one person.

        Args:
            offset: (V, 3) head space, metres.
        Raises:
            ValueError: the offset is of another model.
        """
        if offset.shape != self.template.shape:
            raise ValueError(f"an offset {tuple(offset.shape)} for a template {tuple(self.template.shape)}")
        changed = copy.deepcopy(self)
        changed.template = self.template + offset.to(self.template)
        changed._points = _SkinnedPoints(
            changed.template, changed.identity_basis, changed.expression_basis, changed.weights
        )
        changed._subset = None
        return changed

    @property
    def identity_size(self) -> int:
        """S, the number of identity modes."""
        return len(self.identity_basis)

    @property
    def vertex_count(self) -> int:
        """V."""
        return len(self.template)

    def joint_positions(self, identity: Tensor) -> Tensor:
        """Rest positions of the joints.

        Args:
            identity: (S,) standard deviations.
        Returns:
            (4, 3) head space, metres, order of `JOINTS`.
        """
        return self.joint_template + torch.tensordot(identity, self.joint_basis, 1)

    def gaze(self, expression: Tensor) -> Tensor:
        """Rotations of the eyeballs that the eyeLook* coefficients express.

        Args:
            expression: (B, E).
        Returns:
            (B, 6) left then right, axis-angle, radians.
        """
        return expression @ self._gaze

    def jaw_turn(self, expression: Tensor) -> Tensor | None:
        """Rotation of the jaw that the expressions express, where they do not move it by displacements alone.

        Args:
            expression: (B, E).
        Returns:
            (B, 3) axis-angle, radians, or None.
        """
        return expression @ self._jaw if self._turns_jaw else None

    def vertices(
        self,
        identity: Tensor,
        expression: Tensor,
        neck: Tensor | None = None,
        jaw: Tensor | None = None,
        eyes: Tensor | None = None,
        subset: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Shape and skin the head.

        Args:
            identity: (S,) standard deviations.
            expression: (B, E) coefficients in [0, 1].
            neck: (B, 3) axis-angle, radians, the skull's rotation relative to the torso; in head space the skull stays
                and the neck's foot turns the other way.
            jaw: (B, 3) axis-angle, on top of what jawOpen does.
            eyes: (B, 6) left then right, axis-angle, on top of the gaze that eyeLook* express.
            subset: (K,) vertices wanted; all if None.
            offset: (V or K, 3) or (B, V or K, 3) added before joints turn, for what the bases cannot say; metres.
        Returns:
            (B, V, 3), or (B, K, 3) in the subset's order; head space, metres.
        """
        points = self._points if subset is None else self._restricted(subset)
        joints, gaze, turn = self.joint_positions(identity), self.gaze(expression), self.jaw_turn(expression)
        return points(identity, expression, joints, gaze, turn, neck, jaw, eyes, offset)

    def posed(
        self,
        identity: Tensor,
        expression: Tensor,
        rotation: Tensor,
        translation: Tensor,
        neck: Tensor | None = None,
        jaw: Tensor | None = None,
        eyes: Tensor | None = None,
        subset: Tensor | None = None,
    ) -> Tensor:
        """Like `vertices`, then moved to world space.

        Args:
            rotation: (B, 3) head to world, axis-angle.
            translation: (B, 3) head to world, metres.
        Returns:
            (B, V or K, 3) world space, metres.
        """
        return to_world(self.vertices(identity, expression, neck, jaw, eyes, subset), rotation, translation)

    def landmark_points(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 478 points on a mesh.

        Args:
            vertices: (B, V, 3) in any space.
        Returns:
            (B, 478, 3) in the same space.
        """
        corners = self.faces[self.landmark_faces]
        return (vertices[:, corners] * self.landmark_bary[..., None]).sum(-2)

    def _restricted(self, subset: Tensor) -> _SkinnedPoints:
        """The bases of some vertices; those last asked for are kept."""
        if self._subset is None or self._subset[0] is not subset:
            parts = self.template[subset], self.identity_basis[:, subset], self.expression_basis[:, subset]
            self._subset = (subset, _SkinnedPoints(*parts, self.weights[subset]))
        return self._subset[1]

    def landmark_model(self) -> LandmarkModel:
        """Only what the 478 landmarks need, for fast tracking."""
        return LandmarkModel(self)


class LandmarkModel(torch.nn.Module):
    """MediaPipe's 478 points as a head of 478 vertices, for tracking: all frames of a clip in one batch.

    A point inherits the blend of its triangle's skinning weights, which puts it within 0.1 mm of the skinned triangle.
    """

    def __init__(self, head: HeadModel) -> None:
        super().__init__()
        corners, bary = head.faces[head.landmark_faces], head.landmark_bary[..., None]

        def spread(values: Tensor) -> Tensor:
            return (values[..., corners, :] * bary).sum(-2)

        self._head = [head]  # in a list, so that it is no submodule of this one
        self._points = _SkinnedPoints(
            spread(head.template), spread(head.identity_basis), spread(head.expression_basis), spread(head.weights)
        )

    def points(
        self,
        identity: Tensor,
        expression: Tensor,
        neck: Tensor | None = None,
        jaw: Tensor | None = None,
        eyes: Tensor | None = None,
    ) -> Tensor:
        """Landmarks in head space.

        Args:
            as `HeadModel.vertices`.
        Returns:
            (B, 478, 3) metres.
        """
        head = self._head[0]
        joints = head.joint_positions(identity)
        turn = head.jaw_turn(expression)
        return self._points(identity, expression, joints, head.gaze(expression), turn, neck, jaw, eyes)

    def posed(
        self,
        identity: Tensor,
        expression: Tensor,
        rotation: Tensor,
        translation: Tensor,
        neck: Tensor | None = None,
        jaw: Tensor | None = None,
        eyes: Tensor | None = None,
    ) -> Tensor:
        """Landmarks in world space, (B, 478, 3); arguments as `HeadModel.posed`."""
        return to_world(self.points(identity, expression, neck, jaw, eyes), rotation, translation)


class _SkinnedPoints(torch.nn.Module):
    """Points that blend shapes move and joints turn: a head's vertices, some of them, or its landmarks."""

    template: Tensor
    identity_basis: Tensor
    expression_basis: Tensor

    def __init__(self, template: Tensor, identity_basis: Tensor, expression_basis: Tensor, weights: Tensor) -> None:
        super().__init__()
        # the skull is head space: what turns about the neck is the rest, the other way
        weights = torch.cat([1 - weights[:, :1], weights[:, 1:]], 1)
        self.register_buffer("template", template, persistent=False)
        self.register_buffer("identity_basis", identity_basis.reshape(len(identity_basis), -1), persistent=False)
        self.register_buffer("expression_basis", expression_basis.reshape(len(expression_basis), -1), persistent=False)
        for joint in range(len(JOINTS)):
            index = weights[:, joint].nonzero()[:, 0]
            self.register_buffer(f"index{joint}", index, persistent=False)
            self.register_buffer(f"weight{joint}", weights[index, joint, None], persistent=False)

    def forward(
        self,
        identity: Tensor,
        expression: Tensor,
        joints: Tensor,
        gaze: Tensor,
        jaw_turn: Tensor | None,
        neck: Tensor | None,
        jaw: Tensor | None,
        eyes: Tensor | None,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Blend the bases, then turn jaw and eyeballs about their joints, then the torso about the neck."""
        batch = len(expression)
        rest = self.template.reshape(-1) + identity @ self.identity_basis
        points = torch.addmm(rest, expression, self.expression_basis).reshape(batch, -1, 3)
        if offset is not None:
            points = points + offset
        # All turns in one call: on a clip's few hundred frames the calls cost more than the sums.
        vectors = [gaze[:, :3], gaze[:, 3:]]
        vectors += [] if eyes is None else [eyes[:, :3], eyes[:, 3:]]
        vectors += [vector for vector in (jaw_turn, jaw, neck) if vector is not None]
        rotations = list(axis_angle_to_matrix(torch.stack(vectors)).unbind(0))
        turns = rotations[:2]
        if eyes is not None:
            turns = [rotations[2] @ turns[0], rotations[3] @ turns[1]]
        at = 2 if eyes is None else 4
        if jaw is not None or jaw_turn is not None:
            both = jaw is not None and jaw_turn is not None
            points = self._turn(points, 1, rotations[at + 1] @ rotations[at] if both else rotations[at], joints)
        for eye in range(2):
            points = self._turn(points, 2 + eye, turns[eye], joints)
        if neck is not None:
            points = self._turn(points, 0, rotations[-1].transpose(-1, -2), joints)
        return points

    def _turn(self, points: Tensor, joint: int, rotation: Tensor, joints: Tensor) -> Tensor:
        index, weight = getattr(self, f"index{joint}"), getattr(self, f"weight{joint}")
        if not len(index):
            return points
        # x + w (R - 1) (x - p), with the pivot's part taken out of the product over the points.
        change = rotation.transpose(-1, -2) - torch.eye(3, dtype=points.dtype, device=points.device)
        pivot = joints[joint] @ change
        return points.index_add(1, index, (points[:, index] @ change - pivot[:, None]) * weight)


def to_world(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Move (B, N, 3) points by (B, 3) axis-angle rotations and (B, 3) translations."""
    return points @ axis_angle_to_matrix(rotation).transpose(-1, -2) + translation[:, None]


def load(name: str = "embedded", device: str | torch.device = "cpu") -> HeadModel:
    """Load a head model.

    Args:
        name: "embedded", the one that ships with the package, or one that the user added.
        device: where its tensors live.
    Raises:
        ModelError: there is no such head model, or its file is damaged.
    """
    return HeadModel(read(path_of(name))).to(device)


def path_of(name: str) -> Path:
    """The file of a head model.

    Raises:
        ModelError: there is no such head model.
    """
    if name == "embedded":
        return Path(__file__).parent / "data" / "embedded.npz"
    return cache.added_head_model(name)


def _gaze_directions(names: tuple[str, ...]) -> Tensor:
    """(E, 6) axis-angle of both eyeballs per unit of each expression.

    About +y an eye turns to the subject's left, about +x down.
    """
    directions = torch.zeros(len(names), 6)
    for eye, (side, outwards) in enumerate((("Left", 1.0), ("Right", -1.0))):
        for way, axis, sign in (("In", 1, -outwards), ("Out", 1, outwards), ("Up", 0, -1.0), ("Down", 0, 1.0)):
            directions[names.index(f"eyeLook{way}{side}"), 3 * eye + axis] = sign * GAZE_LIMITS_RAD[way]
    return directions


def _kept_halves(data: HeadData) -> Tensor:
    """(2 Q,) bool: which halves of the quads `triangulate` keeps."""
    second = torch.from_numpy(data.quads[:, 2] != data.quads[:, 3])
    return torch.stack([torch.ones_like(second), second], 1).reshape(-1)

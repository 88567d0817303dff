"""A parametric head: identity, expression, joints and skinning, batched and differentiable in torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.head.store import HeadData, read, triangulate

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
        self.register_buffer("_gaze", _gaze_directions(self.expression_names), persistent=False)

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

    def vertices(
        self,
        identity: Tensor,
        expression: Tensor,
        neck: Tensor | None = None,
        jaw: Tensor | None = None,
        eyes: Tensor | None = None,
        subset: Tensor | None = None,
    ) -> Tensor:
        """Shape and skin the head.

        Args:
            identity: (S,) standard deviations.
            expression: (B, E) coefficients in [0, 1].
            neck: (B, 3) axis-angle, radians; the head turns about the neck, the cut stays.
            jaw: (B, 3) axis-angle, on top of jawOpen's shape.
            eyes: (B, 6) left then right, axis-angle, on top of the gaze that eyeLook* express.
            subset: (K,) vertices wanted; all if None.
        Returns:
            (B, V, 3), or (B, K, 3) in the subset's order; head space, metres.
        """
        template, identity_basis = self.template, self.identity_basis
        expression_basis, weights = self.expression_basis, self.weights
        if subset is not None:
            template, weights = template[subset], weights[subset]
            identity_basis, expression_basis = identity_basis[:, subset], expression_basis[:, subset]
        return _skin(
            self, template, identity_basis, expression_basis, weights, identity, expression, neck, jaw, eyes
        )

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

    def landmark_model(self) -> LandmarkModel:
        """Only what the 478 landmarks need, for fast tracking."""
        return LandmarkModel(self)


class LandmarkModel(torch.nn.Module):
    """MediaPipe's 478 points of a head, without the vertices that none of them touches."""

    template: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    weights: Tensor
    corners: Tensor
    bary: Tensor

    def __init__(self, head: HeadModel) -> None:
        super().__init__()
        used, corners = head.faces[head.landmark_faces].unique(return_inverse=True)
        self._head = [head]  # in a list, so that it is no submodule of this one
        for key in ("template", "weights"):
            self.register_buffer(key, getattr(head, key)[used].clone(), persistent=False)
        for key in ("identity_basis", "expression_basis"):
            self.register_buffer(key, getattr(head, key)[:, used].clone(), persistent=False)
        self.register_buffer("corners", corners, persistent=False)
        self.register_buffer("bary", head.landmark_bary.clone(), persistent=False)

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
        vertices = _skin(
            self._head[0], self.template, self.identity_basis, self.expression_basis, self.weights,
            identity, expression, neck, jaw, eyes,
        )  # fmt: skip
        return (vertices[:, self.corners] * self.bary[..., None]).sum(-2)

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


def to_world(points: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Move (B, N, 3) points by (B, 3) axis-angle rotations and (B, 3) translations."""
    return points @ axis_angle_to_matrix(rotation).transpose(-1, -2) + translation[:, None]


def load(name: str = "embedded", device: str | torch.device = "cpu") -> HeadModel:
    """Load a head model.

    Args:
        name: "embedded", the one that ships with the package.
        device: where its tensors live.
    Raises:
        ModelError: there is no such head model, or its file is damaged.
    """
    from headavatar.errors import ModelError

    if name != "embedded":
        raise ModelError(f"there is no head model {name!r}", why="this version has one: embedded")
    return HeadModel(read(Path(__file__).parent / "data" / f"{name}.npz")).to(device)


def _skin(
    head: HeadModel,
    template: Tensor,
    identity_basis: Tensor,
    expression_basis: Tensor,
    weights: Tensor,
    identity: Tensor,
    expression: Tensor,
    neck: Tensor | None,
    jaw: Tensor | None,
    eyes: Tensor | None,
) -> Tensor:
    """Blend the bases, then turn jaw and eyeballs about their joints, then the whole about the neck."""
    batch, count = len(expression), len(template)
    rest = template + torch.tensordot(identity, identity_basis, 1)
    moved = (expression @ expression_basis.reshape(len(expression_basis), -1)).reshape(batch, count, 3)
    points = rest + moved
    joints = head.joint_positions(identity)
    turns = axis_angle_to_matrix(head.gaze(expression).reshape(batch, 2, 3))
    if eyes is not None:
        turns = axis_angle_to_matrix(eyes.reshape(batch, 2, 3)) @ turns
    rotations = [(2, turns[:, 0]), (3, turns[:, 1])]
    if jaw is not None:
        rotations.insert(0, (1, axis_angle_to_matrix(jaw)))
    if neck is not None:
        rotations.append((0, axis_angle_to_matrix(neck)))
    for joint, rotation in rotations:
        index = weights[:, joint].nonzero()[:, 0]
        if len(index):
            local = points[:, index] - joints[joint]
            change = rotation.transpose(-1, -2) - torch.eye(3, dtype=points.dtype, device=points.device)
            points = points.index_add(1, index, (local @ change) * weights[index, joint, None])
    return points


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

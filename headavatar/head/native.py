"""What an adapter makes of a head model's file: the model in its own terms, from which a head for the pipeline follows.

Adding a model means one module with a `read(path) -> NativeHead`, named in `headavatar.head.added.ADAPTERS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headavatar.errors import ModelError
from headavatar.scene import Array

_MOST_VERTICES = 65535


@dataclass(frozen=True)
class NativeHead:
    """A head model as its file has it.

    The space has head space's axes (+y up, +z out of the face, +x to the subject's left) and unit (metres); its origin
    is free.

    Attributes:
        template: (V, 3) mean head at rest.
        faces: (F, 3) triangles, counter-clockwise seen from outside.
        identity_basis: (S, V, 3) metres per standard deviation.
        expression_basis: (K, V, 3) the model's own expressions.
        weights: (V, 4) how far a vertex follows neck, jaw, left and right eye; those of the jaw and the eyes turn
            inside the neck's frame.
        joints: (4, 3) where these turn. joint_basis: (S, 4, 3) per standard deviation.
        jaw_basis: (9, V, 3) what the jaw's rotation adds, metres per entry of its matrix less the identity, row by row.
        arkit: (52, V, 3) displacements, where the model has ARKit's shapes itself; else they are carried over from the
            embedded head and said in `expression_basis` and the jaw's rotation.
        inner: region → (V,) bool: what is neither skin nor eyeball, as teeth and tongue.
        uvs, uv_faces: (U, 2) in [0, 1], v up, and (F, 3) into them, where the model has a texture layout.
        own: further arrays to be kept with the head, for the adapter's own use.
    """

    template: Array
    faces: Array
    identity_basis: Array
    expression_basis: Array
    weights: Array
    joints: Array
    joint_basis: Array
    jaw_basis: Array
    arkit: Array | None = None
    inner: dict[str, Array] = field(default_factory=dict)
    uvs: Array | None = None
    uv_faces: Array | None = None
    own: dict[str, Array] = field(default_factory=dict)

    def check(self, path: object, fix: str) -> None:
        """Make sure that all parts are finite and fit together.

        Raises:
            ModelError: they do not.
        """
        count, modes = len(self.template), len(self.identity_basis)
        expected = {
            "template": (count, 3), "faces": (len(self.faces), 3), "identity_basis": (modes, count, 3),
            "expression_basis": (len(self.expression_basis), count, 3), "weights": (count, 4), "joints": (4, 3),
            "joint_basis": (modes, 4, 3), "jaw_basis": (9, count, 3),
        }  # fmt: skip
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ModelError(f"{path} cannot be used", why=f"{name} is {array.shape}, not {shape}", fix=fix)
            if not np.isfinite(array).all():
                raise ModelError(f"{path} cannot be used", why=f"{name} holds numbers that are not finite", fix=fix)
        height = float(np.ptp(self.template[:, 1]))
        problems = {
            f"{count} vertices": count > _MOST_VERTICES or count < 100,
            "faces name vertices that are not there": self.faces.min() < 0 or self.faces.max() >= count,
            f"a head of {height:.3g} m": not 0.1 < height < 1.0,
            "weights outside of [0, 1]": self.weights.min() < -1e-3 or self.weights.max() > 1.001,
            "eyes that no vertex follows": not (self.weights[:, 2:] > 0.5).any(0).all(),
            "the left eye to the right of the right one": self.joints[2, 0] <= self.joints[3, 0],
        }
        for why, wrong in problems.items():
            if wrong:
                raise ModelError(f"{path} cannot be used", why=f"it has {why}", fix=fix)

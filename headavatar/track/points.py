"""Points fixed on a head's surface as linear functions of identity and expression.

A fit evaluates some hundreds or thousands of surface points for hundreds of frames at once; the head model, which knows
joints and regions, is condensed to those points first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headavatar.head import HeadModel

_STEP = 0.5


@dataclass(frozen=True)
class PointModel:
    """P points of a head model, linear in its parameters.

    Attributes:
        template: (P, 3) points of the mean head at rest, head space, metres.
        identity_basis: (S, P, 3).
        expression_basis: (E, P, 3); the eyes' rotation enters as its secant, whose error stays below 0.4 mm.
    """

    template: Tensor
    identity_basis: Tensor
    expression_basis: Tensor

    @staticmethod
    def of(head: HeadModel, faces: Tensor, barycentric: Tensor) -> PointModel:
        """Condense a head model by evaluating it at rest and at each of its coefficients.

        Args:
            head: the head model.
            faces: (P,) triangle of each point.
            barycentric: (P, 3) place in the triangle.
        """
        expressions, size = len(head.expression_names), head.identity_size
        subset, corners = torch.unique(head.faces[faces], return_inverse=True)

        def place(vertices: Tensor) -> Tensor:
            return torch.einsum("bpkc,pk->bpc", vertices[:, corners], barycentric)

        with torch.no_grad():
            at_rest = head.vertices(torch.zeros(size), torch.zeros(1, expressions), subset=subset)
            moved = head.vertices(torch.zeros(size), _STEP * torch.eye(expressions), subset=subset)
            return PointModel(
                template=place(at_rest)[0],
                identity_basis=place(head.identity_basis[:, subset]),
                expression_basis=place((moved - at_rest) / _STEP),
            )

    def shape(self, identity: Tensor) -> Tensor:
        """(P, 3) a person's points at rest."""
        return self.template + torch.einsum("s,spc->pc", identity, self.identity_basis)

    def points(self, shape: Tensor, expression: Tensor) -> Tensor:
        """(T, P, 3) points in head space of a person's shape under (T, E) expressions."""
        flat = self.expression_basis.reshape(len(self.expression_basis), -1)
        return shape + (expression @ flat).reshape(-1, *shape.shape)

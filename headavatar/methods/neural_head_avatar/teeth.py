"""Upper teeth where people have them: in the embedded head they end above the lips' line, and the tongue shows."""

from __future__ import annotations

import torch
from torch import Tensor

from ...head import HeadModel

BELOW_M = 0.0025
"""How far below the line of closed lips the upper front teeth end."""
_STOMION = (13, 14)
_FRONT_M = 0.01


def with_teeth_lowered(head: HeadModel, identity: Tensor) -> HeadModel:
    """The same head with its upper teeth as low as the person's lips ask for; a head without such teeth as it is.

    Args:
        head: any.
        identity: (S,).
    """
    upper = head.regions.get("teeth_upper")
    if upper is None or not upper.any():
        return head
    upper = upper.to(head.template.device)
    with torch.no_grad():
        rest = head.vertices(identity, torch.zeros(1, len(head.expression_names), device=identity.device))
        line = head.landmark_points(rest)[0, list(_STOMION), 1].mean()
        front = rest[0, upper & (rest[0, :, 0].abs() < _FRONT_M), 1]
        if not len(front):
            return head
        offset = torch.zeros_like(head.template)
        offset[upper, 1] = (line - BELOW_M - front.amin()).clamp_max(0)
    return head.with_offset(offset)

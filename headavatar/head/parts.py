"""A head without some of its parts."""

from __future__ import annotations

import copy

import torch

from headavatar.head.model import HeadModel


def without(head: HeadModel, region: str) -> HeadModel:
    """The same head without a region's faces, for who does not draw them; its vertices stay.

    Args:
        head: the head model.
        region: such as "lashes"; no landmark may lie on it.
    """
    gone = head.regions.get(region)
    if gone is None:
        return head
    gone = gone.to(head.faces.device)
    changed = copy.deepcopy(head)
    kept, kept_quads = ~gone[head.faces].any(1), ~gone[head.quads].any(1)
    changed.faces, changed.uv_faces = head.faces[kept], head.uv_faces[kept]
    changed.quads, changed.uv_quads = head.quads[kept_quads], head.uv_quads[kept_quads]
    changed.landmark_faces = (torch.cumsum(kept, 0) - 1)[head.landmark_faces].to(head.landmark_faces)
    return changed

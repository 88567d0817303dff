"""Where in the neutral head a point of a posed one lies.

Tables alone must paint a smile anew for every strength of it. So the field is that of the neutral head, and what
expressions carry elsewhere is fetched from where it came: near the tracked mesh by the mesh's own displacement, which
was not learned from these pictures and so holds for expressions that they do not show. Hair and neck follow the skull's
pose by a coarse displacement per axis, which is learned. Tables are left with what moving cannot do: wrinkles, teeth,
tongue, lids.

Source: the mesh's displacement as in Zielonka et al., Instant Volumetric Head Avatars, 2023, section 3.2, on a grid
instead of by nearest triangle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ... import ops
from ...scene import Array, HeadParams
from ..conditioning import pose_of
from .rays import Cube

AXES = 6
ROUNDS = 3
"""Steps by which the place is found that a displacement fetches a point from: the first is off by some millimetres."""


@dataclass
class Warp:
    """Displacements of B frames.

    Attributes:
        points: (M, 3) of the neutral mesh, cube units; M may be 0.
        deltas: (E, M, 3) what each expression at 1 moves them by.
        table: (6, n³ · 4) displacements per axis of the pose, cube units; n³ may be 0.
        low, high: (6,) rotation (radians) and translation (metres) that training covered.
        nodes: of the grids that the two are put together on.
    """

    points: torch.Tensor
    deltas: torch.Tensor
    table: torch.Tensor
    low: Array
    high: Array
    nodes: int

    @staticmethod
    def of(head: Any, params: HeadParams, cube: Cube, settings: Any, device: str) -> Warp:
        """The warp before training.

        Args:
            head: the head model that the clip was tracked with.
            params: of the training frames.
            cube: the modelled part of head space.
            settings: those of the fit.
            device: "cpu" or "cuda".
        """
        pose = pose_of(params)
        points, deltas = np.zeros((0, 3), np.float32), np.zeros((0, 0, 3), np.float32)
        if settings.surface_warp and params.recorded is None:
            points, deltas = _displacements(head, params.identity, params.expression.shape[1], cube)
        learned = settings.pose_nodes**3 * ops.warping.CHANNELS if settings.pose_nodes else 0
        return Warp(
            torch.from_numpy(points).to(device), torch.from_numpy(deltas).to(device),
            torch.zeros(AXES, learned, device=device), pose.min(0), pose.max(0), settings.warp_nodes,
        )  # fmt: skip

    @property
    def learns(self) -> bool:
        """Whether the pose has displacements."""
        return self.table.shape[1] > 0

    @property
    def moves(self) -> bool:
        """Whether anything is ever displaced."""
        return self.learns or len(self.points) > 0

    def pose(self, params: HeadParams) -> Array:
        """(T, 6) the pose as its share of training's range, in [-1, 1]."""
        middle, half = (self.high + self.low) / 2, np.maximum((self.high - self.low) / 2, 1e-6)
        return ((np.clip(pose_of(params), self.low, self.high) - middle) / half).astype(np.float32)

    def learned(self, pose: torch.Tensor) -> torch.Tensor:
        """(B, n³ · 4) blend of the pose's displacements."""
        return ops.blend_tables(pose, self.table)

    def grids(self, expression: torch.Tensor, learned: torch.Tensor | None) -> torch.Tensor | None:
        """What samples are moved by.

        Args:
            expression: (B, E), clamped.
            learned: what `learned` gave, perhaps with gradients; None where there is none.
        Returns:
            (B, nodes³ · 4), or None where nothing moves.
        """
        found = None
        if len(self.points):
            moved = torch.einsum("be,emc->bmc", expression, self.deltas)
            found = ops.spread(self.points + moved, -moved, self.nodes)
        if learned is not None and self.learns:
            fine = ops.refine(learned, self.nodes)
            found = fine if found is None else found + fine
        return found

    def at(self, params: HeadParams, expression: Array) -> torch.Tensor | None:
        """The grids of some frames, without gradients; `expression` (T, E) is what the tables are given, clamped."""
        device = self.table.device
        learned = self.learned(torch.from_numpy(self.pose(params)).to(device)) if self.learns else None
        return self.grids(torch.from_numpy(expression).to(device), learned)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Named tensors, as files hold them."""
        return {"warp.points": self.points, "warp.deltas": self.deltas, "warp.table": self.table}

    def about(self) -> dict[str, Any]:
        """What files say beside the tensors."""
        return {"nodes": self.nodes, "pose_low": self.low.tolist(), "pose_high": self.high.tolist()}

    @staticmethod
    def from_files(tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> Warp:
        """What `tensors` and `about` gave."""
        return Warp(
            tensors["warp.points"], tensors["warp.deltas"], tensors["warp.table"],
            np.asarray(about["pose_low"], np.float32), np.asarray(about["pose_high"], np.float32), about["nodes"],
        )  # fmt: skip


def carried(points: torch.Tensor, warp: torch.Tensor) -> torch.Tensor:
    """(N, 3) where points of the neutral head (N, 3) lie in a frame: what its `warp`, (nodes³ · 4), fetches to them."""
    borders, found = torch.tensor([0, len(points)], device=points.device), points
    for _ in range(ROUNDS):
        found = (points + found - ops.warp_points(found, warp[None], borders)).clamp(0, 1)
    return found


@torch.no_grad()
def _displacements(head: Any, identity: Array, expressions: int, cube: Cube) -> tuple[Array, Array]:
    """Neutral vertices (M, 3) and displacements (E, M, 3), cube units, without eyeballs, which roll in place."""
    shapes = torch.cat([torch.zeros(1, expressions), torch.eye(expressions)])
    vertices = head.vertices(torch.as_tensor(identity, dtype=torch.float32), shapes).cpu().numpy()
    still = np.zeros(vertices.shape[1], bool)
    for name in ("eyes", "iris"):
        if name in head.regions:
            still |= np.asarray(head.regions[name], bool)
    unit = np.asarray(cube.to_unit(vertices[:, ~still]), np.float32)
    return unit[0], unit[1:] - unit[:1]

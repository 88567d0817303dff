"""How far each vertex stands off the head model: one shape for the whole clip, and what neck and pose add.

Two ways to hold it. `SmoothOffsets` are free vectors seen through a smoothing solve, so that a gradient at the outline
moves a whole lock of hair. `SirenOffsets` are the published network over the surface.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .siren import OMEGA, FilmSiren
from .volume import HairVolume

Solve = Callable[[Tensor], Tensor]


class Offsets(Protocol):
    """Offsets of V vertices at rest, metres, head space."""

    def static(self) -> Tensor:
        """(V, 3) with the neck unturned and the head as it is held on average."""

    def __call__(self, neck: Tensor, pose: Tensor, static: Tensor | None = None) -> Tensor:
        """Offsets of B frames.

        Args:
            neck: (B, 3) its turn, axis-angle, radians.
            pose: (B, 6) the head's rotation and place, as shares of what training showed, in [-1, 1].
            static: (V, 3) of `static`, where it is at hand.
        Returns:
            (B, V, 3).
        """

    @property
    def groups(self) -> dict[str, list[Tensor]]:
        """What is learned, by the size of its steps: "offsets", "volume" of hair, and "turning" with neck and pose."""

    def state(self) -> dict[str, Tensor]: ...

    def kept(self) -> Offsets:
        """The same offsets as an avatar keeps them, which no longer learn."""


class FixedOffsets:
    """Offsets that are linear in the neck's turn and the head's pose.

    Args:
        rest: (V, 3) with the neck unturned and the head as it is held on average, meters, head space.
        axes: (9, V, 3) what each axis of neck and pose adds.
    """

    groups: ClassVar[dict[str, list[Tensor]]] = {}

    def __init__(self, rest: Tensor, axes: Tensor) -> None:
        self.rest, self.axes = rest, axes

    def static(self) -> Tensor:
        return self.rest

    def __call__(self, neck: Tensor, pose: Tensor, static: Tensor | None = None) -> Tensor:
        return self.rest + torch.einsum("bk,kvc->bvc", torch.cat([neck, pose], 1), self.axes)

    def state(self) -> dict[str, Tensor]:
        return {"offsets.rest": self.rest, "offsets.axes": self.axes}

    def kept(self) -> FixedOffsets:
        return self


class SmoothOffsets:
    """Free vectors, smoothed, and coarse ones per axis of the neck's turn and of the head's pose.

    The static part is offset = (I + λL)⁻¹ latent. What turns with the neck, and how hair falls as the head tilts, is
    smooth in space, so a few nodes hold it.

    Args:
        latent: (V, 3).
        nodes: (9, N, 3) displacement of each node per radian of the neck's turn about x, y, z, and per half range of
            the head's rotation and place.
        spread: (V, N) share that each node has in a vertex.
        movable: (V, 1) in [0, 1].
        follows: (V, 9) how far a vertex follows each axis.
        solve: the smoothing.
        volume: of hair, which the vectors start from.
    Source:
        Nicolet et al., Large Steps in Inverse Rendering of Geometry, 2021, equation 12.
    """

    NODES = 96

    def __init__(
        self, latent: Tensor, nodes: Tensor, spread: Tensor, movable: Tensor, follows: Tensor, solve: Solve,
        volume: HairVolume,
    ) -> None:  # fmt: skip
        self.latent, self.nodes, self.spread, self.volume = latent, nodes, spread, volume
        self.movable, self.follows, self.solve = movable, follows, solve
        self._solved: tuple[tuple[int, int], Tensor] | None = None

    @staticmethod
    def fresh(rest: Tensor, movable: Tensor, follows: Tensor, solve: Solve, volume: HairVolume) -> SmoothOffsets:
        """No offsets over the vertices' rest positions (V, 3)."""
        spread = _spread(rest, SmoothOffsets.NODES)
        latent, nodes = torch.zeros_like(rest), rest.new_zeros(follows.shape[1], spread.shape[1], 3)
        return SmoothOffsets(latent, nodes, spread, movable, follows, solve, volume)

    def static(self) -> Tensor:
        if torch.is_grad_enabled():
            return self._static()
        version = self.latent._version, self.volume.latent._version
        if self._solved is None or self._solved[0] != version:
            self._solved = version, self._static()
        return self._solved[1]

    def _static(self) -> Tensor:
        return self.solve(self.latent) * self.movable + self.volume()

    def __call__(self, neck: Tensor, pose: Tensor, static: Tensor | None = None) -> Tensor:
        static = self.static() if static is None else static
        return static + torch.einsum("bk,vkc->bvc", torch.cat([neck, pose], 1), self._by_axis())

    def _by_axis(self) -> Tensor:
        return torch.einsum("vn,knc->vkc", self.spread, self.nodes) * (self.follows * self.movable)[..., None]

    def kept(self) -> FixedOffsets:
        with torch.no_grad():
            return FixedOffsets(self.static(), self._by_axis().transpose(0, 1).contiguous())

    @property
    def groups(self) -> dict[str, list[Tensor]]:
        return {"offsets": [self.latent], "volume": [self.volume.latent], "turning": [self.nodes]}

    def state(self) -> dict[str, Tensor]:
        return {"offsets.latent": self.latent, "offsets.volume": self.volume.latent, "offsets.nodes": self.nodes}


def _spread(points: Tensor, count: int) -> Tensor:
    """(V, N) shares of N nodes, far apart among V points, in each point; a Gaussian as wide as the nodes' distance."""
    chosen = [int(points[:, 1].argmax())]
    distance = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
    nodes = points[chosen]
    apart = torch.cdist(nodes, nodes).fill_diagonal_(torch.inf).amin(1).mean()
    return torch.softmax(-((torch.cdist(points, nodes) / apart) ** 2), 1)


class SirenOffsets:
    """The published network: coordinates and features of each vertex to an offset, the neck's rotation its condition.

    Args:
        coordinates: (V, 3) at rest, in [-1, 1].
        features: (V, 32) learned.
        siren: of 128 sines in six layers.
        last: (3, 128) weight and (3,) bias, zero at the start.
        movable, neck_weight: (V, 1) in [0, 1].
    Source:
        Grassal et al., Neural Head Avatars from Monocular RGB Videos, 2022, section 3.1.
    """

    FEATURES, WIDTH, LAYERS = 32, 128, 6
    REACH_M = 0.1
    """What the tanh of the last layer reaches."""

    def __init__(
        self, coordinates: Tensor, features: Tensor, siren: FilmSiren, last: tuple[Tensor, Tensor], movable: Tensor,
        neck_weight: Tensor,
    ) -> None:  # fmt: skip
        self.coordinates, self.features, self.siren, self.last = coordinates, features, siren, last
        self.movable, self.neck_weight = movable, neck_weight
        self._on_neck = torch.nonzero(neck_weight[:, 0] > 1e-3)[:, 0]

    @staticmethod
    def fresh(
        rest: Tensor, movable: Tensor, neck_weight: Tensor, generator: torch.Generator, device: str = "cpu"
    ) -> SirenOffsets:
        """Random weights over the vertices' rest positions (V, 3)."""
        cls = SirenOffsets
        low, high = rest.amin(0), rest.amax(0)
        coordinates = (rest - (low + high) / 2) / (high - low).max() * 2
        features = torch.randn(len(rest), cls.FEATURES, generator=generator).to(device) * 0.01
        omega = torch.cat([torch.full((3,), OMEGA / 3), torch.ones(cls.FEATURES)])
        siren = FilmSiren.fresh(
            3 + cls.FEATURES, cls.WIDTH, cls.LAYERS, 9, mapping_width=64, omega=omega, generator=generator,
            device=device,
        )  # fmt: skip
        last = torch.zeros(3, cls.WIDTH, device=device), torch.zeros(3, device=device)
        return SirenOffsets(coordinates, features, siren, last, movable, neck_weight)

    def _at(self, turn: Tensor, chosen: Tensor | None = None) -> Tensor:
        x = torch.cat([self.coordinates, self.features], 1)
        x = self.siren.run(self.siren.films(turn.reshape(9)), x if chosen is None else x[chosen])
        return torch.nn.functional.linear(x, *self.last).tanh() * self.REACH_M

    def static(self) -> Tensor:
        return self._at(torch.eye(3, device=self.coordinates.device)) * self.movable

    def __call__(self, neck: Tensor, pose: Tensor, static: Tensor | None = None) -> Tensor:
        from ...head.rotations import axis_angle_to_matrix

        static, chosen = self.static() if static is None else static, self._on_neck
        share = (self.neck_weight * self.movable)[chosen]
        frames = []
        for turn in axis_angle_to_matrix(neck):
            change = (self._at(turn, chosen) * self.movable[chosen] - static[chosen]) * share
            frames.append(static.index_add(0, chosen, change))
        return torch.stack(frames)

    @property
    def groups(self) -> dict[str, list[Tensor]]:
        return {"offsets": [self.features, *self.siren.parameters, *self.last]}

    def state(self) -> dict[str, Tensor]:
        return {f"offsets.{i}": tensor for i, tensor in enumerate(self.groups["offsets"])}

    def kept(self) -> SirenOffsets:
        return self

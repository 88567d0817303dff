"""The head's color: learned maps over its surface, read by a network of sines that expression and light modulate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from ... import ops
from .siren import OMEGA, Film, FilmSiren

NORMAL_CODE = 32
MOUTH = ("lips", "mouth_interior", "teeth", "tongue")
"""Where the mouth's condition acts where it does not act everywhere."""


@dataclass(frozen=True)
class Places:
    """N places on the surface of one frame's head.

    Attributes:
        uv: (N, 2) in [0, 1], v up.
        coordinates: (N, 3) at rest, in [-1, 1].
        normals: (N, 3) unit, camera space.
        in_mouth: (N,) bool.
    """

    uv: Tensor
    coordinates: Tensor
    normals: Tensor
    in_mouth: Tensor


class Texture:
    """Colors of places on the surface under a condition.

    Args:
        map: (S, S, C) features over the UV layout, row 0 at v = 1.
        siren: over features and coordinates.
        normal_code: weight (32, 3) and bias (32,) that encode normals.
        shader: weights and biases of the dynamic head, from the siren's output and the code to RGB.
        everywhere: the condition acts on the whole head instead of on the mouth.
    Source:
        Grassal et al., Neural Head Avatars from Monocular RGB Videos, 2022, section 3.2.
    """

    def __init__(
        self, map: Tensor, siren: FilmSiren, normal_code: tuple[Tensor, Tensor], shader: list[tuple[Tensor, Tensor]],
        everywhere: bool,
    ) -> None:  # fmt: skip
        self.map, self.siren, self.normal_code, self.shader = map, siren, normal_code, shader
        self.everywhere = everywhere

    @staticmethod
    def fresh(
        *, map_size: int, features: int, width: int, layers: int, shader_width: int, condition: int, everywhere: bool,
        mapping_width: int, generator: torch.Generator, device: str = "cpu",
    ) -> Texture:  # fmt: skip
        """Random weights; arguments as the settings'."""

        def random(*shape: int, bound: float) -> Tensor:
            return ((torch.rand(*shape, generator=generator) * 2 - 1) * bound).to(device)

        omega = torch.cat([torch.ones(features), torch.full((3,), OMEGA)])
        siren = FilmSiren.fresh(
            features + 3, width, layers, condition, mapping_width=mapping_width, omega=omega, generator=generator,
            device=device,
        )  # fmt: skip
        fan = width + NORMAL_CODE
        return Texture(
            random(map_size, map_size, features, bound=0.5), siren,
            (random(NORMAL_CODE, 3, bound=1.0), random(NORMAL_CODE, bound=0.5)),
            [
                (random(shader_width, fan, bound=(6 / fan) ** 0.5), random(shader_width, bound=0.1)),
                (random(3, shader_width, bound=0.5 * (6 / shader_width) ** 0.5), random(3, bound=0.0)),
            ],
            everywhere,
        )  # fmt: skip

    def prepare(self, told: Tensor) -> list[Film]:
        """The network's layers as the (B, D) conditions of B frames make them; the last is for no condition."""
        zero = torch.zeros_like(told[:1])
        return [self.siren.films(condition) for condition in torch.cat([told, zero])]

    def colors(self, places: list[Places], prepared: list[Film]) -> list[Tensor]:
        """Colors of the places of B frames.

        Args:
            places: of each frame.
            prepared: what `prepare` gave.
        Returns:
            (N, 3) RGB in [0, 1] of each frame.
        """
        films, resting = prepared[:-1], prepared[-1]
        counts = [len(p.uv) for p in places]
        uv, coordinates, normals = (
            torch.cat([getattr(p, n) for p in places]) for n in ("uv", "coordinates", "normals")
        )
        x = torch.cat([ops.sample_maps(self.map, uv), coordinates], 1)
        if self.everywhere:
            hidden = torch.cat([self.siren.run(f, rows) for f, rows in zip(films, x.split(counts), strict=True)])
        else:
            mouth = torch.cat([p.in_mouth for p in places])
            frame = torch.repeat_interleave(torch.tensor(counts)).to(mouth.device)
            groups = [torch.nonzero(mouth & (frame == b))[:, 0] for b in range(len(places))]
            groups.append(torch.nonzero(~mouth)[:, 0])
            parts = [self.siren.run(f, x[g]) for f, g in zip([*films, resting], groups, strict=True)]
            hidden = torch.cat(parts)[torch.argsort(torch.cat(groups))]
        code = linear(normals, *self.normal_code).sin()
        (first, first_bias), last = self.shader
        rgb = linear(linear(torch.cat([hidden, code], 1), first, first_bias).sin(), *last).sigmoid()
        return list(rgb.split(counts))

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the networks; the map is apart, since it takes larger steps."""
        return [*self.siren.parameters, *self.normal_code, *(t for pair in self.shader for t in pair)]

    def state(self) -> dict[str, Tensor]:
        """Map and networks by name."""
        return {"texture.map": self.map} | {f"texture.{i}": tensor for i, tensor in enumerate(self.parameters)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])

"""How each kind of texture learns from a step's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from ... import ops
from ..adam import Adam
from .stack import Stack
from .texture import Texture


class Learner(Protocol):
    """Moves a texture."""

    def prepare(self, told: Tensor, learns: bool) -> Any:
        """What `colors` of the texture needs of a step's frames; `told` is (B, D)."""

    def step(self, told: Tensor, prepared: Any, map_lr: float, network_lr: float) -> None:
        """Move, and forget the gradients."""

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...


class SirenLearner:
    """Adam over the map and the networks."""

    def __init__(self, texture: Texture) -> None:
        self.texture = texture
        self.map, self.networks = Adam([texture.map]), Adam(texture.parameters)

    def prepare(self, told: Tensor, learns: bool) -> Any:
        return self.texture.prepare(told)

    def step(self, told: Tensor, prepared: Any, map_lr: float, network_lr: float) -> None:
        self.map.step(map_lr)
        self.networks.step(network_lr)

    def state(self) -> dict[str, Tensor]:
        both = {"map": self.map, "networks": self.networks}
        return {f"{name}.{key}": value for name, adam in both.items() for key, value in adam.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, adam in (("map", self.map), ("networks", self.networks)):
            adam.load_state({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})


class StackLearner:
    """Adam over the tables by outer products, and over detail and light."""

    def __init__(self, stack: Stack, sparsity: float) -> None:
        self.stack = stack
        l1 = stack.tables.new_full((len(stack.tables),), sparsity)
        l1[0] = 0.0  # the base is free
        self.tables = ops.RankOneAdam(stack.tables, 1.0, l1=l1)
        self.light = Adam([stack.detail, stack.light])

    def prepare(self, told: Tensor, learns: bool) -> Any:
        return self.stack.prepare(told).requires_grad_(learns)

    def step(self, told: Tensor, prepared: Any, map_lr: float, network_lr: float) -> None:
        if prepared.grad is not None:
            self.tables.step(list(zip(told, prepared.grad, strict=True)), map_lr)
        self.light.step(map_lr)

    def state(self) -> dict[str, Tensor]:
        named = {f"tables.{key}": value for key, value in self.tables.state_dict().items()}
        return named | {f"light.{key}": value for key, value in self.light.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.tables.load_state_dict(part("tables."))
        self.light.load_state(part("light."))


def learner_of(texture: Texture | Stack, sparsity: float) -> Learner:
    """The learner of a texture.

    Args:
        sparsity: weight of the sum of the absolute values of a stack's maps but the first.
    """
    return StackLearner(texture, sparsity) if isinstance(texture, Stack) else SirenLearner(texture)

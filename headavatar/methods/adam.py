"""Adam for a few small matrices, with a state that fits into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class Adam:
    """Adam over tensors that hold gradients.

    Args:
        parameters: leaf tensors; gradients are switched on.
        betas, eps: as in the paper.
        weight_decay: added to the gradients, times the parameters.
        uniform: steps are scaled by the largest second moment of a tensor instead of each element's own, so that what
            has nearly no gradient hardly moves.
    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1; uniform: Nicolet et al.,
        Large Steps in Inverse Rendering of Geometry, 2021, section 3.2.
    """

    def __init__(
        self, parameters: list[torch.Tensor], betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-12,
        weight_decay: float = 0.0, uniform: bool = False,
    ) -> None:  # fmt: skip
        self.parameters = [p.requires_grad_() for p in parameters]
        self.betas, self.eps, self.weight_decay, self.uniform = betas, eps, weight_decay, uniform
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]
        self.count = 0

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move every parameter that has a gradient, and forget the gradients."""
        self.count += 1
        (b1, b2), t = self.betas, self.count
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            if parameter.grad is None:
                continue
            if self.weight_decay:
                parameter.grad.add_(parameter, alpha=self.weight_decay)
            first.lerp_(parameter.grad, 1 - b1)
            second.mul_(b2).addcmul_(parameter.grad, parameter.grad, value=1 - b2)
            moment = second.max().expand_as(second) if self.uniform else second
            scale = (moment / (1 - b2**t)).sqrt_().add_(self.eps)
            parameter.addcdiv_(first, scale, value=-lr / (1 - b1**t))
            parameter.grad = None

    def forget(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """Moments and the number of steps."""
        named = {f"first.{i}": value for i, value in enumerate(self.first)}
        named |= {f"second.{i}": value for i, value in enumerate(self.second)}
        return named | {"count": torch.tensor(self.count)}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """What `state` gave."""
        for i in range(len(self.parameters)):
            self.first[i].copy_(state[f"first.{i}"])
            self.second[i].copy_(state[f"second.{i}"])
        self.count = int(state["count"])

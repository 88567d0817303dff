"""What the texture is told of a frame: how the mouth stands, how the head is turned, by choice every expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...head import HeadModel
from ...scene import HeadParams
from ..conditioning import Conditioning

LIPS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (78, 308), (61, 291), (0, 17))
"""MediaPipe's points between which lips are measured: seven gaps from the middle outwards, then widths and height."""
SOFT = 0.1
"""Beyond what training showed a condition still moves, by at most this many standard deviations."""
LEAST = 1e-3
"""Standard deviations below this count as this: what does not move in training says nothing."""


@dataclass(frozen=True)
class Conditions:
    """The condition vectors of a clip, in standard deviations from their mean over training.

    Attributes:
        mean, deviation: (D,) over the training frames.
        low, high: (D,) extremes in training, standard deviations.
        expressive: whether expressions are told beside mouth and rotation.
    """

    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor
    expressive: bool

    @staticmethod
    def of(raw: Tensor, expressive: bool) -> Conditions:
        """From the (T, D) raw vectors of the training frames."""
        mean, deviation = raw.mean(0), raw.std(0, unbiased=False).clamp_min(LEAST)
        scaled = (raw - mean) / deviation
        return Conditions(mean, deviation, scaled.amin(0), scaled.amax(0), expressive)

    @property
    def size(self) -> int:
        """D."""
        return len(self.mean)

    def __call__(self, raw: Tensor) -> Tensor:
        """(T, D) as the network takes them: scaled, and held softly to what training showed.

        Source: Grassal et al. 2022, section 3.3 (soft clipping of conditions).
        """
        scaled = (raw - self.mean) / self.deviation
        over, under = (scaled - self.high).clamp_min(0), (self.low - scaled).clamp_min(0)
        held = torch.minimum(torch.maximum(scaled, self.low), self.high)
        return held + SOFT * (torch.tanh(over / SOFT) - torch.tanh(under / SOFT))

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name).tolist() for name in ("mean", "deviation", "low", "high")}

    @staticmethod
    def from_state(state: dict[str, Any], expressive: bool, device: str) -> Conditions:
        """What `state` gave."""
        mean, deviation, low, high = (
            torch.tensor(state[name], device=device) for name in ("mean", "deviation", "low", "high")
        )
        return Conditions(mean, deviation, low, high, expressive)


@dataclass(frozen=True)
class Teller:
    """What a texture is told of frames, (T, D), by the kind of the texture.

    Attributes:
        conditions: for the network.
        coefficients: for a stack: 1, expressions as shares of their range, and the pose.
    """

    conditions: Conditions | None
    coefficients: Conditioning | None

    @staticmethod
    def of(head: HeadModel, params: HeadParams, settings: Any, device: str) -> Teller:
        """From the training frames' parameters."""
        if settings.texture == "stack":
            return Teller(None, Conditioning.of(params, True))
        expressive = settings.condition == "expression"
        return Teller(Conditions.of(_raw(head, params, expressive, device), expressive), None)

    @property
    def size(self) -> int:
        """D."""
        return self.conditions.size if self.conditions else self.coefficients.tables if self.coefficients else 0

    def __call__(self, head: HeadModel, params: HeadParams, device: str) -> Tensor:
        """(T, D) of frames; beyond what training showed it is held."""
        if self.conditions is not None:
            return self.conditions(_raw(head, params, self.conditions.expressive, device))
        assert self.coefficients is not None
        return torch.from_numpy(self.coefficients.coefficients(params)).to(device)

    def noisy(self, told: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
        """For training: conditions with noise, in standard deviations; coefficients as they are.

        Source: Grassal et al. 2022, section 3.3.
        """
        if self.conditions is None:
            return told
        return told + torch.randn(told.shape, generator=generator).to(told.device) * deviation

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "conditions": self.conditions.state() if self.conditions else None,
            "coefficients": self.coefficients.state() if self.coefficients else None,
        }

    @staticmethod
    def from_state(state: dict[str, Any], settings: Any, device: str) -> Teller:
        """What `state` gave."""
        said, had = state["conditions"], state["coefficients"]
        return Teller(
            Conditions.from_state(said, settings.condition == "expression", device) if said else None,
            Conditioning.from_state(had) if had else None,
        )


def _raw(head: HeadModel, params: HeadParams, expressive: bool, device: str) -> Tensor:
    def tensor(values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.float32), device=device)

    identity, expression = tensor(params.identity), tensor(params.expression)
    return raw_conditions(head, identity, expression, tensor(params.jaw), tensor(params.rotation), expressive)


def raw_conditions(
    head: HeadModel, identity: Tensor, expression: Tensor, jaw: Tensor, rotation: Tensor, expressive: bool
) -> Tensor:
    """Condition vectors in their own units.

    Args:
        head: the head model; its landmarks say how the lips stand.
        identity: (S,).
        expression, jaw, rotation: (T, E), (T, 3) and (T, 3) of the frames.
        expressive: with the expressions.
    Returns:
        (T, 10 lip distances in units of the face's width + 3 of rotation, radians + E expressions).
    Source:
        Grassal et al. 2022, section 3.3: ten distances of the lips and the head's rotation.
    """
    marks = head.landmark_model().points(identity, expression, jaw=jaw)
    width = (marks[:, 234] - marks[:, 454]).norm(dim=-1, keepdim=True)
    pairs = torch.tensor(LIPS, device=marks.device)
    gaps = (marks[:, pairs[:, 0]] - marks[:, pairs[:, 1]]).norm(dim=-1) / width
    return torch.cat([gaps, rotation, *([expression] if expressive else [])], 1)

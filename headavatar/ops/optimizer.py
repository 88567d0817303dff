"""Adam for blended tables, whose gradient is a sum of few outer products that is never written down."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from headavatar.ops import backend
from headavatar.ops.native import tables as native
from headavatar.ops.reference import optimizer as reference

MOMENTS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class RankOneAdam:
    """Adam on (K, P) tables from the gradients of tables blended of them.

    Args:
        tables: (K, P) parameters, changed in place.
        lr: learning rate.
        betas: decay of the first and second moment. With bfloat16 moments the second must not exceed 0.99: a slower
            mean moves by less than the format resolves.
        eps: added to the root of the second moment.
        l1: (K,) weight of each table's sum of absolute values in the loss, or one number for all.
        moments: "float32", or "bfloat16" for half the memory and traffic.
    Raises:
        ValueError: an argument is out of range.
    Source:
        D. Kingma, J. Ba 2015, algorithm 1.
    """

    def __init__(
        self,
        tables: Tensor,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-15,
        l1: float | Sequence[float] | Tensor = 0.0,
        moments: str = "float32",
    ) -> None:
        if tables.ndim != 2 or not tables.is_contiguous():
            raise ValueError(f"tables must be a contiguous (K, P) tensor, not {tuple(tables.shape)}")
        if moments not in MOMENTS:
            raise ValueError(f"moments are one of {', '.join(MOMENTS)}, not {moments!r}")
        if moments == "bfloat16" and betas[1] > 0.99:
            raise ValueError("bfloat16 moments need a second beta of at most 0.99")
        self.tables = tables
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.l1 = torch.as_tensor(l1, dtype=torch.float32, device=tables.device).expand(len(tables)).contiguous()
        self.steps = 0
        self.first = torch.zeros_like(tables, dtype=MOMENTS[moments])
        self.second = torch.zeros_like(tables, dtype=MOMENTS[moments])

    @torch.no_grad()
    def step(self, contributions: Sequence[tuple[Tensor, Tensor]], lr: float | None = None) -> None:
        """Update the tables once.

        Args:
            contributions: per frame, the coefficients (K,) that blended its table and the gradient (P,) of the
                blended table; the tables' gradient is the sum of their outer products.
            lr: this step's learning rate, where it is not the constructor's.
        Raises:
            ValueError: shapes do not fit.
        """
        if not contributions:
            raise ValueError("a step needs a gradient")
        coefficients = torch.stack([c.to(self.tables) for c, _ in contributions])
        gradients = [g.to(self.tables).contiguous() for _, g in contributions]
        if coefficients.shape[1] != len(self.tables) or any(g.shape != self.tables.shape[1:] for g in gradients):
            raise ValueError(f"coefficients (K,) and gradients (P,) do not fit tables {tuple(self.tables.shape)}")
        self.steps += 1
        if backend.is_triton(self.tables):
            from headavatar.ops.cuda import tables as cuda

            run = cuda.adam
        else:
            run = native.adam if backend.is_native(self.tables) else reference.adam
        run(
            self.tables, self.first, self.second, coefficients, gradients, self.l1, self.steps,
            self.lr if lr is None else lr, self.betas, self.eps,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs besides the tables: "first" and "second" (K, P), "steps" ()."""
        return {"first": self.first, "second": self.second, "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: the state belongs to other tables.
        """
        for name in ("first", "second"):
            if state[name].shape != self.tables.shape:
                raise ValueError(f"moments {tuple(state[name].shape)} for tables {tuple(self.tables.shape)}")
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.steps = int(state["steps"])

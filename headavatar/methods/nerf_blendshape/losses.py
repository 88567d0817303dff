"""What a step minimizes, by stretches of the fit: data, so that the published schedule and ours differ in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Phase:
    """A stretch of the fit.

    Attributes:
        until: share of all steps at which it ends.
        alpha: weight of |alpha - matte|.
        patch: edge of the square that takes the place of some scattered pixels, in pixels; 0 has none.
        regions: rectangles that hold the middle of the patch, one step after the other.
        patch_color: weight of the patch's |color - truth| beside that of scattered pixels, which is 1.
        perceptual: weight of the patch's LPIPS.
        beside: share of their rays that frames without a patch keep.
    """

    until: float
    alpha: float
    patch: int = 0
    regions: tuple[str, ...] = ()
    patch_color: float = 1.0
    perceptual: float = 0.0
    beside: float = 1.0


def phases_of(settings: Any) -> tuple[Phase, ...]:
    """The stretches of a fit, in order; the last one ends at 1.

    Ours compares large patches in few steps: deep features of a small one see mostly its own edge.

    Source: for "published", Gao et al. 2022, section 4.3, and the counts of the released training: of 30,000 steps
        4,000 with the mask, 16,000 of color, then a patch of 32 x 32 and as many scattered pixels, averaged.
    """
    if settings.schedule == "published":
        return (
            Phase(4 / 30, 1.0), Phase(20 / 30, 0.0),
            Phase(1.0, 0.0, 32, ("mouth", "face"), patch_color=0.1, perceptual=settings.perceptual_weight / 2),
        )  # fmt: skip
    if settings.perceptual_weight <= 0:
        return (Phase(1.0, settings.alpha_weight),)
    sharp = Phase(
        1.0, settings.alpha_weight, settings.patch, ("mouth", "head", "eyes", "head"),
        perceptual=settings.perceptual_weight, beside=0.5,
    )  # fmt: skip
    return Phase(settings.perceptual_from, settings.alpha_weight), sharp


def phase_at(phases: tuple[Phase, ...], progress: float) -> Phase:
    """The stretch that a step belongs to, by the share of steps before it."""
    return next((phase for phase in phases if progress < phase.until), phases[-1])


def rate_at(decay: Literal["smooth", "drops"] | str, final: float, progress: float) -> float:
    """Step sizes relative to those at the start.

    Args:
        decay: "smooth" falls evenly in the logarithm after the first quarter; "drops" cuts to a third at 1/5 and 1/2.
        final: what "smooth" ends at.
        progress: share of the steps done.
    """
    if decay == "drops":
        return float(0.33 ** ((progress >= 0.2) + (progress >= 0.5)))
    return float(final ** max(0.0, (progress - 0.25) / 0.75))

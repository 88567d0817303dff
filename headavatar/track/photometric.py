"""Analysis by synthesis: move the head until the picture shows what the head's surface is known to look like.

The training frames say which color each point of the surface has and how the light falls on it; then poses,
expressions and, on keyframes, the person move until every frame shows those colors where the points project, and the
colors are gathered anew. All of it is Gauss-Newton, robust against what the colors cannot say (wrinkles, a hand,
shadows), with the landmarks as a prior that fades from sub-stage to sub-stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.track.appearance import Colors, cauchy, gather
from headavatar.track.expression_prior import ExpressionPrior
from headavatar.track.gauss_newton import add_smoothness, solve_bounded
from headavatar.track.landmark_fit import (
    RIGID,
    LandmarkFit,
    Motion,
    Person,
    advance,
    cross_jacobian,
    projection_jacobian,
    rotation_steps,
)
from headavatar.track.normal import Normal
from headavatar.track.pictures import Pictures
from headavatar.track.relief import Relief
from headavatar.track.settings import PhotometricStep
from headavatar.track.surfels import Surfels
from headavatar.track.views import Look, View, visible
from headavatar.track.yielding import Sway

_LOOK_AGAIN = 3
"""Iterations after which it is asked anew what the head hides of itself."""
_MAX_TURN, _MAX_SHIFT = 0.05, 0.02

Extra = Callable[[Normal, Person, Motion], None]


@dataclass(frozen=True)
class Outcome:
    """What a sub-stage gives.

    Attributes:
        person, motion: the clip's.
        frames: (n,) that were looked at.
        before, after: (n,) their PSNR against the colors.
    """

    person: Person
    motion: Motion
    frames: Tensor
    before: Tensor
    after: Tensor


class PhotometricFit:
    """Refines a track by the picture.

    Args:
        head: the head model.
        surfels: of the person.
        relief: of the surfels; changed in place.
        pictures: all frames.
        train: (T,) bool, frames that may give colors, relief and the person.
        landmarks: the landmarks' cost of the same frames.
        focal: pixels, that goes with the pictures' own.
    """

    def __init__(
        self, head: HeadModel, surfels: Surfels, relief: Relief, pictures: Pictures, train: Tensor,
        landmarks: LandmarkFit, focal: float,
    ) -> None:  # fmt: skip
        self.head, self.surfels, self.relief, self.pictures = head, surfels, relief, pictures
        self.train, self.landmarks = train, landmarks
        self.pixels_per_focal = pictures.focal / focal
        self.prior = ExpressionPrior(head.expression_names)
        surface = surfels.surface
        self.expression_basis = surface.expression_basis.permute(1, 2, 0).contiguous()  # (N, 3, E)
        self.person_basis = torch.cat([surface.expression_basis, surface.identity_basis]).permute(1, 2, 0).contiguous()

    def run(
        self, person: Person, motion: Motion, step: PhotometricStep, keyframes: Tensor | None = None,
        extra: Extra | None = None,
    ) -> Outcome:  # fmt: skip
        """One sub-stage.

        Args:
            person, motion: where to start.
            step: what may move, and how.
            keyframes: (n,) that the person is fitted to, where `step` moves it.
            extra: what else is known of the person, added to the normal equations.
        """
        moves_person = step.moves == "person"
        frames = keyframes if moves_person and keyframes is not None else torch.arange(len(motion))
        pictures = self.pictures.blurred(step.blur_px, step.scale)
        landmarks = self.landmarks.faded(step.landmarks, step.score, step.sparsity, step.identity, person.focal)
        part = motion[frames]
        colors: Colors | None = None
        seen: Tensor | None = None
        before = torch.zeros(0)
        for iteration in range(step.iterations):
            look = self._look(person, part, pictures, frames, step.scale, seen if iteration % _LOOK_AGAIN else None)
            seen = look.seen
            colors = self._colors(look, part, colors)
            if iteration == 0:
                before = psnr(look, part, colors)
            else:
                self.relief.update(look, part, colors, self.train, step.robust)
                look = self._look(person, part, pictures, frames, step.scale, seen)
            if moves_person:
                person, part = self._fit_person(landmarks, person, part, look, colors, step, extra)
            else:
                part = self._move(landmarks, person, part, look, colors, step)
        look = self._look(person, part, pictures, frames, step.scale, None)
        assert colors is not None
        after = psnr(look, part, colors)
        return Outcome(person, _placed(motion, frames, part), frames, before, after)

    def cost(self, person: Person, motion: Motion, step: PhotometricStep, frames: Tensor) -> tuple[float, float]:
        """What the colors of the given frames (n,) cost under a sub-stage's weights, per frame, and per surfel in view.

        Nearer heads show fewer of their surfels, which by itself makes them no better.
        """
        part, pictures = motion[frames], self.pictures.blurred(step.blur_px, step.scale)
        look = self._look(person, part, pictures, frames, step.scale, None)
        colors = self._colors(look, part, None)

        def costs(_: slice, view: View) -> tuple[float, float]:
            weight = view.glimpse.weight * colors.confidence
            squared = colors.residual(view.glimpse).square().sum(-1)
            return float((weight * torch.log1p(squared / step.robust**2)).sum()), float(weight.sum())

        found = np.sum([pair for _, pair in look.each(part, costs)], 0)
        return 0.5 * float(found[0]) / len(frames), 0.5 * float(found[0] / max(found[1], 1e-6))

    def _look(
        self, person: Person, motion: Motion, pictures: Pictures, frames: Tensor, scale: float, seen: Tensor | None
    ) -> Look:
        focal = person.focal * self.pixels_per_focal * scale
        shape = self.surfels.surface.shape(person.identity) + self.relief.height[:, None] * self.surfels.normals
        if seen is None:
            seen = visible(self.head, person, motion, self.surfels, shape, pictures, focal)
        return Look(self.surfels, shape, pictures, frames, seen, focal)

    def _colors(self, look: Look, motion: Motion, known: Colors | None) -> Colors:
        count = int(self.train[look.frames].sum())
        return gather(partial(look.glimpses, motion, self.train), len(self.surfels), count, known)

    def _fit_person(
        self, landmarks: LandmarkFit, person: Person, motion: Motion, look: Look, colors: Colors,
        step: PhotometricStep, extra: Extra | None,
    ) -> tuple[Person, Motion]:  # fmt: skip
        def add(system: Normal, person: Person, motion: Motion) -> None:
            self._add(system, motion, look, colors, step)
            if extra is not None:
                extra(system, person, motion)

        return landmarks.refine_person(look.frames, person, motion, 1, add=add)

    def _move(
        self, landmarks: LandmarkFit, person: Person, motion: Motion, look: Look, colors: Colors, step: PhotometricStep
    ) -> Motion:
        system = landmarks.assemble(person, motion, landmarks.seen, with_person=False)
        self._add(system, motion, look, colors, step)
        blocks, gradient = system.blocks, system.gradient
        expressions = blocks.shape[1] - RIGID
        strength = torch.tensor(
            [step.smooth_rotation] * 3 + [step.smooth_translation] * 3 + [step.smooth_expression] * expressions
        ).double()
        bands = torch.zeros(len(motion), 3, blocks.shape[1], dtype=torch.float64)
        values = torch.cat([motion.translation, motion.expression], 1).double()
        differences = torch.cat([rotation_steps(motion.rotation).double(), values[1:] - values[:-1]], 1)
        add_smoothness(bands, gradient, torch.zeros_like(gradient), strength, self.pictures.times_s, differences)
        reach = torch.tensor([_MAX_TURN] * 3 + [_MAX_SHIFT] * 3).expand(len(motion), RIGID)
        free = float(step.moves == "all")
        lower = torch.cat([-reach, -motion.expression * free], 1).double()
        upper = torch.cat([reach, (1 - motion.expression) * free], 1).double()
        return advance(motion, solve_bounded(blocks, bands, gradient, lower, upper))

    def _add(self, system: Normal, motion: Motion, look: Look, colors: Colors, step: PhotometricStep) -> None:
        """Add what the pictures say, and what is believed of expressions, to the normal equations, in place."""
        size = system.blocks.shape[1]

        def normal(rows: slice, view: View) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            return self._normal(view, motion.rotation[rows], look, colors, step)

        sway = Sway(len(self.surfels), len(motion), size) if step.moves == "person" and step.colors_yield else None
        for rows, (hessian, gradient, slope, weight) in look.each(motion, normal):
            if sway is not None:
                sway.add(rows, slope, weight)
            own = min(size, hessian.shape[1])
            system.blocks[rows, :own, :own] += hessian[:, :own, :own].double()
            system.gradient[rows, :own] += gradient[:, :own].double()
            if system.shared_block is not None:
                assert system.shared_gradient is not None and system.mixed is not None
                system.shared_block += hessian[:, size:, size:].sum(0).double()
                system.shared_gradient += gradient[:, size:].sum(0).double()
                system.mixed[rows] += hessian[:, :size, size:].double()
        if sway is not None:
            system.yielded = sway.rows()
        system.blocks.diagonal(dim1=1, dim2=2).mul_(1 + 1e-4)
        self.prior.add(system, motion.expression, step.mirror, step.rest)

    def _normal(
        self, view: View, rotation: Tensor, look: Look, colors: Colors, step: PhotometricStep
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normal equations (B, D, D), (B, D) of some frames; D is 6, then E expressions, S identity modes and focal.

        Where colors yield, also the weighted slope of the surfels' gray values by all that (B, N, D), else nothing, and
        the surfels' weights (B, N).

        Three colors' slopes in two directions meet in a 2x2 matrix per surfel, whose Cholesky factor stands for them.
        """
        residual = colors.residual(view.glimpse)
        weight = view.glimpse.weight * colors.confidence
        if step.moves == "pose":
            weight = weight * self.surfels.rigidity
        weight = weight * cauchy(residual, step.robust) / step.robust**2
        by_x, by_y = view.slopes()
        xx = (weight * by_x.square().sum(-1)).clamp(min=1e-12)
        xy, yy = weight * (by_x * by_y).sum(-1), weight * by_y.square().sum(-1)
        first = xx.sqrt()
        mixed = xy / first
        second = (yy - mixed.square()).clamp(min=0).sqrt()
        pull_x, pull_y = weight * (by_x * residual).sum(-1), weight * (by_y * residual).sum(-1)
        x_by_point, y_by_point = projection_jacobian(view.world, look.focal).unbind(-2)
        factor = torch.stack(
            [first[..., None] * x_by_point + mixed[..., None] * y_by_point, second[..., None] * y_by_point], -2
        )
        pull = pull_x[..., None] * x_by_point + pull_y[..., None] * y_by_point
        columns = [cross_jacobian(factor, view.arm), factor]
        gradient = [torch.linalg.cross(view.arm, pull).sum(1), pull.sum(1)]
        if step.moves != "pose":
            basis = self.person_basis if step.moves == "person" else self.expression_basis
            count, surfels = pull.shape[:2]
            in_head = (factor @ rotation[:, None]).permute(1, 0, 2, 3).reshape(surfels, 2 * count, 3)
            columns.append((in_head @ basis).reshape(surfels, count, 2, -1).transpose(0, 1))
            gradient.append((pull @ rotation).flatten(1) @ basis.reshape(-1, basis.shape[-1]))
        if step.moves == "person":  # by the logarithm of the focal length
            x, y = (view.pixels - look.pictures.center).unbind(-1)
            columns.append(torch.stack([first * x + mixed * y, second * y], -1)[..., None])
            gradient.append((pull_x * x + pull_y * y).sum(1, keepdim=True))
        slope = weight.new_zeros(0)
        if step.moves == "person" and step.colors_yield:
            gray_x, gray_y = (weight * by.sum(-1) / 3**0.5 for by in (by_x, by_y))
            gray = gray_x[..., None] * x_by_point + gray_y[..., None] * y_by_point
            by_shape = ((gray @ rotation).transpose(0, 1) @ self.person_basis).transpose(0, 1)
            by_focal = (gray_x * x + gray_y * y)[..., None]
            slope = torch.cat([torch.linalg.cross(view.arm, gray), gray, by_shape, by_focal], -1)
        rows = torch.cat(columns, -1).flatten(1, 2)
        return rows.transpose(1, 2) @ rows, torch.cat(gradient, 1), slope, weight


def psnr(look: Look, motion: Motion, colors: Colors) -> Tensor:
    """(n,) PSNR of the surfels' colors against the pictures, exposure evened out."""

    def error(_: slice, view: View) -> Tensor:
        weight = view.glimpse.weight * colors.confidence
        squared = colors.residual(view.glimpse).square().mean(-1)
        return (weight * squared).sum(1) / weight.sum(1).clamp(min=1e-6)

    errors = [found for _, found in look.each(motion, error)]
    return -10 * torch.log10(torch.cat(errors).clamp(min=1e-8))


def _placed(motion: Motion, frames: Tensor, part: Motion) -> Motion:
    if len(frames) == len(motion):
        return part
    whole = replace(
        motion, rotation=motion.rotation.clone(), translation=motion.translation.clone(),
        expression=motion.expression.clone(),
    )  # fmt: skip
    whole.rotation[frames], whole.translation[frames] = part.rotation, part.translation
    whole.expression[frames] = part.expression
    return whole

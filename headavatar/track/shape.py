"""What landmarks cannot say of a person: the skull's breadth, the ears, the outline, from the parsing of keyframes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.scene import Array
from headavatar.track.landmark_fit import (
    RIGID,
    LandmarkFit,
    Motion,
    Person,
    projection_jacobian,
)
from headavatar.track.normal import Normal
from headavatar.track.outline import HAIR_END, NECK, UNKNOWN, Outline, Rim, Targets, outline, targets
from headavatar.track.settings import OutlineWeights
from headavatar.workers import in_order

Result = TypeVar("Result")


@dataclass(frozen=True)
class View:
    """The K of a fit's frames whose outline is looked at.

    Attributes:
        rows: (K,) their positions among the fit's frames.
        parsing: (K, H, W) indices into `PARSING_CLASSES`, `UNKNOWN` where the crop leaves the picture.
        center: (2,) principal point at this size, pixels.
        scale: this size over that of the landmarks' pixels.
    """

    rows: Tensor
    parsing: Array
    center: Tensor
    scale: float

    @staticmethod
    def of(rows: Tensor, parsing: Array, valid: Array, center: Tensor, size: int) -> View:
        """Views of the fit's frames `rows`.

        Args:
            rows: (K,).
            parsing: (K, H, W) indices into `PARSING_CLASSES`.
            valid: (H, W) bool, where the crop shows the picture.
            center: (2,) principal point in the crop, pixels.
            size: of the crop, pixels.
        """
        scale = parsing.shape[1] / size
        return View(rows, np.where(valid, parsing, np.uint8(UNKNOWN)), center * scale, scale)


def refine_person(
    head: HeadModel,
    fit: LandmarkFit,
    frames: Tensor,
    person: Person,
    motion: Motion,
    view: View,
    weights: OutlineWeights,
    iterations: int,
) -> tuple[Person, Motion]:
    """Identity, focal length and landmark offsets from landmarks and outlines together.

    Args:
        head: the head model.
        fit: of the clip's landmarks.
        frames: (n,) keyframes of the training part.
        person: as landmarks alone have it.
        motion: of all T frames.
        view: of some of the n frames.
        weights: of the outline.
        iterations: Gauss-Newton steps.
    Returns:
        the person, and the motion of the n frames.
    """
    term = OutlineTerm(head, view, weights, fit.unit_px)
    return fit.refine_person(frames, person, motion[frames], iterations, add=term.add)


class OutlineTerm:
    """Rows of a Gauss-Newton system that bring the mesh's outline to the one in the pictures.

    Args:
        head: the head model.
        view: of some of the fit's frames.
        weights: of the outline.
        unit_px: (motion, focal) -> (K,) pixels that cost 1, at the landmarks' size.
    """

    def __init__(
        self, head: HeadModel, view: View, weights: OutlineWeights, unit_px: Callable[[Motion, float], Tensor]
    ) -> None:
        self.head, self.view, self.weights, self.unit_px = head, view, weights, unit_px
        self.rim = Rim.of(head)

    def add(self, system: Normal, person: Person, motion: Motion) -> None:
        """Add the rows of all views to the normal equations: identity moves the outline, and so do poses and focal."""
        assert system.shared_block is not None and system.shared_gradient is not None and system.mixed is not None
        share = len(motion) / len(self.view.rows)  # the views stand for all of the frames

        def normal(jacobian: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            weighted = (jacobian * weight[:, None] * share).double()
            return weighted.T @ jacobian.double(), weighted.T @ residual.double()

        for row, (hessian, gradient) in self._each(person, motion, normal):
            system.blocks[row, :RIGID, :RIGID] += hessian[:RIGID, :RIGID]
            system.gradient[row, :RIGID] += gradient[:RIGID]
            system.mixed[row, :RIGID] += hessian[:RIGID, RIGID:]
            system.shared_block += hessian[RIGID:, RIGID:]
            system.shared_gradient += gradient[RIGID:]

    def cost(self, person: Person, motion: Motion) -> float:
        """What the outline costs, per frame; the motion is of the fit's n frames."""

        def cost(_: Tensor, residual: Tensor, weight: Tensor) -> float:
            far = (residual / self.weights.robust).square()
            return float((weight * (1 + far) * torch.log1p(far)).sum())

        total = sum(found for _, found in self._each(person, motion, cost))
        return 0.5 * self.weights.robust**2 * total / len(self.view.rows)

    def _each(
        self, person: Person, motion: Motion, work: Callable[[Tensor, Tensor, Tensor], Result]
    ) -> Iterator[tuple[int, Result]]:
        """What `work` makes of each view's jacobian, residuals and weights, and the view's frame; on all cores."""
        units = self.unit_px(motion, person.focal) * self.view.scale
        rows = self.view.rows.tolist()

        def of(view: int) -> tuple[int, Result]:
            row = rows[view]
            return row, work(*self._rows(person, motion[row : row + 1], view, float(units[row])))

        return in_order(of, range(len(rows)))

    def look(self, person: Person, motion: Motion, view: int, unit_px: float) -> tuple[Outline, Targets, Tensor]:
        """The outline in a view, where it should be, and the posed vertices (V, 3); the motion is of one frame."""
        focal = person.focal * self.view.scale
        parsing = self.view.parsing[view]
        arm = self.head.vertices(person.identity, motion.expression)[0] @ motion.rotation[0].T
        world = arm + motion.translation[0]
        found = outline(self.rim, world, focal, self.view.center, *parsing.shape)
        return found, targets(found, parsing, self.weights.reach * unit_px), world

    def slope(self, person: Person, points: Tensor, normals: Tensor, unit_px: float) -> Tensor:
        """(M, 3) how a residual grows as its world point (M, 3) moves, for image normals (M, 2)."""
        by_point = projection_jacobian(points, person.focal * self.view.scale) / unit_px
        return torch.einsum("mi,mij->mj", normals, by_point)

    def _rows(self, person: Person, motion: Motion, view: int, unit_px: float) -> tuple[Tensor, Tensor, Tensor]:
        """Jacobian (M, 6 + S + 1), residuals (M,) and weights (M,) of one view."""
        w = self.weights
        found, aims, world = self.look(person, motion, view, unit_px)
        told = aims.kind != HAIR_END
        at = aims.place[told]
        place = torch.from_numpy(at)
        normals = torch.from_numpy(found.normals[at]).float()
        residual = torch.from_numpy(-aims.shift_px[told]).float() / unit_px
        kinds = np.where(found.parts[at] == NECK, w.neck, w.place)
        weight = torch.from_numpy(kinds * aims.trust[told] * found.length_px[at] / w.spacing_px).float()
        weight = weight / (1 + (residual / w.robust).square())
        edges = found.edges[place]
        points = world[edges].mean(1)
        slope = self.slope(person, points, normals, unit_px)
        turn = torch.linalg.cross(points - motion.translation, slope)
        basis = self.head.identity_basis[:, edges].mean(2)
        by_identity = torch.einsum("mj,smj->ms", slope @ motion.rotation[0], basis)
        spread = torch.from_numpy(found.pixels[at]).float() - self.view.center
        by_focal = (normals * spread).sum(1, keepdim=True) / unit_px
        return torch.cat([turn, slope, by_identity, by_focal], 1), residual, weight

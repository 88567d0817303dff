"""Fit one identity and focal length, and every frame's pose and expression, to the landmarks of a whole clip at once.

Two sub-stages. First the person: identity, focal length and the network's offsets, from keyframes of the training
frames only, as a bundle adjustment whose per-frame unknowns are eliminated. Then the motion: pose and expression of all
frames, coupled in time, in one banded system. Both are Gauss-Newton with robust weights; expressions stay in [0, 1] by
holding what would leave the interval.

Costs are in units in which a landmark that is off by one percent of the distance between the outer eye corners costs 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headavatar.head.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from headavatar.scene import Camera
from headavatar.track.gauss_newton import add_smoothness, solve_bounded
from headavatar.track.landmark_model import OUTER_EYE_CORNERS, LandmarkModel
from headavatar.track.normal import Normal, eliminate
from headavatar.track.settings import LandmarkWeights
from headavatar.workers import in_order

CHUNK = 48
RIGID = 6


@dataclass(frozen=True)
class Person:
    """What does not change over a clip.

    Attributes:
        identity: (S,) standard deviations.
        offset: (L, 3) from the head's landmark points to the network's, head space, metres.
        focal: pixels.
    """

    identity: Tensor
    offset: Tensor
    focal: float


@dataclass(frozen=True)
class Motion:
    """What changes from frame to frame: rotation (T, 3, 3) and translation (T, 3) head to world, expression (T, E)."""

    rotation: Tensor
    translation: Tensor
    expression: Tensor

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, index: slice | Tensor) -> Motion:
        return Motion(self.rotation[index], self.translation[index], self.expression[index])


@dataclass(frozen=True)
class Observation:
    """What the network saw.

    Attributes:
        landmarks: (T, L, 2) pixels.
        depth: (T, L) the network's guess of depth, in pixels, smaller nearer.
        scores: (T, E) the network's expression scores.
        times_s: (T,).
        center: (2,) principal point, pixels.
    """

    landmarks: Tensor
    depth: Tensor
    scores: Tensor
    times_s: Tensor
    center: Tensor

    @staticmethod
    def of(landmarks: np.ndarray, scores: np.ndarray, times_s: np.ndarray, camera: Camera) -> Observation:
        """From (T, L, 3) landmarks, (T, E) scores, (T,) seconds and the camera whose principal point holds."""
        points = torch.as_tensor(landmarks, dtype=torch.float32)
        return Observation(
            points[..., :2], points[..., 2], torch.as_tensor(scores, dtype=torch.float32),
            torch.as_tensor(times_s, dtype=torch.float64), torch.as_tensor(camera.K[:2, 2], dtype=torch.float32),
        )  # fmt: skip

    def __getitem__(self, index: Tensor) -> Observation:
        return replace(
            self, landmarks=self.landmarks[index], depth=self.depth[index], scores=self.scores[index],
            times_s=self.times_s[index],
        )  # fmt: skip


def project(world: Tensor, focal: float, center: Tensor) -> Tensor:
    """Pixels (..., 2) of (..., 3) world points, for the camera at the origin that looks along -z."""
    depth = -world[..., 2]
    return torch.stack([world[..., 0] / depth, -world[..., 1] / depth], -1) * focal + center


def projection_jacobian(world: Tensor, focal: float) -> Tensor:
    """(..., 2, 3) derivative of `project` by the world point."""
    inverse = -1.0 / world[..., 2]
    zero = torch.zeros_like(inverse)
    x, y = world[..., 0] * inverse, world[..., 1] * inverse
    scale = focal * inverse
    return torch.stack([torch.stack([scale, zero, x * scale], -1), torch.stack([zero, -scale, -y * scale], -1)], -2)


def cross_jacobian(jacobian: Tensor, arm: Tensor) -> Tensor:
    """(..., 2, 3) derivative by a small rotation about the head's origin, given the one by the point and the arm."""
    return torch.cross(arm[..., None, :].expand_as(jacobian), jacobian, dim=-1)


class LandmarkFit:
    """The cost of landmarks and priors, and its Gauss-Newton steps.

    Args:
        model: the head's landmarks.
        seen: the network's landmarks of the frames.
        weights: of every term.
        focal_prior: pixels; what the focal length is believed to be before anything is seen.
    """

    def __init__(self, model: LandmarkModel, seen: Observation, weights: LandmarkWeights, focal_prior: float) -> None:
        self.model, self.seen, self.weights, self.focal_prior = model, seen, weights, focal_prior
        self.surface = model.surface
        self.expressions = len(self.surface.expression_basis)
        self.size = RIGID + self.expressions

    def faded(self, share: float, score: float, sparsity: float, identity: float, focal: float) -> LandmarkFit:
        """The same cost with a share of the landmarks' trust and other priors; see `LandmarkWeights`.

        `focal`, pixels, takes the place of what was believed before anything was seen.
        """
        weights = replace(self.weights, score=score, sparsity=sparsity, identity=identity)
        return LandmarkFit(self.model.faded(share), self.seen, weights, focal)

    def fit_offset(self, person: Person, motion: Motion, frames: Tensor) -> Person:
        """The same person with the landmarks' offsets that fit the given frames (n,) best."""
        return replace(person, offset=self._fit_offset(person, motion[frames], self.seen[frames]))

    def unit_px(self, motion: Motion, focal: float) -> Tensor:
        """(T,) one percent of the outer eye corners' distance as it would look from the front, pixels."""
        left, right = self.surface.template[list(OUTER_EYE_CORNERS)]
        return 0.01 * focal * (left - right).norm() / -motion.translation[:, 2]

    def assemble(self, person: Person, motion: Motion, seen: Observation, with_person: bool) -> Normal:
        """Normal equations of the landmarks and of the priors on expressions."""
        shape = self.surface.shape(person.identity) + person.offset

        def part(index: Tensor) -> Normal:
            return self._assemble(person, shape, motion[index], seen[index], with_person)

        return Normal.joined(list(in_order(part, torch.arange(len(motion)).split(CHUNK))))

    def _assemble(self, person: Person, shape: Tensor, motion: Motion, seen: Observation, with_person: bool) -> Normal:
        w, model, surface = self.weights, self.model, self.surface
        arm, world, pixels, residual, by_point, by_head = self._look(person, shape, motion, seen)
        unit = self.unit_px(motion, person.focal)[:, None, None]
        columns = [
            cross_jacobian(by_point, arm),
            by_point,
            torch.einsum("tlij,elj->tlie", by_head, surface.expression_basis),
        ]
        if with_person:
            columns.append(torch.einsum("tlij,slj->tlis", by_head, surface.identity_basis))
            columns.append(((pixels - seen.center) / unit)[..., None])  # by the logarithm of the focal length
        jacobian = torch.cat(columns, -1)
        trust = model.weights * robust_weight(residual.norm(dim=-1), w.robust)
        upper, lower = model.pairs.T
        gap = residual[:, upper] - residual[:, lower]
        gap_trust = model.pair_weight * robust_weight(gap.norm(dim=-1), w.robust)
        rows = torch.cat([jacobian, jacobian[:, upper] - jacobian[:, lower]], 1).flatten(1, 2)
        values = torch.cat([residual, gap], 1).flatten(1, 2)
        row_trust = torch.cat([trust, gap_trust], 1).repeat_interleave(2, 1)
        weighted = rows * row_trust[..., None]
        hessian = rows.transpose(1, 2) @ weighted
        gradient = (weighted.transpose(1, 2) @ values[..., None])[..., 0]
        n = self.size
        blocks, own = hessian[:, :n, :n].double(), gradient[:, :n].double()
        expression = slice(RIGID, n)
        blocks.diagonal(dim1=1, dim2=2)[:, expression] += w.score
        blocks.diagonal(dim1=1, dim2=2)[:, :RIGID] *= 1 + 1e-6
        own[:, expression] += w.score * (motion.expression - seen.scores) + w.sparsity
        if not with_person:
            return Normal(blocks, own)
        return Normal(
            blocks,
            own,
            hessian[:, n:, n:].sum(0).double(),
            gradient[:, n:].sum(0).double(),
            hessian[:, :n, n:].double(),
        )

    def stranger(self) -> Person:
        """Nobody in particular: the mean head at the believed focal length."""
        zeros = torch.zeros(len(self.surface.identity_basis)), torch.zeros(len(self.surface.template), 3)
        return Person(*zeros, self.focal_prior)

    def fit_person(self, frames: Tensor, start: Motion, iterations: int) -> Person:
        """Identity, focal length and offsets from the given frames (n,), whose motion starts as given."""
        # no offsets before the pose is right: they would absorb its error
        person, motion = self.refine_person(frames, self.stranger(), start, min(iterations, 2), offsets=False)
        return self.refine_person(frames, person, motion, iterations - 2)[0]

    def refine_person(
        self,
        frames: Tensor,
        person: Person,
        motion: Motion,
        iterations: int,
        offsets: bool = True,
        add: Callable[[Normal, Person, Motion], None] | None = None,
    ) -> tuple[Person, Motion]:
        """Go on from a person and from the motion of the given frames.

        Args:
            frames: (n,) that the person is fitted to.
            person, motion: where to start; the motion is that of the n frames.
            iterations: Gauss-Newton steps.
            offsets: fit the landmarks' offsets too.
            add: adds what else is known to the normal equations, in place; called at every step.
        """
        seen, w, count = self.seen[frames], self.weights, len(frames)
        for _ in range(iterations):
            system = self.assemble(person, motion, seen, with_person=True)
            if add is not None:
                add(system, person, motion)
            assert system.shared_gradient is not None
            prior = torch.full((len(system.shared_gradient),), w.identity * count, dtype=torch.float64)
            prior[-1] = w.focal * count
            state = torch.cat([person.identity.double(), torch.tensor([np.log(person.focal / self.focal_prior)])])
            lower, upper = self._room(motion, posed=False)
            held = ((lower >= 0) & (system.gradient > 0)) | ((upper <= 0) & (system.gradient < 0))
            given = torch.zeros_like(system.gradient)
            for _ in range(3):
                shared, own = eliminate(system, prior, prior * state, given, held)
                crossing = ~held & ((own < lower) | (own > upper))
                given = torch.where(held | crossing, own.clamp(lower, upper), 0.0)
                held = held | crossing
            motion = advance(motion, own)
            focal = person.focal * float(torch.exp(shared[-1].clamp(-0.2, 0.2)))
            person = replace(person, identity=(state + shared)[:-1].float(), focal=focal)
            if offsets:
                person = replace(person, offset=self._fit_offset(person, motion, seen))
        return person, motion

    def cost(self, person: Person, motion: Motion, frames: Tensor) -> float:
        """What a person and the motion of the given frames (n,) cost, per frame; the focal length's prior aside."""
        seen, w, model = self.seen[frames], self.weights, self.model
        residual = self._look(person, self.surface.shape(person.identity) + person.offset, motion, seen)[3]
        gap = residual[:, model.pairs[:, 0]] - residual[:, model.pairs[:, 1]]
        costs = model.weights * robust_cost(residual.norm(dim=-1), w.robust)
        gaps = model.pair_weight * robust_cost(gap.norm(dim=-1), w.robust)
        expression = motion.expression
        told = 0.5 * w.score * (expression - seen.scores).square() + w.sparsity * expression
        offsets = w.offset * (model.sameness * person.offset.square().sum(1)).sum()
        person_cost = 0.5 * (w.identity * person.identity.square().sum() + offsets)
        return float(costs.sum(1).mean() + gaps.sum(1).mean() + told.sum(1).mean() + person_cost)

    def _look(self, person: Person, shape: Tensor, motion: Motion, seen: Observation) -> tuple[Tensor, ...]:
        """Arms, world points (T, L, 3); pixels, residuals (T, L, 2); derivatives by world and head (T, L, 2, 3)."""
        # how this changes with the pose is left out of the Jacobians: millimetres beside the arm's centimetres
        seen_from = self.model.seen_from(motion.rotation, motion.translation)
        head = self.surface.points(shape, motion.expression) + seen_from
        arm = head @ motion.rotation.transpose(1, 2)
        world = arm + motion.translation[:, None]
        unit = self.unit_px(motion, person.focal)[:, None, None]
        pixels = project(world, person.focal, seen.center)
        by_point = projection_jacobian(world, person.focal) / unit[..., None]
        return arm, world, pixels, (pixels - seen.landmarks) / unit, by_point, by_point @ motion.rotation[:, None]

    def _fit_offset(self, person: Person, motion: Motion, seen: Observation) -> Tensor:
        """The offsets that fit best with all else held fixed; each landmark's is a problem of its own."""
        shape = self.surface.shape(person.identity) + person.offset
        _, _, _, residual, _, by_head = self._look(person, shape, motion, seen)
        trust = self.model.weights * robust_weight(residual.norm(dim=-1), self.weights.robust)
        pull = residual - torch.einsum("tlij,lj->tli", by_head, person.offset)
        turned = by_head * trust[..., None, None]
        block = torch.einsum("tlij,tlik->ljk", turned, by_head).double()
        tied = self.weights.offset * len(motion) * self.model.sameness.double()
        prior = tied[:, None, None] * torch.eye(3, dtype=torch.float64)
        return -torch.linalg.solve(block + prior, torch.einsum("tlij,tli->lj", turned, pull).double()).float()

    def fit_motion(self, person: Person, motion: Motion, iterations: int, posed: bool = False) -> Motion:
        """Pose and expression of all frames with the person held fixed; with `posed`, the expression alone."""
        w = self.weights
        strength = torch.cat(
            [torch.full((3,), w.smooth_rotation), torch.full((3,), w.smooth_translation),
             torch.full((self.expressions,), w.smooth_expression)]
        ).double()  # fmt: skip
        for _ in range(iterations):
            system = self.assemble(person, motion, self.seen, with_person=False)
            bands = torch.zeros(len(motion), 3, self.size, dtype=torch.float64)
            values = torch.cat([motion.translation.double(), motion.expression.double()], 1)
            differences = torch.cat([rotation_steps(motion.rotation).double(), values[1:] - values[:-1]], 1)
            add_smoothness(
                bands, system.gradient, torch.zeros_like(system.gradient), strength, self.seen.times_s, differences
            )
            motion = advance(motion, solve_bounded(system.blocks, bands, system.gradient, *self._room(motion, posed)))
        return motion

    def _room(self, motion: Motion, posed: bool) -> tuple[Tensor, Tensor]:
        """(T, D) least and greatest step: expressions stay in [0, 1], poses are free, or do not move if `posed`."""
        free = torch.full((len(motion), RIGID), 0.0 if posed else torch.inf)
        return torch.cat([-free, -motion.expression], 1).double(), torch.cat([free, 1 - motion.expression], 1).double()


def robust_weight(distance: Tensor, scale: float) -> Tensor:
    """Huber's weight: 1 up to `scale`, then falling with the distance."""
    return scale / distance.clamp(min=scale)


def robust_cost(distance: Tensor, scale: float) -> Tensor:
    """Huber's cost, half the square up to `scale`, then linear."""
    near = distance.clamp(max=scale)
    return near * (distance - 0.5 * near)


def rotation_steps(rotation: Tensor) -> Tensor:
    """(T-1, 3) rotation vectors in world space that lead from each frame to the next."""
    return matrix_to_axis_angle(rotation[1:] @ rotation[:-1].transpose(1, 2))


def advance(motion: Motion, step: Tensor) -> Motion:
    """Apply a (T, 6+E) step: rotation on the left, expressions kept in [0, 1]."""
    turn = axis_angle_to_matrix(step[:, :3].float().clamp(-0.5, 0.5))
    return Motion(
        turn @ motion.rotation,
        motion.translation + step[:, 3:RIGID].float(),
        (motion.expression + step[:, RIGID:].float()).clamp(0, 1) if step.shape[1] > RIGID else motion.expression,
    )

"""How long the lens is: what everything else costs at several focal lengths, by keyframes.

A shorter lens near by and a longer one far off look alike, but for how much nearer parts of a head grow against farther
ones. Fitted all at once, identity, offsets and colors settle on the focal length that was believed at first and hold
it there; so each focal length is given its own fit from nothing, and their costs are compared. Landmarks and outlines
are wrong in the same way in all frames, and say too short a lens; so they count less there than they did in the fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from headavatar.head import HeadModel
from headavatar.progress import Reporter, SilentReporter
from headavatar.scene import Array, Camera
from headavatar.track import solve
from headavatar.track.inputs import Inputs
from headavatar.track.landmark_fit import LandmarkFit, Observation
from headavatar.track.landmark_model import LandmarkModel
from headavatar.track.settings import LENS_STEPS, LandmarkWeights, LensWeights, TrackSettings
from headavatar.track.start import initial_motion, keyframes

_HELD = LandmarkWeights(focal=1e10)
"""The focal length stays where it is put."""


@dataclass(frozen=True)
class Profile:
    """What K focal lengths cost.

    Attributes:
        focal: (K,) pixels, ascending.
        cost: (K,) per frame, colors' and a share of all else's, the belief in the usual focal length aside.
        usual: pixels, the focal length believed beforehand.
    """

    focal: Array
    cost: Array
    usual: float

    def best(self, belief: float) -> float:
        """The focal length of least cost, pixels, between the least and the greatest that were tried.

        Perspective shows in the inverse of the distance, so the cost is a parabola of the inverse focal length, fitted
        to all tries, since each by itself has settled a little differently.

        Args:
            belief: weight of the squared logarithm of the focal length over the usual one.
        """
        inverse = self.usual / self.focal
        parabola = np.polyfit(inverse, self.cost, 2)
        fine = np.linspace(inverse.min(), inverse.max(), 1001)
        cost = np.polyval(parabola, fine) + 0.5 * belief * np.log(fine) ** 2
        return self.usual / float(fine[cost.argmin()])


def profile(head: HeadModel, inputs: Inputs, settings: TrackSettings, reporter: Reporter, seed: int) -> Profile:
    """Fit keyframes of the training part at each of several focal lengths.

    Args:
        head: the head model.
        inputs: the clip.
        settings: of the stage.
        reporter: hears of progress.
        seed: of the surfels' places.
    """
    weights = LensWeights()
    usual = float(inputs.prior.K[0, 0])
    focals = usual / np.linspace(1 / weights.shortest, 1 / weights.longest, settings.focal_lengths)
    inputs = _keyframes(head, inputs, weights.keyframes)
    settings = replace(
        settings, keyframes=len(inputs), person_keyframes=len(inputs), surfels=min(settings.surfels, weights.surfels),
        static_offset=False,
    )  # fmt: skip
    costs = []
    with reporter.task("focal length", len(focals)) as task:
        for focal in focals:
            costs.append(_costs(head, focused(inputs, float(focal)), settings, seed))
            task.advance()
    rest, color, shown = np.array(costs).T
    return Profile(focals, weights.alike * rest + color * shown.mean(), usual)


def searched(
    head: HeadModel, inputs: Inputs, settings: TrackSettings, reporter: Reporter, seed: int, keep: solve.Keep
) -> tuple[Inputs, Profile]:
    """The clip with the focal length believed that its pictures agree with best, and what others cost; see `profile`.

    `keep` is as in `solve.run`.
    """

    def compute() -> dict[str, Array]:
        found = profile(head, inputs, settings, reporter, seed)
        return {"focal": found.focal, "cost": found.cost, "usual": np.array(found.usual)}

    arrays = keep("lens", compute)
    found = Profile(arrays["focal"], arrays["cost"], float(arrays["usual"]))
    return focused(inputs, found.best(LensWeights().belief)), found


def focused(inputs: Inputs, focal: float) -> Inputs:
    """The same clip, another focal length (pixels of the crop) believed."""
    K = inputs.prior.K.copy()
    K[0, 0] = K[1, 1] = focal
    return replace(inputs, prior=Camera(K=K, width=inputs.prior.width, height=inputs.prior.height))


def _keyframes(head: HeadModel, inputs: Inputs, count: int) -> Inputs:
    """Those training frames that differ most."""
    seen = Observation.of(inputs.landmarks, inputs.scores, inputs.times_s, inputs.prior)
    fit = LandmarkFit(LandmarkModel.of(head, inputs.habits), seen, LandmarkWeights(), float(inputs.prior.K[0, 0]))
    motion = initial_motion(fit.model, fit.stranger(), seen)
    rows = keyframes(seen, torch.from_numpy(np.flatnonzero(inputs.train)), motion.rotation, count).numpy()
    return replace(
        inputs, frame_idx=inputs.frame_idx[rows], times_s=inputs.times_s[rows], landmarks=inputs.landmarks[rows],
        scores=inputs.scores[rows], images=inputs.images.at(rows), parsing=inputs.parsing.at(rows),
        train=inputs.train[rows],
    )  # fmt: skip


def _costs(head: HeadModel, inputs: Inputs, settings: TrackSettings, seed: int) -> tuple[float, float, float]:
    """What a fit at the believed focal length costs: all but colors, per frame; colors, per surfel in view; and how
    many are in view, per frame."""
    state = solve.landmarks(head, inputs, settings, SilentReporter(), _HELD)
    state = solve.outlines(head, inputs, state, settings, _HELD)
    alignment = solve.Alignment(head, inputs, state, settings, seed, _HELD)
    for step in LENS_STEPS:
        state = alignment.step(state, step)
    return alignment.costs(state, LENS_STEPS[-1])

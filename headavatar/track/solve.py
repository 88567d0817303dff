"""The track of a clip, step by step: landmarks, outlines, alignment to the picture, then the texture.

Each step's result is kept as plain arrays, so that a run that was interrupted goes on from the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.progress import Reporter
from headavatar.scene import Array, Camera
from headavatar.track import measure, neck, shape, texture, verdicts
from headavatar.track.gaze import refine_gaze
from headavatar.track.inputs import Inputs, training_frames
from headavatar.track.landmark_fit import LandmarkFit, Motion, Observation, Person
from headavatar.track.landmark_model import LandmarkModel
from headavatar.track.offset import fit_offset
from headavatar.track.photometric import PhotometricFit
from headavatar.track.pictures import Pictures
from headavatar.track.relief import Relief
from headavatar.track.settings import (
    REFINEMENTS,
    LandmarkWeights,
    NeckWeights,
    OffsetWeights,
    OutlineWeights,
    PhotometricStep,
    TrackSettings,
)
from headavatar.track.start import initial_motion, keyframes
from headavatar.track.surfels import Surfels

PERSON_ITERATIONS = 8
MOTION_ITERATIONS = 6
OUTLINE_ITERATIONS = 6
SETTLE_ITERATIONS = 3
REJECTIONS = 2
_USUAL = LandmarkWeights()
GAZE_REFINEMENTS = ("balanced", "quality")
"""Those after which the irises say where the eyes look.

On made-up heads that betters the gaze by a third to a half; on real ones dark or narrow eyes can still mislead it.
"""

Keep = Callable[[str, Callable[[], dict[str, Array]]], dict[str, Array]]
"""keep(name, compute): the arrays stored under a name, or those computed now and stored."""


@dataclass(frozen=True)
class Track:
    """A finished track of the T frames that were accepted.

    Attributes:
        kept: (T,) positions into the inputs.
        train: (T,) bool, frames that gave identity and texture.
        person, motion: what was fitted.
        camera: at the crop's size.
        landmark_motion: the motion before it was aligned to the picture.
        errors: (n,) landmark errors of all inputs, rejected ones too.
        rounds: PSNR of the surfels on training and other frames, per sub-stage.
        static_offset: (V, 3) what the person's head differs from the model's by, head space, metres; None for nothing.
    """

    kept: Array
    train: Array
    person: Person
    motion: Motion
    camera: Camera
    landmark_motion: Motion
    errors: Array
    rounds: list[dict[str, float | str]]
    static_offset: Array | None = None


def landmarks(
    head: HeadModel, inputs: Inputs, settings: TrackSettings, reporter: Reporter,
    weights: LandmarkWeights = _USUAL,
) -> dict[str, Array]:  # fmt: skip
    """Fit the landmarks, and once more without the frames whose error is an outlier."""
    model = LandmarkModel.of(head, inputs.habits)
    kept = np.arange(len(inputs))
    errors = np.zeros(len(inputs))
    for attempt in range(REJECTIONS + 1):
        seen = Observation.of(inputs.landmarks[kept], inputs.scores[kept], inputs.times_s[kept], inputs.prior)
        train = training_frames(inputs.times_s[kept])
        fit = LandmarkFit(model, seen, weights, float(inputs.prior.K[0, 0]))
        with reporter.task("landmarks", 1 + MOTION_ITERATIONS) as task:
            start = initial_motion(model, fit.stranger(), seen)
            candidates = torch.from_numpy(np.flatnonzero(train))
            frames = keyframes(seen, candidates, start.rotation, settings.keyframes)
            person = fit.fit_person(frames, start[frames], PERSON_ITERATIONS)
            task.advance()
            motion = initial_motion(model, person, seen)
            for _ in range(MOTION_ITERATIONS):
                motion = fit.fit_motion(person, motion, 1)
                task.advance()
        errors[kept], _ = measure.landmark_error(
            head, person, motion, seen.center, inputs.landmarks[kept], inputs.habits
        )
        accepted = verdicts.fits(errors[kept])
        if accepted.all() or attempt == REJECTIONS:
            break
        kept = kept[accepted]
    return {
        "kept": kept, "train": train, "errors": errors, "identity": person.identity.numpy(),
        "offset": person.offset.numpy(), "focal": np.array(person.focal), "rotation": motion.rotation.numpy(),
        "translation": motion.translation.numpy(), "expression": motion.expression.numpy(),
    }  # fmt: skip


def outlines(
    head: HeadModel, inputs: Inputs, first: dict[str, Array], settings: TrackSettings,
    weights: LandmarkWeights = _USUAL,
) -> dict[str, Array]:  # fmt: skip
    """Fit the person to the outlines of keyframes too, of which landmarks know nothing, then the motion to that."""
    kept, person, motion = first["kept"], _person(first), _motion(first)
    fit = _landmark_fit(head, inputs, kept, weights)
    candidates = torch.from_numpy(np.flatnonzero(first["train"]))
    # not from the motion, which held-out frames have smoothed: the person is the training frames' alone
    start = initial_motion(fit.model, person, fit.seen)
    frames = keyframes(fit.seen, candidates, start.rotation, settings.keyframes)
    view = _outline_view(inputs, kept, fit, frames, start, settings)
    person, posed = shape.refine_person(head, fit, frames, person, start, view, OutlineWeights(), OUTLINE_ITERATIONS)
    changed: dict[str, Array] = {"errors": first["errors"].copy()}
    if settings.static_offset:
        shift = fit_offset(head, fit, person, posed, view, OffsetWeights())
        changed["static_offset"] = shift.numpy()
        head = head.with_offset(shift)
        person = replace(person, offset=person.offset - head.landmark_points(shift[None])[0])
        fit = _landmark_fit(head, inputs, kept, weights)
    motion = fit.fit_motion(person, motion, SETTLE_ITERATIONS)
    error, _ = measure.landmark_error(head, person, motion, fit.seen.center, inputs.landmarks[kept], inputs.habits)
    changed["errors"][kept] = error
    return _arrays(first, person, motion) | changed


def _outline_view(
    inputs: Inputs, kept: Array, fit: LandmarkFit, frames: Tensor, motion: Motion, settings: TrackSettings
) -> shape.View:
    """The outlines of those of the `frames` (n,) that differ most."""
    rows = torch.searchsorted(frames, keyframes(fit.seen, frames, motion.rotation, settings.outline_keyframes))
    parsing = inputs.parsing[kept[frames[rows].numpy()]]
    return shape.View.of(rows, parsing, inputs.valid, fit.seen.center, inputs.size)


def run(head: HeadModel, inputs: Inputs, settings: TrackSettings, reporter: Reporter, seed: int, keep: Keep) -> Track:
    """Track a clip.

    Args:
        head: the head model.
        inputs: the clip.
        settings: of the stage.
        reporter: hears of progress.
        seed: of the surfels' places.
        keep: stores each step's arrays and gives them back after an interruption.
    """
    first = keep("landmarks", lambda: landmarks(head, inputs, settings, reporter))
    if settings.outline_keyframes:
        by_landmarks = first
        first = keep("outlines", lambda: outlines(head, inputs, by_landmarks, settings))
    shift = first.get("static_offset")
    if shift is not None:
        head = head.with_offset(torch.from_numpy(shift))
    start, kept, train = _motion(first), first["kept"], first["train"]
    state, rounds = first, []
    steps = REFINEMENTS[settings.refine]
    alignment = Alignment(head, inputs, first, settings, seed)
    with reporter.task("aligning to the picture", len(steps)) as task:
        for number, step in enumerate(steps):
            state = keep(f"photometric_{number}", partial(alignment.step, state, step))
            rounds.append(_round(step.name, state, train))
            task.advance(psnr=rounds[-1].get("psnr_held", rounds[-1]["psnr_train"]))
    if settings.refine in GAZE_REFINEMENTS:
        state = keep("gaze", partial(alignment.gaze, state))
    person = _person(state)
    camera = camera_of(inputs, person)
    return Track(kept, train, person, _motion(state), camera, start, first["errors"], rounds, shift)


class Alignment:
    """The photometric sub-stages of one clip, each from the arrays that the one before left.

    Args:
        head: the head model.
        inputs: the clip.
        first: what landmarks and outlines gave.
        settings: of the stage.
        seed: of the surfels' places.
        weights: of the landmarks.
    """

    def __init__(
        self, head: HeadModel, inputs: Inputs, first: dict[str, Array], settings: TrackSettings, seed: int,
        weights: LandmarkWeights = _USUAL,
    ) -> None:  # fmt: skip
        self.head, self.inputs, self.first, self.settings, self.seed = head, inputs, first, settings, seed
        self.weights, self.kept = weights, first["kept"]

    @cached_property
    def fit(self) -> PhotometricFit:
        """Made when the first sub-stage runs, since an interrupted run may have none left to do."""
        person, inputs = _person(self.first), self.inputs
        surfels = Surfels.scatter(self.head, person.identity, self.settings.surfels, self.seed)
        pictures = pictures_of(inputs, self.kept, camera_of(inputs, person))
        train = torch.from_numpy(self.first["train"])
        return PhotometricFit(
            self.head, surfels, Relief(surfels), pictures, train,
            _landmark_fit(self.head, inputs, self.kept, self.weights), person.focal,
        )  # fmt: skip

    def step(self, state: dict[str, Array], step: PhotometricStep) -> dict[str, Array]:
        """One sub-stage."""
        fit = self.fit
        person, motion = _person(state), _motion(state)
        if "relief" in state:
            fit.relief.height = torch.from_numpy(state["relief"]).clone()
        train = torch.nonzero(fit.train)[:, 0]
        frames, extra = None, None
        if step.moves == "person":
            frames = keyframes(fit.landmarks.seen, train, motion.rotation, self.settings.person_keyframes)
            if self.settings.outline_keyframes:
                extra = self._outline(motion, frames).add
        outcome = fit.run(person, motion, step, frames, extra)
        person = fit.landmarks.fit_offset(outcome.person, outcome.motion, train)
        return _arrays(self.first, person, outcome.motion) | {
            "relief": fit.relief.height.numpy(), "frames": outcome.frames.numpy(),
            "before": outcome.before.numpy(), "psnr": outcome.after.numpy(),
        }  # fmt: skip

    def costs(self, state: dict[str, Array], step: PhotometricStep) -> tuple[float, float, float]:
        """What is left after a sub-stage that moved the person, under its weights.

        Returns:
            per frame, what outlines, landmarks and beliefs cost; per surfel in view, what its color costs; and how many
            surfels are in view of a frame.
        """
        person, motion, frames = _person(state), _motion(state), torch.from_numpy(state["frames"])
        fit = self.fit.landmarks.faded(step.landmarks, step.score, step.sparsity, step.identity, person.focal)
        rest = fit.cost(person, motion[frames], frames)
        if self.settings.outline_keyframes:
            rest += self._outline(motion, frames).cost(person, motion[frames])
        per_frame, per_surfel = self.fit.cost(person, motion, step, frames)
        return rest, per_surfel, per_frame / per_surfel

    def _outline(self, motion: Motion, frames: Tensor) -> shape.OutlineTerm:
        """The outlines of some of the `frames` (n,)."""
        fit = self.fit.landmarks
        view = _outline_view(self.inputs, self.kept, fit, frames, motion, self.settings)
        return shape.OutlineTerm(self.head, view, OutlineWeights(), fit.unit_px)

    def gaze(self, state: dict[str, Array]) -> dict[str, Array]:
        """The eyes turned to where the irises are seen, once all else lies right."""
        person = _person(state)
        pictures = pictures_of(self.inputs, self.kept, camera_of(self.inputs, person))
        train = torch.from_numpy(self.first["train"])
        motion = refine_gaze(self.head, person, _motion(state), pictures, train, pictures.focal)
        return state | {"expression": motion.expression.numpy()}


def camera_of(inputs: Inputs, person: Person) -> Camera:
    """The clip's camera, with the focal length that was found."""
    K = inputs.prior.K.copy()
    K[0, 0] = K[1, 1] = person.focal
    return Camera(K=K, width=inputs.size, height=inputs.size)


def bent_neck(head: HeadModel, inputs: Inputs, track: Track) -> dict[str, Array]:
    """The neck_pose (T, 3) of a track's frames."""
    pictures = pictures_of(inputs, track.kept, track.camera)
    unit_px = _landmark_fit(head, inputs, track.kept).unit_px(track.motion, pictures.focal)
    clip = neck.Clip(
        inputs.parsing.at(track.kept), inputs.valid, pictures.focal, pictures.center, pictures.times_s, unit_px,
        torch.from_numpy(track.train),
    )  # fmt: skip
    return {"neck_pose": neck.estimate(head, track.person.identity, track.motion, clip, NeckWeights()).numpy()}


def gather_texture(
    head: HeadModel, inputs: Inputs, track: Track, bend: Array, settings: TrackSettings
) -> texture.Texture:
    """The texture of a track whose neck bends by (T, 3), from its training frames, evenly taken."""
    frames = np.flatnonzero(track.train)
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, settings.texture_frames).round().astype(int))]
    pictures = pictures_of(inputs, track.kept, track.camera)
    return texture.gather(
        head, track.person.identity, track.motion, torch.from_numpy(bend), pictures, frames, settings.texture_size
    )


def pictures_of(inputs: Inputs, kept: Array, camera: Camera) -> Pictures:
    """The accepted frames at the working size, with the camera to match."""
    images = inputs.images.at(kept)
    small = camera.scaled(images.shape[2], images.shape[1])
    return Pictures(
        images, Pictures.head_pixels(inputs.parsing.at(kept), inputs.valid), float(small.K[0, 0]),
        torch.as_tensor(small.K[:2, 2], dtype=torch.float32), torch.as_tensor(inputs.times_s[kept]),
    )  # fmt: skip


def _landmark_fit(head: HeadModel, inputs: Inputs, kept: Array, weights: LandmarkWeights = _USUAL) -> LandmarkFit:
    seen = Observation.of(inputs.landmarks[kept], inputs.scores[kept], inputs.times_s[kept], inputs.prior)
    return LandmarkFit(LandmarkModel.of(head, inputs.habits), seen, weights, float(inputs.prior.K[0, 0]))


def _arrays(first: dict[str, Array], person: Person, motion: Motion) -> dict[str, Array]:
    return first | {
        "identity": person.identity.numpy(), "offset": person.offset.numpy(), "focal": np.array(person.focal),
        "rotation": motion.rotation.numpy(), "translation": motion.translation.numpy(),
        "expression": motion.expression.numpy(),
    }  # fmt: skip


def _person(arrays: dict[str, Array]) -> Person:
    return Person(torch.from_numpy(arrays["identity"]), torch.from_numpy(arrays["offset"]), float(arrays["focal"]))


def _motion(arrays: dict[str, Array]) -> Motion:
    return Motion(*(torch.from_numpy(arrays[key]) for key in ("rotation", "translation", "expression")))


def _round(name: str, result: dict[str, Array], train: Array) -> dict[str, float | str]:
    given = train[result["frames"]]

    def mean(values: Array) -> float:
        return float(-10 * np.log10(np.mean(10 ** (-values / 10))))

    figures: dict[str, float | str] = {"name": name}
    for part, rows in (("train", given), ("held", ~given)):
        if rows.any():
            figures |= {f"psnr_{part}_before": mean(result["before"][rows]), f"psnr_{part}": mean(result["psnr"][rows])}
    return figures

"""The track of a clip, step by step: landmarks, then rounds of sharpening by the picture, then the texture.

Each step's result is kept as plain arrays, so that a run that was interrupted goes on from the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.progress import Reporter
from headavatar.scene import Array, Camera
from headavatar.track import measure, shape, texture, verdicts
from headavatar.track.inputs import Inputs, training_frames
from headavatar.track.landmark_fit import RIGID, LandmarkFit, Motion, Observation, Person, initial_motion, keyframes
from headavatar.track.landmark_model import LandmarkModel
from headavatar.track.photometric import Anchor, PhotometricFit, Pictures
from headavatar.track.settings import REFINEMENTS, LandmarkWeights, OutlineWeights, TrackSettings
from headavatar.track.surfels import Surfels

PERSON_ITERATIONS = 8
MOTION_ITERATIONS = 6
OUTLINE_ITERATIONS = 5
SETTLE_ITERATIONS = 3
REJECTIONS = 2

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
        information: (T, 6, 6) how well the landmarks hold each pose.
        landmark_motion: the motion before the picture sharpened it.
        errors: (n,) landmark errors of all inputs, rejected ones too.
        rounds: PSNR of the surfels on training and other frames, per round.
    """

    kept: Array
    train: Array
    person: Person
    motion: Motion
    camera: Camera
    landmark_motion: Motion
    errors: Array
    rounds: list[dict[str, float | str]]


def landmarks(head: HeadModel, inputs: Inputs, settings: TrackSettings, reporter: Reporter) -> dict[str, Array]:
    """Fit the landmarks, and once more without the frames whose error is an outlier."""
    model = LandmarkModel.of(head)
    kept = np.arange(len(inputs))
    errors = np.zeros(len(inputs))
    for attempt in range(REJECTIONS + 1):
        seen = Observation.of(inputs.landmarks[kept], inputs.scores[kept], inputs.times_s[kept], inputs.prior)
        train = training_frames(inputs.times_s[kept])
        fit = LandmarkFit(model, seen, LandmarkWeights(), float(inputs.prior.K[0, 0]))
        with reporter.task("landmarks", 1 + MOTION_ITERATIONS) as task:
            start = initial_motion(model, fit.stranger(), seen)
            candidates = torch.from_numpy(np.flatnonzero(train))
            person = fit.fit_person(keyframes(seen, candidates, start.rotation, settings.keyframes), PERSON_ITERATIONS)
            task.advance()
            motion = initial_motion(model, person, seen)
            for _ in range(MOTION_ITERATIONS):
                motion = fit.fit_motion(person, motion, 1)
                task.advance()
        errors[kept], _ = measure.landmark_error(head, person, motion, seen.center, inputs.landmarks[kept])
        accepted = verdicts.fits(errors[kept])
        if accepted.all() or attempt == REJECTIONS:
            break
        kept = kept[accepted]
    information = _marginal(fit.assemble(person, motion, seen, with_person=False).blocks)
    return {
        "kept": kept, "train": train, "errors": errors, "identity": person.identity.numpy(),
        "offset": person.offset.numpy(), "focal": np.array(person.focal), "rotation": motion.rotation.numpy(),
        "translation": motion.translation.numpy(), "expression": motion.expression.numpy(),
        "information": information.numpy(),
    }  # fmt: skip


def outlines(head: HeadModel, inputs: Inputs, first: dict[str, Array], settings: TrackSettings) -> dict[str, Array]:
    """Fit the person to the outlines of keyframes too, of which landmarks know nothing, then the motion to that."""
    kept, person, motion = first["kept"], _person(first), _motion(first)
    seen = Observation.of(inputs.landmarks[kept], inputs.scores[kept], inputs.times_s[kept], inputs.prior)
    fit = LandmarkFit(LandmarkModel.of(head), seen, LandmarkWeights(), float(inputs.prior.K[0, 0]))
    candidates = torch.from_numpy(np.flatnonzero(first["train"]))
    frames = keyframes(seen, candidates, motion.rotation, settings.keyframes)
    rows = torch.searchsorted(frames, keyframes(seen, frames, motion.rotation, settings.outline_keyframes))
    parsing = inputs.parsing[kept[frames[rows].numpy()]]
    view = shape.View.of(rows, parsing, inputs.valid, seen.center, inputs.size)
    person = shape.refine_person(head, fit, frames, person, motion, view, OutlineWeights(), OUTLINE_ITERATIONS)
    motion = fit.fit_motion(person, motion, SETTLE_ITERATIONS)
    errors = first["errors"].copy()
    errors[kept], _ = measure.landmark_error(head, person, motion, seen.center, inputs.landmarks[kept])
    information = _marginal(fit.assemble(person, motion, seen, with_person=False).blocks)
    return first | {
        "errors": errors, "identity": person.identity.numpy(), "offset": person.offset.numpy(),
        "focal": np.array(person.focal), "rotation": motion.rotation.numpy(),
        "translation": motion.translation.numpy(), "expression": motion.expression.numpy(),
        "information": information.numpy(),
    }  # fmt: skip


def settle(head: HeadModel, inputs: Inputs, kept: Array, person: Person, motion: Motion) -> dict[str, Array]:
    """Fit the expressions to the landmarks once more, under poses that the picture has settled."""
    seen = Observation.of(inputs.landmarks[kept], inputs.scores[kept], inputs.times_s[kept], inputs.prior)
    fit = LandmarkFit(LandmarkModel.of(head), seen, LandmarkWeights(), float(inputs.prior.K[0, 0]))
    motion = fit.fit_motion(person, motion, SETTLE_ITERATIONS, posed=True)
    return {
        "rotation": motion.rotation.numpy(), "translation": motion.translation.numpy(),
        "expression": motion.expression.numpy(),
    }  # fmt: skip


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
    person, start = _person(first), _motion(first)
    kept, train = first["kept"], first["train"]
    K = inputs.prior.K.copy()
    K[0, 0] = K[1, 1] = person.focal
    camera = Camera(K=K, width=inputs.size, height=inputs.size)
    steps = REFINEMENTS[settings.refine]
    motion, rounds = start, []
    fit: PhotometricFit | None = None
    with reporter.task("sharpening poses", len(steps)) as task:
        for number, step in enumerate(steps):

            def sharpen(motion: Motion = motion, step=step) -> dict[str, Array]:  # type: ignore[no-untyped-def]
                nonlocal fit
                if fit is None:
                    anchor = Anchor(start, torch.from_numpy(first["information"]))
                    fit = _photometric(head, inputs, kept, train, person, camera, anchor, settings.surfels, seed)
                moved, psnr_before, psnr = fit.run(motion, step)
                return {
                    "rotation": moved.rotation.numpy(), "translation": moved.translation.numpy(),
                    "expression": moved.expression.numpy(), "before": psnr_before.numpy(), "psnr": psnr.numpy(),
                }  # fmt: skip

            result = keep(f"photometric_{number}", sharpen)
            motion = _motion(result)
            rounds.append(_round(step.name, result, train))
            task.advance(psnr=rounds[-1]["psnr_held"])
    if steps:
        motion = _motion(keep("settled", lambda: settle(head, inputs, kept, person, motion)))
    return Track(kept, train, person, motion, camera, start, first["errors"], rounds)


def gather_texture(head: HeadModel, inputs: Inputs, track: Track, settings: TrackSettings) -> texture.Texture:
    """The texture of a track, from its training frames, evenly taken."""
    frames = np.flatnonzero(track.train)
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, settings.texture_frames).round().astype(int))]
    pictures = pictures_of(inputs, track.kept, track.camera)
    return texture.gather(head, track.person.identity, track.motion, pictures, frames, settings.texture_size)


def pictures_of(inputs: Inputs, kept: Array, camera: Camera) -> Pictures:
    """The accepted frames at the working size, with the camera to match."""
    images = inputs.images.at(kept)
    small = camera.scaled(images.shape[2], images.shape[1])
    return Pictures(
        images, Pictures.head_pixels(inputs.parsing.at(kept), inputs.valid), float(small.K[0, 0]),
        torch.as_tensor(small.K[:2, 2], dtype=torch.float32), torch.as_tensor(inputs.times_s[kept]),
    )  # fmt: skip


def _photometric(
    head: HeadModel, inputs: Inputs, kept: Array, train: Array, person: Person, camera: Camera, anchor: Anchor,
    surfels: int, seed: int,
) -> PhotometricFit:  # fmt: skip
    rest = head.vertices(person.identity, torch.zeros(1, len(head.expression_names)))[0]
    return PhotometricFit(
        Surfels.scatter(head, person.identity, surfels, seed), pictures_of(inputs, kept, camera), rest, head.faces,
        torch.from_numpy(train), anchor,
    )  # fmt: skip


def _person(arrays: dict[str, Array]) -> Person:
    return Person(torch.from_numpy(arrays["identity"]), torch.from_numpy(arrays["offset"]), float(arrays["focal"]))


def _motion(arrays: dict[str, Array]) -> Motion:
    return Motion(*(torch.from_numpy(arrays[key]) for key in ("rotation", "translation", "expression")))


def _marginal(blocks: Tensor) -> Tensor:
    """(T, 6, 6) information on the pose once the expression is free."""
    mixed = blocks[:, :RIGID, RIGID:]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(blocks[:, RIGID:, RIGID:]))
    return blocks[:, :RIGID, :RIGID] - mixed @ inverse @ mixed.transpose(1, 2)


def _round(name: str, result: dict[str, Array], train: Array) -> dict[str, float | str]:
    held = ~train if (~train).any() else train

    def mean(values: Array, frames: Array) -> float:
        return float(-10 * np.log10(np.mean(10 ** (-values[frames] / 10))))

    return {
        "name": name,
        "psnr_train_before": mean(result["before"], train), "psnr_train": mean(result["psnr"], train),
        "psnr_held_before": mean(result["before"], held), "psnr_held": mean(result["psnr"], held),
    }  # fmt: skip

"""Ears and skull follow the outline; hair does not inflate the skull; offsets say only what the model cannot."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import synthetic
import torch
from torch import Tensor

from headavatar.head.rotations import axis_angle_to_matrix
from headavatar.scene import PARSING_CLASSES, HeadParams
from headavatar.track.landmark_fit import LandmarkFit, Motion, Observation, Person
from headavatar.track.landmark_model import LandmarkModel
from headavatar.track.offset import fit_offset
from headavatar.track.outline import FACE, SCALP, Rim, outline
from headavatar.track.settings import LandmarkWeights, OffsetWeights, OutlineWeights
from headavatar.track.shape import View, refine_person
from headavatar.track.start import initial_motion

SIZE = 128
HAIR = PARSING_CLASSES.index("hair")


@dataclass
class Case:
    """A person seen from several sides, and what landmarks alone make of that person."""

    truth: Tensor
    person: Person
    motion: Motion
    fit: LandmarkFit
    parsing: np.ndarray

    @property
    def frames(self) -> Tensor:
        return torch.arange(len(self.motion))

    def view(self, parsing: np.ndarray | None = None) -> View:
        parsing = self.parsing if parsing is None else parsing
        return View.of(self.frames, parsing, np.ones((SIZE, SIZE), bool), self.fit.seen.center, SIZE)

    def refined(self, parsing: np.ndarray | None = None) -> Person:
        return refine_person(
            synthetic.head(), self.fit, self.frames, self.person, self.motion, self.view(parsing), OutlineWeights(), 4
        )[0]  # fmt: skip


@pytest.fixture(scope="module")
def case() -> Case:
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    return case_of(seed)


def case_of(seed: int) -> Case:
    rng, head = np.random.default_rng(seed), synthetic.head()
    # a person whose ears and skull are large, which the face, and so the landmarks, hardly show
    ears, scalp, face = (head.regions[name] for name in ("ears", "scalp", "face"))
    outward = torch.nn.functional.normalize(head.template, dim=1)
    gain = (head.identity_basis * outward).sum(2)
    pull = gain[:, ears | scalp].mean(1) - 0.3 * gain[:, face].mean(1)
    truth = 4 * torch.nn.functional.normalize(pull, dim=0) + 0.3 * torch.from_numpy(rng.normal(0, 1, len(pull))).float()
    frames = 10
    params = HeadParams.neutral(frames, truth.numpy())
    params.rotation[:, 1] = np.linspace(-0.7, 0.7, frames)
    params.rotation[:, 0] = rng.uniform(-0.2, 0.2, frames)
    params.translation[:] = (0, 0, -0.55)
    clip = synthetic.make(frames, SIZE, seed, params=params)
    seen = Observation.of(clip.landmarks, clip.scores, clip.times_s, clip.camera)
    fit = LandmarkFit(LandmarkModel.of(head), seen, LandmarkWeights(), float(clip.camera.K[0, 0]))
    start = initial_motion(fit.model, fit.stranger(), seen)
    person = fit.fit_person(torch.arange(frames), start, 6)
    expression = torch.from_numpy(params.expression)
    turns = axis_angle_to_matrix(torch.from_numpy(params.rotation))
    start = Motion(turns, torch.from_numpy(params.translation), expression)
    return Case(truth, person, fit.fit_motion(person, start, 3), fit, clip.parsing)


def rest(identity: Tensor) -> Tensor:
    return synthetic.head().vertices(identity, torch.zeros(1, 52))[0]


def error_mm(person: Person, truth: Tensor, region: str) -> float:
    """Mean distance from the true head, once both have the same size and place (Umeyama 1991)."""
    a, b = rest(person.identity), rest(truth)
    p, q = a - a.mean(0), b - b.mean(0)
    u, s, vh = torch.linalg.svd(q.T @ p)
    moved = s.sum() / p.square().sum() * p @ (u @ vh).T
    return float((moved - q).norm(dim=1)[synthetic.head().regions[region]].mean() * 1e3)


def with_hair(parsing: np.ndarray, thickness_px: int) -> np.ndarray:
    """Hair that stands off from where the scalp is seen."""
    kernel = np.ones((2 * thickness_px + 1,) * 2, np.uint8)
    grown = np.stack([cv2.dilate((frame == HAIR).astype(np.uint8), kernel) for frame in parsing]).astype(bool)
    return np.where(grown & (parsing == 0), np.uint8(HAIR), parsing)


def test_ears_and_skull_follow_the_outline(seed: int) -> None:
    """In the mean of eight people: of the skull an outline shows a ring at a time, and one person's may fit by luck."""
    before: list[list[float]] = []
    after: list[list[float]] = []
    for person in range(8):
        case = case_of(seed + person)
        bald = np.where(case.parsing == HAIR, np.uint8(PARSING_CLASSES.index("face_skin")), case.parsing)
        for found, errors in ((case.person, before), (case.refined(bald), after)):
            errors.append([error_mm(found, case.truth, region) for region in ("ears", "scalp", "face")])
    (ears, scalp, face), (ears_after, scalp_after, face_after) = np.mean(before, 0), np.mean(after, 0)
    print(np.mean(before, 0), np.mean(after, 0))
    assert ears_after < 0.5 * ears
    assert scalp_after < scalp
    assert face_after < face


def test_hair_does_not_inflate_the_skull(case: Case) -> None:
    breadth = {}
    for thickness in (5, 16):
        shape = rest(case.refined(with_hair(case.parsing, thickness)).identity)
        breadth[thickness] = float(shape[synthetic.head().regions["scalp"], 1].max())
    print(breadth)
    pixel_m = 0.55 / float(case.fit.focal_prior)
    assert abs(breadth[16] - breadth[5]) < 0.25 * 11 * pixel_m


def test_hair_that_lies_flat_does_not_lower_the_skull(case: Case) -> None:
    scalp = synthetic.head().regions["scalp"]
    thick, flat, true = (
        float(rest(identity)[scalp, 1].max())
        for identity in (
            case.refined(with_hair(case.parsing, 5)).identity, case.refined(case.parsing).identity, case.truth
        )
    )  # fmt: skip
    print(thick, flat, true)
    # by 4 to 5 mm where a thickness is assumed; a pixel here is 3.6 mm, of which drawn heads are a quarter too small
    assert flat > min(thick, true) - 0.003


def test_the_outline_is_the_meshs_own() -> None:
    head, size, focal = synthetic.head(), 160, 200.0
    center = torch.tensor([80.0, 80.0])
    for yaw in (0.0, 0.8):
        world = rest(torch.zeros(100)) @ axis_angle_to_matrix(torch.tensor([0.0, yaw, 0.0])).T
        world = world + torch.tensor([0.0, 0.0, -0.5])
        found = outline(Rim.of(head), world, focal, center, size, size)
        screen = -world[found.edges].mean(1)[:, :2] / world[found.edges].mean(1)[:, 2:]
        expected = screen * torch.tensor([1.0, -1.0]) * focal + 80
        assert np.abs(found.pixels - expected.numpy()).max() < 0.5
        assert set(found.parts) >= {FACE, SCALP}
        # of all that is drawn, nothing lies beyond the top of the scalp's outline
        top = found.pixels[found.parts == SCALP, 1].min()
        drawn = 80 + focal * (world[:, 1] / world[:, 2])
        assert abs(top - float(drawn.min())) < 2


def test_an_offset_vanishes_where_the_model_explains_the_outline(case: Case) -> None:
    head = synthetic.head()
    exact = Person(case.truth, torch.zeros(478, 3), float(case.fit.focal_prior))
    motion = Motion(case.motion.rotation, case.motion.translation, case.motion.expression)
    motion = case.fit.fit_motion(exact, motion, 3)
    calm = fit_offset(head, case.fit, exact, motion, case.view(), OffsetWeights())
    bulk = fit_offset(head, case.fit, exact, motion, case.view(with_hair(case.parsing, 8)), OffsetWeights())
    scalp = head.regions["scalp"] & ~head.regions["neck"]
    upper = scalp & (head.template[:, 1] > 0.1)
    pixel_m = 0.55 / float(case.fit.focal_prior)
    print(calm.norm(dim=1).mean(), calm.norm(dim=1).max(), bulk.norm(dim=1)[upper].mean() / pixel_m)
    assert float(calm.norm(dim=1).mean()) < 0.5 * pixel_m
    assert 5 < float((bulk * torch.nn.functional.normalize(head.template, dim=1)).sum(1)[upper].mean()) / pixel_m < 10
    assert float(bulk.norm(dim=1)[head.regions["lips"]].max()) < 1e-3

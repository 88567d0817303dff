"""Regions of the head against the picture's, and lids that are to touch."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import torch
from small_nha import coarse, run, trainer_of

from headavatar.head import load
from headavatar.head.landmarks import EYE_LEFT, EYE_RIGHT, LIDS_LEFT, LIDS_RIGHT
from headavatar.methods.neural_head_avatar import energies
from headavatar.methods.neural_head_avatar.drawing import Layout
from headavatar.methods.neural_head_avatar.geometry import Poses, project
from headavatar.methods.neural_head_avatar.semantics import REGIONS, UNKNOWN, Semantics, labels
from headavatar.scene import PARSING_CLASSES, WORLD_TO_CAMERA, Camera, HeadParams

SIZE = 96
CAMERA = Camera(np.array([[220.0, 0, SIZE / 2], [0, 220.0, SIZE / 2], [0, 0, 1]]), SIZE, SIZE)
VIEW = torch.tensor(WORLD_TO_CAMERA[:3, :3], dtype=torch.float32)


def drawn(opens: float, blinks: float, shift: torch.Tensor):  # type: ignore[no-untyped-def]
    """The embedded head 55 cm away, moved by (V, 3), and its vertices."""
    head = load()
    params = HeadParams.neutral(1, np.zeros(head.identity_size, np.float32))
    params.translation[0] = (0, 0, -0.55)
    for name, value in (("jawOpen", opens), ("eyeBlinkLeft", blinks), ("eyeBlinkRight", blinks)):
        params.expression[0, head.expression_names.index(name)] = value
    poses = Poses.of(params)
    with torch.no_grad():
        still = head.vertices(torch.zeros(head.identity_size), poses.expression)
    world = still + poses.translation[:, None] + shift
    layout = Layout(head, still[0])
    return head, layout, layout.see(world, project(world, CAMERA), CAMERA), world


def labelled(semantics: Semantics, layout: Layout, seen) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """What the head itself shows, as labels of a picture."""
    from headavatar import ops

    shares = ops.interpolate(semantics.shares, layout.faces, seen.fragments).detach()
    best, which = shares.max(-1)
    return torch.where(best > 0.5, which + 1, torch.zeros_like(which)).to(torch.uint8)


def test_labels_are_hair_and_the_openings(rng: np.random.Generator) -> None:
    clip = synthetic.make(2, 96, int(rng.integers(2**31)))
    points = clip.exact[0, :, :2].copy()
    for ring in (EYE_RIGHT, EYE_LEFT):  # wide open, as the face at hand may blink
        middle = points[list(ring)].mean(0)
        points[list(ring), 1] = middle[1] + 4 * np.sin(np.linspace(0, 2 * np.pi, len(ring), endpoint=False))
        points[list(ring), 0] = middle[0] + 4 * np.cos(np.linspace(0, 2 * np.pi, len(ring), endpoint=False))
    found = labels(clip.parsing[0], points)
    middles = [points[list(ring)].mean(0).astype(int) for ring in (EYE_RIGHT, EYE_LEFT)]
    assert all(found[y, x] == 2 for x, y in middles)
    hair = clip.parsing[0] == PARSING_CLASSES.index("hair")
    assert (found[hair] >= 1).all()
    covered = np.full_like(clip.parsing[0], PARSING_CLASSES.index("other"))
    nowhere = np.full((478, 2), np.nan, np.float32)
    assert (labels(covered, nowhere) == UNKNOWN).all()


@pytest.mark.parametrize("region", [name for name, _ in REGIONS])
def test_a_shifted_region_is_pulled_back(region: str, rng: np.random.Generator) -> None:
    """The energy falls against the way that the head was moved in, by the gradient that reaches its vertices."""
    row = [name for name, _ in REGIONS].index(region)
    none = torch.zeros(1, 3)
    head, layout, seen, _ = drawn(0.7, 0.0, none)
    semantics, counted = Semantics.of(head), torch.ones(1, SIZE, SIZE)
    wanted = labelled(semantics, layout, seen)
    angle = float(rng.uniform(0, 2 * np.pi))
    far = 0.012 if region == "hair" else 0.004  # hair's border is soft over a centimeter
    away = far * torch.tensor([[np.cos(angle), np.sin(angle), 0.0]], dtype=torch.float32)
    shift = away.clone().requires_grad_()
    _, layout, seen, _ = drawn(0.7, 0.0, shift)
    distance = semantics.distance(layout, seen, wanted, counted)[row]
    distance.backward()  # type: ignore[no-untyped-call]
    _, layout, there, _ = drawn(0.7, 0.0, none)
    assert distance > semantics.distance(layout, there, wanted, counted)[row]
    assert shift.grad is not None and float((shift.grad * away).sum()) > 0


def test_what_is_covered_counts_nothing(rng: np.random.Generator) -> None:
    head, layout, seen, _ = drawn(0.5, 0.0, torch.zeros(1, 3))
    unknown = torch.full((1, SIZE, SIZE), UNKNOWN, dtype=torch.uint8)
    assert not Semantics.of(head).distance(layout, seen, unknown, torch.ones(1, SIZE, SIZE)).any()


def test_closed_lids_are_pulled_together_and_open_ones_left_alone(rng: np.random.Generator) -> None:
    points = torch.from_numpy(rng.normal(0, 0.01, (1, 478, 3)).astype(np.float32)).requires_grad_()
    closed = torch.tensor([[float(rng.uniform(0.2, 1)), 0.0]])
    energy = energies.closed_energy(points, closed)
    energy.backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None
    gap = points[0, LIDS_RIGHT[0][0]] - points[0, LIDS_RIGHT[0][1]]
    assert float((points.grad[0, LIDS_RIGHT[0][0]] * gap.detach()).sum()) > 0
    assert not points.grad[0, [i for pair in LIDS_LEFT for i in pair]].any()
    touching = points.detach().clone()
    for upper, lower in LIDS_RIGHT + LIDS_LEFT:
        touching[0, upper] = touching[0, lower]
    assert energies.closed_energy(touching, torch.ones(1, 2)) == 0


def test_a_blink_is_closed_by_its_landmarks(rng: np.random.Generator) -> None:
    """Seen from the landmarks of the embedded head: open in most frames, closed in one."""
    frames = [drawn(0.0, blinks, torch.zeros(1, 3)) for blinks in (0.0, 0.0, 1.0)]
    marks = torch.cat([head.landmark_points(world) for head, _, _, world in frames])[..., :2]
    marks = torch.cat([marks, torch.full((1, 478, 2), torch.nan)])
    closed = energies.closedness(marks)
    assert not closed[:2].any() and (closed[2] > 0.5).all() and not closed[3].any()


def test_a_fit_uses_them(seed: int) -> None:
    from small_fit import clip_of

    clip = clip_of(synthetic.make(8, 48, 3))
    with coarse():
        plain = run(trainer_of(clip, seed), last=3).geometry.offsets.static()
        moved = run(trainer_of(clip, seed, semantic_weight=1.0, closed_weight=0.1), last=3).geometry.offsets.static()
    assert torch.isfinite(moved).all() and not torch.equal(plain, moved)

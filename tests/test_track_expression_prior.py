"""A turned head's hidden side follows the one that shows, and what both sides show is left alone."""

from __future__ import annotations

import numpy as np
import torch
from synthetic import head

from headavatar.scene import ARKIT_NAMES
from headavatar.track.expression_prior import ExpressionPrior, partners
from headavatar.track.landmark_fit import RIGID
from headavatar.track.normal import Normal
from headavatar.track.settings import REFINEMENTS

COUNT = len(ARKIT_NAMES)
PAIRS = partners(ARKIT_NAMES)
QUALITY = next(step for step in REFINEMENTS["quality"] if step.moves == "all")


def system(told: np.ndarray, seen: np.ndarray) -> Normal:
    """Equations by which pictures, starting from a face at rest, tell (T, E) coefficients with (T, E) strength."""
    blocks = torch.diag_embed(torch.cat([torch.ones(len(told), RIGID), torch.from_numpy(told)], 1).double())
    gradient = torch.cat([torch.zeros(len(told), RIGID), -torch.from_numpy(told * seen)], 1).double()
    return Normal(blocks, gradient)


def solved(equations: Normal) -> np.ndarray:
    return torch.linalg.solve(equations.blocks, -equations.gradient[..., None])[:, RIGID:, 0].numpy()


def test_partners_are_mirror_images_or_look_the_same_way() -> None:
    model = head()
    with torch.no_grad():
        still = model.vertices(torch.zeros(model.identity_size), torch.zeros(1, COUNT))
        moved = model.vertices(torch.zeros(model.identity_size), torch.eye(COUNT)) - still
        gaze = model.gaze(torch.eye(COUNT)).reshape(COUNT, 2, 3)
    image = moved[:, model.mirror] * torch.tensor([-1.0, 1.0, 1.0])
    face = model.regions["face"]
    for one, other in PAIRS:
        names = ARKIT_NAMES[one], ARKIT_NAMES[other]
        if names[0].startswith("eyeLook"):
            assert torch.allclose(gaze[one, 0], gaze[other, 1], atol=0.1), names
        else:
            off, size = (shift[face].norm(dim=-1).mean() for shift in (image[one] - moved[other], moved[other]))
            assert off < 0.05 * size, names
    paired = {k for pair in PAIRS for k in pair}
    alone = {name for k, name in enumerate(ARKIT_NAMES) if k not in paired and name.endswith(("Left", "Right"))}
    assert alone == {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}  # directions, not halves of one shape


def test_hidden_side_follows_the_one_that_shows(rng: np.random.Generator) -> None:
    one, other = np.array(PAIRS).T
    told, seen = rng.uniform(500, 3000, (6, COUNT)), rng.uniform(0.2, 0.9, (6, COUNT))
    told[:, other], seen[:, other] = rng.uniform(1, 6, (6, len(other))), 0.0  # scores say: nothing moves there
    equations = system(told, seen)
    ExpressionPrior(ARKIT_NAMES).add(equations, torch.zeros(6, COUNT), QUALITY.mirror, 0.0)
    found = solved(equations)
    assert np.abs(found[:, one] - seen[:, one]).max() < 0.05
    assert np.abs(found[:, other] - found[:, one]).max() < 0.1


def test_wink_that_shows_is_left_alone(rng: np.random.Generator) -> None:
    left, right = (ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right"))
    told = np.full((1, COUNT), 200.0)
    told[0, right] *= rng.uniform(0.9, 1.1)
    seen = np.zeros((1, COUNT))
    seen[0, left] = 1.0
    equations = system(told, seen)
    ExpressionPrior(ARKIT_NAMES).add(equations, torch.zeros(1, COUNT), QUALITY.mirror, QUALITY.rest)
    found = solved(equations)[0]
    assert found[left] > 0.98 and abs(found[right]) < 0.02


def test_fast_believes_neither(rng: np.random.Generator) -> None:
    equations, same = (system(*values) for values in [(rng.uniform(1, 99, (3, COUNT)), rng.random((3, COUNT)))] * 2)
    for step in REFINEMENTS["fast"]:
        ExpressionPrior(ARKIT_NAMES).add(equations, torch.rand(3, COUNT), step.mirror, step.rest)
    assert torch.equal(equations.blocks, same.blocks) and torch.equal(equations.gradient, same.gradient)

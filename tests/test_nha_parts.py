"""What a mesh avatar's head has beside the head model's own: lower teeth for the upper jaw, a sheet for long hair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic
import torch
from small_fit import clip_of
from small_nha import coarse, run, trainer_of

from headavatar.head import load
from headavatar.methods.neural_head_avatar.avatar import NeuralHeadAvatar
from headavatar.methods.neural_head_avatar.curtain import REGION, share_below, with_curtain
from headavatar.methods.neural_head_avatar.teeth import BELOW_M, with_teeth_lowered
from headavatar.scene import PARSING_CLASSES, Clip


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(synthetic.make(8, 48, 3))


def test_upper_teeth_end_below_the_lips_of_anyone_and_nothing_else_moves(rng: np.random.Generator) -> None:
    head = load()
    identity = torch.from_numpy(rng.normal(0, 0.7, head.identity_size).astype(np.float32))
    expression = torch.zeros(1, len(head.expression_names))
    before = head.vertices(identity, expression)[0]
    lowered = with_teeth_lowered(head, identity)
    after = lowered.vertices(identity, expression)[0]
    upper = head.regions["teeth_upper"]
    assert torch.equal(before[~upper], after[~upper])
    front = after[upper & (after[:, 0].abs() < 0.01), 1].min()
    line = head.landmark_points(before[None])[0, [13, 14], 1].mean()
    assert front <= line - BELOW_M + 1e-5
    again = with_teeth_lowered(lowered, identity).vertices(identity, expression)[0]
    assert torch.allclose(again, after, atol=1e-6)


def test_the_sheet_hangs_around_the_neck_and_moves_with_the_skull(rng: np.random.Generator) -> None:
    head = load()
    hung = with_curtain(head)
    sheet = hung.regions[REGION]
    assert not sheet[: head.vertex_count].any() and sheet[head.vertex_count :].all()
    identity = torch.from_numpy(rng.normal(0, 0.5, head.identity_size).astype(np.float32))
    expression = torch.from_numpy(rng.uniform(0, 1, (1, len(head.expression_names))).astype(np.float32))
    neck = torch.from_numpy(rng.normal(0, 0.2, (1, 3)).astype(np.float32))
    moved, still = hung.vertices(identity, expression, neck)[0], hung.vertices(identity, 0 * expression)[0]
    assert torch.allclose(moved[: head.vertex_count], head.vertices(identity, expression, neck)[0], atol=1e-6)
    assert torch.allclose(moved[sheet], still[sheet], atol=1e-6)
    assert torch.equal(hung.mirror[hung.mirror], torch.arange(hung.vertex_count))
    assert torch.allclose(hung.template[hung.mirror][sheet] * torch.tensor([-1, 1, 1]), hung.template[sheet], atol=1e-5)
    faces = hung.faces[sheet[hung.faces].all(1)]
    a, b, c = (hung.template[faces[:, k]] for k in range(3))
    axis = torch.stack([torch.zeros(len(a)), a[:, 1], hung.template[sheet][:, 2].mean().expand(len(a))], 1)
    assert (((a - axis) * torch.linalg.cross(b - a, c - a)).sum(1) > 0).float().mean() > 0.95
    assert hung.uvs.min() >= 0 and hung.uvs.max() <= 1
    own = hung.uvs[hung.uv_faces[sheet[hung.faces].all(1)]][..., 0]
    assert own.min() > hung.uvs[hung.uv_faces[~sheet[hung.faces].any(1)]][..., 0].max()


def test_hair_below_the_lips_is_long(clip: Clip) -> None:
    from dataclasses import replace

    hair = PARSING_CLASSES.index("hair")
    everywhere = [np.full_like(np.asarray(picture), hair) for picture in clip.parsing]
    above = [np.where(np.arange(len(p))[:, None] < len(p) // 4, hair, 0).astype(np.uint8) for p in everywhere]
    assert share_below(replace(clip, parsing=everywhere)) > 0.1
    assert share_below(replace(clip, parsing=above)) == 0


def test_an_avatar_with_both_is_kept(clip: Clip, tmp_path: Path, seed: int) -> None:
    with coarse():
        fit = run(trainer_of(clip, seed, curtain="on", teeth_lowered=True))
        fit.avatar().save(tmp_path)
        back = NeuralHeadAvatar.load(tmp_path)
        frame = clip.params[int(clip.split.holdout[0])]
        assert np.allclose(
            back.render(frame, clip.camera).rgb, fit.avatar().render(frame, clip.camera).rgb, atol=4e-3
        )  # fmt: skip
    assert back.mesh().regions[REGION].any()

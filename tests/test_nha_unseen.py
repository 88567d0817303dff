"""What no training picture showed of an exported texture continues what was seen."""

from __future__ import annotations

import numpy as np
import torch

from headavatar.head import load
from headavatar.methods.neural_head_avatar.drawing import Layout
from headavatar.methods.neural_head_avatar.stack import Stack
from headavatar.methods.neural_head_avatar.unwrapped import Texels, unwrapped

SIDE = 128


def test_the_back_takes_the_colors_around_it_and_the_face_keeps_its_own(rng: np.random.Generator) -> None:
    head = load()
    layout, stack = Layout(head, head.template), Stack.fresh(3, SIDE, coarse=SIDE // 2)
    normals = torch.nn.functional.normalize(head.template, dim=1)
    prepared = torch.zeros(1, 3)
    prepared[0, 0] = 1
    color = torch.from_numpy(rng.uniform(0.1, 0.9, 3)).float()
    texels = Texels(layout, SIDE)
    places = texels.places(normals)
    front = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    front[texels.where] = places.coordinates[:, 2] > 0
    seen = torch.nn.functional.max_pool2d(front[None, None].float(), 2)[0, 0] > 0
    base = stack.tables[0].view(SIDE // 2, SIDE // 2, 4)
    base[..., :3][seen] = color
    found = unwrapped(layout, stack, stack.prepare(prepared), normals, SIDE).astype(np.float64) / 255
    assert np.abs(found - color.numpy()).max() < 0.02
    untouched = unwrapped(layout, Stack.fresh(3, SIDE), Stack.fresh(3, SIDE).prepare(prepared), normals, SIDE)
    assert np.abs(untouched.astype(int) - 128).max() <= 1


def test_a_texture_seen_everywhere_is_not_changed(rng: np.random.Generator) -> None:
    head = load()
    layout, stack = Layout(head, head.template), Stack.fresh(1, SIDE)
    stack.tables[0] = torch.from_numpy(rng.uniform(0, 1, SIDE * SIDE * 4)).float()
    normals = torch.nn.functional.normalize(head.template, dim=1)
    texels = Texels(layout, SIDE)
    found = unwrapped(layout, stack, stack.prepare(torch.ones(1, 1)), normals, SIDE)
    wanted = stack.colors([texels.places(normals)], stack.prepare(torch.ones(1, 1)))[0][:, :3]
    assert np.abs(found[texels.where.numpy()] / 255 - wanted.numpy()).max() < 0.01

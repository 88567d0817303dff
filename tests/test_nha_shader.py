"""The fast drawing of neural-head-avatar: the same pictures as training draws, and from files too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headavatar.head import load
from headavatar.head.subdivide import subdivided
from headavatar.methods.neural_head_avatar.avatar import NeuralHeadAvatar
from headavatar.methods.neural_head_avatar.conditions import Teller
from headavatar.methods.neural_head_avatar.drawing import paint
from headavatar.methods.neural_head_avatar.geometry import Geometry, Poses, project
from headavatar.methods.neural_head_avatar.offsets import FixedOffsets
from headavatar.methods.neural_head_avatar.settings import NeuralHeadAvatarSettings
from headavatar.methods.neural_head_avatar.stack import Stack
from headavatar.scene import WORLD_TO_CAMERA, Camera, HeadParams

SIDE = 32
CAMERA = Camera(np.array([[260.0, 0, 48], [0, 260.0, 52], [0, 0, 1]]), 96, 104, WORLD_TO_CAMERA)


def random_params(rng: np.random.Generator, frames: int) -> HeadParams:
    neutral = HeadParams.neutral(frames, rng.normal(size=100).astype(np.float32) * 0.5)
    turned = {"rotation": 0.3, "neck": 0.2, "jaw": 0.1, "eyes": 0.1}
    parts = {name: (rng.uniform(-1, 1, getattr(neutral, name).shape) * by).astype(np.float32)
             for name, by in turned.items()}  # fmt: skip
    place = (rng.uniform(-1, 1, (frames, 3)) * 0.02 + [0, 0, -0.65]).astype(np.float32)
    expression = (rng.uniform(0, 0.6, neutral.expression.shape) * rng.integers(0, 2, 52)).astype(np.float32)
    return HeadParams(neutral.identity, expression, translation=place, **parts)


@pytest.fixture(scope="module")
def seen() -> tuple[NeuralHeadAvatar, HeadParams]:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    params, base = random_params(rng, 12), load()
    settings = NeuralHeadAvatarSettings(map_size=SIDE)
    fine, identity = subdivided(base), torch.from_numpy(params.identity)
    waves = torch.sin(fine.template * 40)
    offsets = FixedOffsets(0.004 * waves, 0.002 * waves * torch.randn(9, 1, 3, generator=generator))
    pose = torch.from_numpy(np.concatenate([params.rotation, params.translation], 1))
    geometry = Geometry(fine, identity, offsets, torch.stack([pose.amin(0), pose.amax(0)]))
    teller = Teller.of(fine, params, settings, "cpu")
    stack = Stack.fresh(teller.size, SIDE, coarse=SIDE // 2)
    stack.tables[0] = torch.rand(stack.tables.shape[1], generator=generator) * 1.4 - 0.2
    stack.tables[1:] = 0.1 * torch.randn(stack.tables[1:].shape, generator=generator)
    stack.light[:] = 0.1 * torch.randn(stack.light.shape, generator=generator)
    avatar = NeuralHeadAvatar(
        name="anna", base=base, geometry=geometry, texture=stack, teller=teller,
        expression_range=(params.expression.min(0), params.expression.max(0)),
        settings={"map_size": SIDE, "table_size": SIDE // 2},
        facing=torch.rand(fine.vertex_count, generator=generator),
    )  # fmt: skip
    return avatar, params


def test_pictures_are_those_of_training(seen: tuple[NeuralHeadAvatar, HeadParams]) -> None:
    avatar, params = seen
    behind = np.random.default_rng().random(3)
    for frame in (0, 7):
        drawn = avatar.render(params[frame], CAMERA, tuple(behind))
        world = avatar.geometry.posed(Poses.of(params[frame]))
        with torch.no_grad():
            shown = avatar.layout.see(world, project(world, CAMERA), CAMERA)
            told = avatar.teller(avatar.geometry.head, params[frame], "cpu")
            rgb, alpha = paint(
                avatar.layout, avatar.look, shown, avatar.look.prepare(told), torch.from_numpy(behind).float(),
                avatar.covered(told),
            )  # fmt: skip
        wanted = torch.cat([rgb.clamp(0, 1), alpha.clamp(0, 1)[..., None]], 3)[0].numpy()
        apart = np.abs(np.concatenate([drawn.rgb, drawn.alpha[..., None]], 2) - wanted).max(-1)
        # which of two faces at an edge a pixel belongs to may turn on a last digit
        assert (apart < 1.5 / 255).mean() > 0.998 and 0.1 < (wanted[..., 3] > 0.1).mean() < 0.9
        assert (np.abs(drawn.depth - shown.fragments.depth[0].numpy()) < 1e-4).mean() > 0.998
        assert drawn.normal is not None
        assert (np.abs(drawn.normal - shown.normals[0].numpy()).max(-1) < 1e-2).mean() > 0.998


def test_files_draw_the_same(seen: tuple[NeuralHeadAvatar, HeadParams], tmp_path: Path) -> None:
    avatar, params = seen
    avatar.save(tmp_path)
    again = NeuralHeadAvatar.load(tmp_path)
    one, other = (each.render(params[3], CAMERA) for each in (avatar, again))
    assert (np.abs(one.rgb - other.rgb).max(-1) < 1 / 255).mean() > 0.998
    assert (np.abs(one.alpha - other.alpha) < 1 / 255).mean() > 0.998

"""Where training never saw the head face on, turned views and exported textures continue what it did see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headavatar import ops
from headavatar.head import load
from headavatar.methods.neural_head_avatar.cover import cover_of
from headavatar.methods.neural_head_avatar.drawing import Layout, paint
from headavatar.methods.neural_head_avatar.geometry import project
from headavatar.methods.neural_head_avatar.stack import Stack
from headavatar.methods.neural_head_avatar.unwrapped import Texels, unwrapped
from headavatar.methods.neural_head_avatar.views import Views
from headavatar.ops import vertex_normals
from headavatar.scene import WORLD_TO_CAMERA, Camera

NOWHERE = slice(0, 0)
SIDE = 128
CAMERA = Camera(np.array([[260.0, 0, 48], [0, 260.0, 48], [0, 0, 1]]), 96, 96, WORLD_TO_CAMERA)


@pytest.fixture(scope="module")
def layout() -> Layout:
    head = load()
    return Layout(head, head.template)


def turned(degrees: float) -> torch.Tensor:
    """(1, V, 3) the head before the camera."""
    angle = np.radians(degrees)
    turn = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    return (load().template @ torch.tensor(turn, dtype=torch.float32).T + torch.tensor([0, 0, -0.7]))[None]


def told(stack: Stack) -> torch.Tensor:
    return torch.eye(len(stack.tables))[:1]


def prepared(stack: Stack) -> torch.Tensor:
    return stack.prepare(told(stack))


def normals(layout: Layout) -> torch.Tensor:
    return vertex_normals(turned(0), layout.faces)[0] @ torch.from_numpy(WORLD_TO_CAMERA[:3, :3]).float().T


def taken_in(views: Views, layout: Layout, degrees: float, hides: slice = NOWHERE, thin: slice = NOWHERE) -> None:
    """A frame of a turned head, with rows that clothes hide and rows that the background shows through."""
    seen = layout.see(turned(degrees), project(turned(degrees), CAMERA), CAMERA)
    counted, matte = torch.ones(seen.fragments.mask.shape), seen.fragments.mask.float()
    counted[:, hides], matte[:, thin] = 0, 0.6
    views.add(seen, matte, counted)


def alone(layout: Layout) -> torch.Tensor:
    """Of a head that hides the background wherever it is."""
    return torch.ones(len(layout.coordinates))


def seen_from_the_front(layout: Layout) -> torch.Tensor:
    views = Views(len(layout.coordinates), "cpu")
    for degrees in (-5, 0, 5):
        taken_in(views, layout, degrees)
    return views.facing()


def test_clothes_and_thin_hair_are_told_from_a_head_that_shows(layout: Layout) -> None:
    views, half = Views(len(layout.coordinates), "cpu"), CAMERA.height // 2
    for degrees in (-5, 0, 5):
        taken_in(views, layout, degrees, hides=slice(half + 20, None), thin=slice(0, half - 20))
    rows = project(turned(0), CAMERA)[0, :, 1]
    front = seen_from_the_front(layout) > 0.3
    low, high, middle = rows > half + 30, rows < half - 30, (rows - half).abs() < 10
    assert views.facing()[front & low].max() == 0 and views.facing()[front & ~low & (rows < half + 10)].min() > 0
    assert views.alone()[front & high].max() == 0 and views.alone()[front & middle & ~layout.inner].mean() > 0.9


def with_white_rim(
    stack: Stack, layout: Layout, texels: Texels, facing: torch.Tensor, color: torch.Tensor, opacity: float
) -> None:
    """Give a stack one color, and white of some opacity where training saw no vertex face on."""
    base = stack.tables[0].view(SIDE, SIDE, 4)
    base[..., :3] = color
    rows, columns = (torch.from_numpy(index) for index in texels.nearest())
    at = torch.zeros(SIDE, SIDE)
    at[texels.where] = ops.interpolate(facing[:, None], layout.faces, texels.seen)[texels.where][:, 0]
    base[at[rows, columns] < 0.4] = torch.tensor([1.0, 1.0, 1.0, opacity])


def test_white_paint_that_passes_for_thin_hair_is_not_spread(layout: Layout, rng: np.random.Generator) -> None:
    facing, stack = seen_from_the_front(layout), Stack.fresh(1, SIDE)
    color = torch.from_numpy(rng.uniform(0.1, 0.4, 3)).float()
    texels = Texels(layout, SIDE)
    with_white_rim(stack, layout, texels, facing, color, opacity=1.0)
    back = facing == 0
    solid = (facing > 0.8) & ~load().regions["ears"]  # where texels hold both sides of a fold
    told_apart, not_told = (
        cover_of(layout, stack, told(stack), normals(layout), facing, often).colors[back]
        for often in (solid.float(), torch.ones_like(facing))
    )
    scalp = load().regions["scalp"][back]
    off, before = (float((found - color).abs()[scalp].mean()) for found in (told_apart, not_told))
    assert off < 0.1 and off < 0.3 * before


def test_the_face_is_seen_face_on_the_temples_aside_and_the_back_not_at_all(layout: Layout) -> None:
    facing, head = seen_from_the_front(layout), load()
    nose = head.landmark_faces[4]
    ears, back = head.regions["ears"], head.template[:, 2] < head.template[head.regions["ears"], 2].min() - 0.03
    assert facing[head.faces[nose]].min() > 0.7
    assert facing[back].max() == 0
    assert 0 < facing[ears].mean() < 0.5


def test_a_white_rim_and_the_gray_back_take_the_hairs_color_and_the_face_keeps_its_own(
    layout: Layout, rng: np.random.Generator
) -> None:
    facing = seen_from_the_front(layout)
    stack, color = Stack.fresh(3, SIDE), torch.from_numpy(rng.uniform(0.1, 0.6, 3)).float()
    texels = Texels(layout, SIDE)
    with_white_rim(stack, layout, texels, facing, color, opacity=0.2)  # thin hair over white
    cover = cover_of(layout, stack, told(stack), normals(layout), facing, alone(layout))
    picture = unwrapped(layout, stack, prepared(stack), normals(layout), SIDE, cover).astype(np.float64) / 255
    outer = ~layout.inner[layout.faces].any(1)
    where = torch.where(texels.where, outer[texels.seen.face_index.long()], False).numpy()
    bare = unwrapped(layout, stack, prepared(stack), normals(layout), SIDE).astype(np.float64) / 255
    off, before = (np.quantile(np.abs(p - color.numpy()).max(-1)[where], 0.95) for p in (picture, bare))
    assert off < 0.1 < 0.3 < before
    for degrees in (-40, 40):
        world = turned(degrees)
        seen = layout.see(world, project(world, CAMERA), CAMERA)
        rgb, alpha = (part[0] for part in paint(layout, stack, seen, prepared(stack), torch.ones(3), cover))
        bare, _ = (part[0] for part in paint(layout, stack, seen, prepared(stack), torch.ones(3)))
        # away from the outline, where the surface is seen face on
        central = seen.fragments.mask[0] & (seen.normals[0, ..., 2] < -0.75)
        central &= outer[seen.fragments.face_index[0].long()]
        off, before = (float((p - color).abs().amax(-1)[central].mean()) for p in (rgb, bare))
        print(degrees, off, before)
        assert off < 0.05 and off < before / 4 and float(alpha[central].mean()) > 0.95


def test_a_coefficient_that_lights_the_room_lights_the_back_too(layout: Layout, rng: np.random.Generator) -> None:
    stack, brighter = Stack.fresh(3, SIDE), rng.uniform(0.05, 0.2)
    stack.tables[0].view(SIDE, SIDE, 4)[..., :3] = 0.3
    stack.tables[2].view(SIDE, SIDE, 4)[..., :3] = brighter
    cover = cover_of(layout, stack, told(stack), normals(layout), seen_from_the_front(layout), alone(layout))
    back = cover.begins < 0.2
    for amount in (0.0, 0.5, 1.0):
        colors = cover.at(torch.tensor([1.0, 0.7, amount])).colors[back]
        assert torch.allclose(colors, torch.tensor(0.3 + amount * brighter).float(), atol=1e-3)


def test_what_training_saw_face_on_is_not_changed(layout: Layout, rng: np.random.Generator) -> None:
    stack = Stack.fresh(1, SIDE)
    stack.tables[0] = torch.from_numpy(rng.uniform(0, 1, SIDE * SIDE * 4)).float()
    facing = torch.full((len(layout.coordinates),), 0.95)
    cover = cover_of(layout, stack, told(stack), normals(layout), facing, alone(layout))
    one, other = (
        unwrapped(layout, stack, prepared(stack), normals(layout), SIDE, over) for over in (cover, None)
    )  # fmt: skip
    assert np.array_equal(one, other)


def test_views_go_on_where_they_were_left(layout: Layout) -> None:
    views, again = (Views(len(layout.coordinates), "cpu") for _ in range(2))
    taken_in(views, layout, 0, thin=slice(0, 90))
    again.load_state({name: value.clone() for name, value in views.state().items()})
    for each in (views, again):
        taken_in(each, layout, 20)
    assert torch.equal(views.facing(), again.facing()) and float(views.facing().max()) > 0.9
    assert torch.equal(views.alone(), again.alone()) and 0 < float(views.alone().mean()) < 1

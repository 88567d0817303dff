"""Colors of neural-head-avatar: the stack is a sum, the network is what it says, baking keeps what a sum can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import synthetic
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.methods.conditioning import Conditioning
from headavatar.methods.neural_head_avatar.bake import baked
from headavatar.methods.neural_head_avatar.conditions import Teller
from headavatar.methods.neural_head_avatar.drawing import Layout, paint
from headavatar.methods.neural_head_avatar.geometry import Geometry, project
from headavatar.methods.neural_head_avatar.offsets import SirenOffsets
from headavatar.methods.neural_head_avatar.siren import FilmSiren
from headavatar.methods.neural_head_avatar.stack import Stack
from headavatar.methods.neural_head_avatar.texture import Places, Texture
from headavatar.methods.neural_head_avatar.unwrapped import Texels
from headavatar.scene import WORLD_TO_CAMERA, Camera, HeadParams

VIEW = torch.from_numpy(WORLD_TO_CAMERA[:3, :3]).float()


@pytest.fixture
def torch_rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def places_of(count: int, generator: torch.Generator) -> Places:
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    coordinates = torch.rand(count, 3, generator=generator) * 2 - 1
    return Places(
        torch.rand(count, 2, generator=generator), coordinates, normals, torch.rand(count, generator=generator) < 0.5
    )  # fmt: skip


def random_stack(count: int, size: int, generator: torch.Generator) -> Stack:
    stack = Stack.fresh(count, size, coarse=size // 2)
    stack.tables.copy_(torch.randn(stack.tables.shape, generator=generator))
    stack.detail.copy_(torch.randn(stack.detail.shape, generator=generator))
    stack.light.copy_(torch.randn(stack.light.shape, generator=generator))
    return stack


def test_a_stack_is_linear_in_its_coefficients(torch_rng: torch.Generator) -> None:
    stack, place = random_stack(5, 16, torch_rng), places_of(50, torch_rng)
    told = torch.randn(2, 5, generator=torch_rng)
    share = float(torch.rand((), generator=torch_rng))
    mixed = share * told[:1] + (1 - share) * told[1:]
    one, other = stack.colors([place, place], stack.prepare(told))
    (between,) = stack.colors([place], stack.prepare(mixed))
    torch.testing.assert_close(between, share * one + (1 - share) * other, atol=2e-5, rtol=1e-4)
    assert (one - other).abs().max() > 0.1
    flipped = Places(place.uv, place.coordinates, -place.normals, place.in_mouth)
    (behind,) = stack.colors([flipped], stack.prepare(told[:1]))
    unlit = Stack(stack.tables, stack.detail, torch.zeros_like(stack.light)).colors([place], stack.prepare(told[:1]))[0]
    torch.testing.assert_close((one + behind) / 2, unlit, atol=2e-5, rtol=1e-4)  # light is odd in the normal


def test_a_fresh_stack_is_gray_and_opaque(torch_rng: torch.Generator) -> None:
    stack = Stack.fresh(3, 8)
    told = torch.cat([torch.ones(1, 1), torch.randn(1, 2, generator=torch_rng)], 1)
    (colors,) = stack.colors([places_of(9, torch_rng)], stack.prepare(told))
    torch.testing.assert_close(colors, torch.tensor([0.5, 0.5, 0.5, 1.0]).expand(9, 4))


def test_what_is_thin_shows_the_background(torch_rng: torch.Generator, rng: np.random.Generator) -> None:
    head = synthetic.head()
    params = HeadParams.neutral(1, np.zeros(head.identity_size, np.float32))
    params.translation[0] = (0, 0, -0.5)
    params.rotation[0] = rng.uniform(-0.3, 0.3, 3)
    world = head.posed(
        *(torch.from_numpy(getattr(params, n)) for n in ("identity", "expression", "rotation", "translation"))
    )
    camera = Camera(np.array([[90.0, 0, 24], [0, 90.0, 24], [0, 0, 1]]), 48, 48)
    layout = Layout(head, head.template)
    stack, opacity = Stack.fresh(1, 8), float(rng.uniform(0.2, 0.8))
    stack.tables.view(8, 8, 4)[...] = torch.tensor([*rng.uniform(0, 1, 3).tolist(), opacity])
    seen = layout.see(world, project(world, camera), camera)
    pictures = [
        paint(layout, stack, seen, stack.prepare(torch.ones(1, 1)), torch.tensor(color))
        for color in ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    ]
    (white, alpha), (black, same) = pictures
    assert torch.equal(alpha, same)
    through = (white - black).mean(-1)
    torch.testing.assert_close(through, 1 - alpha, atol=1e-5, rtol=0)
    inside = torch.nn.functional.max_pool2d(1 - seen.fragments.mask.float()[None], 3, 1, 1)[0] == 0
    assert inside.sum() > 100
    torch.testing.assert_close(alpha[inside], torch.full_like(alpha[inside], opacity), atol=1e-5, rtol=0)
    assert alpha.max() <= opacity + 1e-5 and (alpha[~seen.fragments.mask] < opacity).all() and alpha.min() == 0


def plain(siren: FilmSiren, condition: Any, x: Any) -> list[float]:
    """The network written out, one number at a time."""

    def affine(weight: Tensor, bias: Tensor, values: list[float]) -> list[float]:
        return [
            sum(float(w) * v for w, v in zip(row, values, strict=True)) + float(b)
            for row, b in zip(weight, bias, strict=True)
        ]

    told = [float(v) for v in condition]
    for i, (weight, bias) in enumerate(siren.mapping):
        told = affine(weight, bias, told)
        if i < len(siren.mapping) - 1:
            told = [v if v > 0 else 0.2 * v for v in told]
    width, layers = len(siren.weights[0]), len(siren.weights)
    values = [float(v) for v in x]
    for layer in range(layers):
        scale = told[layer * width : (layer + 1) * width]
        shift = told[(layers + layer) * width : (layers + layer + 1) * width]
        inner = affine(siren.weights[layer], siren.biases[layer], values)
        values = [float(np.sin((1 + s) * v + b)) for s, v, b in zip(scale, inner, shift, strict=True)]
    return values


def tiny_siren(generator: torch.Generator) -> FilmSiren:
    siren = FilmSiren.fresh(
        4, 5, 3, 2, mapping_width=3, omega=torch.tensor([1.0, 1.0, 3.0, 3.0]), generator=generator
    )  # fmt: skip
    siren.mapping[-1] = tuple(torch.randn(t.shape, generator=generator) * 0.3 for t in siren.mapping[-1])
    return FilmSiren(
        [w.double() for w in siren.weights], [b.double() for b in siren.biases],
        [(w.double(), b.double()) for w, b in siren.mapping],
    )  # fmt: skip


def test_the_network_is_sines_of_scaled_and_shifted_layers(torch_rng: torch.Generator) -> None:
    siren = tiny_siren(torch_rng)
    condition, x = (torch.randn(*shape, generator=torch_rng, dtype=torch.float64) for shape in ((2,), (7, 4)))
    found = siren.run(siren.films(condition), x)
    np.testing.assert_allclose(found.numpy(), [plain(siren, condition, row) for row in x], atol=1e-10)
    other = siren.run(siren.films(condition + 1), x)
    assert (found - other).abs().max() > 1e-4


def test_the_networks_gradients_are_those_of_finite_differences(torch_rng: torch.Generator) -> None:
    siren = tiny_siren(torch_rng)
    condition, x = (torch.randn(*shape, generator=torch_rng, dtype=torch.float64) for shape in ((2,), (3, 4)))
    leaves = [t.requires_grad_() for t in (condition, x, *siren.parameters)]

    def run(condition: Tensor, x: Tensor, *parameters: Tensor) -> Tensor:
        weights, biases, rest = list(parameters[:3]), list(parameters[3:6]), parameters[6:]
        made = FilmSiren(weights, biases, list(zip(rest[::2], rest[1::2], strict=True)))
        return made.run(made.films(condition), x)

    assert torch.autograd.gradcheck(run, leaves)


def test_the_mouths_condition_acts_in_the_mouth_alone(torch_rng: torch.Generator) -> None:
    for everywhere in (False, True):
        texture = Texture.fresh(
            map_size=8, features=4, width=8, layers=2, shader_width=6, condition=3, everywhere=everywhere,
            mapping_width=8, generator=torch_rng,
        )  # fmt: skip
        texture.siren.mapping[-1][0].mul_(300)
        places = [places_of(40, torch_rng), places_of(30, torch_rng)]
        told = torch.randn(2, 3, generator=torch_rng)
        ours, moved = (texture.colors(places, texture.prepare(t)) for t in (told, told + 1))
        for place, before, after in zip(places, ours, moved, strict=True):
            changed = (before - after).abs().amax(1) > 1e-6
            assert changed[place.in_mouth].float().mean() > 0.9
            assert changed[~place.in_mouth].any() == everywhere
            assert (before > 0).all() and (before < 1).all()
        alone = [texture.colors([p], texture.prepare(t[None]))[0] for p, t in zip(places, told, strict=True)]
        for together, one in zip(ours, alone, strict=True):
            torch.testing.assert_close(together, one, atol=1e-6, rtol=1e-5)


class Mixed:
    """Colors that are by construction a smooth base plus, for each coefficient, a smooth change."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.waves = torch.randn(count, 2, 3, generator=generator)

    def prepare(self, told: Tensor) -> Tensor:
        return told

    def colors(self, places: list[Places], prepared: Tensor) -> list[Tensor]:
        result = []
        for place, told in zip(places, prepared, strict=True):
            fields = torch.einsum("nd,kdc->nkc", place.uv, self.waves).sin()
            result.append(0.5 + 0.1 * torch.einsum("k,nkc->nc", told, fields))
        return result


def bare_geometry(head: HeadModel, params: HeadParams, generator: torch.Generator) -> Geometry:
    rest = head.template
    still = torch.zeros(len(rest), 1)
    pose = torch.from_numpy(np.concatenate([params.rotation, params.translation], 1))
    offsets = SirenOffsets.fresh(rest, still, still, generator)
    return Geometry(head, torch.from_numpy(params.identity), offsets, torch.stack([pose.amin(0), pose.amax(0)]))


def test_baked_a_sum_stays_that_sum(torch_rng: torch.Generator, rng: np.random.Generator) -> None:
    head, size = synthetic.head(), 24
    params = HeadParams.neutral(16, np.zeros(head.identity_size, np.float32))
    params.expression[:, [3, 24]] = rng.uniform(0, 1, (16, 2))
    params.rotation[:] = rng.uniform(-0.3, 0.3, (16, 3))
    params.translation[:] = (0, 0, -0.5) + rng.uniform(-0.02, 0.02, (16, 3))
    coefficients = Conditioning.of(params, True)
    network, teller = Mixed(coefficients.tables, torch_rng), Teller(None, coefficients)
    geometry = bare_geometry(head, params, torch_rng)
    layout = Layout(head, geometry.rest)
    stack, told_by = baked(network, teller, geometry, layout, params, VIEW, size)  # type: ignore[arg-type]
    assert told_by.coefficients is not None
    texels, facing = Texels(layout, size), torch.zeros(head.vertex_count, 3)
    place = texels.places(facing)
    frame = int(rng.integers(16))
    told = told_by(head, params[frame], "cpu")
    (found,) = stack.colors([place], stack.prepare(told))
    (wanted,) = network.colors([place], teller(head, params[frame], "cpu"))
    only_base = told * torch.eye(len(told[0]))[:1]
    (base,) = stack.colors([place], stack.prepare(only_base))
    error, without = (found[:, :3] - wanted).abs().mean(), (base[:, :3] - wanted).abs().mean()
    assert error < 0.01 and error < 0.25 * without
    torch.testing.assert_close(found[:, 3], torch.ones(len(found)))

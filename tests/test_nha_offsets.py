"""How far the mesh may stand off the head model: smooth shares, a cache that never lies, parts that keep still."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import torch

from headavatar.head import HeadModel
from headavatar.methods.neural_head_avatar.geometry import STILL, followers, movable
from headavatar.methods.neural_head_avatar.offsets import Offsets, SirenOffsets, SmoothOffsets
from headavatar.methods.neural_head_avatar.smoothing import Smoother, edges_of
from headavatar.methods.neural_head_avatar.volume import HairVolume
from headavatar.ops import vertex_normals


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return synthetic.head()


@pytest.fixture(scope="module")
def volume(head: HeadModel) -> HairVolume:
    return HairVolume.fresh(head, head.template, movable(head))


def random_offsets(kind: str, head: HeadModel, volume: HairVolume, rng: np.random.Generator) -> Offsets:
    """Offsets of centimeters, no two vertices' alike."""
    free, follows = movable(head), followers(head, True)
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    if kind == "siren":
        siren = SirenOffsets.fresh(head.template, free, follows[:, :1], generator)
        siren.last[0].copy_(torch.randn(siren.last[0].shape, generator=generator) * 0.05)
        siren.last[1].copy_(torch.randn(3, generator=generator) * 0.1)
        siren.siren.mapping[-1][0].mul_(50)  # so that the neck's turn tells
        return siren
    solve = Smoother(head.faces, head.vertex_count, 30.0).solve
    heights = HairVolume(torch.rand(head.vertex_count, 1, generator=generator) * 0.03, volume.ways, volume.smoother)
    smooth = SmoothOffsets.fresh(head.template, free, follows, solve, heights)
    smooth.latent.copy_(torch.randn(smooth.latent.shape, generator=generator) * 0.03)
    smooth.nodes.copy_(torch.randn(smooth.nodes.shape, generator=generator) * 0.02)
    return smooth


@pytest.fixture(params=["smooth", "siren"])
def offsets(request: pytest.FixtureRequest, head: HeadModel, volume: HairVolume, rng: np.random.Generator) -> Offsets:
    return random_offsets(request.param, head, volume, rng)


def frames(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    neck, pose = rng.uniform(-0.4, 0.4, (count, 3)), rng.uniform(-1, 1, (count, 6))
    return torch.from_numpy(neck).float(), torch.from_numpy(pose).float()


def test_eyes_teeth_tongue_and_lashes_never_move(offsets: Offsets, head: HeadModel, rng: np.random.Generator) -> None:
    still = torch.zeros(head.vertex_count, dtype=torch.bool)
    for region in STILL:
        still |= head.regions[region]
    assert {"eyes", "teeth"} <= set(STILL) and still.sum() > 100
    with torch.no_grad():
        moved = torch.cat([offsets.static()[None], offsets(*frames(rng, 2))])
    assert not moved[:, still].any()
    assert (moved[:, ~still].norm(dim=2) > 1e-5).float().mean() > 0.9


def test_unturned_it_is_the_static_shape_and_turned_it_changes_the_neck(
    offsets: Offsets, head: HeadModel, rng: np.random.Generator
) -> None:
    neck, pose = frames(rng, 3)
    with torch.no_grad():
        static, still = offsets.static(), offsets(torch.zeros(1, 3), torch.zeros(1, 6))[0]
        turned = offsets(neck, torch.zeros_like(pose))
        alone = offsets(neck[1:2], pose[1:2] * 0)[0]
    torch.testing.assert_close(still, static, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone, turned[1], atol=1e-6, rtol=0)
    foot, skull = head.weights[:, 0] < 0.05, head.weights[:, 0] > 0.999
    assert (turned - static)[:, foot].norm(dim=2).max() > 1e-4
    assert (turned - static)[:, skull].norm(dim=2).max() < 1e-4  # nothing there follows the neck
    face = head.regions["face"] & skull & ~head.regions["scalp"] & ~head.regions["ears"]
    with torch.no_grad():
        tilted = offsets(torch.zeros(3, 3), pose)
    assert (tilted - static)[:, face].norm(dim=2).max() < 1e-4  # its motion is tracked


def test_a_remembered_shape_is_the_shape(head: HeadModel, volume: HairVolume, rng: np.random.Generator) -> None:
    smooth = random_offsets("smooth", head, volume, rng)
    assert isinstance(smooth, SmoothOffsets)
    for changed in (smooth.latent, smooth.volume.latent):
        with torch.no_grad():
            before = smooth.static().clone()
            assert torch.equal(smooth.static(), before)
            changed[:] = changed + 0.01
            after = smooth.static()
        fresh = smooth.static()  # with gradients nothing is remembered
        torch.testing.assert_close(after, fresh.detach(), atol=0, rtol=0)
        assert (after - before).abs().max() > 1e-4
    state = {name: tensor.clone() for name, tensor in smooth.state().items()}
    with torch.no_grad():
        kept = smooth.static().clone()
        smooth.latent.mul_(2)
        assert not torch.equal(smooth.static(), kept)
        for name, tensor in smooth.state().items():
            tensor.copy_(state[name])
        assert torch.equal(smooth.static(), kept)


def test_nodes_share_every_vertex(head: HeadModel, volume: HairVolume, rng: np.random.Generator) -> None:
    smooth = random_offsets("smooth", head, volume, rng)
    assert isinstance(smooth, SmoothOffsets)
    torch.testing.assert_close(smooth.spread.sum(1), torch.ones(head.vertex_count))
    assert (smooth.spread >= 0).all() and (smooth.spread.amax(0) > 0.2).all()  # every node has vertices of its own
    assert len(smooth.nodes) == followers(head, True).shape[1] == 9


def test_hair_raises_the_scalp_alone(head: HeadModel, volume: HairVolume, rng: np.random.Generator) -> None:
    height = float(rng.uniform(0.005, 0.05))
    grown = HairVolume(torch.full((head.vertex_count, 1), height), volume.ways, volume.smoother)()
    region, edges = head.regions, torch.from_numpy(edges_of(head.faces.numpy()))
    hair = region["scalp"] & ~region["neck"] & ~region["ears"]
    near = hair.clone()
    for _ in range(8):  # its border is soft
        reached = near[edges].any(1)
        near[edges[reached].reshape(-1)] = True
    assert grown[~near].norm(dim=1).max() < 0.02 * height
    assert not grown[region["eyes"] | region["teeth"]].any()
    outwards = (grown * vertex_normals(head.template, head.faces)).sum(1)
    assert outwards[hair].min() > 0 and outwards[hair].median() > 0.6 * height
    lengths = grown[hair].norm(dim=1)
    assert lengths.max() < 1.05 * height
    one = torch.zeros(head.vertex_count, 1)
    one[int(rng.choice(np.flatnonzero(hair.numpy())))] = 1.0
    spread = HairVolume(one, volume.ways, volume.smoother)().norm(dim=1)
    assert (spread > 0.05 * spread.max()).sum() > 30  # what one outline says its surroundings follow
    bald = HairVolume(torch.zeros(head.vertex_count, 1), volume.ways, volume.smoother)()
    assert not bald.any()

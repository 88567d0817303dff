"""The authors' weights become an avatar that renders what their program renders, and go back as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import released_weights as theirs
import small_fit
import synthetic
import torch

from headavatar import ops
from headavatar.dialects import torch_files
from headavatar.errors import InputError, UsageError
from headavatar.head.rotations import axis_angle_to_matrix_np
from headavatar.methods import get
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.released import Surroundings, avatar_of, checkpoint_of
from headavatar.methods.nerf_blendshape.trainer import NerfBlendshapeTrainer
from headavatar.scene import Array, Camera, HeadParams

COEFFICIENTS = 3
SEED = int(np.random.default_rng().integers(2**31))


def surroundings(rng: np.random.Generator) -> Surroundings:
    """A head space that is turned, scaled and shifted against ours, and ranges of which one is a single value."""
    space = np.eye(4)
    space[:3, :3] = axis_angle_to_matrix_np(rng.normal(0, 0.3, 3)) / rng.uniform(0.8, 1.25)
    space[:3, 3] = rng.normal(0, 0.03, 3)
    low = rng.uniform(-0.2, 0.2, COEFFICIENTS).astype(np.float32)
    high = low + np.array([0.9, 0.6, 0.0], np.float32)
    return Surroundings(space, low, high)


def made(checkpoint: dict[str, Any], around: Surroundings) -> NerfBlendshapeAvatar:
    return avatar_of(checkpoint, around, name="hers", head_model="embedded", identity=np.zeros(100, np.float32))


def pose_of(params: HeadParams, camera: Camera, space: Array) -> Array:
    """`transform_matrix` of a frame of ours in the space of the weights."""
    head = np.eye(4)
    head[:3, :3], head[:3, 3] = axis_angle_to_matrix_np(params.rotation.astype(np.float64))[0], params.translation[0]
    view = camera.world_to_camera @ head @ np.linalg.inv(space)
    view[:3] /= np.cbrt(np.linalg.det(view[:3, :3]))
    return np.asarray(np.linalg.inv(view) @ np.diag([1.0, -1, -1, 1]))


def frame(rng: np.random.Generator) -> tuple[HeadParams, Camera]:
    params = HeadParams(
        np.zeros(100, np.float32), np.zeros((1, 52), np.float32), rng.normal(0, 0.3, (1, 3)).astype(np.float32),
        np.array([[0.02, -0.01, -0.6]], np.float32), *(np.zeros((1, n), np.float32) for n in (3, 3, 6)),
        recorded=rng.uniform(-0.5, 1.2, (1, COEFFICIENTS)).astype(np.float32),
    )  # fmt: skip
    return params, Camera(np.array([[40.0, 0, 13.2], [0, 40.0, 12.1], [0, 0, 1]]), 24, 24)


def test_density_and_color_are_theirs_everywhere() -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    checkpoint, around = theirs.random(COEFFICIENTS, SEED), surroundings(rng)
    avatar, (params, _) = made(checkpoint, around), frame(rng)
    count = 3000
    points = torch.from_numpy(rng.uniform(-theirs.BOUND, theirs.BOUND, (count, 3)))
    directions = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(count, 3))), dim=1)
    weights = np.clip(params.recorded[0], around.low, around.high)  # type: ignore[index]
    model = checkpoint["model"]
    sigma, rgb, _ = theirs.evaluate(model, theirs.blended(model, weights), points, directions)
    head = np.linalg.inv(around.space)  # where these points are on our head
    ours = (points.numpy() / theirs.SCALE)[:, [2, 0, 1]] @ head[:3, :3].T + head[:3, 3]
    there = torch.from_numpy(avatar.cube.to_unit(ours)).float()
    field = avatar.field
    blended = ops.blend_tables(torch.from_numpy(avatar.conditioning.coefficients(params)), field.tables)
    found, color = ops.nerf_field(
        there, blended, ops.spherical_harmonics(directions.float(), 4), torch.arange(count), field.sigma_weights,
        field.color_weights, field.spec, frame_offsets=torch.tensor([0, count]), density_shift=field.density_shift,
    )  # fmt: skip
    assert float(sigma.std()) > 1 and float(rgb.std()) > 0.05, "there is something to see"
    # the finest level has 1024 cells, in which a float32 place is known to a ten thousandth
    np.testing.assert_allclose(found, sigma, atol=0.02 * float(sigma.std()), rtol=0.01)
    np.testing.assert_allclose(color, rgb, atol=0.02)
    assert float((found - sigma).abs().mean()) < 2e-3 * float(sigma.std())
    assert field.density_scale * avatar.cube.side == pytest.approx(2 * theirs.BOUND)


def test_a_picture_is_theirs() -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED + 1)
    checkpoint, around = theirs.random(COEFFICIENTS, SEED, fade=0.6), surroundings(rng)
    params, camera = frame(rng)
    pose = pose_of(params, camera, around.space)
    checkpoint["model"]["density_grid"] = theirs.ball(pose)
    K = camera.K
    weights = np.clip(params.recorded[0], around.low, around.high)  # type: ignore[index]
    intrinsics = (K[0, 0], K[1, 1], K[0, 2] - 0.5, K[1, 2] - 0.5)
    expected, alpha = theirs.picture(checkpoint, weights, pose, intrinsics, camera.width, 400)
    seen = made(checkpoint, around).render(params, camera)
    off = np.abs(seen.rgb - expected).max(-1)
    print(f"alpha {alpha.min():.2f} to {alpha.max():.2f}; off by {off.mean():.4f}, at most {off.max():.3f}")
    assert alpha.max() > 0.5 and alpha.min() == 0 and expected[alpha > 0.3].std() > 0.01
    assert off.mean() < 0.01 and np.quantile(off, 0.9) < 0.05


def test_weights_go_back_as_they_came() -> None:
    rng = np.random.default_rng(SEED + 2)
    checkpoint, around = theirs.random(COEFFICIENTS, SEED), surroundings(rng)
    around = Surroundings(around.space, around.low, around.low + np.float32(0.7))
    grid = torch.from_numpy(rng.uniform(0, 6, (theirs.NODES,) * 3)).float()
    checkpoint["model"]["density_grid"] = grid
    written = checkpoint_of(made(checkpoint, around))
    back = written.checkpoint["model"]
    assert set(back) == set(checkpoint["model"])
    for name in ("encoder.embeddings", "encoder.embeddings_mean"):
        np.testing.assert_allclose(back[name], checkpoint["model"][name], atol=2e-5)
    for name, outputs, width in (("sigma_net.params", 65, 64), ("color_net.params", 3, 64)):
        used = len(back[name]) - (80 - 65 if outputs == 65 else 16 - 3) * width
        np.testing.assert_array_equal(back[name][:used], checkpoint["model"][name][:used])
    level = min(10.0, written.checkpoint["mean_density"])
    np.testing.assert_array_equal(back["density_grid"] > level, grid > checkpoint["mean_density"])
    np.testing.assert_allclose(written.around.space, around.space, atol=1e-6)
    np.testing.assert_allclose([written.around.low, written.around.high], [around.low, around.high])
    assert written.bound == pytest.approx(theirs.BOUND)


def test_named_coefficients_are_arkits() -> None:
    rng = np.random.default_rng(SEED + 3)
    checkpoint, around = theirs.random(COEFFICIENTS, SEED), surroundings(rng)
    named = Surroundings(around.space, around.low, around.high, ("browInnerUp", "jawOpen", "mouthPucker"))
    params, camera = frame(rng)
    raw = made(checkpoint, around).render(params, camera).rgb
    avatar = made(checkpoint, named)
    expression = np.zeros((1, 52), np.float32)
    expression[0, [avatar.expression_names.index(name) for name in named.names]] = params.recorded
    plain = HeadParams(params.identity, expression, params.rotation, params.translation, params.neck, params.jaw,
                       params.eyes)  # fmt: skip
    np.testing.assert_allclose(avatar.render(plain, camera).rgb, raw, atol=1e-5)
    with pytest.raises(InputError, match="answers to the 3 coefficients"):
        made(checkpoint, around).render(plain, camera)


def test_other_weights_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED + 4)
    checkpoint, around = theirs.random(COEFFICIENTS, SEED), surroundings(rng)
    with pytest.raises(InputError, match="take 3 coefficients"):
        made(checkpoint, Surroundings(around.space, around.low[:2], around.high[:2]))
    for name, value in (
        ("sigma_net.params", torch.zeros(100)), ("encoder.embeddings", torch.zeros(3, 5, 4)),
        ("density_grid", torch.zeros(9, 9, 9)), ("color_net.params", "nothing"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="published configuration"):
            made({**checkpoint, "model": {**checkpoint["model"], name: value}}, around)
    mark = tmp_path / "mark"
    torch.save({**checkpoint, "extra": Bomb(mark)}, tmp_path / "bad.pth.tar")
    with pytest.raises(InputError, match="cannot be loaded safely"):
        torch_files.load(tmp_path / "bad.pth.tar", "a checkpoint", "leave it")
    assert not mark.exists()


@torch.no_grad()
def test_what_the_published_configuration_fits_is_written() -> None:
    clip = small_fit.clip_of(small_fit.rendered(frames=12, size=32))
    settings = get("nerf-blendshape").resolve("paper", {"perceptual_weight": 0.0})
    trainer = NerfBlendshapeTrainer(clip, settings, name="paper", head=synthetic.head(), seed=SEED)
    rng = torch.Generator().manual_seed(SEED)
    for table in trainer.field.tables:  # as if it had learned something
        table.copy_(0.3 * torch.randn(len(table), generator=rng))
    there = torch.rand(500, 3, generator=rng)

    def look(one: NerfBlendshapeAvatar) -> tuple[torch.Tensor, torch.Tensor]:
        blended = ops.blend_tables(torch.from_numpy(one.conditioning.coefficients(clip.params[5])), one.field.tables)
        return ops.nerf_field(
            there, blended, ops.spherical_harmonics(torch.eye(3), 4), torch.arange(500) % 3,
            one.field.sigma_weights, one.field.color_weights, one.field.spec,
            frame_offsets=torch.tensor([0, 500]), density_shift=one.field.density_shift,
        )  # fmt: skip

    trainer.field.sigma_weights[-1][0] *= 40
    if float(look(trainer.avatar())[0].std()) < 1:  # empty nearly everywhere: then its opposite is not
        trainer.field.sigma_weights[-1][0] *= -1
    avatar = trainer.avatar()
    written = checkpoint_of(avatar)
    assert len(written.around.names) == len(avatar.conditioning.active)
    assert written.bound == pytest.approx(theirs.BOUND), "so that their program's own default holds"
    back = avatar_of(
        written.checkpoint, written.around, name="back", head_model="embedded", identity=avatar.identity
    )  # fmt: skip
    np.testing.assert_allclose(back.cube.center, avatar.cube.center, atol=1e-6)
    np.testing.assert_allclose(back.cube.axes, np.eye(3), atol=1e-6)
    looks = [look(one) for one in (avatar, back)]
    assert float(looks[0][0].std()) > 0.1
    np.testing.assert_allclose(looks[1][0], looks[0][0], atol=1e-3 * float(looks[0][0].std()), rtol=1e-3)
    np.testing.assert_allclose(looks[1][1], looks[0][1], atol=1e-3)


def test_another_architecture_is_not_written() -> None:
    avatar = small_fit.trainer_of(small_fit.clip_of(small_fit.rendered())).avatar()
    with pytest.raises(UsageError, match="cannot be written") as caught:
        checkpoint_of(avatar)
    assert "networks" in caught.value.why and "pose" in caught.value.why


class Bomb:
    """What runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)

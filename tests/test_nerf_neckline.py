"""A head without clothes ends where its collar was, and nothing that clothes hid shows below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from small_fit import clip_of, rendered, trained, trainer_of

from headavatar import ops
from headavatar.errors import WorkspaceError
from headavatar.methods.nerf_blendshape.avatar import NerfBlendshapeAvatar
from headavatar.methods.nerf_blendshape.neckline import Neckline
from headavatar.methods.nerf_blendshape.occupancy import voxel_centers
from headavatar.methods.nerf_blendshape.rays import Cube, RayFrames
from headavatar.methods.nerf_blendshape.sightings import Sightings
from headavatar.methods.nerf_blendshape.trainer import NerfBlendshapeTrainer
from headavatar.methods.residuals import Residual
from headavatar.scene import Array, Camera, Clip

CHIN, GRID, SIZE, LOOKS = 152, 48, 96, 12
NECK_PX = 3
"""So much of the neck the collar leaves."""
ROLLED_PX = 10
"""A turned head's chin hangs lower than its neck beside it ends."""


def dressed() -> Clip:
    """A clip in a shirt that leaves a little of the neck, higher or lower from frame to frame."""
    clip = clip_of(rendered())
    rows = np.arange(clip.valid.shape[0])[:, None]
    collar = clip.landmarks[:, CHIN, 1].astype(int) + NECK_PX
    covered = np.where(rows > collar[:, None, None], np.uint8(255), np.uint8(0)).repeat(clip.valid.shape[1], 2)
    mattes = np.where(covered > 0, np.uint8(0), np.stack([np.asarray(matte) for matte in clip.mattes]))
    return replace(clip, mattes=mattes, covered=covered)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return dressed()


@pytest.fixture(scope="module")
def trainer(clip: Clip) -> NerfBlendshapeTrainer:
    return trained(clip, steps=100)


@pytest.fixture(scope="module")
def avatar(trainer: NerfBlendshapeTrainer) -> NerfBlendshapeAvatar:
    return trainer.avatar()


def without(avatar: NerfBlendshapeAvatar, folder: Path) -> NerfBlendshapeAvatar:
    """The same avatar with whatever lies below its neckline."""
    avatar.save(folder)
    bare = NerfBlendshapeAvatar.load(folder)
    assert bare.neckline is not None
    bare.neckline = None
    return bare


def test_a_neck_ends_at_its_collar(clip: Clip, avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    assert avatar.neckline is not None
    bare = without(avatar, tmp_path)
    rows, left, was, gone = np.arange(clip.valid.shape[0])[:, None], [], [], []
    for frame in clip.split.holdout:
        params, chin = clip.params[int(frame)], clip.landmarks[frame, CHIN, 1]
        seen, other = avatar.render(params, clip.camera), bare.render(params, clip.camera)
        above = np.broadcast_to(rows < chin - ROLLED_PX, clip.valid.shape)
        below = (rows > chin + NECK_PX + 4) & clip.valid
        np.testing.assert_array_equal(seen.rgb[above], other.rgb[above])
        left.append(seen.alpha[below].sum())
        was.append(other.alpha[below].sum())
        shows = (clip.covered[frame] == 0) & ~above & (other.alpha > 0.5)
        gone.append((other.alpha - seen.alpha)[shows].sum() / max(shows.sum(), 1))
    assert np.sum(left) < 0.1 * np.sum(was) and np.sum(was) > 10
    assert np.mean(gone) < 0.1


def test_it_is_kept_on_disk_and_by_a_fit_that_is_resumed(
    clip: Clip, avatar: NerfBlendshapeAvatar, trainer: NerfBlendshapeTrainer, tmp_path: Path
) -> None:
    avatar.save(tmp_path)
    fresh = trainer_of(clip, steps=100)
    fresh.load_state({name: tensor.clone() for name, tensor in trainer.state().items()})
    assert avatar.neckline is not None
    for found in (NerfBlendshapeAvatar.load(tmp_path).neckline, fresh.neckline):
        assert found is not None and torch.equal(found.shown, avatar.neckline.shown)


def test_one_of_another_grid_is_refused(avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    avatar.save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["neckline"] = tensors["neckline"][:-1].contiguous()
    safetensors.torch.save_file(tensors, file)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        NerfBlendshapeAvatar.load(tmp_path)


def test_poses_are_refined_by_the_colors_that_pictures_show(
    clip: Clip, avatar: NerfBlendshapeAvatar, tmp_path: Path
) -> None:
    bare = without(avatar, tmp_path)
    params = clip.params[int(clip.split.holdout[0])]
    shown = avatar.render(params, clip.camera).rgb
    below = np.abs(shown - bare.render(params, clip.camera).rgb).max(2) > 0.2
    assert below.sum() > 5
    colors = avatar.colors_at(params, clip.camera, torch.from_numpy(np.flatnonzero(below)), Residual.zero(1))
    assert np.abs(colors.detach().numpy() - shown[below]).mean() < 0.02


def test_meshes_end_there_too(clip: Clip, avatar: NerfBlendshapeAvatar, tmp_path: Path) -> None:
    eyes, params = np.array([[0.0, 0.0, 1.0]]), clip.params[0]
    bare = without(avatar, tmp_path)
    avatar_alone = without(avatar, tmp_path)
    avatar_alone.neckline = avatar.neckline
    bare.proxy = avatar_alone.proxy = None
    longer, shorter = bare.surface(params, eyes, 0.005), avatar_alone.surface(params, eyes, 0.005)
    lowest = float(np.quantile(shorter.vertices[:, 1], 0.01))
    assert (longer.vertices[:, 1] < lowest).mean() > 0.03


def test_a_torso_and_a_made_up_neck_have_none(clip: Clip) -> None:
    for other, choice in ((replace(clip, covered=None), {}), (clip, {"whole_neck": True})):
        assert trained(other, steps=10, **choice).avatar().neckline is None


def column(hidden_below: Array) -> tuple[torch.Tensor, Iterator[tuple[Sightings, Array]], Cube]:
    """A square column that a camera on the axis z sees, with clothes below some height in each picture, metres."""
    cube = Cube(np.zeros(3, np.float32), 0.3)
    centers = cube.to_head(voxel_centers(GRID)).reshape(GRID, GRID, GRID, 3)
    occupied = torch.from_numpy(np.abs(centers[..., ::2]).max(-1) < 0.06)
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[2, 3] = 1.2
    focal = 3.5 * SIZE
    camera = Camera(np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1.0]]), SIZE, SIZE, view)
    u, v = np.meshgrid(*((np.arange(SIZE) + 0.5 - SIZE / 2) / focal,) * 2)
    x, y, depth = u * (1.2 - 0.06), -v * (1.2 - 0.06), np.full((1, SIZE, SIZE), 1.2 - 0.06)
    alpha = (np.abs(x) < 0.06).astype(np.float32)[None]

    def looks() -> Iterator[tuple[Sightings, Array]]:
        for height in hidden_below:
            clothes = (y < height)[None]
            yield Sightings(
                view[None, :3, :3], view[None, :3, 3], camera, ~clothes, depth * alpha, alpha, alpha,
                np.zeros((1, SIZE, SIZE, 3)), cube, None,
            ), clothes  # fmt: skip

    return occupied, looks(), cube


def test_what_few_frames_show_fades_smoothly(rng: np.random.Generator) -> None:
    usual = rng.uniform(-0.06, -0.03)
    occupied, looks, cube = column(np.full(LOOKS, usual))
    found = Neckline.of(occupied, cube, looks, 0.02)
    assert found is not None
    heights = np.linspace(-0.14, 0.14, 400)
    front = np.stack([np.zeros(400), heights, np.full(400, 0.06)], 1)
    share = found.share(torch.from_numpy(cube.to_unit(front)).float()).numpy()
    voxel = cube.side / GRID
    assert (share[heights > usual + 2 * voxel] > 0.99).all() and (share[heights < usual - 6 * voxel] == 0).all()
    assert (np.diff(share) >= -1e-5).all() and np.diff(share).max() < 0.2
    back = np.stack([np.zeros(400), heights, np.full(400, -0.06)], 1)  # which no picture shows
    other = found.share(torch.from_numpy(cube.to_unit(back)).float()).numpy()
    assert np.abs(heights[other.searchsorted(0.5)] - heights[share.searchsorted(0.5)]) < 4 * voxel


def test_without_clothes_nothing_is_cut() -> None:
    occupied, looks, cube = column(np.full(3, -1.0))
    assert Neckline.of(occupied, cube, looks, 0.02) is None


def test_rays_show_as_much_of_a_place_as_is_shown_there(generator: torch.Generator) -> None:
    shown = torch.full((8, 4, 8), 255, dtype=torch.uint8)
    shown[:, 0] = 0
    neckline = Neckline(shown)
    origins = torch.rand(200, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.0])
    directions = torch.tensor([[0.0, 0.0, 1.0]]).repeat(200, 1)
    alpha = torch.rand(200, generator=generator)
    seen = ops.Composite(torch.rand(200, 3, generator=generator) * alpha[:, None], alpha, 0.5 * alpha)
    found = neckline.cut(seen, origins, directions)
    share = ((origins[:, 1] - 0.5 / 8) * 8).clamp(0, 1)
    torch.testing.assert_close(found.alpha, share * alpha, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.rgb, share[:, None] * seen.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.depth, share * seen.depth, atol=1e-5, rtol=0)
    high = RayFrames(torch.tensor([[0.5, 0.9, -1.0]]), torch.eye(3)[None]).origins[0]
    assert neckline.cut(seen, high, directions) is seen


def test_light_that_comes_nowhere_says_nothing(rng: np.random.Generator) -> None:
    occupied, looks, cube = column(rng.uniform(-0.06, -0.03, LOOKS))
    found = Neckline.of(occupied, cube, looks, 0.02)
    assert found is not None
    inner = np.stack([np.zeros(50), np.linspace(0.0, 0.02, 50), np.zeros(50)], 1)
    assert (found.share(torch.from_numpy(cube.to_unit(inner)).float()) > 0.99).all()

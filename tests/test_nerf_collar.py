"""What clothes hide of a neck: made up where the tracked mesh has it, in the color of the skin above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_fit import clip_of, rendered, trained, trainer_of
from synthetic import head

from headavatar.methods.nerf_blendshape.collar import Collar
from headavatar.methods.nerf_blendshape.pixels import COVERED
from headavatar.scene import PARSING_CLASSES, Array, Clip

CHIN = 152
SHIRT = np.array([20, 90, 30], np.uint8)


def dressed(clip: Clip) -> tuple[Clip, Array, Array]:
    """The clip in a shirt that hides the neck up to the chin; and images and mattes as they would be without."""
    images, mattes = (np.stack([np.asarray(picture) for picture in row]) for row in (clip.images, clip.mattes))
    rows, parsing = np.arange(images.shape[1])[:, None], np.stack([np.asarray(picture) for picture in clip.parsing])
    face = np.isin(parsing, [PARSING_CLASSES.index(name) for name in ("face_skin", "hair")])
    collar = clip.landmarks[:, CHIN, 1].astype(int) - 3
    covered = np.where((rows > collar[:, None, None]) & ~face, np.uint8(255), np.uint8(0))
    hidden = covered > 0
    worn = replace(
        clip, images=np.where(hidden[..., None], SHIRT, images), mattes=np.where(hidden, np.uint8(0), mattes),
        covered=covered,
    )  # fmt: skip
    return worn, images, mattes


@pytest.fixture(scope="module")
def clips() -> tuple[Clip, Array, Array]:
    return dressed(clip_of(rendered()))


def test_a_hidden_neck_gets_the_meshs_outline_and_the_skins_color(clips: tuple[Clip, Array, Array]) -> None:
    clip, images, mattes = clips
    collar = Collar.of(clip, head())
    assert collar is not None
    for frame in clip.split.train[::4]:
        counted = clip.valid & (clip.covered[frame] < COVERED)
        image, matte, made_up = collar.fill(int(frame), clip.images[frame], clip.mattes[frame], counted)
        assert not (made_up & counted).any()
        for filled, given in ((image, clip.images[frame]), (matte, clip.mattes[frame])):
            assert np.array_equal(filled[~made_up], given[~made_up])
        neck = made_up & (mattes[frame] > 250)
        assert neck.sum() > 0.8 * (~counted & (mattes[frame] > 250)).sum() > 20
        assert np.abs(matte.astype(int) - mattes[frame])[made_up].mean() < 0.05 * 255
        off = np.abs(image.astype(int) - images[frame])[neck].mean(0)
        assert off.max() < 25, "the skin's color, not the shirt's"
        assert (matte[made_up & (mattes[frame] == 0)] == 0).mean() > 0.9


def test_a_fitted_neck_goes_on_below_the_collar_as_if_there_were_none(clips: tuple[Clip, Array, Array]) -> None:
    clip, images, mattes = clips
    avatar = trained(clip, steps=160, whole_neck=True).avatar()
    overlap, colors = [], []
    for frame in clip.split.holdout[::2]:
        seen = avatar.render(clip.params[int(frame)], clip.camera)
        below = clip.covered[frame] > 0
        there, true = (seen.alpha > 0.5) & below, (mattes[frame] > 127) & below
        overlap.append((there & true).sum() / (there | true).sum())
        colors.append(np.abs(seen.rgb - images[frame] / 255)[there & true].mean())
    assert np.mean(overlap) > 0.85
    assert np.mean(colors) < 0.1


def test_nothing_is_made_up_where_the_torso_is_modelled_or_nobody_asks(clips: tuple[Clip, Array, Array]) -> None:
    clip, _, _ = clips
    assert Collar.of(replace(clip, covered=None), head()) is None
    pixels = trainer_of(clip, steps=1).pixels
    assert "neck" not in pixels.rectangles
    for place, frame in enumerate(clip.split.train[:3]):
        counted = (clip.valid & (clip.covered[frame] < COVERED)).reshape(-1)
        assert np.array_equal(pixels.weights(place, torch.arange(len(counted))).numpy(), counted.astype(np.float32))

"""PSNR, SSIM and LPIPS: the values of known libraries and of plain sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from headavatar.errors import ModelError
from headavatar.metrics.lpips import Lpips, lpips
from headavatar.metrics.psnr import CEILING_DB, psnr
from headavatar.metrics.ssim import ssim, ssim_map
from headavatar.metrics.truth import face_mask, on_white, rectangle_of


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    smooth = np.kron(rng.random((9, 11, 3)), np.ones((8, 8, 1)))
    return smooth, np.clip(smooth + rng.normal(0, 0.1, smooth.shape), 0, 1)


@pytest.fixture(scope="module")
def alex() -> Lpips:
    try:
        return Lpips("alex")
    except ModelError as error:
        pytest.skip(f"the network is not there: {error.what}")


def test_psnr_is_that_of_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*pair, data_range=1), abs=1e-9)


def test_ssim_is_that_of_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected = structural_similarity(
        *pair, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(*pair) == pytest.approx(expected, abs=1e-9)


def test_equal_pictures_are_perfect(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert psnr(pair[0], pair[0]) == CEILING_DB
    assert ssim(pair[0], pair[0]) == pytest.approx(1)


def test_masks_choose_the_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image, truth = pair
    mask = np.zeros(image.shape[:2], bool)
    mask[20:40, 30:60] = True
    spoiled = np.where(mask[..., None], image, 1 - image)
    assert psnr(spoiled, truth, mask) == pytest.approx(psnr(image[20:40, 30:60], truth[20:40, 30:60]))
    assert ssim(image, truth, mask) == pytest.approx(ssim_map(image, truth)[20:40, 30:60].mean())


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_what_cannot_be_compared_is_refused(figure) -> None:
    with pytest.raises(ValueError, match="shapes"):
        figure(np.zeros((20, 20, 3)), np.zeros((20, 21, 3)))
    with pytest.raises(ValueError, match="empty"):
        figure(np.zeros((20, 20, 3)), np.zeros((20, 20, 3)), np.zeros((20, 20), bool))


def test_lpips_grows_with_the_difference(alex: Lpips, rng: np.random.Generator) -> None:
    image = np.kron(rng.random((12, 12, 3)), np.ones((8, 8, 1)))
    noise = rng.normal(0, 1, image.shape)
    values = [lpips(alex, np.clip(image + strength * noise, 0, 1), image) for strength in (0, 0.02, 0.08, 0.3)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values) and values[-1] > 0.1


def test_lpips_is_one_for_each_picture_and_differentiable(alex: Lpips, rng: np.random.Generator) -> None:
    a, b = (torch.from_numpy(rng.random((2, 3, 48, 40), np.float32)) for _ in range(2))
    a.requires_grad_()
    both = alex(a, b)
    for i in range(2):
        torch.testing.assert_close(both[i], alex(a[i : i + 1], b[i : i + 1])[0])
    both.sum().backward()
    assert a.grad is not None and a.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="shapes"):
        alex(a, b[..., :-1])


def test_truth_is_the_head_on_white() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    matte = np.zeros((4, 4), np.uint8)
    matte[1, 1], matte[2, 2] = 255, 51
    truth = on_white(image, matte)
    np.testing.assert_allclose(truth[0, 0], 1)
    np.testing.assert_allclose(truth[1, 1], 100 / 255, rtol=1e-6)
    np.testing.assert_allclose(truth[2, 2], 0.2 * 100 / 255 + 0.8, rtol=1e-6)


def test_face_mask_follows_the_landmarks_and_is_empty_without_them() -> None:
    landmarks = np.full((478, 3), 32.0)
    from headavatar.metrics.truth import FACE_OVAL

    ring = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    landmarks[list(FACE_OVAL), 0] = 32 + 20 * np.cos(ring)
    landmarks[list(FACE_OVAL), 1] = 30 + 10 * np.sin(ring)
    mask = face_mask(landmarks, 64, 64)
    assert mask.sum() == pytest.approx(np.pi * 20 * 10, rel=0.1)
    rows, columns = rectangle_of(mask)
    assert abs(rows.start - 20) <= 1 and abs(columns.stop - 52) <= 1
    assert not face_mask(np.full((478, 3), np.nan), 64, 64).any()

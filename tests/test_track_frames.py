"""Pictures on disk that read like an array, and do not fill the memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from headavatar.scene import Array
from headavatar.track import frames
from headavatar.track.frames import Changed, FrameStore


@pytest.fixture
def pictures(rng: np.random.Generator) -> Array:
    return rng.integers(0, 256, (23, 6, 9, 3), dtype=np.uint8)


def indices(rng: np.random.Generator) -> list[int | slice | Array]:
    return [
        0, 22, -1, -23, slice(None), slice(4, 9), slice(20, 40), slice(9, 9), slice(None, None, 5),
        np.array([3, 4, 5, 9, 2, 2]), rng.random(23) < 0.4, np.zeros(23, bool), rng.permutation(23),
    ]  # fmt: skip


def test_it_reads_like_the_array(pictures: Array, tmp_path: Path, rng: np.random.Generator) -> None:
    store = FrameStore.written(iter(pictures), tmp_path)
    assert store.shape == pictures.shape and len(store) == len(pictures)
    for index in indices(rng):
        np.testing.assert_array_equal(store[index], pictures[index])
    with pytest.raises(IndexError):
        store[23]
    assert torch.from_numpy(store[2:5]).shape == (3, 6, 9, 3)
    chosen = np.flatnonzero(rng.random(23) < 0.6)
    part = store.at(chosen)
    assert part.shape == pictures[chosen].shape
    np.testing.assert_array_equal(part[1:4], pictures[chosen][1:4])
    np.testing.assert_array_equal(part.at(np.arange(len(chosen)) % 2 == 0)[:], pictures[chosen][::2])
    np.testing.assert_array_equal(store[:], pictures)  # a part moves nobody else's place in the file


@pytest.mark.parametrize("few", [True, False])
def test_changed_pictures_read_like_the_changed_array(
    pictures: Array, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    """Few enough to be kept they are changed once each, else whenever they are read."""
    monkeypatch.setattr(frames, "KEPT_BYTES", 23 * 3 * 9 if few else 23 * 3 * 9 - 1)
    made: list[int] = []

    def change(picture: Array) -> Array:
        made.append(1)
        return picture[::2, :, 0] // 2

    changed = Changed(FrameStore.written(iter(pictures), tmp_path), change, (3, 9))
    expected = pictures[:, ::2, :, 0] // 2
    assert changed.shape == expected.shape
    for index in indices(rng):
        found = changed[index]
        np.testing.assert_array_equal(found, expected[index])
        found[...] = 0  # whoever reads them may do with them what they like
    with pytest.raises(IndexError):
        changed[23]
    assert len(made) == 23 if few else len(made) > 23


def test_kept_pictures_can_be_read_from_several_threads(pictures: Array, tmp_path: Path) -> None:
    changed = Changed(FrameStore.written(iter(pictures), tmp_path), lambda picture: 255 - picture, pictures.shape[1:])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: changed[:], range(40)):
            np.testing.assert_array_equal(found, 255 - pictures)


def test_nothing_is_left_in_the_folder(pictures: Array, tmp_path: Path) -> None:
    store = FrameStore.written(iter(pictures), tmp_path)
    assert not list(tmp_path.iterdir())
    assert store[5].any()


def test_pictures_of_another_shape_are_refused(pictures: Array, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="picture 1"):
        FrameStore.written([pictures[0], pictures[1][:3]], tmp_path)
    with pytest.raises(ValueError, match="float"):
        FrameStore.written([pictures[0].astype(np.float32)], tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_flat(tmp_path: Path, rng: np.random.Generator) -> None:
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    one = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)

    def many() -> Iterator[Array]:
        for _ in range(600):
            yield one

    before = resident_mb()
    store = FrameStore.written(many(), tmp_path)
    total = 0
    for first in range(0, len(store), 24):
        total += int(store[first : first + 24][:, 0, 0, 0].sum())
    assert total == 600 * int(one[0, 0, 0])
    size = 600 * one.nbytes / 2**20
    print(f"{size:.0f} MB read, {resident_mb() - before:.0f} MB more resident")
    assert resident_mb() - before < 0.25 * size

"""The training frames that a fit reads: the clip's own, and never more than a few of them in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from headavatar.errors import WorkspaceError
from headavatar.methods.frame_file import FrameFile
from headavatar.methods.nerf_blendshape.pixels import COVERED, TrainingPixels
from headavatar.scene import WORLD_TO_CAMERA, Camera, Clip, HeadParams, Split


class Made:
    """Pictures that are computed whenever they are read."""

    def __init__(self, count: int, size: int, channels: tuple[int, ...], seed: int) -> None:
        self.count, self.shape, self.seed = count, (size, size, *channels), seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index):
        return np.random.default_rng((self.seed, index)).integers(0, 256, self.shape, np.uint8)


def clip_of(frames: int, size: int, seed: int, folder) -> Clip:
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / 25
    return Clip(
        Made(frames, size, (3,), seed), Made(frames, size, (), seed + 1), Made(frames, size, (), seed + 2),
        rng.uniform(0, size, (frames, 478, 3)), Camera(np.eye(3), size, size, WORLD_TO_CAMERA),
        HeadParams.neutral(frames, np.zeros(3)), times, np.arange(frames), rng.random((size, size)) < 0.9,
        Split.blocks(times), covered=Made(frames, size, (), seed + 3), scratch=folder,
    )  # fmt: skip


@pytest.fixture
def seed() -> int:
    value = torch.seed() % 2**31
    print(f"seed {value}")
    return value


def test_pixels_are_the_clips(seed, tmp_path):
    clip = clip_of(300, 24, seed, tmp_path)
    pixels = TrainingPixels.of(clip, "cpu")
    assert len(pixels.colors) == len(clip.split.train) < 300
    generator = torch.Generator().manual_seed(seed)
    for place in torch.randperm(len(clip.split.train), generator=generator)[:20].tolist():
        frame = int(clip.split.train[place])
        chosen = torch.randint(24 * 24, (100,), generator=generator)
        at = chosen.numpy()
        assert np.array_equal(pixels.colors[place, chosen].numpy(), clip.images[frame].reshape(-1, 3)[at])
        assert np.array_equal(pixels.mattes[place, chosen].numpy(), clip.mattes[frame].reshape(-1)[at])
        counted = clip.valid & (clip.covered[frame] < COVERED)
        assert pixels.counted[place, chosen].dtype == torch.bool
        assert np.array_equal(pixels.counted[place, chosen].numpy(), counted.reshape(-1)[at])
        drawn = pixels.draw(place, 64, generator)
        assert len(drawn) == 64 and int(drawn.min()) >= 0 and int(drawn.max()) < 24 * 24
    several = torch.tensor([3, 0, 7])
    assert torch.equal(pixels.mattes[several][1], pixels.mattes[0])
    assert list(tmp_path.iterdir()) == []  # the file has no name, so that nothing is left behind


def test_memory_does_not_grow_with_the_clip(seed, tmp_path):
    frame_bytes, peaks = 128 * 128 * 5, []
    for frames in (30, 150):
        clip = clip_of(frames, 128, seed, tmp_path)
        tracemalloc.start()
        pixels = TrainingPixels.of(clip, "cpu")
        for frame in range(len(pixels.colors)):
            assert len(pixels.colors[frame, torch.arange(10)]) == 10
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Looking through the landmarks, which the clip holds anyway, takes some 25 KB a frame; its pixels would take 82 KB.
    assert peaks[1] - peaks[0] < 0.5 * 120 * frame_bytes


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(WorkspaceError, match="laid out"):
        FrameFile.written(iter([(np.zeros(4, np.uint8),)]), tmp_path / "nowhere")


def test_frames_of_other_shapes_or_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="frame 1"):
        FrameFile.written(iter([(np.zeros(4, np.uint8),), (np.zeros(5, np.uint8),)]), tmp_path)
    with pytest.raises(ValueError, match="frame 0"):
        FrameFile.written(iter([(np.zeros(4, np.float32),)]), tmp_path)
    (rows,) = FrameFile.written(iter([(np.arange(4, dtype=np.uint8),)]), tmp_path)
    with pytest.raises(IndexError):
        rows[1, torch.arange(2)]

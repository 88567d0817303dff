"""Reading videos as ffmpeg finds them: turned, uneven in time, odd, broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import ffmpeg

from headavatar.dialects import pictures
from headavatar.errors import InputError
from headavatar.preprocess import stills
from headavatar.preprocess.decode import Selection, expected_frames, probe, read_frames
from headavatar.scene import Array

# Four coloured quarters, so that it shows which way is up; 128 x 96, 10 frames a second, 2 s.
QUARTERS = (
    "color=red:s=64x48:r=10:d=2[a];color=lime:s=64x48:r=10:d=2[b];color=blue:s=64x48:r=10:d=2[c];"
    "color=white:s=64x48:r=10:d=2[d];[a][b]hstack[ab];[c][d]hstack[cd];[ab][cd]vstack"
)
COLORS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


@pytest.fixture(scope="module")
def quarters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "quarters.mp4"
    ffmpeg("-filter_complex", QUARTERS, "-pix_fmt", "yuv444p", "-crf", "4", path)
    return path


def all_frames(path: Path, selection: Selection | None = None) -> tuple[list[float], list[Array]]:
    info = probe(path)
    pairs = list(read_frames(path, info, selection or Selection(), (info.width, info.height)))
    return [time for time, _ in pairs], [frame for _, frame in pairs]


def corners(frame: Array) -> list[str]:
    """Names of the colours in the quarters, row by row."""
    height, width = frame.shape[:2]
    found = []
    for y, x in ((1, 1), (1, 3), (3, 1), (3, 3)):
        color = frame[height * y // 4, width * x // 4].astype(int)
        found.append(min(COLORS, key=lambda name: np.abs(color - COLORS[name]).max()))
    return found


def test_upright_video(quarters: Path) -> None:
    info = probe(quarters)
    assert (info.width, info.height, info.fps, info.rotation, info.codec) == (128, 96, 10.0, 0.0, "h264")
    times, frames = all_frames(quarters)
    assert times == pytest.approx(np.arange(20) / 10) and len(times) == expected_frames(info, Selection())
    assert corners(frames[0]) == ["red", "lime", "blue", "white"]


def test_phone_video_is_turned_upright(quarters: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", quarters, "-c", "copy", turned)
    info = probe(turned)
    assert (info.width, info.height, abs(info.rotation)) == (96, 128, 90)
    assert corners(all_frames(turned)[1][0]) == ["lime", "white", "red", "blue"]


def test_uneven_times_are_kept(quarters: Path, tmp_path: Path) -> None:
    uneven = tmp_path / "uneven.mkv"
    ffmpeg("-i", quarters, "-vf", "setpts='if(lt(N,10),N*0.2,2+(N-10)*0.05)/TB'", "-fps_mode", "passthrough",
           "-enc_time_base", "1/1000", uneven)  # fmt: skip
    times, _ = all_frames(uneven)
    expected = [*np.arange(10) * 0.2, *(2 + np.arange(10) * 0.05)]
    assert times == pytest.approx(expected, abs=2e-3)
    thirds, _ = all_frames(uneven, Selection(every=3))
    assert thirds == pytest.approx(expected[::3], abs=2e-3)


def test_odd_sizes_and_stretched_pixels(quarters: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.mkv"
    ffmpeg("-i", quarters, "-vf", "scale=101:77,setsar=2/1", "-pix_fmt", "yuv444p", odd)
    info = probe(odd)
    assert (info.width, info.height) == (202, 77)
    assert corners(all_frames(odd)[1][0]) == ["red", "lime", "blue", "white"]


def test_start_every_and_maximum(quarters: Path) -> None:
    times, _ = all_frames(quarters, Selection(start_s=0.5, every=4, max_frames=3))
    assert times == pytest.approx([0.5, 0.9, 1.3], abs=1e-3)
    with pytest.raises(InputError, match=r"ends at 2\.0 s"):
        all_frames(quarters, Selection(start_s=5.0))


def test_window_may_leave_the_picture(quarters: Path) -> None:
    info = probe(quarters)
    _, frame = next(iter(read_frames(quarters, info, Selection(), (64, 64), (-32, -16, 128))))
    assert frame[:7].max() <= 8 and frame[:, :15].max() <= 8  # beyond the picture it is black
    assert np.abs(frame[12, 24].astype(int) - COLORS["red"]).max() < 12
    assert np.abs(frame[12, 60].astype(int) - COLORS["lime"]).max() < 12


def test_ten_bit_high_dynamic_range(quarters: Path, tmp_path: Path) -> None:
    bright = tmp_path / "hdr.mov"
    tags = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc:log-level=error"
    ffmpeg("-i", quarters, "-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", tags, "-tag:v", "hvc1", bright)
    assert probe(bright).hdr
    assert corners(all_frames(bright)[1][0]) == ["red", "lime", "blue", "white"]


def test_truncated_video_gives_what_decodes(tmp_path: Path) -> None:
    whole, short = tmp_path / "whole.mp4", tmp_path / "short.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=128x96:r=10:d=4", "-g", "5", "-movflags", "+faststart", whole)
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 3 < len(all_frames(short)[0]) < 40
    ffmpeg("-i", whole, "-c", "copy", tmp_path / "late.mp4")  # its index at the end
    short.write_bytes((tmp_path / "late.mp4").read_bytes()[:-2000])
    with pytest.raises(InputError, match="cut short"):
        probe(short)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    sound = tmp_path / "sound.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", sound)
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("words")
    cases = {
        tmp_path / "none.mp4": "no file", tmp_path: "folder", empty: "empty", text: "not a video", sound: "no picture"
    }  # fmt: skip
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            probe(path)
        assert caught.value.why and caught.value.fix and caught.value.exit_code == 3


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    folder = tmp_path / "pictures"
    folder.mkdir()
    truth = rng.integers(0, 256, (12, 40, 60, 3), np.uint8)
    for i, picture in enumerate(truth):
        pictures.save(folder / f"{i + 1}.png", picture)  # 10.png comes after 9.png, not after 1.png
    (folder / "notes.txt").write_text("no picture")
    info = probe(folder, 10.0)
    assert (info.width, info.height, info.fps, info.duration_s) == (60, 40, 10.0, 1.2)
    for path in (folder, folder / "*.png"):
        times, frames = all_frames(path, Selection(start_s=0.2, every=3, max_frames=3))
        assert times == pytest.approx(np.array([5, 8, 11]) / 25)  # 0.2 s of the default's 25 frames a second
        np.testing.assert_array_equal(np.stack(frames), truth[[5, 8, 11]])
    (cut,) = [f for _, f in read_frames(folder, info, Selection(max_frames=1), (30, 30), (-10, 20, 30))]
    np.testing.assert_array_equal(cut[:20, 10:], truth[0, 20:, :20])
    assert not cut[:, :10].any() and not cut[20:].any()
    pictures.save(folder / "13.png", truth[0, :, :30])
    with pytest.raises(InputError, match="another size"):
        all_frames(folder)


def test_mattes_come_with_pictures_by_name_or_as_transparency(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    mattes = rng.integers(0, 256, (4, 16, 16), np.uint8)
    for name in ("bare", "masks", "cut"):
        (tmp_path / name).mkdir()
    for i, matte in enumerate(mattes):
        image = rng.integers(0, 256, (16, 16, 3), np.uint8)
        pictures.save(tmp_path / "bare" / f"{i}.png", image)
        pictures.save(tmp_path / "masks" / f"{i}.png", matte)
        pictures.save(tmp_path / "cut" / f"{i}.png", image, matte)
    window, every = (0, 0, 16), Selection(every=2)
    for folder, masks in (("bare", tmp_path / "masks"), ("cut", None)):
        read = stills.read_mattes(tmp_path / folder, masks, 25.0, every, (16, 16), window)
        found, shares = zip(*read, strict=True)
        np.testing.assert_allclose(np.stack(found), mattes[::2] / np.float32(255))
        assert shares == (None, None), "a matte does not tell head from shoulders"
    assert stills.has_mattes(tmp_path / "cut") and not stills.has_mattes(tmp_path / "bare")
    shown, _ = pictures.read(tmp_path / "cut" / "0.png")
    assert (shown[mattes[0] == 0] == 255).all(), "what is transparent is white"
    (tmp_path / "masks" / "2.png").unlink()
    with pytest.raises(InputError, match=r"no mask for 2\.png"):
        list(stills.read_mattes(tmp_path / "bare", tmp_path / "masks", 25.0, every, (16, 16), window))


def test_a_folder_per_picture_is_read_and_its_classes_tell_head_from_clothes(tmp_path: Path) -> None:
    rng = np.random.default_rng()
    classes = rng.integers(0, 19, (12, 16, 16))
    images = rng.integers(0, 256, (12, 16, 16, 3), np.uint8)
    for i in range(12):
        folder = tmp_path / f"frame_{i}"
        folder.mkdir()
        pictures.save(folder / "image_0000.png", images[i])
        pictures.save(folder / "parsing_0000.png", classes[i].astype(np.uint8 if i % 2 else np.uint16))
    source, masks = tmp_path / "frame_*" / "image_0000.png", tmp_path / "frame_*" / "parsing_0000.png"
    info = probe(source)
    assert (info.width, info.height, info.codec) == (16, 16, stills.CODEC)
    read = np.stack([frame for _, frame in read_frames(source, info, Selection(), (16, 16))])
    np.testing.assert_array_equal(read, images, "2 comes before 10")
    found = list(stills.read_mattes(source, masks, 25.0, Selection(), (16, 16), (0, 0, 16), "nineteen"))
    np.testing.assert_array_equal([person for person, _ in found], classes != 0)
    np.testing.assert_array_equal([share for _, share in found], (classes != 0) & (classes != 16))
    (tmp_path / "frame_7" / "parsing_0000.png").unlink()
    with pytest.raises(InputError, match=r"no mask for frame_7/image_0000\.png"):
        list(stills.read_mattes(source, masks, 25.0, Selection(), (16, 16), (0, 0, 16), "nineteen"))

"""Reads a video through ffmpeg: its facts, and its frames one at a time, upright, in square pixels, 8-bit RGB.

ffmpeg turns phone videos upright, honours edit lists and keeps the true time of every frame. Frames come through a
pipe, so memory does not grow with the clip. Pictures in a folder stand for a video too, see `stills`.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

from headavatar.dialects.pictures import is_source
from headavatar.errors import EnvironmentFault, InputError
from headavatar.preprocess import stills
from headavatar.preprocess.stills import Selection
from headavatar.scene import Array

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
READABLE = "give a video that plays in an ordinary player; `ffmpeg -i IN -c:v libx264 -crf 16 OUT.mp4` often mends one"


@dataclass(frozen=True)
class VideoInfo:
    """What ffmpeg says about a video before decoding it.

    Attributes:
        width, height: upright size in square pixels.
        fps: average frames per second; frames need not be evenly spaced.
        duration_s: seconds, 0 where the file does not say.
        rotation: degrees that the player turns the stored picture by, counter-clockwise as ffmpeg counts.
        codec: the codec's short name.
        hdr: whether the picture is PQ or HLG and must be tone-mapped.
        stored_width, stored_height: size of the stored picture.
        pixel_aspect: width over height of a stored pixel.
    """

    width: int
    height: int
    fps: float
    duration_s: float
    rotation: float
    codec: str
    hdr: bool
    stored_width: int
    stored_height: int
    pixel_aspect: float


def expected_frames(info: VideoInfo, selection: Selection) -> int | None:
    """About how many frames a selection gives, or None where the video does not say."""
    if not info.fps or not info.duration_s:
        return selection.max_frames or None
    count = max(1, int(np.ceil((info.duration_s - selection.start_s) * info.fps / selection.every - 1e-3)))
    return min(count, selection.max_frames) if selection.max_frames else count


def ffmpeg_binary() -> str:
    """The ffmpeg that imageio-ffmpeg ships, or the one that its environment variable names."""
    try:
        return get_ffmpeg_exe()
    except RuntimeError as error:
        raise EnvironmentFault(
            "no ffmpeg was found", why=str(error), fix="pip install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE"
        ) from error


def probe(path: Path, stills_fps: float = 25.0) -> VideoInfo:
    """Read a video's facts.

    Args:
        path: a video, a folder of pictures, or a pattern such as `folder/*_08.png`.
        stills_fps: frames per second of pictures, which don't say.
    Raises:
        InputError: there is no such file, it is empty, or it holds no video.
    """
    if is_source(path):
        width, height, count = stills.facts(path)
        return VideoInfo(width, height, stills_fps, count / stills_fps, 0.0, stills.CODEC, False, width, height, 1.0)
    if not path.is_file():
        what = f"{path} is a folder, not a video" if path.is_dir() else f"there is no file {path}"
        raise InputError(what, why="preprocess needs a video file", fix="check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty", why="the file has 0 bytes", fix="copy or record it again")
    run = subprocess.run(
        [ffmpeg_binary(), "-hide_banner", "-i", str(path)], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return parse_probe(run.stderr.decode("utf-8", "replace"), path)


def parse_probe(text: str, path: Path) -> VideoInfo:
    """Take a video's facts from what `ffmpeg -i` prints."""
    streams = re.findall(r"Stream #\S+.*?: (Video|Audio|Subtitle|Data): (.*)", text)
    if not streams:
        if "moov atom not found" in text and _starts_as_mp4(path):
            raise InputError(
                f"{path} is cut short", why="its index, which MP4 files often keep at the end, is missing",
                fix="copy or record it again",
            )  # fmt: skip
        reason = next((line for line in reversed(text.splitlines()) if "rror" in line or "nvalid" in line), "")
        raise InputError(f"{path} is not a video", why=f"ffmpeg says: {reason.strip() or text.strip()}", fix=READABLE)
    pictures = [line for kind, line in streams if kind == "Video" and "(attached pic)" not in line]
    if not pictures:
        raise InputError(f"{path} has sound but no picture", why="it holds no video stream", fix="give a video file")
    line = pictures[0]
    size = re.search(r"[ ,](\d{2,5})x(\d{2,5})", line)
    if not size:
        raise InputError(f"{path} has a video stream without a picture size", why=line, fix=READABLE)
    stored_width, stored_height = int(size[1]), int(size[2])
    aspect = re.search(r"SAR (\d+):(\d+)", line)
    pixel_aspect = int(aspect[1]) / int(aspect[2]) if aspect and int(aspect[1]) and int(aspect[2]) else 1.0
    rate = re.search(r"([\d.]+)(k?) fps", line) or re.search(r"([\d.]+)(k?) tbr", line)
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    span = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
    duration = int(span[1]) * 3600 + int(span[2]) * 60 + float(span[3]) if span else 0.0
    turned = re.search(r"rotation of (-?[\d.]+) degrees", text)
    rotation = float(turned[1]) if turned else 0.0
    width, height = round(stored_width * pixel_aspect), stored_height
    if round(rotation / 90) % 2:
        width, height = height, width
    return VideoInfo(
        width, height, fps, duration, rotation, line.split()[0].strip(","),
        any(name in line for name in HDR_TRANSFERS), stored_width, stored_height, pixel_aspect,
    )  # fmt: skip


def _starts_as_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def read_frames(
    path: Path, info: VideoInfo, selection: Selection, size: tuple[int, int], window: tuple[int, int, int] | None = None
) -> Iterator[tuple[float, Array]]:
    """Decode the selected frames.

    Args:
        path: the video.
        info: its facts, from `probe`.
        selection: which frames.
        size: (width, height) of the frames wanted, pixels.
        window: (x, y, side) of a square of the upright picture to cut out before scaling; it may leave the picture,
            and what lies outside is black.
    Yields:
        time in seconds into the video, and the frame (H, W, 3) uint8 RGB, in the order of presentation.
    Raises:
        InputError: not a single frame decodes.
    """
    if info.codec == stills.CODEC:
        yield from stills.read_frames(path, info.fps, selection, size, window)
        return
    command = _graph(path, info, selection, size, window).compile(cmd=ffmpeg_binary())
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    times: deque[float] = deque()
    arrived = threading.Condition()
    complaints: deque[str] = deque(maxlen=8)

    def listen() -> None:
        for raw in process.stderr or ():
            line = raw.decode("utf-8", "replace")
            stamp = re.search(r"\bn: *\d+ .*pts_time: *(\S+)", line)
            with arrived:
                if stamp:
                    times.append(float(stamp[1]) if stamp[1] != "NOPTS" else float("nan"))
                elif "showinfo" not in line:
                    complaints.append(line.strip())
                arrived.notify()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    width, height = size
    count = 0
    last = selection.start_s
    try:
        while True:
            data = process.stdout.read(width * height * 3)
            if len(data) < width * height * 3:
                break
            with arrived:
                arrived.wait_for(lambda: times or not listener.is_alive(), timeout=30)
                stamp_s = times.popleft() if times else float("nan")
            step = selection.every / (info.fps or 25.0)
            last = selection.start_s + stamp_s if np.isfinite(stamp_s) else last + step * (count > 0)
            count += 1
            yield last, np.frombuffer(data, np.uint8).reshape(height, width, 3)
    finally:
        process.stdout.close()
        process.kill() if process.poll() is None and count == 0 else process.terminate()
        process.wait()
        listener.join(timeout=5)
        process.stderr.close()
    if count == 0:
        beyond = selection.start_s > 0 and info.duration_s and selection.start_s >= info.duration_s
        raise InputError(
            f"not one frame of {path} could be decoded",
            why=f"the video ends at {info.duration_s:.1f} s" if beyond else "; ".join(complaints) or "ffmpeg gave none",
            fix=f"start before {info.duration_s:.1f} s" if beyond else READABLE,
        )


def _graph(
    path: Path, info: VideoInfo, selection: Selection, size: tuple[int, int], window: tuple[int, int, int] | None
) -> ffmpeg.nodes.OutputStream:
    """ffmpeg's filter graph: select, note the time, square the pixels, cut out, tone-map, scale."""
    source = {"ss": f"{selection.start_s:.6f}"} if selection.start_s > 0 else {}
    stream = ffmpeg.input(str(path), **source).video
    if selection.every > 1:
        stream = stream.filter("select", f"not(mod(n,{selection.every}))")
    stream = stream.filter("showinfo", checksum=0)
    upright = (info.width, info.height)
    sampling = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
    if abs(info.pixel_aspect - 1) > 1e-3:
        stream = stream.filter("scale", *upright, flags=sampling).filter("setsar", 1)
    if window:
        x, y, side = window
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + side, info.width), min(y + side, info.height)
        stream = stream.filter("crop", right - left, bottom - top, left, top, exact=1)
    if info.hdr:
        stream = (
            stream.filter("zscale", t="linear", npl=100).filter("format", "gbrpf32le").filter("zscale", p="bt709")
            .filter("tonemap", "hable", desat=0).filter("zscale", t="bt709", m="bt709", r="full")
        )  # fmt: skip
    if window or info.hdr:
        # named, so that its flags hold: the conversion that ffmpeg would put in by itself repeats chroma in blocks
        stream = stream.filter("scale", flags=sampling).filter("format", "rgb24")
    if window and (right - left, bottom - top) != (side, side):
        stream = stream.filter("pad", side, side, left - x, top - y)
    stream = stream.filter("scale", *size, flags=sampling)
    frames = {"frames:v": selection.max_frames} if selection.max_frames else {}
    return stream.output(
        "pipe:", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough", **frames
    ).global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "info")  # fmt: skip

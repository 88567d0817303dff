"""Writing MP4 files that every player opens: H.264, yuv420p, even sides, index in front."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from headavatar.errors import EnvironmentFault, HeadAvatarError, WorkspaceError
from headavatar.scene import Array


def ffmpeg_executable() -> str:
    """Path of the ffmpeg that imageio-ffmpeg brings.

    Raises:
        EnvironmentFault: there is none.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EnvironmentFault(
            "No ffmpeg was found.", why=str(error), fix="pip install --force-reinstall imageio-ffmpeg"
        ) from error


class VideoWriter:
    """Encodes RGB pictures to an MP4 file as they come.

    Args:
        path: the file to write; it is complete once the writer is closed.
        fps: pictures per second.
        crf: x264's quality, 0 (lossless) … 51; 18 is visually lossless.

    The size is the first picture's, padded with white to even sides as yuv420p asks. Use it as a context manager.
    """

    def __init__(self, path: Path, fps: float, crf: int = 18) -> None:
        self.path = Path(path)
        self.fps = float(fps)
        self.crf = crf
        self.frames = 0
        self._shape: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, rgb: Array) -> None:
        """Add one picture.

        Args:
            rgb: (H, W, 3) uint8.
        Raises:
            WorkspaceError: ffmpeg could not write, for example because the disk is full.
        """
        picture = np.asarray(rgb, np.uint8)
        height, width = picture.shape[:2]
        if self._process is None:
            self._shape = (height, width)
            self._start(width + width % 2, height + height % 2)
        if (height, width) != self._shape:
            raise ValueError(f"pictures of one video must share a size: {self._shape}, then {(height, width)}")
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(np.ascontiguousarray(picture).data)
        except OSError as error:
            process.wait()
            raise self._failure() from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            HeadAvatarError: no picture was written.
            WorkspaceError: ffmpeg failed.
        """
        if self._process is None:
            self._errors.close()
            raise HeadAvatarError(f"No picture was given for {self.path.name}.")
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the reason is in ffmpeg's own words, read below
            self._process.stdin.close()
        if self._process.wait() != 0:
            raise self._failure()
        self._errors.close()

    def abort(self) -> None:
        """Stop without finishing the file."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
        self._errors.close()

    def _start(self, width: int, height: int) -> None:
        import ffmpeg

        pipe: Any = ffmpeg.input(
            "pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=f"{self.fps:g}"
        )
        # bitexact and no metadata: the same pictures give the same file
        output = ffmpeg.output(
            pipe, str(self.path), format="mp4", vcodec="libx264", pix_fmt="yuv420p", crf=self.crf, preset="medium",
            movflags="+faststart", map_metadata="-1", fflags="+bitexact", **{"flags:v": "+bitexact"},
        )  # fmt: skip
        command = ffmpeg.compile(
            output.global_args("-hide_banner", "-loglevel", "error"), cmd=ffmpeg_executable(), overwrite_output=True
        )
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors)

    def _failure(self) -> WorkspaceError:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        self._errors.close()
        last = said.splitlines()[-1] if said else "ffmpeg stopped"
        return WorkspaceError(
            f"{self.path.name} could not be written.", why=last, fix="Free space on the disk, or check its permissions."
        )

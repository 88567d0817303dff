"""A motion: what a face and head do over time, without whose they are."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headavatar.errors import InputError
from headavatar.scene import ARKIT_NAMES, Array, HeadParams

_ARRAYS = {"expression": len(ARKIT_NAMES), "rotation": 3, "translation": 3, "neck": 3, "jaw": 3, "eyes": 6}


@dataclass(frozen=True)
class Motion:
    """Head parameters of T frames with their times.

    Attributes:
        name: whose motion it is, for labels and file names.
        params: T frames; `params.identity` is the driver's own and is not transferred.
        times_s: (T,) seconds.
        frame_idx: (T,) frame numbers in the driver's workspace, which `--src-neutral` counts in.
        interpupil_m: distance of the driver's eye joints, metres.
    """

    name: str
    params: HeadParams
    times_s: Array
    frame_idx: Array
    interpupil_m: float

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, frames: slice) -> Motion:
        return Motion(self.name, self.params[frames], self.times_s[frames], self.frame_idx[frames], self.interpupil_m)

    def arrays(self) -> dict[str, Array]:
        """What `read_motion` reads, for np.savez: names as in `HeadParams`, and `expression_names`."""
        values = {name: np.asarray(getattr(self.params, name), np.float32) for name in _ARRAYS}
        if self.params.recorded is not None:
            values["recorded"] = np.asarray(self.params.recorded, np.float32)
        return {
            **values,
            "identity": np.asarray(self.params.identity, np.float32),
            "times_s": np.asarray(self.times_s, np.float64),
            "frame_idx": np.asarray(self.frame_idx, np.int64),
            "interpupil_m": np.asarray(self.interpupil_m, np.float64),
            "expression_names": np.array(ARKIT_NAMES),
        }


def read_motion(path: str | Path) -> Motion:
    """Read a motion file.

    Args:
        path: an .npz with `expression` (T, 52) at least; the other arrays of `Motion.arrays` default to rest, 30
            frames a second and an inter-pupil distance of 63 mm.
    Raises:
        InputError: it is no such file, or an array has another shape.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.", why="SRC names no file.", fix="Check the path.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a motion file.", why=str(error), fix="SRC takes a video, a workspace or a motion .npz."
        ) from error
    if "expression" not in data:
        raise InputError(
            f"{path} holds no expressions.", why="It has no array named expression.", fix="Give it one, (T, 52)."
        )
    frames = len(np.atleast_1d(data["expression"]))
    values = {}
    for name, size in _ARRAYS.items():
        value = np.asarray(data.get(name, np.zeros((frames, size))), np.float32)
        if value.shape != (frames, size) or frames == 0 or not np.isfinite(value).all():
            raise InputError(
                f"{path}: {name} cannot be used.",
                why=f"It is {value.shape}; ({frames or 'T'}, {size}) finite numbers are needed.",
                fix="Write it as the arrays that `headavatar reenact` leaves beside its video.",
            )
        values[name] = value
    recorded = data.get("recorded")
    if recorded is not None and (recorded.ndim != 2 or len(recorded) != frames or not np.isfinite(recorded).all()):
        raise InputError(f"{path}: recorded cannot be used.", why=f"It is {recorded.shape}, not ({frames}, C).")
    identity = np.asarray(data.get("identity", np.zeros(0)), np.float32)
    return Motion(
        name=path.stem,
        params=HeadParams(
            identity=identity, recorded=None if recorded is None else recorded.astype(np.float32), **values
        ),
        times_s=np.asarray(data.get("times_s", np.arange(frames) / 30.0), np.float64),
        frame_idx=np.asarray(data.get("frame_idx", np.arange(frames)), np.int64),
        interpupil_m=float(data.get("interpupil_m", 0.063)),
    )

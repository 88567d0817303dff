"""Files that torch saved, read without running anything that is in them."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from headavatar.errors import InputError


def load(path: Path, what: str, fix: str) -> dict[str, Any]:
    """Load a table by torch's restricted loader, which builds tensors, numpy arrays of numbers and plain values.

    Args:
        path: the file.
        what: it should be, as in "a checkpoint".
        fix: what to do when it is not.
    Raises:
        InputError: it is damaged, no table, or holds more than that.
    """
    import torch

    # files written under numpy 1 and 2 name the same functions differently
    reconstruct, scalar = np.empty(0).__reduce__()[0], np.float32(0).__reduce__()[0]
    numbers = [type(np.dtype(code)) for code in ("f4", "f8", "i4", "i8", "u1", "?")]
    allowed: list[Any] = [np.ndarray, np.dtype, *numbers, collections.Counter]
    allowed += [(reconstruct, f"{room}.multiarray._reconstruct") for room in ("numpy.core", "numpy._core")]
    allowed += [(scalar, f"{room}.multiarray.scalar") for room in ("numpy.core", "numpy._core")]
    try:
        with torch.serialization.safe_globals(allowed):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", fix="Check the path.") from None
    except (
        OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise InputError(
            f"{path} cannot be loaded safely.", why=(str(error).strip() or repr(error)).splitlines()[0], fix=fix
        ) from error  # fmt: skip
    if not isinstance(value, dict):
        raise InputError(f"{path} is not {what}.", why="It holds no table.", fix=fix)
    return value

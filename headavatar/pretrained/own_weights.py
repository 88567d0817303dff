"""Networks that no registry carries: the user's own file is taken in, checked tensor by tensor, kept as safetensors."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headavatar.errors import ModelError
from headavatar.pretrained import cache
from headavatar.pretrained.catalog import Added


@dataclass(frozen=True)
class OwnWeights:
    """A network's tensors as the user's file must hold them.

    Attributes:
        entry: of the catalog.
        what: the network in words, as "the network of face normals".
        shapes: name → shape of every tensor that is needed.
        left_over: whether a name is known to stand in the file beside them.
        instead: what to do without it, a command line's words.
    """

    entry: Added
    what: str
    shapes: Mapping[str, tuple[int, ...]]
    left_over: Callable[[str], bool]
    instead: str

    @property
    def command(self) -> str:
        """What takes a file in."""
        return f"headavatar models add {self.entry.name} FILE"

    def add(self, file: Path) -> Path:
        """Take in a file of weights; it is read as tensors only.

        Args:
            file: the authors' state dictionary, as torch saves it.
        Returns:
            the weights in the cache.
        Raises:
            ModelError: it cannot be read, holds anything but tensors, or is not this network.
        """
        home = self.entry.home
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            why = f"it is damaged, no file that torch saved, or holds more than tensors ({type(error).__name__})"
            if isinstance(error, OSError):
                why = error.strerror or str(error)
            raise ModelError(f"{file} cannot be read as weights", why=why, fix=f"get its file by {home}") from error
        if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
            raise ModelError(f"{file} is no state dictionary", why="it holds no tensors by name", fix=f"see {home}")
        weights = self._checked(content, file)
        with cache.staging() as folder:
            save_file({name: tensor.float().contiguous() for name, tensor in weights.items()}, folder / "file")
            return cache.place(folder / "file", cache.location(self.entry))

    def load(self) -> dict[str, Tensor]:
        """The weights that were added.

        Raises:
            ModelError: none were, or the file is damaged.
        """
        file = cache.location(self.entry)
        if not file.exists():
            raise ModelError(
                f"{self.what} is missing", why=f"no registry carries it; it comes from {self.entry.home}",
                fix=f"{self.command}, or leave it out: {self.instead}",
            )  # fmt: skip
        try:
            return self._checked(load_file(file), file)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file} is damaged", why=str(error), fix=self.command) from error

    def _checked(self, content: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
        """The tensors that the network needs; the file may hold no others but those known to be left over."""
        missing = [name for name in self.shapes if name not in content]
        wrong = [
            f"{name} is {tuple(content[name].shape)} instead of {shape}"
            for name, shape in self.shapes.items()
            if name in content and tuple(content[name].shape) != shape
        ]
        strange = [name for name in content if name not in self.shapes and not self.left_over(name)]
        if missing or wrong or strange:
            parts = [f"{len(missing)} tensors are missing, such as {missing[0]}"] if missing else []
            parts += wrong[:1]
            parts += [f"{len(strange)} do not belong to it, such as {strange[0]}"] if strange else []
            raise ModelError(f"{file} is not {self.what}", why="; ".join(parts), fix=f"see {self.entry.home}")
        return {name: content[name] for name in self.shapes}


def norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of a batch normalization's tensors."""
    return {f"{name}.{field}": (width,) for field in ("weight", "bias", "running_mean", "running_var")}

"""What a method is to the rest of the program: a description, a trainer and an avatar.

A method is one folder and one `MethodSpec`. The description imports nothing heavy; trainer and avatar are named by
strings and imported when they are used. Methods take arrays and dataclasses, never a folder of the workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..ranges import NOT_NEGATIVE
from ..scene import Array, Camera, Clip, HeadParams, RenderOutput, Surface

if TYPE_CHECKING:
    import torch

    from ..head import HeadModel
    from .residuals import Residual


def option(
    default: Any, help: str, *, choices: tuple[Any, ...] = (), within: tuple[float, float] = NOT_NEGATIVE,
    added_later: bool = False,
) -> Any:  # fmt: skip
    """A field of a method's settings: default, help text and allowed values, as dataclass metadata.

    Avatars of versions that did not know a field which was `added_later` stay current while it has its default.
    """
    about = {"help": help, "choices": choices, "within": within, "changes_result": True, "added_later": added_later}
    return dataclass_field(default=default, metadata=about)


@dataclass(frozen=True)
class MethodSpec:
    """A method as lists and planners see it.

    Attributes:
        name: what `--method` takes.
        title: one line for people.
        needs: Python modules without which the method does not run.
        settings: frozen dataclass whose fields are made by `option`.
        presets: preset name → {field: value} on top of the defaults.
        trainer: "package.module:Class", a `Trainer`.
        avatar: "package.module:Class", an `Avatar`.
        source: the paper.
        version: raised whenever the same clip and settings would give another avatar.
        models: names of the pretrained networks that a fit uses under given settings.
        halved: the setting that is halved while memory runs out, and its least value; what it counts, for messages.
        rates: settings that are step sizes, for whom a fit diverges.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    settings: type
    trainer: str
    avatar: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""
    version: int = 1
    models: Callable[[Any], tuple[str, ...]] = lambda settings: ()
    halved: tuple[str, int, str] = ("rays", 512, "rays a step")
    rates: tuple[str, ...] = ()

    def smaller(self, settings: Any) -> Any | None:
        """The same settings with half of what takes memory, or None where there is nothing left to halve."""
        name, least, _ = self.halved
        half = getattr(settings, name, 0) // 2
        return replace(settings, **{name: half}) if half >= least else None

    def resolve(self, preset: str = "balanced", overrides: Mapping[str, Any] | None = None) -> Any:
        """The settings of a preset with some fields changed.

        Args:
            preset: a key of `presets`.
            overrides: field → value.
        Returns:
            an instance of `settings`.
        Raises:
            KeyError: no such preset.
            TypeError: no such field.
        """
        return self.settings(**{**self.presets[preset], **(overrides or {})})


@runtime_checkable
class Avatar(Protocol):
    """A head that can be posed and rendered."""

    method: str
    name: str
    head_model: str
    identity: Array
    expression_range: tuple[Array, Array]

    def render(
        self, params: HeadParams, camera: Camera, background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> RenderOutput:
        """One picture of one frame's parameters (T = 1)."""

    def save(self, folder: Path) -> None:
        """Write avatar.json and model.safetensors."""

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Avatar:
        """Read what `save` wrote."""


@runtime_checkable
class HasSurface(Protocol):
    """An avatar whose skin can be had as triangles."""

    def surface(self, params: HeadParams, seen_from: Array, voxel_m: float) -> Surface:
        """The skin of one frame's parameters (T = 1), pose of the head left out.

        Args:
            seen_from: (N, 3) head space, metres: where cameras stood in training, some of them.
            voxel_m: how fine, metres.
        """


@runtime_checkable
class HasMesh(Protocol):
    """An avatar that is a textured mesh, so that other programs can draw it as it is."""

    identity: Array

    def mesh(self, params: HeadParams | None = None) -> HeadModel:
        """The head whose `vertices` at the avatar's identity are its own geometry.

        Args:
            params: of one frame (T = 1), for what its pose does to the head's shape; that of an unturned neck if None.
        """

    def texture(self, params: HeadParams | None = None) -> Array:
        """Colors in that head's UV layout.

        Args:
            params: of one frame (T = 1), for what the expression does to them; at rest if None.
        Returns:
            (S, S, 3) uint8, row 0 at v = 1.
        """


@runtime_checkable
class Refinable(Avatar, Protocol):
    """An avatar that says how its picture changes with a frame's pose and expression."""

    @property
    def answers_to(self) -> str:
        """The field of `HeadParams` whose coefficients are its expressions: "expression" or "recorded"."""

    def colors_at(self, params: HeadParams, camera: Camera, pixels: torch.Tensor, residual: Residual) -> torch.Tensor:
        """Colors of some pixels over white.

        Args:
            params: of one frame, T = 1.
            pixels: (N,) flat indices, row by row.
            residual: of one frame, added to its pose and expression.
        Returns:
            (N, 3) RGB; carries gradients to the residual.
        """


class Trainer(Protocol):
    """Fits an avatar to a clip; every step depends on the seed, the step's number and the state only."""

    total_steps: int

    def __init__(self, clip: Clip, settings: Any, *, name: str, head: Any, seed: int, device: str) -> None: ...

    def step(self, index: int) -> dict[str, float]:
        """Do one step and return its figures, "loss" and "rays" among them."""

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a later `load_state` needs to go on bit-equal."""

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None: ...

    def avatar(self) -> Avatar:
        """The avatar as it stands now."""

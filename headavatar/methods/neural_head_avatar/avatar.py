"""The fitted head: what `render` does with it, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from ... import ops
from ...errors import WorkspaceError
from ...head import HeadModel, load
from ...head.parts import without
from ...head.subdivide import subdivided
from ...scene import WORLD_TO_CAMERA, Array, Camera, HeadParams, RenderOutput
from ..residuals import Residual
from .conditions import Teller
from .cover import Cover, cover_of
from .curtain import with_curtain
from .drawing import Layout, paint
from .geometry import Geometry, Poses, followers, movable, project
from .offsets import FixedOffsets, Offsets, SirenOffsets, SmoothOffsets
from .refining import colors_at
from .settings import NeuralHeadAvatarSettings
from .shader import Shader
from .smoothing import Smoother
from .stack import Stack
from .teeth import with_teeth_lowered
from .texture import Texture
from .unwrapped import unwrapped
from .volume import HairVolume

METHOD = "neural-head-avatar"
TEXTURE_SIZE = 512
"""Least edge of a texture that is given away, texels."""
FORMAT = 1
HALVED = ("texture.tables",)
"""Tensors kept in half precision: colors, to a 2000th of their size."""
BEFORE = {"teeth_lowered": False, "curtain": "off"}
"""Settings of avatars that were fitted before these existed."""
CONVENTIONS = (
    "head space: +y up, +z out of the face, +x to the subject's left, metres; offsets are added to the subdivided "
    "head at rest; the texture's map has row 0 at v = 1"
)


class NeuralHeadAvatar:
    """A textured mesh whose colors a stack of maps or a network gives; see `methods.Avatar` and `methods.base.HasMesh`.

    Args:
        name: of the avatar.
        base: the head model that its parameters belong to, not subdivided.
        geometry, texture: fitted.
        teller: what the texture is told of a frame.
        expression_range: (E,) lowest and highest value of every expression in training.
        settings: those of the fit.
        facing, alone: (V,) how face on training saw each vertex, and how often without a background, of `Views`; None
            of avatars that do not know.
    """

    method = METHOD

    def __init__(
        self, *, name: str, base: HeadModel, geometry: Geometry, texture: Texture | Stack, teller: Teller,
        expression_range: tuple[Array, Array], settings: dict[str, Any], facing: Tensor | None = None,
        alone: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.name, self.base, self.settings = name, base, settings
        self.geometry, self.look, self.teller = geometry, texture, teller
        self.expression_range, self.facing, self.alone = expression_range, facing, alone
        self.layout = Layout(geometry.head, geometry.rest)

    @property
    def head_model(self) -> str:
        """Name of the head model that its parameters belong to."""
        return str(self.base.name)

    @property
    def identity(self) -> Array:
        """(S,) of the person it was fitted to."""
        return np.asarray(self.geometry.identity.cpu().numpy())

    @torch.no_grad()
    def render(
        self, params: HeadParams, camera: Camera, background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> RenderOutput:
        """One picture.

        Args:
            params: of one frame, T = 1; its identity is not used.
            camera: any.
            background: RGB in [0, 1].
        Raises:
            ValueError: `params` holds another number of frames than one.
        """
        if len(params) != 1:
            raise ValueError(f"render takes the parameters of one frame, not of {len(params)}")
        device = self.geometry.rest.device
        if self._shader is not None and self.teller.coefficients is not None:
            return self._shader.draw(params, self.teller.coefficients.coefficients(params)[0], camera, background)
        poses = Poses.of(params, device)
        world = self.geometry.posed(poses)
        seen, told = self.layout.see(world, project(world, camera), camera), self._told(params)
        rgb, alpha = paint(
            self.layout, self.look, seen, self.look.prepare(told), torch.tensor(background, device=device),
            self.covered(told),
        )  # fmt: skip
        normals = seen.normals[0].cpu().numpy()
        return RenderOutput(
            rgb[0].clamp(0, 1).cpu().numpy(), alpha[0].clamp(0, 1).cpu().numpy(),
            seen.fragments.depth[0].cpu().numpy(), lambda: normals,
        )  # fmt: skip

    @cached_property
    def _shader(self) -> Shader | None:
        """What draws a stack of maps, made for the first picture."""
        return Shader(self.geometry, self.layout, self.look, self.cover) if isinstance(self.look, Stack) else None

    @cached_property
    def cover(self) -> Cover | None:
        """What lies over the texture where training did not see the head face on, made for the first picture."""
        if self.facing is None:
            return None
        params = self._usual()
        alone = torch.ones_like(self.facing) if self.alone is None else self.alone
        return cover_of(self.layout, self.look, self._told(params), self._normals(params), self.facing, alone)

    def covered(self, told: Tensor) -> Cover | None:
        """The cover of one frame of which the texture is told these (1, K)."""
        return None if self.cover is None else self.cover.at(told[0].detach())

    def _told(self, params: HeadParams) -> Tensor:
        own = replace(params, identity=self.identity)
        return self.teller(self.geometry.head, own, str(self.geometry.rest.device))

    @property
    def answers_to(self) -> str:
        """The mesh follows ARKit's expressions, whatever its texture is told; see `methods.base.Refinable`."""
        return "expression"

    def colors_at(self, params: HeadParams, camera: Camera, pixels: Tensor, residual: Residual) -> Tensor:
        """Colors of some pixels, with gradients to the residual; see `methods.base.Refinable`."""
        return colors_at(self, params, camera, pixels, residual)

    def mesh(self, params: HeadParams | None = None) -> HeadModel:
        """The subdivided head with its offsets, without the lashes, which are not drawn; see `methods.base.HasMesh`."""
        poses = None if params is None else Poses.of(params, self.geometry.rest.device)
        return without(self.geometry.moved(poses), "lashes")

    @torch.no_grad()
    def texture(self, params: HeadParams | None = None) -> Array:
        """Its colors in the head's UV layout, seen from the camera of a clip; see `methods.base.HasMesh`."""
        params = self._usual() if params is None else params
        size = max(TEXTURE_SIZE, int(self.settings["map_size"]))
        told = self._told(params)
        prepared, normals = self.look.prepare(told), self._normals(params)
        return unwrapped(self.layout, self.look, prepared, normals, size, self.covered(told))

    def _usual(self) -> HeadParams:
        """The face at rest in the middle of the poses of training, T = 1."""
        middle = self.geometry.pose_range.mean(0, keepdim=True).cpu().numpy()
        rest = HeadParams.neutral(1, self.identity, len(self.base.expression_names))
        return replace(rest, rotation=middle[:, :3], translation=middle[:, 3:])

    def _normals(self, params: HeadParams) -> Tensor:
        """(V, 3) of one frame in the space of a clip's camera."""
        world = self.geometry.posed(Poses.of(params, self.geometry.rest.device))
        view = torch.as_tensor(WORLD_TO_CAMERA[:3, :3], dtype=world.dtype, device=world.device)
        return ops.vertex_normals(world, self.layout.faces)[0] @ view.T

    def save(self, folder: Path) -> None:
        """Write avatar.json and model.safetensors into an existing folder."""
        folder = Path(folder)
        tensors = {
            **self.geometry.offsets.kept().state(), **self.look.state(),
            "pose_range": self.geometry.pose_range,
            "base_offset": self.base.template - load(self.head_model).template.to(self.base.template),
        }  # fmt: skip
        if self.facing is not None:
            tensors["facing"] = self.facing
        if self.alone is not None:
            tensors["alone"] = self.alone
        kept = {
            name: tensor.detach().cpu().to(torch.float16 if name in HALVED else torch.float32).contiguous()
            for name, tensor in tensors.items()
        }  # fmt: skip
        safetensors.torch.save_file(kept, str(folder / "model.safetensors"))
        low, high = self.expression_range
        about = {
            "format": FORMAT, "method": METHOD, "name": self.name, "head_model": self.head_model,
            "conventions": CONVENTIONS, "identity": self.identity.tolist(),
            "expression_names": list(self.base.expression_names),
            "expression_range": [np.asarray(low).tolist(), np.asarray(high).tolist()], "told": self.teller.state(),
            "settings": self.settings,
        }  # fmt: skip
        (folder / "avatar.json").write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> NeuralHeadAvatar:
        """Read what `save` wrote.

        Raises:
            WorkspaceError: a file is missing, damaged or of a newer format.
            ModelError: the head model that it was fitted with is not here.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "avatar.json").read_text())
            if about["format"] > FORMAT:
                raise WorkspaceError(
                    f"{folder / 'avatar.json'} is of format {about['format']}; this version reads {FORMAT}.",
                    why="a newer headavatar wrote it", fix="upgrade headavatar",
                )  # fmt: skip
            tensors = safetensors.torch.load_file(str(folder / "model.safetensors"), device=device)
            settings = NeuralHeadAvatarSettings(**{**BEFORE, **about["settings"]})
            base = load(about["head_model"], device)
            base = base.with_offset(tensors["base_offset"])
            teller = Teller.from_state(about["told"], settings, device)
            identity = torch.tensor(about["identity"], dtype=torch.float32, device=device)
            fine = subdivided(base).to(device)
            if settings.teeth_lowered:
                fine = with_teeth_lowered(fine, identity)
            if settings.curtain == "on":
                fine = with_curtain(fine)
            if "offsets.rest" in tensors:
                offsets: Offsets = FixedOffsets(tensors["offsets.rest"], tensors["offsets.axes"])
            else:
                offsets = fresh_offsets(fine, identity, settings, torch.Generator(), device)
            geometry = Geometry(fine, identity, offsets, tensors["pose_range"])
            geometry.load_state(tensors)
            texture = fresh_texture(settings, teller, torch.Generator(), device)
            texture.load_state(tensors)
            low, high = (np.asarray(values, np.float32) for values in about["expression_range"])
            return cls(
                name=about["name"], base=base, geometry=geometry, texture=texture, teller=teller,
                expression_range=(low, high), settings=about["settings"], facing=tensors.get("facing"),
                alone=tensors.get("alone"),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
            raise WorkspaceError(
                f"The avatar in {folder} cannot be read.", why=f"{type(error).__name__}: {error}",
                fix="`headavatar fit --force` makes it again",
            ) from error  # fmt: skip


def fresh_offsets(
    head: HeadModel, identity: Tensor, settings: NeuralHeadAvatarSettings, generator: torch.Generator, device: str
) -> Offsets:
    """Offsets of zero, of the kind that the settings ask for.

    Args:
        head: subdivided.
        identity: (S,).
        generator: of the network's random weights.
    """
    free, follows = movable(head), followers(head, settings.pose_offsets)
    with torch.no_grad():
        rest = head.vertices(identity, torch.zeros(1, len(head.expression_names), device=identity.device))[0]
    if settings.offsets == "smooth":
        solve = Smoother(head.faces, head.vertex_count, settings.smoothing).solve
        return SmoothOffsets.fresh(rest, free, follows, solve, HairVolume.fresh(head, rest, free))
    return SirenOffsets.fresh(rest, free, follows[:, :1], generator, device)


def fresh_texture(
    settings: NeuralHeadAvatarSettings, teller: Teller, generator: torch.Generator, device: str
) -> Texture | Stack:
    """A texture that has learned nothing, of the settings' size: a stack where it is told coefficients."""
    if teller.coefficients is not None:
        coarse = min(settings.table_size, settings.map_size) if settings.texture == "stack" else settings.map_size
        return Stack.fresh(teller.size, settings.map_size, device, coarse=coarse)
    return Texture.fresh(
        map_size=settings.map_size, features=settings.map_features, width=settings.hidden, layers=settings.layers,
        shader_width=settings.shader_hidden, condition=teller.size, everywhere=settings.condition == "expression",
        mapping_width=settings.mapping_hidden, generator=generator, device=device,
    )  # fmt: skip

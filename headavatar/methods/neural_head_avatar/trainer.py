"""The fit of neural-head-avatar: what one step does, and everything needed to do the next one bit-equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...head.subdivide import subdivided
from ...metrics.arcface import ArcFaceFeatures
from ...metrics.lpips import Lpips
from ...scene import Clip
from ..adam import Adam
from ..chance import frames_of, generator_of, in_fixed_order
from ..learned_residuals import LearnedResiduals
from . import energies
from .avatar import NeuralHeadAvatar, fresh_offsets, fresh_texture
from .bake import baked
from .conditions import Teller
from .curtain import is_long, with_curtain
from .drawing import Layout, Seen, paint
from .frames import TrainingFrames
from .geometry import Geometry, Poses, project
from .learners import learner_of
from .refining import changed
from .regularizers import edge_energy, flip_energy, laplacian_energy, region_weights, surface_energy
from .semantics import Semantics
from .settings import NeuralHeadAvatarSettings
from .smoothing import edges_of
from .stages import Stage, rate_at, stage_at, stages_of
from .teeth import with_teeth_lowered
from .texture import Texture
from .views import Views

REGIONS = ("mouth", "face", "eyes", "head")
"""What patches lie about, one after the other."""
NEARNESS = {
    "scalp": 1e-3, "neck": 1e-3, "curtain": 1e-3, "face": 1.0, "ears": 0.1, "lips": 3.0, "eyelids": 5.0, "sockets": 5.0,
    "mouth_interior": 5.0,
}  # fmt: skip
"""How strongly each region is held to the tracked head: little where hair may be, most where nothing shows depth."""


class NeuralHeadAvatarTrainer:
    """Fits a `NeuralHeadAvatar`; see `methods.Trainer`.

    Args:
        clip: only its training frames' pictures are read.
        settings: all numbers.
        name: of the avatar.
        head: the head model that the clip was tracked with.
        seed: of every random choice.
        device: "cpu" or "cuda".
    """

    def __init__(
        self, clip: Clip, settings: NeuralHeadAvatarSettings, *, name: str, head: Any, seed: int = 0,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        self.settings, self.seed, self.device = settings, seed, device
        self.stages = stages_of(settings)
        self.total_steps = sum(stage.steps for stage in self.stages)
        params = clip.params[clip.split.train]
        self.camera, self.params = clip.camera, params
        self.frames = TrainingFrames.of(
            clip, device, with_normals=settings.normal_weight > 0, with_labels=settings.semantic_weight > 0
        )  # fmt: skip
        self.poses = Poses.of(params, device)
        fine = subdivided(head).to(device)
        if settings.teeth_lowered:
            fine = with_teeth_lowered(fine, torch.as_tensor(params.identity, dtype=torch.float32, device=device))
        if settings.curtain == "auto":
            settings = replace(settings, curtain="on" if is_long(clip) else "off")
        if settings.curtain == "on":
            fine = with_curtain(fine)
        identity = torch.as_tensor(params.identity, dtype=torch.float32, device=device)
        offsets = fresh_offsets(fine, identity, settings, self._generator(-3), device)
        pose = torch.cat([self.poses.rotation, self.poses.translation], 1)
        self.geometry = Geometry(fine, identity, offsets, torch.stack([pose.amin(0), pose.amax(0)]))
        self.edges = torch.from_numpy(edges_of(fine.faces.cpu().numpy())).to(device)
        scalp = fine.regions["scalp"].to(device)
        self.scalp_edges = self.edges[scalp[self.edges].all(1)]
        self.smoothness, self.nearness = region_weights(fine), region_weights(fine, NEARNESS)
        self.layout = Layout(fine, self.geometry.rest)
        self.views = Views(fine.vertex_count, device)
        self.semantics = Semantics.of(fine) if settings.semantic_weight > 0 else None
        self.closed = energies.closedness(self.frames.landmarks)
        self.teller = Teller.of(fine, params, settings, device)
        self.told = self.teller(fine, params, device)
        self.texture = fresh_texture(settings, self.teller, self._generator(-1), device)
        self.learner = learner_of(self.texture, settings.sparsity)
        moving = params.expression.shape[1]
        self.residuals = LearnedResiduals(len(self.frames), moving) if settings.pose_lr > 0 else None
        uniform = settings.offsets == "smooth"
        self.optimizers = {name: Adam(group, uniform=uniform) for name, group in offsets.groups.items()}
        wanted = any(stage.perceptual > 0 for stage in self.stages)
        self.perceptual = _perceptual(settings.perceptual_network, device) if wanted else None
        self.about: dict[str, Any] = {
            "name": name, "head": head, "settings": asdict(settings),
            "expression_range": (params.expression.min(0), params.expression.max(0)),
        }  # fmt: skip

    def _generator(self, index: int) -> torch.Generator:
        return generator_of(self.seed, index)

    def _frames_of(self, index: int) -> list[int]:
        return frames_of(self.seed, index, self.settings.frames_per_step, len(self.frames), -4)

    def step(self, index: int) -> dict[str, float]:
        """Do step `index`, 0 to total_steps - 1."""
        stage, progress = stage_at(self.stages, index)
        frames, generator = self._frames_of(index), self._generator(index)
        poses = self.poses[frames]
        residual = self.residuals.of(frames, stage.joint) if self.residuals else None
        if residual is not None:
            poses = changed(poses, residual)
        with torch.set_grad_enabled(stage.offset_lr > 0):
            static = self.geometry.offsets.static()  # once: it takes a solve, and another for its gradient
            world = self.geometry.posed(poses, static)
            pixels = project(world, self.camera)
        view = torch.as_tensor(self.camera.world_to_camera[:3, :3], dtype=torch.float32, device=self.device)
        seen = self.layout.see(world, pixels, self.camera)
        truth, matte, counted = self.frames.truth(frames)
        loss, error = torch.zeros((), device=self.device), torch.zeros(())
        told, prepared = self.teller.noisy(self.told[frames], self.settings.condition_noise, generator), None
        if stage.shades:
            self.views.add(seen, matte, counted)
            prepared = self.learner.prepare(told, stage.map_lr > 0)
            rgb, alpha = paint(self.layout, self.texture, seen, prepared, torch.ones(3, device=self.device))
            loss = loss + stage.color * energies.masked_l1(rgb, truth, counted)
            if stage.perceptual > 0:
                loss = loss + stage.perceptual * self._patch(rgb, truth, counted, frames[0], index, generator)
            error = (((rgb - truth).detach() ** 2).mean(-1) * counted).sum() / counted.sum().clamp_min(1)
        else:
            alpha = seen.antialiased(seen.fragments.mask[..., None].float())[..., 0]
        if stage.silhouette > 0:
            loss = loss + stage.silhouette * energies.masked_l1(alpha, matte, counted)
        if stage.offset_lr > 0:
            loss = loss + self._mesh(stage, seen, world, static, frames)
        with in_fixed_order():
            loss.backward()

        falling = rate_at(stage, progress)
        rates = {"offsets": stage.offset_lr, "volume": stage.volume_lr, "turning": stage.turning_lr}
        for name, optimizer in self.optimizers.items():
            if rates[name] > 0:
                optimizer.step(rates[name] * falling)
            else:
                optimizer.forget()  # no state keeps gradients: a later stage must not step on this one's
        if stage.map_lr > 0:
            self.learner.step(told, prepared, stage.map_lr * falling, stage.network_lr * falling)
        if index == self.total_steps - 1 and self.settings.bake and isinstance(self.texture, Texture):
            self.texture, self.teller = baked(
                self.texture, self.teller, self.geometry, self.layout, self.params, view, self.settings.map_size
            )
        moved: dict[str, float] = {}
        if self.residuals and residual:
            self.residuals.step(frames, residual, self.settings.pose_lr * falling)
            moved = self.residuals.figures()
        figures = {**moved, "loss": float(loss.detach()), "rays": float(seen.fragments.mask.sum())}
        figures["train_psnr"] = float(-10 * np.log10(max(float(error), 1e-10))) if stage.shades else 0.0
        return figures

    def _patch(
        self, rgb: Tensor, truth: Tensor, counted: Tensor, frame: int, index: int, generator: torch.Generator
    ) -> Tensor:
        """The perceptual distance of a patch of the step's first frame."""
        edge = min(self.settings.patch, *rgb.shape[1:3])
        row, column = self.frames.corner(frame, REGIONS[index % len(REGIONS)], edge, generator)
        part = slice(row, row + edge), slice(column, column + edge)
        mask = counted[0][part][..., None]
        a, b = ((picture[0][part] * mask).permute(2, 0, 1)[None] for picture in (rgb, truth))
        assert self.perceptual is not None
        return self.perceptual(a, b).mean()

    def _mesh(self, stage: Stage, seen: Seen, world: Tensor, offset: Tensor, frames: list[int]) -> Tensor:
        """The energies of the mesh itself; `offset` (V, 3) is static."""
        geometry, total = self.geometry, torch.zeros((), device=self.device)
        moved = geometry.rest + offset
        terms = (
            (stage.smooth, lambda: laplacian_energy(offset, self.edges, self.smoothness)),
            (stage.surface, lambda: surface_energy(offset, self.nearness)),
            (stage.edge, lambda: edge_energy(moved, geometry.rest, self.scalp_edges)),
            (stage.flip, lambda: flip_energy(moved, geometry.rest, geometry.faces)),
        )
        for weight, energy in terms:
            if weight > 0:
                total = total + weight * energy()
        if stage.normal > 0 and self.frames.normals is not None:
            total = total + stage.normal * self._wrinkles(seen, world, frames)
        if stage.semantic > 0 and self.semantics is not None and self.frames.labels is not None:
            index = torch.tensor(frames)
            wanted, counted = self.frames.labels[index], self.frames.counted[index].float()
            total = total + stage.semantic * self.semantics.distance(self.layout, seen, wanted, counted).sum()
        if stage.landmark > 0 or stage.closed > 0:
            points = self.geometry.head.landmark_points(world)
            if stage.closed > 0:
                total = total + stage.closed * energies.closed_energy(points, self.closed[frames])
        if stage.landmark > 0:
            which = list(energies.LIDS + energies.LIPS)
            shown = project(points[:, which], self.camera)[..., :2]
            total = total + stage.landmark * energies.landmark_distance(shown, self.frames.landmarks[frames][:, which])
        return total

    def _wrinkles(self, seen: Seen, world: Tensor, frames: list[int]) -> Tensor:
        """Difference of the Laplacians of the mesh's normals and of the clip's, where both have some."""
        view = torch.as_tensor(self.camera.world_to_camera[:3, :3], dtype=torch.float32, device=self.device)
        shown = self.layout.shown_normals(world, seen.fragments, view)
        assert self.frames.normals is not None
        stored = self.frames.normals[torch.tensor(frames)].float()
        # stored with y up and z to the viewer
        wanted = (stored / 127.5 - 1) * torch.tensor([1.0, -1.0, -1.0], device=self.device)
        mask = ((stored > 0).any(-1) & seen.fragments.mask & self.frames.counted[torch.tensor(frames)]).float()
        return energies.masked_l1(
            energies.normal_laplacian(shown, mask), energies.normal_laplacian(wanted, mask), mask
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """Everything that changes from step to step."""
        named = {**self.geometry.state(), **self.texture.state(), **self.views.state()}
        for name, optimizer in self.optimizers.items():
            named |= {f"{name}.{key}": value for key, value in optimizer.state().items()}
        if self.residuals is not None:
            named |= {f"residuals.{key}": value for key, value in self.residuals.state().items()}
        return named | {f"learner.{key}": value for key, value in self.learner.state().items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self.geometry.load_state(state)
        self.texture.load_state(state)
        self.views.load_state(state)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state(_part(state, f"{name}."))
        self.learner.load_state(_part(state, "learner."))
        if self.residuals is not None:
            self.residuals.load_state(_part(state, "residuals."))

    def avatar(self) -> NeuralHeadAvatar:
        """The avatar as it stands; shares its tensors with the trainer."""
        return NeuralHeadAvatar(
            name=self.about["name"], base=self.about["head"], geometry=self.geometry, texture=self.texture,
            teller=self.teller, expression_range=self.about["expression_range"], settings=self.about["settings"],
            facing=self.views.facing(), alone=self.views.alone(),
        )  # fmt: skip


def _perceptual(network: str, device: str) -> Lpips | ArcFaceFeatures:
    return ArcFaceFeatures(device) if network == "arcface" else Lpips(network, device)  # type: ignore[arg-type]


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

"""The fit of nerf-blendshape: what one step does, and everything needed to do the next one bit-equal."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from math import ceil
from typing import Any

import numpy as np
import torch

from ... import ops
from ...metrics.lpips import Lpips
from ...scene import PARSING_CLASSES, Array, Clip
from ..adam import Adam
from ..chance import frames_of, generator_of, in_fixed_order
from ..conditioning import Conditioning
from ..learned_residuals import LearnedResiduals
from ..residuals import Residual
from . import occupancy
from .avatar import NerfBlendshapeAvatar
from .collar import Collar
from .completion import completed
from .density_grid import DensityGrid
from .field import Field, Posed
from .losses import Phase, phase_at, phases_of, rate_at
from .marching import shade
from .mixing import Mixing
from .neckline import Neckline
from .pixels import TrainingPixels
from .proxy import Proxy
from .proxy_fit import Skull
from .rays import Cube, RayFrames
from .refining import moved_rays
from .settings import NerfBlendshapeSettings
from .views import TrainedViews
from .warp import Warp

CUTS = ((0.06, 0.1, 3), (0.17, 0.25, 2), (0.42, 0.5, 1), (0.67, 0.75, 1))
"""Cuts of the occupancy grid to what rays see: shares of the steps from and up to which they look, margin in voxels."""
REFRESHES = (1 / 30, *(k / 15 for k in range(1, 15)))
"""Refreshes of the published occupancy grid, as shares of the steps."""
CHIN = 152
LOOKS = 32
"""Frames of training that are looked at when the fit is done."""
TORSO = 0.05
"""Mattes with this share of clothes are a person's, not a head's."""


class NerfBlendshapeTrainer:
    """Fits a `NerfBlendshapeAvatar`; see `methods.Trainer`.

    Args:
        clip: only its training frames' pictures are read.
        settings: all numbers.
        name: of the avatar.
        head: the head model that the clip was tracked with.
        seed: of every random choice.
        device: "cpu" or "cuda".
    """

    def __init__(
        self, clip: Clip, settings: NerfBlendshapeSettings, *, name: str, head: Any, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.settings, self.seed, self.device = settings, seed, device
        self.total_steps = settings.steps
        params = clip.params[clip.split.train]
        self.pixels = TrainingPixels.of(clip, device, Collar.of(clip, head) if settings.whole_neck else None)
        self.conditioning = Conditioning.of(params, settings.pose_tables)
        self.coefficients = torch.from_numpy(self.conditioning.coefficients(params)).to(device)
        self.cube, hull, hairy, self.skull = self._volume(clip, head)
        self.hull = self.occupied = hull.to(device)
        self.hairy, self.backing = hairy.to(device), torch.zeros_like(self.hull)
        self.params, self.camera = params, clip.camera
        self.density_grid = DensityGrid(self.occupied) if settings.volume == "density" else None
        self.sight = occupancy.Sight(settings.grid, device)
        self.frames = RayFrames.of(params, clip.camera, self.cube, device)
        self.proxy: Proxy | None = None
        self.neckline: Neckline | None = None
        self.worn = None if clip.covered is None else clip.valid
        self.views = TrainedViews.of(self.frames.origins.cpu().numpy()) if settings.hold_views else None
        mixed = 0 < settings.mixing < self.conditioning.tables
        self.mixing = Mixing(self.coefficients, settings.mixing) if mixed else None
        tables = settings.mixing if mixed else self.conditioning.tables
        self.field = Field.fresh(tables, settings, self.cube.side, self._generator(-1), device)
        l1 = torch.full((tables,), settings.sparsity)
        l1[0] = 0.0  # the neutral table is free
        self.tables_optimizer = ops.RankOneAdam(self.field.tables, settings.table_lr, l1=l1)
        self.warp = Warp.of(head, params, self.cube, settings, device)
        self.expression = torch.from_numpy(self.conditioning.clamped(params)).to(device)
        self.pose = torch.from_numpy(self.warp.pose(params)).to(device)
        self.warp_optimizer = ops.RankOneAdam(self.warp.table, settings.warp_lr) if self.warp.learns else None
        self.networks_optimizer = Adam(
            self.field.sigma_weights + self.field.color_weights, weight_decay=settings.weight_decay
        )
        self.residuals = LearnedResiduals(len(self.coefficients)) if settings.pose_lr > 0 else None
        self.phases = phases_of(settings)
        wanted = any(phase.perceptual > 0 for phase in self.phases)
        self.perceptual = Lpips(settings.perceptual_network, device) if wanted else None  # type: ignore[arg-type]
        self.about: dict[str, Any] = {
            "name": name, "head_model": str(getattr(head, "name", "")), "identity": params.identity,
            "settings": asdict(settings),
        }  # fmt: skip

    def _volume(self, clip: Clip, head: Any) -> tuple[Cube, torch.Tensor, torch.Tensor, Skull]:
        """The cube, the grid that mattes and mesh allow, where hair can be in it, and the head within."""
        settings, train = self.settings, clip.split.train
        params = clip.params[train]
        points = occupancy.mesh_points(head, params, occupancy.diverse_frames(params, occupancy.SHELL_FRAMES))
        chosen = occupancy.diverse_frames(params, occupancy.HULL_FRAMES)
        mattes, counted = self.pixels.maps(chosen)
        cube = occupancy.head_cube(points, mattes, params[chosen], clip.camera, settings.hair_m)
        near, hairy = occupancy.shell(
            points, head.faces.cpu().numpy(), occupancy.hairy_vertices(head), cube, settings.grid, settings.shell_m,
            settings.hair_m,
        )  # fmt: skip
        chin_y = float(head.landmark_points(torch.from_numpy(points))[:, CHIN, 1].median())
        if clip.covered is None and _share_of_clothes(clip, mattes, train[chosen]) > TORSO:
            near |= occupancy.torso(points, cube, settings.grid, chin_y)
        # Behind clothes the neck goes on, so there the mattes rule nothing out.
        hull = occupancy.carve(near, cube, mattes, params[chosen], clip.camera, counted, chin_y)
        looks = occupancy.diverse_frames(params, LOOKS)
        return cube, hull, hull & hairy, Skull.of(head, points.mean(0), chin_y, clip, looks)

    def _generator(self, index: int) -> torch.Generator:
        return generator_of(self.seed, index)

    def _frames_of(self, index: int) -> list[int]:
        return frames_of(self.seed, index, self.settings.frames_per_step, len(self.coefficients), -2)

    def step(self, index: int) -> dict[str, float]:
        """Do step `index`, 0 to total_steps - 1."""
        settings = self.settings
        progress = index / settings.steps
        self._cut(index)
        generator = self._generator(index)
        frames = self._frames_of(index)
        phase = phase_at(self.phases, progress)
        chosen, patch = [], 0
        for place, frame in enumerate(frames):
            count = settings.rays // len(frames)
            if phase.patch and place == 0:
                region = phase.regions[index % len(phase.regions)]
                pixels = self.pixels.patch(frame, phase.patch, region, generator)
                patch = len(pixels)
                pixels = torch.cat([pixels, self._scattered(frame, max(0, count - patch), generator)])
            else:
                pixels = self._scattered(frame, ceil(count * phase.beside), generator)
            chosen.append(pixels)
        weights = self._weights(self.coefficients[frames])
        blended = ops.blend_tables(weights, self.field.tables).requires_grad_()
        moving = self.warp_optimizer is not None and progress < settings.warp_until
        learned = self.warp.learned(self.pose[frames]).requires_grad_(moving) if self.warp.learns else None
        posed = Posed(blended, self.warp.grids(self.expression[frames], learned))
        residual = self.residuals.of(frames, progress < settings.warp_until) if self.residuals else None
        loss, figures = self._loss(index, phase, posed, frames, chosen, patch, generator, residual)
        with in_fixed_order() if self.residuals else nullcontext():  # poses gather gradients at equal places
            loss.backward()

        rate = rate_at(settings.decay, settings.final_lr, progress)
        assert blended.grad is not None
        if self.mixing is not None:
            self.mixing.step(self.coefficients[frames], blended.grad, self.field.tables, rate)
        self.tables_optimizer.step(list(zip(weights, blended.grad, strict=True)), settings.table_lr * rate)
        if moving:
            assert self.warp_optimizer is not None and learned is not None and learned.grad is not None
            self.warp_optimizer.step(
                [(self.pose[f], learned.grad[b]) for b, f in enumerate(frames)], settings.warp_lr * rate
            )
        self.networks_optimizer.step(settings.network_lr * rate)
        if self.residuals and residual:
            self.residuals.step(frames, residual, settings.pose_lr * rate)
            figures |= self.residuals.figures()
        if index + 1 == settings.steps and self.density_grid is None:
            self._complete()
        return figures

    def _complete(self) -> None:
        """What training is better off without, after its last step; see `completion`."""
        found = completed(
            self.avatar(), self.pixels, self.params, self.camera, self.skull, self.hull & ~self.hairy,
            whole_head=self.settings.whole_head, guessed=self.settings.whole_neck, worn=self.worn,
        )  # fmt: skip
        self.occupied, self.backing = found.occupied, found.backing
        self.proxy, self.neckline = found.proxy, found.neckline

    def _weights(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(B, tables) what blends the tables, from (B, K)."""
        return coefficients if self.mixing is None else self.mixing.weights(coefficients)

    def _scattered(self, frame: int, count: int, generator: torch.Generator) -> torch.Tensor:
        if self.settings.focus:
            return self.pixels.draw(frame, count, generator)
        return self.pixels.draw_evenly(count, generator)

    def _loss(
        self, index: int, phase: Phase, posed: Posed, frames: list[int], chosen: list[torch.Tensor], patch: int,
        generator: torch.Generator, residual: Residual | None,
    ) -> tuple[torch.Tensor, dict[str, float]]:  # fmt: skip
        settings = self.settings
        rays = [self.frames.rays(f, pixels, self.pixels.width) for f, pixels in zip(frames, chosen, strict=True)]
        placed = [(ray[0], ray[1]) for ray in rays]
        if residual is not None:
            placed = [moved_rays(self.cube, *ray, residual, b) for b, ray in enumerate(placed)]
        origins, directions = (torch.cat(parts) for parts in zip(*placed, strict=True))
        picture = shade(
            self.field, posed, origins, directions, [len(p) for p in chosen], self.occupied,
            samples=settings.samples, cube_side=self.cube.side, spacing_m=settings.spacing_mm / 1000,
            jitter=(self.seed, index), spread=settings.spread_weight > 0,
        )  # fmt: skip

        counts = torch.cat([self.pixels.weights(f, p) for f, p in zip(frames, chosen, strict=True)])
        if self.looking:
            seen = (counts > 0).float()[picture.ray_index.long()]
            self.sight.add(picture.positions, picture.weights * seen, picture.light * seen)
        color = torch.cat([self.pixels.colors[f, p] for f, p in zip(frames, chosen, strict=True)]).float() / 255
        matte = torch.cat([self.pixels.mattes[f, p] for f, p in zip(frames, chosen, strict=True)]).float() / 255
        background = self._background(torch.cat(chosen), generator)
        if settings.background == "random":
            background[:patch] = 1.0
        target = matte[:, None] * color + (1 - matte[:, None]) * background
        result = picture.rgb + (1 - picture.alpha[:, None]) * background

        weights = counts.clone()
        weights[:patch] *= phase.patch_color
        loss = ((result - target).abs().mean(1) * weights).mean()
        if phase.alpha > 0:
            loss = loss + phase.alpha * ((picture.alpha - matte).abs() * counts).mean()
        if settings.spread_weight > 0:
            loss = loss + settings.spread_weight * picture.spread.mean()
        if patch and self.perceptual is not None:
            side = int(round(patch**0.5))
            mask = (counts[:patch, None] == 1).float()
            seen, wanted = (
                (image[:patch] * mask).reshape(1, side, side, 3).permute(0, 3, 1, 2) for image in (result, target)
            )
            loss = loss + phase.perceptual * self.perceptual(seen, wanted).mean()
        error = float((((result - target).detach() ** 2).mean(1) * counts).sum() / counts.sum().clamp_min(1))
        figures = {
            "loss": float(loss.detach()), "train_psnr": float(-10 * np.log10(max(error, 1e-10))),
            "rays": float(len(origins)), "samples": float(len(picture.positions)),
        }  # fmt: skip
        return loss, figures

    def _background(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(R, 3) colors behind the rays of a step."""
        if self.settings.background == "plate":
            return self.pixels.plate[pixels].float() / 255
        random = torch.rand(len(pixels), 4, generator=generator).to(self.device)
        return torch.where(random[:, 3:] < self.settings.random_background, random[:, :3], 1.0)

    def _cut(self, index: int) -> None:
        """Start looking where a look begins, and cut the occupancy grid where it ends or a refresh is due."""
        self.looking = False
        if self.density_grid is not None:
            if index in {int(share * self.settings.steps) for share in REFRESHES}:
                extremes = torch.eye(self.conditioning.tables)[: 1 + len(self.conditioning.active)]
                extremes[:, 0] = 1.0
                self.occupied = self.density_grid.refresh(
                    self.field, self._weights(extremes.to(self.device)), self._generator(-3 - index)
                )
            return
        for first, last, margin in CUTS:
            begin, end = int(first * self.settings.steps), int(last * self.settings.steps)
            if begin <= index < end:
                self.looking = True
            elif index == end and end > begin:
                self.occupied = self.sight.cut(self.occupied, margin, self.hairy)
                self.sight = occupancy.Sight(self.settings.grid, self.device)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that changes from step to step."""
        named = {f"field.{name}": tensor for name, tensor in self.field.state().items()}
        named |= {f"tables_optimizer.{name}": tensor for name, tensor in self.tables_optimizer.state_dict().items()}
        if self.warp_optimizer is not None:
            named |= {f"warp_optimizer.{name}": tensor for name, tensor in self.warp_optimizer.state_dict().items()}
            named["warp.table"] = self.warp.table
        named |= {f"networks_optimizer.{name}": tensor for name, tensor in self.networks_optimizer.state().items()}
        if self.mixing is not None:
            named |= {f"mixing.{name}": tensor for name, tensor in self.mixing.state().items()}
        if self.residuals is not None:
            named |= {f"residuals.{name}": tensor for name, tensor in self.residuals.state().items()}
        if self.density_grid is not None:
            named["density_grid"] = self.density_grid.density
        if self.proxy is not None:
            named |= self.proxy.tensors()
        if self.neckline is not None:
            named["neckline"] = self.neckline.shown
        grids = {"occupied": self.occupied, "backing": self.backing}
        return named | grids | {"sight": self.sight.weight, "light": self.sight.light}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on where `state` was taken."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        for name, tensor in self.field.state().items():
            tensor.copy_(state[f"field.{name}"])
        self.tables_optimizer.load_state_dict(part("tables_optimizer."))
        self.networks_optimizer.load_state(part("networks_optimizer."))
        if self.mixing is not None:
            self.mixing.load_state(part("mixing."))
        if self.residuals is not None:
            self.residuals.load_state(part("residuals."))
        if self.warp_optimizer is not None:
            self.warp_optimizer.load_state_dict(part("warp_optimizer."))
            self.warp.table.copy_(state["warp.table"])
        self.occupied, self.backing = state["occupied"].to(self.device), state["backing"].to(self.device)
        added = ("proxy.", "neckline")
        parts = {name: tensor.to(self.device) for name, tensor in state.items() if name.startswith(added)}
        self.proxy, self.neckline = Proxy.from_tensors(parts), Neckline.from_tensors(parts, self.occupied)
        self.sight.weight.copy_(state["sight"])
        self.sight.light.copy_(state["light"])
        if self.density_grid is not None:
            self.density_grid.density.copy_(state["density_grid"])

    def avatar(self) -> NerfBlendshapeAvatar:
        """The avatar as it stands; shares its tensors with the trainer, but for tables that were mixed."""
        identity: Array = self.about["identity"]
        field = self.field
        if self.mixing is not None:
            field = replace(field, tables=self.mixing.unmixed(field.tables))
        return NerfBlendshapeAvatar(
            name=self.about["name"], head_model=self.about["head_model"], identity=identity, field=field,
            conditioning=self.conditioning, cube=self.cube, occupied=self.occupied, samples=self.settings.samples,
            warp=self.warp if self.warp.moves else None, spacing_m=self.settings.spacing_mm / 1000,
            settings=self.about["settings"], backing=self.backing if bool(self.backing.any()) else None,
            views=self.views, proxy=self.proxy, neckline=self.neckline,
        )  # fmt: skip


def _share_of_clothes(clip: Clip, mattes: Array, frames: Array) -> float:
    clothes = PARSING_CLASSES.index("clothes")
    shares = [
        float((np.asarray(clip.parsing[int(i)])[matte > 127] == clothes).mean()) if (matte > 127).any() else 0.0
        for i, matte in zip(frames, mattes, strict=True)
    ]
    return float(np.mean(shares))

"""The fitted head: what `render` does with it, and its files."""

from __future__ import annotations

import json
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from ... import ops
from ...errors import WorkspaceError
from ...ops.sampling import BACKING
from ...scene import Array, Camera, HeadParams, RenderOutput, Surface
from ..conditioning import Conditioning
from ..residuals import Residual
from .field import DENSITY_SCALE, DENSITY_SHIFT, Field, Posed
from .geometry import joined, normals_from_depth, surface
from .marching import SPACING_M, look
from .mixing import shared
from .neckline import Neckline
from .proxy import Layer, Proxy, in_front, mixed
from .rays import Cube, RayFrames, head_to_camera, in_sight
from .refining import colors_at
from .views import TrainedViews
from .warp import Warp

METHOD = "nerf-blendshape"
FORMAT = 1
CHUNK = 1 << 16
"""Rays rendered at once; bounds the memory of large pictures."""
FADE_RAD = (0.02, 0.2)
"""From how far beyond training's views on a proxy shows, and fully: nearby the field knows better, radians."""
MOVED = 0.02
"""How far a pose may carry the proxy's outermost vertices, cube units."""
CONVENTIONS = (
    "head space: +y up, +z out of the face, +x to the subject's left, metres; grid positions are "
    "axes (point - center) / side + 1/2; expression in the order of `expression_names`; table 0 is neutral"
)


class NerfBlendshapeAvatar:
    """A head whose look is a blend of hash tables; see `methods.Avatar`.

    Args:
        name: of the avatar.
        head_model: that its parameters belong to.
        identity: (S,) of the person it was fitted to.
        field: tables and networks.
        conditioning: which parameters have tables, and the ranges of training.
        cube, occupied: the part of head space that is modelled, and its voxels that hold something.
        samples: most samples on a ray.
        settings: those of the fit, for the record.
        warp: where points of a posed head lie in the neutral one; None where tables do all.
        spacing_m: how close samples on a ray need to lie, metres.
        backing: voxels that training never saw, behind occupied ones; rays that come through go on in them.
        views: from where training saw it; pictures from elsewhere take their colors as from the nearest of these. None
            asks the color network for any direction.
        proxy: what stands behind the field in pictures from elsewhere; shown only where there are `views`.
        neckline: where the neck ends; None where it ends as the field does.
    """

    method = METHOD

    def __init__(
        self, *, name: str, head_model: str, identity: Array, field: Field, conditioning: Conditioning, cube: Cube,
        occupied: torch.Tensor, samples: int, settings: dict[str, Any], spacing_m: float = SPACING_M,
        warp: Warp | None = None, backing: torch.Tensor | None = None, views: TrainedViews | None = None,
        proxy: Proxy | None = None, neckline: Neckline | None = None,
    ) -> None:  # fmt: skip
        self.name, self.head_model, self.identity = name, head_model, np.asarray(identity, np.float32)
        self.field, self.conditioning, self.cube, self.occupied = field, conditioning, cube, occupied
        self.samples, self.spacing_m, self.settings = samples, spacing_m, settings
        self.warp, self.backing, self.views, self.proxy = warp, backing, views, proxy
        self.neckline = neckline

    @cached_property
    def cells(self) -> torch.Tensor:
        """The occupied and the backing voxels as rays take them, see `ops.sample_rays`; (G, G, G) bool or uint8."""
        if self.backing is None:
            return self.occupied
        return torch.where(self.backing & ~self.occupied, BACKING, self.occupied.to(torch.uint8)).to(torch.uint8)

    @cached_property
    def _cells(self) -> ops.Cells:
        return ops.Cells(self.cells)

    @property
    def expression_range(self) -> tuple[Array, Array]:
        """Lowest and highest value of every expression in training, (E,) each; others are clamped to them."""
        return self.conditioning.low, self.conditioning.high

    @property
    def expression_names(self) -> tuple[str, ...]:
        """What its expressions are called: ARKit's names, or those that a recording's own coefficients were given."""
        return self.conditioning.expression_names

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
        device = self.occupied.device
        posed = self._posed(params)
        frames = RayFrames.of(params, camera, self.cube, str(device))
        field, share = self.seen_from(frames.origins[0])
        layer = self.layer(params, camera, posed) if share > 0 else None
        height, width = camera.height, camera.width
        behind = torch.tensor(background, dtype=torch.float32, device=device)
        rgb = behind.repeat(width).repeat(height, 1).reshape(height, width, 3)
        alpha, depth = torch.zeros(height, width, device=device), torch.zeros(height, width, device=device)
        x0, y0, x1, y1 = in_sight(self._box if layer is None else self._box_with_proxy, params, camera)
        rows = max(1, CHUNK // max(x1 - x0, 1))
        for top in range(y0, y1 if x1 > x0 else y0, rows):
            bottom = min(top + rows, y1)
            directions, length = frames.rectangle(0, x0, top, x1, bottom)
            follow = partial(
                look, field, posed, frames.origins[0], directions.reshape(-1, 3), samples=self.samples,
                cube_side=self.cube.side, spacing_m=self.spacing_m,
                columns=x1 - x0 if device.type == "cpu" else 0,  # a card has all followed sooner than some chosen
            )  # fmt: skip
            shown = partial(self.shown, origins=frames.origins[0], directions=directions.reshape(-1, 3))
            seen = shown(follow(self._cells)) if share < 1 else None
            if layer is not None and self.proxy is not None:
                part, per_m = layer.within(x0, top, x1, bottom), length.reshape(-1) / self.cube.side
                alone = shown(follow(self.proxy.cells, far=part.depth * per_m))
                seen = mixed(seen, in_front(alone, part, per_m), share)
            assert seen is not None
            ops.lay_over(seen, length, behind, self.cube.side, x0, top, rgb, alpha, depth)
        alpha_map, depth_map = alpha.cpu().numpy(), depth.cpu().numpy()
        return RenderOutput(
            rgb.cpu().numpy(), alpha_map, depth_map, lambda: normals_from_depth(depth_map, alpha_map, camera)
        )

    def seen_from(self, origin: torch.Tensor) -> tuple[Field, float]:
        """What an eye at `origin`, (3,) in cube units, is shown: the field, and the share of the proxy, 0 to 1."""
        if self.views is None:
            return self.field, 0.0
        eye = origin.detach().cpu().numpy()
        begin, full = FADE_RAD
        away = 0.0 if self.proxy is None else self.views.beyond(eye)
        share = min(1.0, max(0.0, (away - begin) / (full - begin)))
        return self.views.seen(self.field, eye), share * share * (3 - 2 * share)

    def shown(self, seen: ops.Composite, origins: torch.Tensor, directions: torch.Tensor) -> ops.Composite:
        """What rays saw of the field, down to the neckline; see `Neckline.cut`."""
        return seen if self.neckline is None else self.neckline.cut(seen, origins, directions)

    def layer(self, params: HeadParams, camera: Camera, posed: Posed) -> Layer:
        """The proxy in a picture of one frame's parameters."""
        assert self.proxy is not None
        rotation, translation = head_to_camera(params, camera)
        vertices = self.proxy.posed(None if posed.warp is None else posed.warp[0])
        return self.proxy.draw(vertices, self.cube, (rotation[0], translation[0]), camera)

    @property
    def answers_to(self) -> str:
        """See `methods.base.Refinable`."""
        return "recorded" if self.conditioning.recorded else "expression"

    def colors_at(self, params: HeadParams, camera: Camera, pixels: torch.Tensor, residual: Residual) -> torch.Tensor:
        """Colors of some pixels, with gradients to the residual; see `methods.base.Refinable`."""
        return colors_at(self, params, camera, pixels, residual)

    def surface(self, params: HeadParams, seen_from: Array, voxel_m: float = 0.002) -> Surface:
        """The skin of one frame's parameters as triangles, and its proxy's; see `methods.HasSurface`."""
        posed = self._posed(params)
        cells = self.occupied if self.proxy is None else self.proxy.trusted
        cells = cells if self.neckline is None else self.neckline.within(cells)
        skin = surface(self.field, posed, self.cube, cells, seen_from, voxel_m, self.samples)
        if self.proxy is None or len(skin.faces) == 0:
            return skin
        return joined(skin, self.proxy.surface(None if posed.warp is None else posed.warp[0], self.cube))

    def _posed(self, params: HeadParams) -> Posed:
        coefficients = torch.from_numpy(self.conditioning.coefficients(params)).to(self.occupied.device)
        if self._shared is None:
            blended = ops.blend_tables(coefficients, self.field.tables)
        else:
            blended = ops.blend_tables(coefficients @ self._shared[0], self._shared[1])
        return Posed(blended, self.moved_by(params))

    def moved_by(self, params: HeadParams) -> torch.Tensor | None:
        """(T, nodes³ · 4) what the samples of some frames are moved by, None where nothing moves."""
        return self.warp.at(params, self.conditioning.clamped(params)) if self.warp else None

    @cached_property
    def _shared(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Fewer tables that span those of the field, where there are such, rounded to what is quick to read."""
        found = shared(self.field.tables)
        return None if found is None else (found[0], found[1].to(torch.bfloat16))

    @cached_property
    def _box(self) -> Array | None:
        """(8, 3) corners of the box that holds all occupied voxels, head space; None where there is none."""
        filled = torch.nonzero(self.occupied).cpu().numpy()
        if not len(filled):
            return None
        return self.cube.to_head(_corners(filled.min(0), filled.max(0) + 1) / self.occupied.shape[0])

    @cached_property
    def _box_with_proxy(self) -> Array | None:
        """Those corners, and those of the box that holds the proxy."""
        assert self.proxy is not None
        vertices = self.proxy.vertices.cpu().numpy().astype(np.float64)
        corners = self.cube.to_head(_corners(vertices.min(0) - MOVED, vertices.max(0) + MOVED))
        return corners if self._box is None else np.concatenate([self._box, corners])

    def save(self, folder: Path) -> None:
        """Write avatar.json and model.safetensors into an existing folder."""
        folder = Path(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.field.state().items()}
        if self.warp is not None:
            tensors |= {name: tensor.detach().cpu().contiguous() for name, tensor in self.warp.tensors().items()}
        tensors["occupied"] = self.occupied.cpu().to(torch.uint8)
        if self.backing is not None:
            tensors["backing"] = self.backing.cpu().to(torch.uint8)
        if self.neckline is not None:
            tensors["neckline"] = self.neckline.shown.cpu()
        if self.proxy is not None:
            tensors |= {name: tensor.detach().cpu().contiguous() for name, tensor in self.proxy.tensors().items()}
        safetensors.torch.save_file(tensors, str(folder / "model.safetensors"))
        spec = self.field.spec
        about = {
            "format": FORMAT, "method": METHOD, "name": self.name, "head_model": self.head_model,
            "conventions": CONVENTIONS, "identity": self.identity.tolist(),
            "expression_names": list(self.expression_names),
            "tables": self.conditioning.names, "conditioning": self.conditioning.state(),
            "cube": {
                "center": np.asarray(self.cube.center).tolist(), "side": self.cube.side,
                "axes": np.asarray(self.cube.axes).tolist(),
            },
            "density": {"scale": self.field.density_scale, "shift": self.field.density_shift},
            "grid": {
                "levels": spec.levels, "features": spec.features, "log2_table": spec.log2_table,
                "base_resolution": spec.base_resolution, "finest_resolution": spec.finest_resolution,
            },
            "warp": self.warp.about() if self.warp is not None else None,
            "views": self.views.state() if self.views is not None else None,
            "samples": self.samples, "spacing_m": self.spacing_m, "settings": self.settings,
        }  # fmt: skip
        (folder / "avatar.json").write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> NerfBlendshapeAvatar:
        """Read what `save` wrote.

        Raises:
            WorkspaceError: a file is missing, damaged or of a newer format.
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
            occupied = tensors.pop("occupied").to(torch.bool)
            backing, proxy = tensors.pop("backing", None), Proxy.from_tensors(tensors)
            cube, law = about["cube"], about.get("density", {})
            return cls(
                name=about["name"], head_model=about["head_model"], identity=np.asarray(about["identity"], np.float32),
                field=Field.from_state(
                    tensors, ops.HashGridSpec(**about["grid"]), law.get("scale", DENSITY_SCALE),
                    law.get("shift", DENSITY_SHIFT),
                ),
                conditioning=Conditioning.from_state(about["conditioning"]),
                cube=Cube(
                    np.asarray(cube["center"], np.float32), cube["side"],
                    np.asarray(cube.get("axes", np.eye(3)), np.float64),
                ),
                occupied=occupied, samples=about["samples"],
                spacing_m=about.get("spacing_m", SPACING_M), settings=about["settings"],
                warp=Warp.from_files(tensors, about["warp"]) if about.get("warp") else None,
                backing=None if backing is None else backing.to(torch.bool),
                proxy=proxy, neckline=Neckline.from_tensors(tensors, occupied),
                views=TrainedViews.from_state(about["views"]) if about.get("views") else None,
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise WorkspaceError(
                f"The avatar in {folder} cannot be read.", why=f"{type(error).__name__}: {error}",
                fix="`headavatar fit --force` makes it again",
            ) from error  # fmt: skip


def _corners(low: Array, high: Array) -> Array:
    """(8, 3) of a box."""
    found: Array = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (high - low) + low
    return found

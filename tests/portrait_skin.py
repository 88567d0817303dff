"""A made-up person's skin, hair, eyes and clothes as textures: seen by networks, it must pass for a person.

Everything is painted by where a texel lies on the head at rest, from noise in space; no picture of anybody is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headavatar.head import HeadModel
from headavatar.ops.raster import rasterize

SIZE = 1024
_CELLS = 48
_BROWS = (((55, 65, 52, 53, 46), (107, 66, 105, 63, 70)), ((285, 295, 282, 283, 276), (336, 296, 334, 293, 300)))
_IRISES = ((468, 469), (473, 474))
_AO_VIEWS = 96
_SKINS = ((0.91, 0.74, 0.65), (0.83, 0.63, 0.52), (0.72, 0.52, 0.40), (0.58, 0.40, 0.30), (0.86, 0.68, 0.56))
_HAIRS = ((0.10, 0.08, 0.07), (0.22, 0.14, 0.09), (0.35, 0.24, 0.15), (0.50, 0.38, 0.22), (0.30, 0.28, 0.27))
_IRIS_COLORS = ((0.24, 0.15, 0.09), (0.34, 0.24, 0.14), (0.30, 0.40, 0.48), (0.32, 0.38, 0.26))


@dataclass(frozen=True)
class Skin:
    """What a head looks like.

    Attributes:
        albedo: (SIZE, SIZE, 3) in [0, 1], its islands grown over the gaps.
        gloss: (V,) strength of the highlights.
        shininess: (V,) their exponent.
        openness: (V,) share of the sky that a vertex sees at rest.
    """

    albedo: Tensor
    gloss: Tensor
    shininess: Tensor
    openness: Tensor


class Noise:
    """Smooth noise in space.

    Args:
        rng: where its values come from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        values = rng.normal(0, 1, (1, 4, _CELLS, _CELLS, _CELLS)).astype(np.float32)
        self.volume = torch.from_numpy(np.pad(values, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 1)), "wrap"))

    def __call__(self, places: Tensor, cell_m: float) -> Tensor:
        """(N,) noise of about unit deviation at (N, 3) places, whose grains are `cell_m` wide."""
        channel = int(self.rng.integers(4))
        shift = torch.from_numpy(self.rng.uniform(0, _CELLS, 3).astype(np.float32))
        grid = torch.remainder(places / cell_m + shift, _CELLS) / _CELLS * 2 - 1
        value = torch.nn.functional.grid_sample(
            self.volume[:, channel : channel + 1], grid[None, None, None], align_corners=True
        )
        return 1.6 * value[0, 0, 0, 0]

    def octaves(self, places: Tensor, cell_m: float, count: int) -> Tensor:
        """(N,) noise with `count` ever finer octaves, half as strong each."""
        return torch.stack([0.5**k * self(places, cell_m * 0.5**k) for k in range(count)]).sum(0)


def paint(model: HeadModel, rest: Tensor, rng: np.random.Generator) -> Skin:
    """Paint a person.

    Args:
        model: the head model.
        rest: (V, 3) the person's head at rest, head space, metres.
        rng: of the person's looks.
    """
    flat = torch.stack([model.uvs[:, 0] * SIZE, (1 - model.uvs[:, 1]) * SIZE, torch.ones(len(model.uvs))], 1)
    fragments = rasterize(flat.contiguous(), model.uv_faces, SIZE, SIZE)
    rows, columns = torch.nonzero(fragments.face_index >= 0, as_tuple=True)
    corners = model.faces[fragments.face_index[rows, columns].long()]
    bary = fragments.bary[rows, columns][..., None]

    def spread(values: Tensor) -> Tensor:
        return (values.float().reshape(len(rest), -1)[corners] * bary).sum(1)

    place = spread(rest)
    share = {name: spread(mask)[:, 0] for name, mask in model.regions.items()}
    color = _texels(model, rest, place, share, rng)
    albedo = torch.zeros(SIZE, SIZE, 3)
    albedo[rows, columns] = color.clamp(0.01, 1)
    known = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    known[rows, columns] = True
    eyes, lips, hair = (model.regions[name] for name in ("eyes", "lips", "scalp"))
    gloss = torch.full((len(rest),), float(rng.uniform(0.05, 0.13)))
    gloss[lips], gloss[hair], gloss[model.regions["lashes"] | model.regions["mouth_interior"]] = 0.18, 0.04, 0.0
    gloss[eyes | model.regions["teeth"] | model.regions["tongue"]] = 0.35
    shininess = torch.full((len(rest),), float(rng.uniform(12, 24)))
    shininess[lips], shininess[eyes] = 40.0, 200.0
    return Skin(_grown(albedo, known), gloss, shininess, _openness(model, rest))


def _texels(
    model: HeadModel, rest: Tensor, place: Tensor, share: dict[str, Tensor], rng: np.random.Generator
) -> Tensor:
    noise = Noise(rng)
    points = model.landmark_points(rest[None])[0]
    tone = torch.tensor(_SKINS[rng.integers(len(_SKINS))]) + float(rng.normal(0, 0.02))
    hair_tone = torch.tensor(_HAIRS[rng.integers(len(_HAIRS))])
    blood = torch.tensor([0.05, -0.06, -0.05])
    color = tone * (1 + 0.03 * noise.octaves(place, 0.03, 2) + 0.028 * noise.octaves(place, 0.004, 3))[:, None]

    def near(index: int, radius_m: float) -> Tensor:
        return torch.exp(-((place - points[index]).norm(dim=1) / radius_m).square())

    flush = near(50, 0.022) + near(280, 0.022) + near(4, 0.014) + 0.5 * near(152, 0.015)
    color = color + (flush * (0.7 + 0.3 * noise(place, 0.006)))[:, None] * blood
    color = color - (near(145, 0.012) + near(374, 0.012))[:, None] * torch.tensor([0.05, 0.07, 0.05])
    color = _spotted(color, place, points, model, rng)
    beard = float(rng.uniform(0, 0.7)) * float(rng.random() < 0.5)
    lower = torch.sigmoid((points[2, 1] - 0.004 - place[:, 1]) / 0.004) * torch.sigmoid((place[:, 2] - 0.055) / 0.01)
    bristle = (0.6 + 0.4 * noise(place, 0.0012)).clamp(0, 1.4) * lower * (1 - share["neck"]) * beard
    color = _mix(color, 0.7 * hair_tone + 0.2 * tone, 0.75 * bristle)
    lip = (share["lips"] * 1.4).clamp(0, 1) ** 1.5
    lip_tone = tone * torch.tensor([0.86, 0.66, 0.67]) + torch.tensor([float(rng.uniform(0, 0.06)), 0.0, 0.0])
    color = _mix(
        color, lip_tone * (1 + 0.09 * noise.octaves(place * torch.tensor([2.5, 1, 1]), 0.003, 2))[:, None], lip
    )
    for lower_edge, upper_edge in _BROWS:
        color = _mix(color, 0.8 * hair_tone, _brow(place, points, lower_edge, upper_edge, noise))
    line = (
        points[10, 1] + 0.012 + 0.006 * noise.octaves(place, 0.012, 3) - 1.1 * (place[:, 0].abs() - 0.035).clamp(min=0)
    )
    front = torch.sigmoid((place[:, 1] - line) / 0.0025) * torch.sigmoid((place[:, 2] - 0.05) / 0.01)
    back = torch.sigmoid((0.052 + 0.004 * noise(place, 0.01) - place[:, 2]) / 0.003) * torch.sigmoid(
        (place[:, 1] + 0.045 + 0.008 * noise(place, 0.01)) / 0.003
    )
    strand = noise.octaves(place * torch.tensor([1.0, 0.25, 0.25]), 0.003, 3)
    hair = (torch.maximum(front, back) * (1 - share["ears"].clamp(0, 0.5) * 2)).clamp(0, 1)
    color = _mix(color, hair_tone * (1 + 0.3 * strand)[:, None], hair)
    color = _mix(
        color, torch.tensor([0.42, 0.16, 0.15]) * (1 + 0.1 * noise(place, 0.004))[:, None], share["mouth_interior"]
    )
    color = _mix(color, torch.tensor([0.88, 0.85, 0.76]) * (1 + 0.03 * noise(place, 0.003))[:, None], share["teeth"])
    color = _mix(color, torch.tensor([0.72, 0.38, 0.37]) * (1 + 0.08 * noise(place, 0.002))[:, None], share["tongue"])
    color = _mix(color, 0.35 * hair_tone, share["lashes"])
    return _eyes(color, model, rest, place, points, share, rng, noise)


def _spotted(color: Tensor, place: Tensor, points: Tensor, model: HeadModel, rng: np.random.Generator) -> Tensor:
    """Moles, and freckles on some people."""
    freckled = rng.random() < 0.4
    sizes = np.concatenate([rng.uniform(0.0008, 0.0022, 14), rng.uniform(0.0005, 0.0011, 120 if freckled else 25)])
    middle = torch.from_numpy(rng.integers(0, 468, len(sizes)))
    spots = points[middle] + torch.from_numpy(rng.normal(0, 0.004, (len(sizes), 3)).astype(np.float32))
    for spot, size, depth in zip(spots, sizes, rng.uniform(0.1, 0.45, len(sizes)), strict=True):
        nearby = ((place - spot).abs() < 0.009).all(1)
        gap = (place[nearby] - spot)[:, :2].norm(dim=1)
        shade = torch.sigmoid((float(size) - gap) / 0.0003) * float(depth)
        color[nearby] = color[nearby] * (1 - shade[:, None] * torch.tensor([0.6, 0.8, 0.85]))
    return color


def _brow(place: Tensor, points: Tensor, lower: tuple[int, ...], upper: tuple[int, ...], noise: Noise) -> Tensor:
    """(N,) how much of a brow's hair covers each texel: a band along five pairs of landmarks, hairs across it."""
    along = torch.linspace(0, 1, 60)
    knots = torch.linspace(0, 1, len(lower))
    span = (points[list(upper)] + points[list(lower)]) / 2, (points[list(upper)] - points[list(lower)]).norm(dim=1) / 2
    line = torch.from_numpy(
        np.stack([np.interp(along, knots, span[0][:, k].numpy()) for k in range(3)], 1).astype(np.float32)
    )
    half = torch.from_numpy(np.interp(along, knots, span[1].numpy()).astype(np.float32))
    close = (place[:, 2] > 0.05) & ((place - points[lower[2]]).norm(dim=1) < 0.05)
    cover = torch.zeros(len(place))
    distance, where = torch.cdist(place[close], line).min(1)
    taper = (1.15 - 0.75 * along[where]).clamp(max=1)
    hairs = noise(place[close] * torch.tensor([1.0, 0.35, 1.0]), 0.0011)
    cover[close] = torch.sigmoid((0.95 * half[where] * taper - distance) / 0.0009) * (0.78 + 0.2 * hairs).clamp(0, 0.97)
    return cover


def _eyes(
    color: Tensor, model: HeadModel, rest: Tensor, place: Tensor, points: Tensor, share: dict[str, Tensor],
    rng: np.random.Generator, noise: Noise,
) -> Tensor:  # fmt: skip
    iris_tone = torch.tensor(_IRIS_COLORS[rng.integers(len(_IRIS_COLORS))])
    pupil = float(rng.uniform(0.3, 0.45))
    for name, (middle, ring) in zip(("eye_right", "eye_left"), _IRISES, strict=True):
        inside = model.regions[name]
        center = (rest[inside].amax(0) + rest[inside].amin(0)) / 2
        axis = torch.nn.functional.normalize(points[middle] - center, dim=0)

        def angle(p: Tensor, center: Tensor = center, axis: Tensor = axis) -> Tensor:
            return torch.acos((torch.nn.functional.normalize(p - center, dim=-1) @ axis).clamp(-1, 1))

        radius = angle(points[ring])
        texels = share[name] > 0.5
        spots = place[texels]
        r = angle(spots) / radius
        around = torch.atan2(spots[:, 1] - points[middle, 1], spots[:, 0] - points[middle, 0])
        rays = noise(torch.stack([torch.cos(around), torch.sin(around), 0.2 * r], 1), 0.12)
        iris = iris_tone * (1 + 0.35 * rays + 0.35 * (0.75 - r).clamp(-1, 1))[:, None]
        iris = _mix(iris, 0.3 * iris_tone, torch.sigmoid((r - 0.9) / 0.05))
        iris = _mix(iris, torch.tensor([0.02, 0.02, 0.02]), torch.sigmoid((pupil - r) / 0.03))
        veins = torch.exp(-(noise.octaves(spots, 0.003, 2) / 0.12).square()) * ((r - 1.3) / 2).clamp(0, 0.5)
        sclera = torch.tensor([0.87, 0.84, 0.81]) - veins[:, None] * torch.tensor([0.05, 0.35, 0.35])
        color[texels] = _mix(sclera, iris, torch.sigmoid((1.0 - r) / 0.04))
    return color


def _mix(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    return below + (above - below) * share[:, None]


def _openness(model: HeadModel, rest: Tensor) -> Tensor:
    """(V,) share of 96 directions, those above the surface weighted by its slope, from which a vertex is seen."""
    normals = vertex_normals(rest, model.faces)
    middle, radius = rest.mean(0), float((rest - rest.mean(0)).norm(dim=1).max())
    golden = np.arange(_AO_VIEWS) + 0.5
    polar, turn = np.arccos(1 - 2 * golden / _AO_VIEWS), np.pi * (1 + 5**0.5) * golden
    views = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1)
    side = 384
    seen, total = torch.zeros(len(rest)), torch.zeros(len(rest))
    for view in torch.from_numpy(views.astype(np.float32)):
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.13, 0.95, 0.27]), view), dim=0)
        frame = torch.stack([right, torch.linalg.cross(view, right), view])
        local = (rest - middle) @ frame.T
        screen = torch.stack(
            [(local[:, 0] / radius + 1) * side / 2, (1 - local[:, 1] / radius) * side / 2, 2 - local[:, 2]], 1
        )
        depth = rasterize(screen.contiguous(), model.faces, side, side).depth
        column, row = screen[:, :2].long().clamp(0, side - 1).T
        weight = (normals @ view).clamp(min=0)
        front = depth[row, column]
        seen += weight * ((screen[:, 2] < front + 0.0025) | (front <= 0))
        total += weight
    return seen / total.clamp(min=1e-6)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """(V, 3) unit normals, faces weighted by area."""
    corners = vertices[faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices).index_add(0, faces.reshape(-1), cross.repeat_interleave(3, 0))
    return torch.nn.functional.normalize(total, dim=1)


def _grown(image: Tensor, known: Tensor) -> Tensor:
    """Grow the islands by a few texels, so that bilinear samples at seams find their own color."""
    picture, mask = image.permute(2, 0, 1)[None].clone(), known.float()[None, None]
    for _ in range(6):
        total = torch.nn.functional.avg_pool2d(picture * mask, 3, 1, 1)
        weight = torch.nn.functional.avg_pool2d(mask, 3, 1, 1)
        picture = torch.where(mask > 0, picture, total / weight.clamp(min=1e-6))
        mask = (weight > 0).float()
    return picture[0].permute(1, 2, 0).contiguous()

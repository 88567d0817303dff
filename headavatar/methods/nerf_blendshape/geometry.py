"""Surfaces of a radiance field: normals of its depth, and the mesh that its viewers see.

A field that was fitted to one camera's pictures is fog as much as surface: where the head hardly turned, many densities
along a ray give the same picture, and no level of the density itself is the skin. What the pictures do determine is
where light stops. So the mesh is not a level of the density but of the *visibility*, the share of light that travels
from a point to the viewers, which is 1 before the head, 0 inside it, and one half at the surface.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ... import ops
from ...scene import Array, Camera, Surface
from .field import HARMONICS, Field, Posed
from .marching import shade
from .occupancy import dilate, voxel_centers
from .rays import Cube

SMOOTH_M = 0.002
"""Depth is smoothed over this distance before its slope is taken, metres: a standard deviation."""
SOLID = 0.5
"""A pixel with more alpha than this has a surface; at fainter ones depth is a mixture of hair and nothing."""
LEVEL = 0.5
"""Visibility at the surface."""
EVEN_M = 0.0025
"""Visibility is smoothed over this distance, metres: a standard deviation. Below it is noise of the fit."""
SEEN = 0.3
"""Skin is what shows in a picture with at least this alpha."""
MARGIN = 2
"""Voxels around the occupied ones within which a surface is looked for."""
CHUNK = 1 << 18
"""Points that the field is asked for at once."""


def normals_from_depth(depth: Array, alpha: Array, camera: Camera) -> Array:
    """Surface normals of a depth map, by central differences of the points that it stands for.

    Args:
        depth: (H, W) metres along z, 0 where there is nothing.
        alpha: (H, W) in [0, 1].
        camera: whose picture it is.
    Returns:
        (H, W, 3) float32 unit vectors in camera space, pointing towards the camera; 0 where alpha is below `SOLID`.
    """
    height, width = depth.shape
    solid = (alpha > SOLID) & (depth > 0)
    if not solid.any():
        return np.zeros((height, width, 3), np.float32)
    reach = float(camera.K[0, 0]) * SMOOTH_M / float(np.median(depth[solid]))
    weight = solid.astype(np.float32)
    smooth: Array = depth.astype(np.float32)
    if reach > 0.3:
        total = cv2.GaussianBlur(weight, (0, 0), reach)
        smooth = cv2.GaussianBlur(smooth * weight, (0, 0), reach) / np.maximum(total, 1e-6)
    K = camera.K
    x = ((np.arange(width) + 0.5 - K[0, 2]) / K[0, 0]).astype(np.float32)
    y = ((np.arange(height) + 0.5 - K[1, 2]) / K[1, 1]).astype(np.float32)
    points = np.stack([x[None, :] * smooth, y[:, None] * smooth, smooth], -1)
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    unit = np.where(solid[..., None] & (length > 0), normal / np.maximum(length, 1e-20), 0.0)
    return np.asarray(unit, np.float32)


def facing_of(depth: Array, alpha: Array, camera: Camera) -> Array:
    """(H, W) cosines between the line of sight and a depth map's normals, 0 where there is no surface."""
    height, width = depth.shape
    normal = normals_from_depth(depth, alpha, camera)
    v, u = np.mgrid[:height, :width] + 0.5
    sight = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(np.asarray(camera.K, np.float64)).T
    found: Array = -(normal * sight).sum(-1) / np.linalg.norm(sight, axis=-1)
    return found.clip(0, 1).astype(np.float32)


@torch.no_grad()
def surface(
    field: Field, posed: Posed, cube: Cube, occupied: torch.Tensor, seen_from: Array, voxel_m: float,
    samples: int,
) -> Surface:  # fmt: skip
    """The skin that viewers see, by marching cubes.

    Args:
        field, posed: the field, and what one frame makes of it.
        cube, occupied: the part of head space that is modelled, and its (G, G, G) bool voxels that hold something.
        seen_from: (N, 3) where viewers stand, head space, metres: those of training, others know nothing.
        voxel_m: edge of a voxel, metres.
        samples: most samples on a ray, for the colors.
    Returns:
        the largest connected piece; it ends where the modelled part does. Empty where no surface is seen.
    Source:
        Lorensen and Cline 1987, "Marching cubes", in Lewiner's variant (scikit-image).
    """
    from skimage.measure import marching_cubes

    grid = max(16, round(cube.side / voxel_m))
    there = _refined(occupied, grid)
    even = EVEN_M * grid / cube.side
    near = dilate(there, MARGIN + math.ceil(4 * even))  # as far as the smoothing reaches
    points = torch.from_numpy(voxel_centers(grid)).to(posed.blended.device)[near.reshape(-1)]
    nothing = Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.float32))
    if len(points) == 0:
        return nothing
    density = _density(field, posed, there) * cube.side
    unit_eyes = cube.to_unit(np.asarray(seen_from, np.float64))
    eyes = torch.as_tensor(unit_eyes, dtype=torch.float32, device=posed.blended.device)
    lights = [Light.towards(eye, density, points) for eye in eyes]
    hidden = torch.zeros(grid**3, device=posed.blended.device)
    hidden[near.reshape(-1)] = 1 - torch.stack([light.at(points) for light in lights]).mean(0)
    volume = gaussian_filter(hidden.reshape(near.shape).cpu().numpy(), even)
    try:
        vertices, faces, _, _ = marching_cubes(volume, LEVEL, mask=dilate(there, MARGIN).cpu().numpy())
    except (ValueError, RuntimeError):  # no voxel lies on either side of the level
        return nothing
    faces = faces[:, ::-1].astype(np.int64)
    unit = torch.as_tensor((vertices + 0.5) / grid, dtype=torch.float32, device=posed.blended.device)
    rgb, alpha = _looks(field, posed, occupied, cube.side, lights, unit, faces, samples)
    kept = (alpha > SEEN).cpu().numpy()[faces].all(1)
    if not kept.any():
        return nothing
    used, faces = largest_piece(faces[kept], len(vertices))
    points_m = cube.to_head((vertices[used].astype(np.float64) + 0.5) / grid).astype(np.float32)
    return Surface(points_m, faces, rgb.cpu().numpy()[used])


@dataclass(frozen=True)
class Light:
    """How much light travels from the points of a volume to one eye, by Beer's law.

    The volume is resampled along the eye's rays, where optical depth is a running sum.

    Attributes:
        eye: (3,) in the unit cube's axes and units.
        frame: (3, 3) rows right, up and forward as the eye looks.
        low, span: (3,) first corner and size of what was resampled: right / forward, up / forward, forward.
        share: (G, G, G) light at the far end of each step, in [0, 1].
    """

    eye: torch.Tensor
    frame: torch.Tensor
    low: torch.Tensor
    span: torch.Tensor
    share: torch.Tensor

    @staticmethod
    def towards(eye: torch.Tensor, density: torch.Tensor, points: torch.Tensor) -> Light:
        """The light of a volume.

        Args:
            eye: (3,) in front of all points.
            density: (G, G, G) over the unit cube, per cube side; indexed x, y, z.
            points: (N, 3) where light will be asked for.
        """
        grid, device = density.shape[0], density.device
        forward = torch.nn.functional.normalize(points.mean(0) - eye, dim=0)
        helper = torch.eye(3, device=device)[int(forward.abs().argmin())]
        right = torch.nn.functional.normalize(torch.linalg.cross(forward, helper), dim=0)
        frame = torch.stack([right, torch.linalg.cross(right, forward), forward])
        local = (points - eye) @ frame.T
        place = torch.cat([local[:, :2] / local[:, 2:], local[:, 2:]], 1)
        low = place.min(0).values - torch.tensor([0.0, 0.0, 1.0 / grid], device=device)
        span = (place.max(0).values - low).clamp_min(1e-6)
        across = low[:2] + span[:2] * torch.linspace(0, 1, grid, device=device)[:, None]
        rays = forward + across[:, None, 0, None] * frame[0] + across[None, :, 1, None] * frame[1]
        away = low[2] + span[2] * (torch.arange(grid, device=device)[:, None] + 0.5) / grid
        found = torch.stack([_lookup(density, eye + row[:, None] * away) for row in rays])
        optical = (found * rays.norm(dim=2, keepdim=True)).cumsum(2) * (span[2] / grid)
        return Light(eye, frame, low, span, torch.exp(-optical))

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """(N,) the share of light that reaches the eye from (N, 3) points."""
        local = (points - self.eye) @ self.frame.T
        unit = (torch.cat([local[:, :2] / local[:, 2:], local[:, 2:]], 1) - self.low) / self.span
        steps = self.share.shape[2]
        where = torch.stack([(unit[:, 2] * steps - 1) / (steps - 1), unit[:, 1], unit[:, 0]], 1) * 2 - 1
        found = torch.nn.functional.grid_sample(
            self.share[None, None], where[None, None, None], align_corners=True, padding_mode="border"
        )
        return found.reshape(-1)


def joined(first: Surface, second: Surface) -> Surface:
    """Two surfaces as one, which do not touch."""
    faces = np.concatenate([first.faces, second.faces + len(first.vertices)])
    return Surface(
        np.concatenate([first.vertices, second.vertices]), faces, np.concatenate([first.colors, second.colors])
    )


def largest_piece(faces: Array, vertices: int) -> tuple[Array, Array]:
    """The connected piece of a mesh that has the most faces.

    Args:
        faces: (F, 3), at least one.
        vertices: how many there are.
    Returns:
        (V,) which vertices it uses, and its faces in terms of these.
    """
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(vertices, vertices))
    _, piece = connected_components(graph, directed=False)
    kept = faces[piece[faces[:, 0]] == np.bincount(piece[faces[:, 0]]).argmax()]
    used, renamed = np.unique(kept, return_inverse=True)
    return used, renamed.reshape(-1, 3)


def _refined(occupied: torch.Tensor, grid: int) -> torch.Tensor:
    """An occupancy grid at another resolution: each voxel asks the one that its center lies in."""
    index = ((torch.arange(grid, device=occupied.device) + 0.5) / grid * occupied.shape[0]).long()
    return occupied[index][:, index][:, :, index]


def _density(field: Field, posed: Posed, there: torch.Tensor) -> torch.Tensor:
    """(G, G, G) density at the centers of the voxels, per metre; 0 outside the occupied ones."""
    chosen = there.reshape(-1)
    points = torch.from_numpy(voxel_centers(there.shape[0])).to(posed.blended.device)[chosen]
    features = ops.spherical_harmonics(torch.tensor([[0.0, 0.0, -1.0]], device=posed.blended.device), HARMONICS)
    parts = []
    for part in points.split(CHUNK):
        borders = torch.tensor([0, len(part)], device=part.device)
        where = part.contiguous() if posed.warp is None else ops.warp_points(part.contiguous(), posed.warp, borders)
        rays = torch.zeros(len(part), dtype=torch.int32, device=part.device)
        sigma, _ = ops.nerf_field(
            where, posed.blended, features, rays, field.sigma_weights, field.color_weights, field.spec,
            frame_offsets=borders, density_shift=field.density_shift,
        )  # fmt: skip
        parts.append(sigma)
    density = torch.zeros(there.numel(), device=posed.blended.device)
    if len(points):
        density[chosen] = torch.cat(parts) * field.density_scale
    return density.reshape(there.shape)


def _lookup(volume: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Trilinear values of a (G, G, G) volume at (…, 3) points of the unit cube; 0 outside."""
    place = (points * 2 - 1).flip(-1).reshape(1, 1, 1, -1, 3)
    return torch.nn.functional.grid_sample(volume[None, None], place, align_corners=False).reshape(points.shape[:-1])


def _looks(
    field: Field, posed: Posed, occupied: torch.Tensor, cube_side: float, lights: Sequence[Light],
    points: torch.Tensor, faces: Array, samples: int,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(V, 3) color and (V,) alpha of vertices, as the eye sees them that they face and that sees them best."""
    outward = ops.vertex_normals(points, torch.from_numpy(faces).to(points.device))
    scores = []
    for light in lights:
        facing = (torch.nn.functional.normalize(light.eye - points, dim=1) * outward).sum(1)
        scores.append(light.at(points) * facing.clamp_min(0.05))
    best = torch.stack(scores).argmax(0)
    rgb, alpha = torch.zeros_like(points), torch.zeros(len(points), device=points.device)
    for number, light in enumerate(lights):
        for part in torch.nonzero(best == number)[:, 0].split(CHUNK // 8):
            directions = torch.nn.functional.normalize(points[part] - light.eye, dim=1)
            seen = shade(
                field, posed, light.eye.expand(len(part), 3).contiguous(), directions, [len(part)], occupied,
                samples=samples, cube_side=cube_side,
            )  # fmt: skip
            rgb[part] = (seen.rgb / seen.alpha[:, None].clamp_min(SEEN)).clamp(0, 1)
            alpha[part] = seen.alpha
    return rgb, alpha

"""Every heavy kernel, behind one call each: tensors in, tensors out, the same answer from every backend.

A call picks its backend in `ops.backend`: "native" (C++/OpenMP, CPU float32) where the library was built, else
"reference" (plain torch, any device and dtype). The reference is the oracle that tests hold the others against.
Force one with `with ops.backend.use("reference"):` or `HEADAVATAR_OPS=reference`. On CUDA float32 tensors the field's
calls run on "triton", our own kernels, or on "tinycudann", the same with its networks, where these import. Which
faces a picture sees is found by pytorch3d there, or by our kernel; the rest of drawing meshes runs on the reference.
Nothing has been run on a GPU yet: the Triton kernels are tested in its interpreter.

Rasterise a mesh and interpolate over it (gradients to vertex positions pass through `bary` and `depth`)::

    fragments = rasterize(vertices_px, faces, height, width)      # (V, 3) or (B, V, 3): x_px, y_px, camera z in metres
    picture = interpolate(attributes, faces, fragments)           # (V, C) or (B, V, C) -> (B, H, W, C)
    picture = antialias(picture, fragments, vertices_px, faces)   # silhouettes, with gradients to vertices_px
    features = sample_maps(maps, uv)                              # (H, W, C), (N, 2) -> (N, C)
    behind = rasterize(vertices_px, faces, height, width, layers=2)  # the K nearest faces: (B, K, H, W)

Colors that were baked into maps are drawn in one call, `shade_baked`, from what `pack_maps` lays out; `pose_shape`
gives the vertices of what `pack_shape` lays out, for one frame.

A blended hash grid and its field, B frames in one call; x[frame_offsets[b]:frame_offsets[b + 1]] are those of frame b::

    spec = HashGridSpec(levels=16, features=2, log2_table=14, base_resolution=16, finest_resolution=512)
    tables = torch.empty(K, spec.parameters).uniform_(-1e-4, 1e-4)
    blended = blend_tables(coefficients, tables).requires_grad_()  # (B, K), (K, P) -> (B, P)
    rays = sample_rays(origins, directions, near, far, samples=8, low=low, high=high, seed=seed, step=step)
    sigma, rgb = nerf_field(rays.positions, blended, ray_features, rays.ray_index, sigma_weights, color_weights, spec,
                            frame_offsets=...)
    picture = composite(sigma, rgb, rays.deltas, rays.distances, rays.ray_offsets)   # .rgb (R, 3) .alpha (R,) .depth
    loss(picture).backward()                                       # `distortion` is a loss that keeps light together
    optimizer.step([(coefficients[b], blended.grad[b]) for b in range(B)])           # RankOneAdam(tables, lr=1e-2)

Where nothing is trained, `render_rays` does sampling, field and compositing in one call; `pixel_rays` gives it the rays
of a picture's pixels, and `lay_over` puts what they saw over a background.

Points are moved before they are looked up by grids of displacements: `spread` makes one from scattered values, `refine`
reads a coarse one at the nodes of a finer one, `warp_points` moves the points, and `render_rays` takes one as `warp`.

The parts of the field also stand alone: `hash_encode`, `fused_mlp`, `spherical_harmonics`.

Results do not depend on the number of threads: sums are cut into pieces by the size of the input alone.
"""

from __future__ import annotations

from headavatar.ops import backend
from headavatar.ops.antialiasing import antialias
from headavatar.ops.baked import BakedMaps, BakedPicture, pack_maps, shade_baked
from headavatar.ops.compositing import Composite, composite
from headavatar.ops.distortion import distortion
from headavatar.ops.field import nerf_field
from headavatar.ops.harmonics import spherical_harmonics
from headavatar.ops.hashgrid import HashGridSpec, blend_tables, hash_encode
from headavatar.ops.mlp import fused_mlp
from headavatar.ops.normals import vertex_normals
from headavatar.ops.optimizer import RankOneAdam
from headavatar.ops.picture import lay_over, pixel_rays
from headavatar.ops.posing import PackedShape, pack_shape, pose_shape
from headavatar.ops.raster import Fragments, interpolate, rasterize
from headavatar.ops.rendering import render_rays
from headavatar.ops.sampling import Cells, RaySamples, sample_rays
from headavatar.ops.texturing import sample_maps
from headavatar.ops.warping import refine, spread, warp_points

__all__ = [
    "BakedMaps",
    "BakedPicture",
    "Cells",
    "Composite",
    "Fragments",
    "HashGridSpec",
    "PackedShape",
    "RankOneAdam",
    "RaySamples",
    "antialias",
    "backend",
    "blend_tables",
    "composite",
    "distortion",
    "fused_mlp",
    "hash_encode",
    "interpolate",
    "lay_over",
    "nerf_field",
    "pack_maps",
    "pack_shape",
    "pixel_rays",
    "pose_shape",
    "rasterize",
    "refine",
    "render_rays",
    "sample_maps",
    "sample_rays",
    "shade_baked",
    "spherical_harmonics",
    "spread",
    "vertex_normals",
    "warp_points",
]

"""The nearest faces on a card, by pytorch3d where it imports, else by our own kernel. Not yet run on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from headavatar.ops.reference.raster import candidates

BLOCK = 32


def visible_faces(vertices: Tensor, faces: Tensor, height: int, width: int, near: float, cull: bool) -> Tensor:
    """`reference.raster.visible_faces` of one layer, with depths compared in single precision: (1, H, W).

    Of faces whose depths round to the same number the first wins.
    """
    from headavatar.ops.cuda.kernels import raster as kernels

    drawn = candidates(vertices, faces, height, width, near, cull)
    none = torch.iinfo(torch.int64).max
    keys = torch.full((height * width,), none, dtype=torch.int64, device=vertices.device)
    if len(drawn.index):
        boxes = torch.stack((drawn.x0, drawn.y0, drawn.columns, drawn.area), 1).int().contiguous()
        kernels.draw[(len(drawn.index),)](
            drawn.edges.contiguous(), drawn.scale.contiguous(), drawn.determinant.contiguous(), boxes,
            drawn.index.long().contiguous(), keys, width, near, BLOCK=BLOCK, num_warps=1, enable_fp_fusion=False,
        )  # fmt: skip
    image = torch.where(keys == none, -1, keys & 0xFFFFFFFF)
    return image.int().view(1, height, width)


def visible_faces_by_pytorch3d(vertices: Tensor, faces: Tensor, height: int, width: int, layers: int) -> Tensor:
    """The same of B frames, (B, K, H, W), for vertices (B, V, 3) that all lie beyond the near plane, without culling.

    pytorch3d's x runs to the left and its y up, from the middle of the picture, and the shorter side is two long.
    """
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    middle = vertices.new_tensor([width / 2, height / 2])
    places = (middle - vertices[..., :2]) * (2 / min(height, width))
    meshes = Meshes(list(torch.cat((places, vertices[..., 2:]), -1)), [faces.long()] * len(vertices))
    found = rasterize_meshes(
        meshes, (height, width), blur_radius=0.0, faces_per_pixel=layers, perspective_correct=True,
        clip_barycentric_coords=False, cull_backfaces=False,
    )[0]  # fmt: skip
    # Faces are numbered through all frames.
    first = torch.arange(len(vertices), device=found.device).view(-1, 1, 1, 1) * len(faces)
    return torch.where(found >= 0, found - first, -1).permute(0, 3, 1, 2).int()

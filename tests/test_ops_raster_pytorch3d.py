"""What is asked of pytorch3d, and how its answer is read.

By a stand-in that keeps to its documented conventions, and by the library itself on the processor where it imports.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from headavatar import ops
from headavatar.ops.cuda import raster as cuda


class Meshes:
    def __init__(self, verts, faces):
        self.verts, self.faces = verts, faces


def rasterize_meshes(meshes, image_size, blur_radius, faces_per_pixel, perspective_correct, clip_barycentric_coords,
                     cull_backfaces):  # fmt: skip
    """pix_to_face (B, H, W, K), numbered through the batch; of its "PixToNonSquareNdc", +X is left and +Y up."""
    assert blur_radius == 0 and perspective_correct and not clip_barycentric_coords and not cull_backfaces
    height, width = image_size
    found = []
    for b, (verts, faces) in enumerate(zip(meshes.verts, meshes.faces, strict=True)):
        range_x, range_y = (2 * max(1.0, side / other) for side, other in ((width, height), (height, width)))
        # The center of column j lies at range (width - 1 - j + 1/2) / width - range / 2: j from the x, and back to 0.5.
        x = width - (verts[:, 0] + range_x / 2) / range_x * width
        y = height - (verts[:, 1] + range_y / 2) / range_y * height
        with ops.backend.use("reference"):
            image = ops.rasterize(torch.stack((x, y, verts[:, 2]), 1), faces, height, width, layers=faces_per_pixel)
        index = image.face_index.long()
        found.append(torch.where(index >= 0, index + b * len(faces), -1).permute(1, 2, 0))
    return torch.stack(found), None, None, None


@pytest.mark.parametrize(("height", "width"), [(20, 20), (16, 28), (30, 18)])
def test_pixels_and_layers_come_back_as_ours(monkeypatch, height, width):
    names = ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.mesh", "pytorch3d.structures")
    modules = {name: ModuleType(name) for name in names}
    modules["pytorch3d.renderer.mesh"].rasterize_meshes = rasterize_meshes
    modules["pytorch3d.structures"].Meshes = Meshes
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    compare(height, width, torch.float64)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (16, 28), (30, 18)])
def test_the_library_itself_answers_as_ours_where_it_is_installed(height, width):
    pytest.importorskip("pytorch3d.renderer.mesh", exc_type=ImportError)
    compare(height, width, torch.float32)


def compare(height, width, dtype):
    seed = torch.seed() % 2**31
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(2, 30, 3, generator=generator, dtype=torch.float64) * torch.tensor([width, height, 2.0])
    vertices[..., 2] += 0.5
    drawn = torch.stack([torch.randperm(30, generator=generator)[:3] for _ in range(25)])
    faces = drawn.sort(1)[0].unique(dim=0)  # of two in one place rounding says which is nearer
    with ops.backend.use("reference"):
        expected = ops.rasterize(vertices, faces, height, width, layers=2).face_index
    assert int((expected >= 0).sum()) > 100
    found = cuda.visible_faces_by_pytorch3d(vertices.to(dtype), faces, height, width, 2)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert float((found == expected).float().mean()) > 0.998  # places are rounded, which may tip a pixel on an edge

"""The tracked person's head at rest as a Wavefront OBJ."""

from __future__ import annotations

from torch import Tensor

from headavatar.head import HeadModel


def obj_text(head: HeadModel, vertices: Tensor) -> str:
    """Quads with UVs and the material of canonical.mtl.

    Args:
        head: the head model.
        vertices: (V, 3) head space, metres.
    """
    lines = ["# y up, z out of the face, metres", "mtllib canonical.mtl", "o head", "usemtl head"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.numpy()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in head.uvs.numpy()]
    for corners, uvs in zip(head.quads.numpy() + 1, head.uv_quads.numpy() + 1, strict=True):
        last = 3 if corners[3] == corners[2] else 4
        lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(corners[:last], uvs[:last], strict=True)))
    return "\n".join(lines) + "\n"

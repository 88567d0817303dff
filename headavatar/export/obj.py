"""A Wavefront OBJ of a head, with UVs and texture."""

from __future__ import annotations

from pathlib import Path

from headavatar.scene import Array


def write_obj(
    folder: Path, name: str, positions: Array, uvs: Array, faces: Array, uv_faces: Array, texture_png: bytes | None,
    *, material: str = "head", texture: str = "texture",
) -> None:  # fmt: skip
    """Write NAME.obj, its material and its texture.

    Args:
        folder: existing; several may share it, and their material and texture.
        name: of the mesh.
        positions: (V, 3) metres.
        uvs: (U, 2) v up.
        faces, uv_faces: (F, 3) indices into positions and uvs, counterclockwise from outside.
        texture_png: the texture's file, or None.
        material, texture: names of their files, without suffix.
    """
    lines = ["# headavatar: metres, +y up, +z out of the face", f"mtllib {material}.mtl", f"o {name}"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions.tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uvs.tolist()]
    lines.append("usemtl skin")
    lines += [
        "f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(face, uv, strict=True))
        for face, uv in zip(faces.tolist(), uv_faces.tolist(), strict=True)
    ]
    (folder / f"{name}.obj").write_text("\n".join(lines) + "\n")
    look = "newmtl skin\nKd 0.80 0.62 0.54\nKs 0 0 0\n"
    if texture_png is not None:
        (folder / f"{texture}.png").write_bytes(texture_png)
        look = f"newmtl skin\nKd 1 1 1\nKs 0 0 0\nmap_Kd {texture}.png\n"
    (folder / f"{material}.mtl").write_text(look)

"""Real spherical harmonics of view directions; evaluated per ray, so plain torch is enough."""

from __future__ import annotations

import torch
from torch import Tensor


def spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    """The real spherical harmonics up to a degree.

    Args:
        directions: (..., 3) unit vectors.
        degree: number of bands, 1 to 4: 1, 4, 9 or 16 values.
    Returns:
        (..., degree**2); carries gradients.
    Raises:
        ValueError: another degree.
    Source:
        P.-P. Sloan 2013, "Efficient Spherical Harmonic Evaluation", with the signs of 3D Gaussian splatting.
    """
    if not 1 <= degree <= 4:
        raise ValueError(f"spherical harmonics have 1 to 4 bands here, not {degree}")
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, 0.28209479177387814)]
    if degree > 1:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree > 2:
        xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
        values += [
            1.0925484305920792 * xy, -1.0925484305920792 * yz, 0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * xz, 0.5462742152960396 * (xx - yy),
        ]  # fmt: skip
        if degree > 3:
            values += [
                -0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * xy * z,
                -0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
                -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
                -0.5900435899266435 * x * (xx - 3 * yy),
            ]  # fmt: skip
    return torch.stack(values, -1)

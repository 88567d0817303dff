"""The arguments of kernels.h, of shading.h and posing.cpp, field by field: the C ABI of the vectorised kernels."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

_P, _L, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class BlendArgs(ctypes.Structure):
    _fields_ = (
        ("weights", _P), ("tables", _P), ("blended", _P), ("grad_weights", _P), ("grad_tables", _P), ("frames", _L),
        ("count", _L), ("size", _L), ("bfloat16", _I),
    )  # fmt: skip


class AdamArgs(ctypes.Structure):
    _fields_ = (
        ("tables", _P), ("first", _P), ("second", _P), ("coefficients", _P), ("gradients", _P), ("l1", _P),
        ("count", _L), ("size", _L), ("terms", _L), ("rate", _F), ("correction", _F), ("beta1", _F), ("beta2", _F),
        ("eps", _F), ("bfloat16", _I),
    )  # fmt: skip


class GridArgs(ctypes.Structure):
    _fields_ = (
        ("x", _P), ("table", _P), ("encoded", _P), ("grad_table", _P), ("grad_x", _P), ("frame_offsets", _P),
        ("scales", _P), ("nodes", _P), ("offsets", _P), ("frames", _L), ("levels", _I), ("features", _I),
        ("log2_table", _I),
    )  # fmt: skip


class NetArgs(ctypes.Structure):
    _fields_ = (("weights", _P), ("grads", _P), ("sizes", _P), ("layers", _I))


class MlpArgs(ctypes.Structure):
    _fields_ = (("x", _P), ("y", _P), ("grad_x", _P), ("saved", _P), ("points", _L), ("net", NetArgs))


class FieldArgs(ctypes.Structure):
    _fields_ = (
        ("grid", GridArgs), ("ray_features", _P), ("ray_index", _P), ("sigma", _P), ("rgb", _P), ("grad_sigma", _P),
        ("grad_rgb", _P), ("saved", _P), ("grad_tiles", _P), ("ray_width", _L), ("sigma_net", NetArgs),
        ("color_net", NetArgs), ("density_shift", _F), ("density_scale", _F),
    )  # fmt: skip


class RayArgs(ctypes.Structure):
    _fields_ = (
        ("origins", _P), ("directions", _P), ("near", _P), ("far", _P), ("low", _P), ("high", _P), ("occupancy", _P),
        ("rays", _L), ("side", _L), ("probes", _L), ("samples", _L), ("min_step", ctypes.c_double),
        ("packed", _P), ("box", _P),
    )  # fmt: skip


class RenderArgs(ctypes.Structure):
    _fields_ = (
        ("rays", RayArgs), ("grid", GridArgs), ("sigma_net", NetArgs), ("color_net", NetArgs), ("density_shift", _F),
        ("density_scale", _F), ("stop", _F), ("bands", _L), ("warp", _P), ("warp_nodes", _L), ("columns", _L),
        ("agreement", _F), ("rgb", _P), ("alpha", _P), ("depth", _P),
    )  # fmt: skip


class PoseArgs(ctypes.Structure):
    _fields_ = (
        ("rest", _P), ("moves", _P), ("turn_weights", _P), ("move_starts", _P), ("move_index", _P),
        ("turn_starts", _P), ("turn_index", _P), ("coefficients", _P), ("turns", _P), ("pivots", _P), ("view", _P),
        ("projection", _P), ("offset", _P), ("points", _P), ("pixels", _P), ("vertex_count", _L), ("blocks", _L),
    )  # fmt: skip


class BakedArgs(ctypes.Structure):
    _fields_ = (
        ("vertices", _P), ("points", _P), ("uvs", _P), ("base", _P), ("factors", _P), ("light", _P), ("axes", _P),
        ("background", _P), ("cover", _P), ("faces", _P), ("twins", _P), ("starts", _P), ("around", _P),
        ("uv_faces", _P), ("texels", _P), ("rgb", _P), ("alpha", _P), ("depth", _P), ("vertex_count", _L),
        ("face_count", _L), ("height", _L), ("width", _L), ("side", _L), ("coarse_side", _L), ("maps", _L),
        ("light_side", _L), ("lights", _L), ("near", ctypes.c_double), ("covered", ctypes.c_float), ("cull", _I),
        ("oriented", _I),
    )  # fmt: skip


def address(tensor: Tensor | None) -> int | None:
    """A contiguous tensor's address; None (null) for None."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def addresses(tensors: list[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    """A C array of contiguous tensors' addresses; it must outlive the call."""
    return (ctypes.c_void_p * len(tensors))(*(address(t) for t in tensors))


def net_args(weights: list[Tensor], grads: list[Tensor] | None) -> tuple[NetArgs, tuple[object, ...]]:
    """A network's arguments, and what must stay alive during the call; no gradients of matrices where None."""
    sizes = torch.tensor([weights[0].shape[1]] + [len(w) for w in weights], dtype=torch.int32)
    pointers, grad_pointers = addresses(weights), None if grads is None else addresses(grads)
    args = NetArgs(
        ctypes.cast(pointers, ctypes.c_void_p),
        None if grad_pointers is None else ctypes.cast(grad_pointers, ctypes.c_void_p),
        address(sizes), len(weights),
    )  # fmt: skip
    return args, (sizes, pointers, grad_pointers)

"""Maps read over a surface: against the torch reference, against finite differences, and what texels mean."""

from __future__ import annotations

import pytest
import torch

from headavatar import ops
from headavatar.ops.native import library

needs_native = pytest.mark.skipif(library.load().handle is None, reason="the native library is not built")


@needs_native
@pytest.mark.parametrize(("height", "width", "channels"), [(37, 64, 5), (1, 9, 16), (128, 128, 17), (2, 1, 1)])
def test_values_and_gradients_agree(generator, height, width, channels):
    maps = torch.randn(height, width, channels, generator=generator)
    uv = torch.rand(3000, 2, generator=generator) * 1.2 - 0.1
    weights = torch.randn(3000, channels, generator=generator)
    found = []
    for name in ("native", "reference"):
        with ops.backend.use(name):
            m, p = maps.clone().requires_grad_(), uv.clone().requires_grad_()
            values = ops.sample_maps(m, p)
            values.backward(weights)
            found.append((values.detach(), m.grad, p.grad))
    for mine, expected in zip(*found, strict=True):
        assert float((mine - expected).abs().max()) <= 1e-4 * max(1.0, float(expected.abs().max()))


def test_gradients_match_finite_differences(generator):
    maps = torch.randn(6, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    texel = torch.stack(
        (torch.randint(0, 6, (20,), generator=generator), torch.randint(0, 7, (20,), generator=generator))
    )
    inside = texel.T + 0.1 + 0.8 * torch.rand(20, 2, generator=generator, dtype=torch.float64)  # away from the kinks
    uv = ((inside - 0.5) / torch.tensor([5.0, 6.0])).requires_grad_()
    assert torch.autograd.gradcheck(ops.sample_maps, (maps, uv))


def test_a_texel_center_reads_the_texel_and_row_zero_is_on_top(backend):
    maps = torch.arange(12.0).view(3, 4, 1)
    centers = torch.tensor([[0.5 / 4, 1 - 0.5 / 3], [2.5 / 4, 1 - 2.5 / 3], [1.0, 1.0], [-3.0, 7.0]])
    assert torch.allclose(ops.sample_maps(maps, centers)[:, 0], torch.tensor([0.0, 10.0, 3.0, 0.0]), atol=1e-5)


@needs_native
def test_sums_do_not_depend_on_the_number_of_threads(generator):
    maps = torch.zeros(64, 64, 16, requires_grad=True)
    uv = torch.rand(20000, 2, generator=generator) ** 3
    weights = torch.randn(20000, 16, generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.autograd.grad(ops.sample_maps(maps, uv), maps, weights)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@needs_native
def test_what_is_not_a_number_reads_no_foreign_memory():
    values = ops.sample_maps(torch.ones(4, 4, 2), torch.tensor([[float("nan"), float("inf")], [-1e30, 1e30]]))
    assert values.shape == (2, 2)

"""LPIPS' weights come out of their pickles without running anything."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from headavatar.pretrained import cache, lpips
from headavatar.pretrained.catalog import ENTRIES


def test_weights_are_converted_once(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [rng.normal(size=(3, 3, 4, 6)).astype(np.float32) for _ in range(2)]
    biases = [rng.normal(size=6).astype(np.float32) for _ in range(2)]
    head = rng.normal(size=(1, 1, 6, 1)).astype(np.float32)
    arrays = {
        "AlexNet_0": {f"Conv_{i}": {"kernel": kernels[i], "bias": biases[i]} for i in range(2)},
        "NetLinLayer_0": {"Conv_0": {"kernel": head}},
    }
    source = tmp_path / "weights.ckpt"
    source.write_bytes(pickle.dumps(arrays, protocol=3))
    monkeypatch.setenv("HEADAVATAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lpips, "fetch", lambda name, reporter: source)
    first = lpips.load("alex")
    source.unlink()
    again = lpips.load("alex")
    for weights in (first, again):
        assert len(weights.convolutions) == 2 and len(weights.heads) == 1
        for (weight, bias), kernel, expected in zip(weights.convolutions, kernels, biases, strict=True):
            assert np.array_equal(weight.numpy(), kernel.transpose(3, 2, 0, 1))
            assert np.array_equal(bias.numpy(), expected)
        assert weights.heads[0].shape == (1, 6, 1, 1)
    assert all(path.suffix == ".safetensors" for path in cache.location(ENTRIES["lpips_alex"]).parent.iterdir())

"""What the benchmarks write down."""

from __future__ import annotations

import csv

import pytest

from headavatar.methods.nerf_blendshape import bench as costs
from headavatar.ops import bench
from headavatar.ops.bench_cases import CASES, Case


def test_shares_of_the_ceilings():
    case = Case("copying", "1 GB", lambda: lambda: None, bytes_moved=1e9, operations=2e9)
    text = bench.table([bench.Row(case, 100.0, 450.0)], True, bytes_per_s=20e9, flops=80e9)
    assert text.splitlines()[-1] == "| copying | 1 GB | 100.00 | 450.0 | 4.5x | 50 % | 25 % |"


@pytest.mark.parametrize("name", ["full step", "picture"])
def test_the_step_and_the_picture_are_among_the_cases(name):
    (case,) = (case for case in CASES if case.name == name)
    assert case.bytes_moved > 1e7 and case.operations > 1e8


def test_costs_are_written_as_table_and_plot(tmp_path, monkeypatch):
    asked = []

    def measured(point):
        asked.append(tuple(point.values()))
        return {"step_ms": point["samples"] * 10.0, "render_ms": 5.0, "memory_mb": 300.0}

    monkeypatch.setattr(costs, "measure_apart", measured)
    assert costs.main([str(tmp_path)]) == 0
    with (tmp_path / "costs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(values) for values in costs.AXES.values())
    assert len(asked) == len(set(asked)) == len(rows) - len(costs.AXES) + 1  # what all axes share is measured once
    found = [float(row["step_ms"]) for row in rows if row["axis"] == "samples"]
    assert found == [10.0 * samples for samples in costs.AXES["samples"]]
    assert (tmp_path / "costs.png").stat().st_size > 10_000

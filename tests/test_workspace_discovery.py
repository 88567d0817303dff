"""Which workspace is meant, its settings file, and its lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headavatar.errors import UsageError, WorkspaceError
from headavatar.workspace import Workspace, layout
from headavatar.workspace.config import StageConfig, read_config
from headavatar.workspace.discovery import find_workspace
from headavatar.workspace.lock import holder, locked


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADAVATAR_WORKSPACE", raising=False)


def test_found_from_inside_from_above_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = Workspace.create(tmp_path / "anna.avatar").root
    assert find_workspace(None, tmp_path) == anna
    inside = anna / "source" / "frames"
    inside.mkdir(parents=True)
    assert find_workspace(None, inside) == anna
    bob = Workspace.create(tmp_path / "bob.avatar").root
    with pytest.raises(WorkspaceError) as caught:
        find_workspace(None, tmp_path)
    assert "anna.avatar" in caught.value.why and "bob.avatar" in caught.value.why
    assert find_workspace("bob", tmp_path) == bob
    assert find_workspace("bob.avatar", tmp_path) == bob
    assert find_workspace(str(anna), bob) == anna
    monkeypatch.setenv("HEADAVATAR_WORKSPACE", str(bob))
    assert find_workspace(None, tmp_path) == bob
    assert find_workspace("anna", tmp_path) == anna
    with pytest.raises(WorkspaceError, match="carl"):
        find_workspace("carl", tmp_path)


def test_nothing_found_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as caught:
        find_workspace(None, tmp_path)
    assert "preprocess" in caught.value.fix


def test_the_second_run_is_told_who_holds_the_lock(workspace: Workspace) -> None:
    code = (
        "import sys, time; from headavatar.workspace import Workspace; from headavatar.workspace.lock import locked\n"
        "with locked(Workspace.open(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceError) as caught, locked(workspace):
            pass
        assert str(process.pid) in caught.value.why and str(process.pid) in holder(workspace)
    finally:
        process.kill()
        process.wait()
    assert holder(workspace) == ""
    left = workspace.path(".state/tmp/new-half.png")
    left.write_bytes(b"half")
    with locked(workspace):  # a killed holder blocks nobody
        assert not left.exists(), "what it left half-written still takes space"


def test_config_is_read_by_stage_and_instance(workspace: Workspace) -> None:
    text = '[track]\npreset = "fast"\nseed = 3\nsharpness = 2.0\n[fit.anna]\nrays = 5\n[fit."b.c"]\nrays = 6\n'
    workspace.write_text(layout.CONFIG, text)
    assert read_config(workspace) == {
        "track": StageConfig("fast", 3, {"sharpness": 2.0}),
        "fit.anna": StageConfig(None, None, {"rays": 5}),
        "fit.b.c": StageConfig(None, None, {"rays": 6}),
    }


@pytest.mark.parametrize("text", ["[track", "size = 3\n", "[track]\npreset = 3\n", '[track]\nseed = "x"\n'])
def test_a_broken_config_is_a_usage_error(workspace: Workspace, text: str) -> None:
    workspace.write_text(layout.CONFIG, text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        read_config(workspace)

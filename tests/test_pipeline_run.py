"""Planning and running: what is missing or stale runs, what is current does not, and nothing unfinished counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fake_stages
import pytest

from headavatar import pipeline
from headavatar.errors import OutOfMemory, QualityGateError, UsageError, WorkspaceError
from headavatar.pipeline import Request
from headavatar.progress import SilentReporter
from headavatar.workspace import Workspace, layout
from headavatar.workspace.records import load_record

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    return path


def go(workspace: Workspace, *requests: Request, **options: Any) -> list[str]:
    """Bring the requests up to date; returns the keys of what ran."""
    outcomes = pipeline.run(workspace, requests, reporter=SilentReporter(), device="cpu", **options)
    return [outcome.step.key for outcome in outcomes if outcome.ran]


def states(workspace: Workspace) -> dict[str, str]:
    return {row.key: row.state for row in pipeline.inspect(workspace)}


def made(workspace: Workspace, video: Path) -> Workspace:
    go(workspace, Request("preprocess", {"video": str(video)}), Request("fit"))
    return workspace


def test_what_is_needed_runs_first_and_once(workspace: Workspace, video: Path) -> None:
    first = Request("preprocess", {"video": str(video)})
    assert go(workspace, first) == ["preprocess"]
    assert go(workspace, Request("render")) == ["track", "fit.fake", "render.fake"]
    assert go(workspace, first, Request("render")) == []
    assert set(states(workspace).values()) == {"current"}


def test_a_head_can_be_driven_by_its_own_clip_from_nothing(
    workspace: Workspace, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fake_reenact", fake_stages.Reenact)
    monkeypatch.setitem(pipeline.STAGES, "reenact", "fake_reenact")
    first = Request("preprocess", {"video": str(video)})
    own = Request("reenact", {"src": str(workspace.root)})
    assert go(workspace, first, own) == ["preprocess", "track", "fit.fake", "reenact.fake"]
    assert go(workspace, own) == []
    assert go(workspace, Request("track", {"sharpness": "2"}), own) == ["track", "fit.fake", "reenact.fake"]


def test_settings_of_an_upstream_stage_are_remembered(workspace: Workspace, video: Path) -> None:
    go(workspace, Request("preprocess", {"video": str(video), "size": "256", "every": "4"}, seed=7))
    assert go(workspace, Request("fit")) == ["track", "fit.fake"]
    record = load_record(workspace, "preprocess")
    assert record is not None
    assert (record.settings["size"], record.settings["every"], record.seed) == (256, 4, 7)


def test_an_edit_of_config_makes_stale_what_it_touches(workspace: Workspace, video: Path) -> None:
    made(workspace, video)
    text = workspace.path(layout.CONFIG).read_text()
    assert "# sharpness = 1.0  # how sharp" in text
    workspace.path(layout.CONFIG).write_text(text.replace("# sharpness = 1.0", "sharpness = 2.5"))
    assert states(workspace)["preprocess"] == "current"
    assert states(workspace)["track"] == states(workspace)["fit.fake"] == "stale"
    steps = {step.key: step for step in pipeline.plan(workspace, [Request("fit")])}
    assert "sharpness 1.0 → 2.5" in steps["track"].why
    assert go(workspace, Request("fit")) == ["track", "fit.fake"]
    assert workspace.read_json("track/quality.json") == {"sharpness": 2.5}


def test_without_config_what_was_recorded_holds(workspace: Workspace, video: Path) -> None:
    go(workspace, Request("preprocess", {"video": str(video), "size": "256"}), Request("fit", {"rays": "8"}))
    workspace.path(layout.CONFIG).unlink()
    assert go(workspace, Request("render")) == ["render.fake"]


def test_settings_that_change_nothing_make_nothing_stale(workspace: Workspace, video: Path) -> None:
    made(workspace, video)
    moved = video.rename(video.with_name("b.mp4"))
    assert go(workspace, Request("preprocess", {"video": str(moved), "wait": "0.001"}), Request("fit")) == []
    moved.unlink()
    assert go(workspace, Request("fit")) == []
    other = video.with_name("c.mp4")
    other.write_bytes(b"another")
    assert go(workspace, Request("preprocess", {"video": str(other)})) == ["preprocess"]


def test_presets_and_choices_combine_in_order(workspace: Workspace, video: Path) -> None:
    def rays() -> int:
        return int(workspace.read_json("avatars/fake/avatar.json")["rays"])

    go(workspace, Request("preprocess", {"video": str(video)}), Request("fit", preset="fast"))
    assert rays() == 64
    assert go(workspace, Request("fit")) == [], "a preset is remembered"
    go(workspace, Request("fit", {"rays": "128"}, preset="fast"))
    assert rays() == 128
    go(workspace, Request("fit", preset="balanced"))
    assert rays() == 128, "what was chosen by hand outlives a preset"
    go(workspace, Request("fit", {"rays": "4096"}))
    assert rays() == 4096


def test_avatars_have_their_own_records(workspace: Workspace, video: Path) -> None:
    made(workspace, video)
    assert go(workspace, Request("fit", {"name": "tail", "split": "tail"})) == ["fit.tail"]
    assert pipeline.avatar_names(workspace) == ["tail", "fake"]
    assert go(workspace, Request("render", {"avatar": "fake"})) == ["render.fake"]
    assert go(workspace, Request("render")) == ["render.tail"], "the newest where none is named"
    assert go(workspace, Request("fit", {"name": "tail"})) == [], "the split is remembered"


@pytest.mark.parametrize(
    "request_, word",
    [
        (Request("fit", {"ray": "1"}), "rays"),
        (Request("fit", {"rays": "many"}), "whole number"),
        (Request("fit", {"split": "block"}), "blocks"),
        (Request("fit", preset="fst"), "fast"),
        (Request("fit", {"name": "../x"}), "name"),
        (Request("fit", {"method_settings": "x"}), "method_settings"),
        (Request("trakc"), "track"),
    ],
)
def test_unknown_names_come_with_the_nearest(workspace: Workspace, request_: Request, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        pipeline.plan(workspace, [request_])


def test_an_unknown_key_in_config_names_the_file(workspace: Workspace) -> None:
    workspace.write_text(layout.CONFIG, "[track]\nsharpnes = 2.0\n")
    with pytest.raises(UsageError, match=r"config\.toml \[track\]") as caught:
        pipeline.plan(workspace, [Request("track")])
    assert "sharpness" in caught.value.fix
    assert states(workspace)["track"] == "damaged", "status must not crash"


def test_a_stage_that_failed_is_not_done_and_keeps_its_log(workspace: Workspace, video: Path) -> None:
    made(workspace, video)
    broken = Request("preprocess", {"video": str(video), "size": "256", "fail": "bug"})
    with pytest.raises(ValueError, match="a bug") as caught:
        go(workspace, broken)
    assert any("preprocess.log" in note for note in caught.value.__notes__)
    assert "Traceback" in workspace.path("logs/preprocess.log").read_text()
    assert states(workspace)["preprocess"] == "interrupted"
    assert states(workspace)["track"] == states(workspace)["fit.fake"] == "stale"
    with pytest.raises(OutOfMemory):
        go(workspace, Request("preprocess", {"fail": "memory"}))
    assert go(workspace, Request("preprocess", {"fail": ""})) == ["preprocess"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"stage": "track"}', b"\xff\xfe"])
def test_a_corrupted_record_is_named_and_mended_by_force(workspace: Workspace, video: Path, content: bytes) -> None:
    made(workspace, video)
    workspace.path(".state/track.json").write_bytes(content)
    assert states(workspace)["track"] == "damaged"
    with pytest.raises(WorkspaceError, match=r"track\.json") as caught:
        go(workspace, Request("fit"))
    assert "track" in caught.value.fix and "--force" in caught.value.fix
    assert go(workspace, Request("track"), force=True) == ["track"]
    assert go(workspace, Request("fit")) == [], "the same result again needs no new fit"


def test_a_result_that_was_changed_or_deleted_is_made_again(workspace: Workspace, video: Path) -> None:
    made(workspace, video)
    workspace.path("avatars/fake/model.safetensors").unlink()
    assert states(workspace)["fit.fake"] == "stale"
    assert go(workspace, Request("fit")) == ["fit.fake"]
    workspace.path("source/3.txt").write_text("longer than before")
    assert go(workspace, Request("fit")) == ["preprocess", "track", "fit.fake"]


def test_no_deps_runs_one_stage_or_says_what_is_missing(workspace: Workspace, video: Path) -> None:
    with pytest.raises(WorkspaceError, match="preprocess"):
        go(workspace, Request("track"), deps=False)
    made(workspace, video)
    assert go(workspace, Request("track", {"sharpness": "3"}), deps=False) == ["track"]
    assert go(workspace, Request("render"), deps=False) == ["render.fake"], "made from the fit that is there"


def test_strict_fails_below_the_gate_also_when_current(workspace: Workspace, video: Path) -> None:
    small = Request("preprocess", {"video": str(video), "size": "256"})
    for _ in range(2):
        with pytest.raises(QualityGateError, match="too small"):
            go(workspace, small, strict=True)
    assert states(workspace)["preprocess"] == "current"


def test_a_record_says_how_to_get_the_same_again(workspace: Workspace, video: Path) -> None:
    made(workspace, video)
    data = json.loads(workspace.path(".state/fit.fake.json").read_text())
    assert data["settings"]["method_settings"] == {"rays": 4096}
    assert data["upstream"].keys() == {"track"}
    assert data["outputs"]["avatars/fake/model.safetensors"]["size"] == len(b"weights")
    assert data["hardware"]["cores"] >= 1 and data["versions"]["headavatar"]

"""The report: one file, whatever the workspace has, nothing fetched from outside."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from small_workspace import install_painted_method, write_small_workspace

from headavatar.progress import RunContext
from headavatar.report.charts import Series, line_chart, nice_ticks
from headavatar.report.settings import ReportSettings
from headavatar.report.stage import run
from headavatar.workspace import Workspace


class Page(HTMLParser):
    """Counts tags, collects sources and text, and checks that every tag is closed."""

    VOID = ("meta", "img", "br", "link", "line", "path")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [v for k in ("src", "href") if (v := values.get(k))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def fitted(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    install_painted_method(monkeypatch)
    return write_small_workspace(tmp_path / "anna.avatar", rng)


def report(workspace: Workspace) -> tuple[dict, Page]:
    summary = run(workspace, ReportSettings(frames=8), RunContext())
    return summary, Page(workspace.path("reports/index.html").read_text(encoding="utf-8"))


def test_everything_stands_in_one_file(fitted: Workspace) -> None:
    summary, page = report(fitted)
    assert page.open == []
    assert page.sources and all(s.startswith(("data:image/", "#")) for s in page.sources)
    assert summary["sections"] == ["Video and frames", "Tracking", "Avatar painted", "Runs"]
    assert "36 of 39 frames are usable" in page.words
    for reason in ("no face", "two faces", "blurred"):
        assert reason in page.words
    assert "0.0123" in page.words and "held out" in page.words
    assert re.search(r"best of \d+: video, avatar, difference; frame \d+, \d+\.\d+ dB", page.words)


def test_it_shows_evals_table_when_there_is_one(fitted: Workspace) -> None:
    scores = {"psnr": 27.25, "ssim": 0.91, "lpips": 0.062}
    fitted.write_json("avatars/painted/eval.json", {
        **scores, "avatar": "painted", "split": "blocks", "background": "white",
        "baselines": {"nearest_frame": {**scores, "psnr": 21.5}, "tracked_mesh": {**scores, "lpips": None}},
    })  # fmt: skip
    words = report(fitted)[1].words
    for piece in ("27.25", "21.5", "nearest frame", "tracked mesh", "0.062", "blocks"):
        assert piece in words


def test_a_workspace_that_was_only_preprocessed(fitted: Workspace) -> None:
    for key in ("track", "fit.painted"):
        fitted.path(f".state/{key}.json").unlink()
    summary, page = report(fitted)
    assert summary["sections"] == ["Video and frames", "Runs"]
    assert "Tracking" not in page.words


def test_a_damaged_avatar_is_left_out_and_said(fitted: Workspace) -> None:
    fitted.path("avatars/painted/metrics.json").write_text("{")
    summary, page = report(fitted)
    assert summary["left_out"] == ["painted"]
    assert "Tracking" in page.words


def test_names_cannot_inject_markup(fitted: Workspace) -> None:
    video = fitted.read_json("source/video.json")
    fitted.write_json("source/video.json", {**video, "codec": "<script>alert(1)</script>"})
    html = report(fitted)[0] and fitted.path("reports/index.html").read_text()
    assert "<script" not in html and "&lt;script" in html


def test_charts_are_svg_with_gaps_where_values_are_missing() -> None:
    svg = line_chart(
        "a < b", [Series("loss", [0, 1, 2, 3, 4], [1.0, 0.5, None, math.nan, 0.1])], "step", "", log_y=True
    )
    root = ElementTree.fromstring(svg)
    path = next(e for e in root.iter() if e.tag.endswith("path")).attrib["d"]
    assert path.count("M") == 2 and path.count("L") == 1
    assert line_chart("nothing", [Series("x", [0], [None])], "", "") == ""


def test_ticks_are_round_and_inside(rng: np.random.Generator) -> None:
    for _ in range(200):
        low = rng.normal(0, 100)
        high = low + 10 ** rng.uniform(-4, 5)
        ticks = nice_ticks(low, high, 5)
        assert 2 <= len(ticks) <= 6
        slack = 1e-6 * (high - low)
        assert all(low - slack <= t <= high + slack for t in ticks)


def test_frames_that_track_left_out_are_shown_with_the_reason(fitted: Workspace) -> None:
    quality = fitted.read_json("track/quality.json")
    for row in quality["frames"]:
        row |= {"usable": row["frame"] not in (0, 3), "reason": "occluded" if row["frame"] in (0, 3) else ""}
    del quality["frames"][0]["landmark_nme"]  # what was never fitted has no figure, and the others' chart stays
    fitted.write_json("track/quality.json", quality)
    _, page = report(fitted)
    assert "2 face hidden" in page.words and "landmark nme" in page.words

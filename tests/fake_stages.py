"""Stages that take milliseconds, for tests of the pipeline and the command line."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from headavatar.errors import InputError
from headavatar.pipeline.plan import STAGES
from headavatar.progress import RunContext
from headavatar.workspace import Workspace
from headavatar.workspace.stages import Extension, StageSpec, setting

COUNT = 5


@dataclass(frozen=True)
class MakeSettings:
    video: str = setting("", "the video", changes_result=False)
    size: int = setting(512, "side, pixels", choices=(256, 512))
    every: int = setting(1, "every K-th frame")
    max_frames: int = setting(0, "at most so many")
    start: float = setting(0.0, "seconds to skip")
    wait: float = setting(0.0, "seconds per frame", changes_result=False)
    fail: str = setting("", "raise this", changes_result=False)


@dataclass(frozen=True)
class TrackSettings:
    sharpness: float = setting(1.0, "how sharp")


@dataclass(frozen=True)
class MethodSettings:
    rays: int = setting(4096, "rays a step")


@dataclass(frozen=True)
class FitSettings:
    method: str = setting("fake", "the method", choices=("fake", "other"))
    name: str = setting("", "the avatar")
    split: str = setting("blocks", "holdout", choices=("blocks", "tail"))
    method_settings: Any = setting(None, "the method's own")


@dataclass(frozen=True)
class RenderSettings:
    avatar: str = setting("", "the avatar")
    mode: str = setting("all", "what")


def make(workspace: Workspace, settings: MakeSettings, context: RunContext) -> dict[str, Any]:
    """Write COUNT files, one after another; keeps those of an interrupted run."""
    if settings.fail == "bug":
        raise ValueError("a bug")
    if settings.fail == "input":
        raise InputError("no face", why="nobody is there", fix="film somebody")
    if settings.fail == "memory":
        raise MemoryError
    partial = workspace.partial_dir("preprocess")
    made = 0
    with context.reporter.task("frames", COUNT) as task:
        for i in range(COUNT):
            file = partial / f"{i}.txt"
            if not (context.resume and file.exists()):
                time.sleep(settings.wait)
                file.write_text(f"{i} {settings.size} {context.seed}")
                made += 1
            task.advance()
    for i in range(COUNT):
        workspace.write_text(f"source/{i}.txt", (partial / f"{i}.txt").read_text())
    return {"frames": COUNT, "usable": COUNT, "made": made, "below_gate": ["too small"] if settings.size < 512 else []}


def track(workspace: Workspace, settings: TrackSettings, context: RunContext) -> dict[str, Any]:
    workspace.write_json("track/quality.json", {"sharpness": settings.sharpness})
    return {"frames": COUNT, "usable": COUNT, "landmark_nme": 0.01}


def fit(workspace: Workspace, settings: FitSettings, context: RunContext) -> dict[str, Any]:
    rays = settings.method_settings.rays if settings.method_settings else 0
    workspace.write_json(f"avatars/{settings.name}/avatar.json", {"method": settings.method, "rays": rays})
    workspace.write_bytes(f"avatars/{settings.name}/model.safetensors", b"weights")
    context.reporter.row("fit", {"step": 1, "loss": 0.5})
    return {"steps": 1, "loss": 0.5}


def render(workspace: Workspace, settings: RenderSettings, context: RunContext) -> dict[str, Any]:
    workspace.write_text("renders/self.txt", settings.avatar)
    return {"avatar": settings.avatar, "files": ["renders/self.txt"]}


@dataclass(frozen=True)
class ReenactSettings:
    avatar: str = setting("", "the avatar")
    src: str = setting("", "who drives", changes_result=False)


def reenact(workspace: Workspace, settings: ReenactSettings, context: RunContext) -> dict[str, Any]:
    workspace.write_text("renders/driven.txt", settings.src)
    return {"avatar": settings.avatar, "files": ["renders/driven.txt"]}


class Preprocess:
    STAGE = StageSpec(
        "preprocess", 1, MakeSettings, "fake_stages:make", presets={"fast": {"size": 256}, "balanced": {}},
        inputs=lambda s: (s.video,),
    )  # fmt: skip


class Track:
    STAGE = StageSpec("track", 1, TrackSettings, "fake_stages:track", upstream=("preprocess",))


class Fit:
    STAGE = StageSpec(
        "fit", 1, FitSettings, "fake_stages:fit", upstream=("track",), instance="name",
        presets={"fast": {}, "balanced": {}},
        extension=lambda s: Extension("method_settings", MethodSettings, {"fast": {"rays": 64}, "balanced": {}}),
    )  # fmt: skip


class Render:
    STAGE = StageSpec("render", 1, RenderSettings, "fake_stages:render", upstream=("fit",), instance="avatar")


class Reenact:
    STAGE = StageSpec(
        "reenact", 1, ReenactSettings, "fake_stages:reenact", upstream=("fit",), instance="avatar",
        inputs=lambda s: (s.src,),
    )  # fmt: skip


def install() -> None:
    """Put the fakes in the place of the real stages, for the rest of this process."""
    STAGES.clear()
    for spec in (Preprocess, Track, Fit, Render):
        name = spec.STAGE.name
        sys.modules[f"fake_{name}"] = spec  # type: ignore[assignment]
        STAGES[name] = f"fake_{name}"


if __name__ == "__main__":
    sys.modules["fake_stages"] = sys.modules["__main__"]
    install()
    from headavatar.cli.main import main

    main()

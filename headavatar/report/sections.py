"""What each part of the report shows: lists, tables and pictures, ready for the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headavatar.metrics.psnr import psnr
from headavatar.render import panels
from headavatar.render.avatars import open_avatar
from headavatar.render.sequences import self_pair
from headavatar.report.charts import Series, line_chart
from headavatar.report.pictures import (
    PARSING_COLORS,
    error_map,
    jpeg_uri,
    spread,
    thumbnail,
    video_stills,
)
from headavatar.scene import Array
from headavatar.workspace import Workspace, layout, load_clip
from headavatar.workspace.clips import read_image
from headavatar.workspace.records import Record

Context = dict[str, Any]

TABLED = ("baselines", "versions", "refined")
"""Entries of an evaluation that have tables of their own, or none."""

REASONS = {
    "no_face": "no face", "two_faces": "two faces", "blurred": "blurred", "cut_off": "face cut off",
    "occluded": "face hidden", "landmarks_lost": "landmarks lost", "off_the_model": "off the model",
}  # fmt: skip


def source(workspace: Workspace) -> Context:
    """The video's facts: label → value."""
    video = workspace.read_json(layout.VIDEO)
    facts = {
        "picture": f"{video.get('width')} × {video.get('height')}",
        "frame rate": f"{float(video.get('fps') or 0):.4g} fps",
        "length": f"{float(video.get('duration_s') or 0):.1f} s",
        "codec": video.get("codec", ""),
        "crop (x, y, side)": ", ".join(str(round(float(v))) for v in video.get("crop", [])),
        "frames taken": f"{video.get('frames')} (every {video.get('every', 1)}), {video.get('size')} px",
        "sha256": str(video.get("digest", "")),
    }
    return {"facts": {name: value for name, value in facts.items() if value}}


def frames(workspace: Workspace, count: int) -> Context:
    """Contact sheets of the frames used and of those rejected, with the reasons; track's verdict where there is one."""
    rows = workspace.read_jsonl(layout.FRAME_TABLE)
    if workspace.path(layout.QUALITY).exists():
        judged = {row["frame"]: row.get("reason", "") for row in workspace.read_json(layout.QUALITY).get("frames", [])}
        for row in rows:
            row["reason"] = judged.get(row["frame"]) or row["reason"]
            row["usable"] = not row["reason"]
    used = [row for row in rows if row["usable"]]
    rejected = [row for row in rows if not row["usable"]]
    reasons = Counter(REASONS.get(row["reason"], row["reason"]) for row in rejected)

    def tiles(chosen: Sequence[Mapping[str, Any]]) -> list[Context]:
        result = []
        for position in spread(range(len(chosen)), count):
            row = chosen[position]
            picture = read_image(workspace.path(layout.FRAMES, layout.frame_name(row["frame"])))
            result.append({
                "src": jpeg_uri(thumbnail(picture)), "frame": row["frame"], "time": f"{row['time_s']:.2f} s",
                "reason": REASONS.get(row["reason"], row["reason"]),
            })  # fmt: skip
        return result

    sharpness = line_chart(
        "sharpness of the face", [Series("sharpness", [r["frame"] for r in rows], [r.get("sharpness") for r in rows])],
        "frame", "", log_y=True,
    )  # fmt: skip
    return {
        "total": len(rows), "usable": len(used), "reasons": reasons.most_common(), "tiles": tiles(used),
        "rejected": tiles(rejected), "charts": [sharpness] if sharpness else [],
    }  # fmt: skip


def masks(workspace: Workspace, count: int = 6) -> list[Context]:
    """Frame, head on white, person on white, parsing and normals of a few frames, where they exist."""
    rows = [row["frame"] for row in workspace.read_jsonl(layout.FRAME_TABLE) if row["usable"]]
    strips = []
    for frame in spread(rows, count):
        name = layout.frame_name(frame)
        image = read_image(workspace.path(layout.FRAMES, name))
        strip = [image]
        for folder in (layout.HEAD_MATTES, layout.MATTES):
            if workspace.path(folder, name).exists():
                matte = read_image(workspace.path(folder, name), gray=True)
                strip.append(panels.composite(image, matte, (1.0, 1.0, 1.0)))
        if workspace.path(layout.PARSING, name).exists():
            classes = read_image(workspace.path(layout.PARSING, name), gray=True)
            strip.append(PARSING_COLORS[np.minimum(classes, len(PARSING_COLORS) - 1)])
        if workspace.path(layout.NORMALS, name).exists():
            strip.append(read_image(workspace.path(layout.NORMALS, name)))
        strips.append({"src": jpeg_uri(panels.side_by_side([thumbnail(p) for p in strip])), "frame": frame})
    return strips


def track(workspace: Workspace) -> Context:
    """Overlay stills, summary figures, and the curves of pose, expression and quality."""
    params = workspace.read_npz(layout.PARAMS)
    at = params["frame_idx"].astype(float).tolist()
    degrees = np.degrees(params["rotation"])
    charts = [
        line_chart(
            "head rotation", [Series(name, at, degrees[:, k].tolist()) for k, name in enumerate(("x", "y", "z"))],
            "frame", "degrees",
        ),
        _expression_chart(params["expr"], at),
    ]  # fmt: skip
    quality = workspace.read_json(layout.QUALITY) if workspace.path(layout.QUALITY).exists() else {}
    charts += _quality_charts(quality)
    overlay = workspace.path("track/overlay.mp4")
    stills = video_stills(overlay, 6) if overlay.exists() else []
    texture = workspace.path("track/texture.png")
    return {
        "summary": _scalars(quality.get("summary", quality)),
        "charts": [chart for chart in charts if chart],
        "stills": [jpeg_uri(thumbnail(still, 400)) for still in stills],
        "texture": jpeg_uri(thumbnail(read_image(texture), 400)) if texture.exists() else "",
    }


def avatar(workspace: Workspace, name: str, device: str, candidates: int) -> Context:
    """Fit curves, the evaluation's table, held-out frames beside the truth, and what was rendered."""
    folder = f"{layout.AVATARS}/{name}"
    charts = []
    if workspace.path(folder, "metrics.json").exists():
        charts = _fit_charts(workspace.read_json(f"{folder}/metrics.json").get("rows", []))
    scored = workspace.read_json(f"{folder}/eval.json") if workspace.path(folder, "eval.json").exists() else None
    renders = sorted(workspace.path("renders").glob(f"{name}-*.png"))
    return {
        "name": name,
        "charts": charts,
        "scores": eval_table(scored) if scored else [],
        "protocol": _scalars({k: v for k, v in (scored or {}).items() if k not in ("psnr", "ssim", "lpips")}),
        "holdout": holdout(workspace, name, device, candidates),
        "renders": [
            {"title": file.stem, "src": jpeg_uri(thumbnail(read_image(file), min(1200, read_image(file).shape[1])))}
            for file in renders
        ],
    }


def holdout(workspace: Workspace, name: str, device: str, candidates: int) -> list[Context]:
    """The best, the median and the worst held-out frame.

    As `eval` drew them, beside the baselines; before it has run, from a few frames: truth, avatar, difference.
    """
    drawn = {t: workspace.path(layout.AVATARS, name, "previews", f"eval_{t}.png") for t in ("best", "median", "worst")}
    if all(file.exists() for file in drawn.values()):
        return [
            {
                "title": f"{title}: video, avatar, nearest training frame, tracked mesh",
                "src": jpeg_uri(read_image(file)),
            }
            for title, file in drawn.items()
        ]
    opened = open_avatar(workspace, name, device)
    clip = load_clip(workspace, opened.split, opened.with_torso)
    scored = []
    for frame in spread(clip.split.holdout.tolist(), candidates):
        truth, predicted = self_pair(opened.avatar, clip, frame, clip.camera)
        value = psnr(predicted.astype(np.float32) / 255, truth.astype(np.float32) / 255, clip.valid)
        scored.append((float(value), frame, truth, predicted))
    scored.sort(key=lambda item: -item[0])
    if not scored:
        return []
    chosen = [("best", scored[0]), ("median", scored[len(scored) // 2]), ("worst", scored[-1])]
    return [
        {
            "title": f"{title} of {len(scored)}: video, avatar, difference; "
            f"frame {clip.frame_idx[frame]}, {value:.2f} dB",
            "src": jpeg_uri(panels.side_by_side([truth, predicted, error_map(truth, predicted)])),
        }
        for title, (value, frame, truth, predicted) in chosen[: len(scored)]
    ]


def eval_table(scored: Mapping[str, Any]) -> list[Context]:
    """Rows of PSNR, SSIM and LPIPS: the avatar, then its baselines."""
    named = {"avatar": scored, **scored.get("baselines", {})}
    if refined := scored.get("refined"):
        named[f"avatar, {refined['frames']} frames' poses {refined['poses']}"] = refined
        named["avatar, the same frames as tracked"] = refined["tracked"]
    return [
        {"name": name.replace("_", " "), **{key: _figure(row.get(key)) for key in ("psnr", "ssim", "lpips")}}
        for name, row in named.items()
    ]


def stages(records: Sequence[Record]) -> list[Context]:
    """One row per finished stage, with its settings."""
    return [
        {
            "key": record.key, "seconds": f"{record.seconds:.1f}", "seed": record.seed, "device": record.device,
            "settings": {k: v for k, v in _flat(record.settings).items() if v not in ("", None)},
            "backend": ", ".join(f"{k} {v}" for k, v in _flat(record.backend).items()),
        }
        for record in records
    ]  # fmt: skip


def _fit_charts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    steps = [row.get("step", i) for i, row in enumerate(rows)]

    def series(key: str, name: str) -> list[Series]:
        values = [row.get(key) for row in rows]
        return [Series(name, steps, values)] if any(v is not None for v in values) else []

    charts = [
        line_chart("loss", series("loss", "loss"), "step", "loss", log_y=True),
        line_chart("PSNR", series("train_psnr", "training") + series("holdout_psnr", "held out"), "step", "dB"),
    ]
    return [chart for chart in charts if chart]


def _expression_chart(expression: Array, at: Sequence[float]) -> str:
    from headavatar.scene import ARKIT_NAMES

    if expression.shape[1] != len(ARKIT_NAMES):
        return ""
    pairs = {"jawOpen": ("jawOpen",), "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
             "smile": ("mouthSmileLeft", "mouthSmileRight"), "browInnerUp": ("browInnerUp",)}  # fmt: skip
    lines = [
        Series(label, at, expression[:, [ARKIT_NAMES.index(n) for n in names]].mean(axis=1).tolist())
        for label, names in pairs.items()
    ]
    return line_chart("expressions", lines, "frame", "coefficient")


def _quality_charts(quality: Mapping[str, Any]) -> list[str]:
    """A chart for every number that the frames' verdicts carry."""
    rows = quality.get("frames")
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        return []
    numbers = {
        k: None for row in rows for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)
    }
    keys = [k for k in numbers if k not in ("frame", "sharpness")]
    at = [float(row.get("frame", i)) for i, row in enumerate(rows)]
    titles = {key: key.replace("_", " ") for key in keys}
    return [line_chart(titles[key], [Series("", at, [row.get(key) for row in rows])], "frame", "") for key in keys]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _scalars(values: Mapping[str, Any]) -> dict[str, str]:
    """The entries that one line can hold, for people."""
    return {
        key.replace("_", " "): _figure(value)
        for key, value in _flat(
            {k: v for k, v in values.items() if k not in ("baselines", "versions", "refined")}
        ).items()
        if isinstance(value, (str, int, float))
    }


def _figure(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)

"""A finished stage in a few words: what it counted, and two figures of quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headavatar.workspace.records import Record

_Summary = Mapping[str, Any]


def figures(record: Record) -> str:
    """What came out of a stage, in words."""
    write = _WRITERS.get(record.stage)
    return ", ".join(part for part in (write(record.summary) if write else []) if part)


def files(record: Record) -> list[str]:
    """The files of a result that a person wants to open, relative to the workspace."""
    listed = record.summary.get("files", [])
    return [str(item) for item in (listed.values() if isinstance(listed, Mapping) else listed)]


def _preprocess(s: _Summary) -> list[str]:
    return [_count(s, "frames", "frames"), _count(s, "usable", "usable")]


def _track(s: _Summary) -> list[str]:
    return [
        _count(s, "usable", "frames"),
        _failed(s),
        _number(s, "landmark_nme", "landmarks off by {:.2%} of the eye distance"),
        _number(s, "jitter_deg", "jitter {:.2f}°"),
        _number(s, "silhouette_iou", "silhouette IoU {:.3f}"),
        _imported(s),
    ]


def _failed(s: _Summary) -> str:
    failed = s.get("failed") or {}
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in failed.items())
    return f"{sum(failed.values())} left out ({reasons})" if failed else ""


def _imported(s: _Summary) -> str:
    if not s.get("imported"):
        return ""
    fitted = f"; {' and '.join(s['fitted'])} fitted" if s["fitted"] else ""
    return "; ".join([f"{', '.join(s['taken'])} taken from {s['imported']}{fitted}", *s["notes"]])


def _fit(s: _Summary) -> list[str]:
    return [
        _count(s, "steps", "steps"),
        _number(s, "loss", "loss {:.4f}"),
        _number(s, "holdout_psnr", "holdout {:.2f} dB"),
    ]


def _eval(s: _Summary) -> list[str]:
    seen = _number(s, "within_2_deg_of_training", "{:.0%} within 2° of a training pose")
    parts = [_count(s, "frames", "holdout frames"), seen, _figure(s)]
    for name, baseline in s.get("baselines", {}).items():
        parts.append(f"{name.replace('_', ' ')}: {_figure(baseline)}")
    if refined := s.get("refined"):
        parts.append(f"{refined['poses'].partition(',')[0]}: {_figure(refined)} ({refined['frames']} frames)")
    return parts


def _render(s: _Summary) -> list[str]:
    return [str(s.get("avatar", "")), _count(s, "pictures", "pictures")]


def _reenact(s: _Summary) -> list[str]:
    return [f"{s.get('driver', '')} drives {s.get('target', '')}", _count(s, "frames", "frames")]


def _export(s: _Summary) -> list[str]:
    return [_count(s, "frames", "frames"), _count(s, "vertices", "vertices"), _count(s, "targets", "morph targets")]


_WRITERS: dict[str, Callable[[_Summary], list[str]]] = {
    "preprocess": _preprocess,
    "track": _track,
    "fit": _fit,
    "eval": _eval,
    "render": _render,
    "reenact": _reenact,
    "export": _export,
}


def _count(s: _Summary, name: str, noun: str) -> str:
    return f"{s[name]} {noun}" if isinstance(s.get(name), int) else ""


def _number(s: _Summary, name: str, text: str) -> str:
    value = s.get(name)
    return text.format(value) if isinstance(value, (int, float)) else ""


def _figure(s: _Summary) -> str:
    shown = [_number(s, "psnr", "{:.2f} dB"), _number(s, "ssim", "SSIM {:.4f}"), _number(s, "lpips", "LPIPS {:.4f}")]
    return " ".join(part for part in shown if part)

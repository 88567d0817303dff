"""Line charts as inline SVG, colored by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 620, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 34


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: for the legend.
        x, y: equally long; None and NaN in y leave a gap.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]

    def points(self) -> list[tuple[float, float] | None]:
        return [
            None if value is None or not math.isfinite(value) else (float(at), float(value))
            for at, value in zip(self.x, self.y, strict=True)
        ]


def line_chart(title: str, series: Sequence[Series], x_label: str, y_label: str, log_y: bool = False) -> str:
    """Draw lines over one pair of axes.

    Args:
        title: said above the chart and to screen readers.
        series: at most six are told apart by color.
        log_y: logarithmic y axis; values that are not positive leave a gap.
    Returns:
        an <svg> element, or "" where there is no point to draw.
    """
    lines = []
    for one in series:
        points = [None if p is None or (log_y and p[1] <= 0) else p for p in one.points()]
        lines.append([None if p is None else (p[0], math.log10(p[1]) if log_y else p[1]) for p in points])
    known = [p for line in lines for p in line if p is not None]
    if not known:
        return ""
    x_low, x_high = _span([p[0] for p in known], pad=0.0)
    y_low, y_high = _span([p[1] for p in known], pad=0.06)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)
        y = HEIGHT - _BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)
        return x, y

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text class="title" x="{_LEFT}" y="15">{escape(title)}</text>',
    ]
    for value in _log_ticks(y_low, y_high) if log_y else nice_ticks(y_low, y_high, 5):
        _, y = place((x_low, math.log10(value) if log_y else value))
        text = _number(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    for tick in nice_ticks(x_low, x_high, 7):
        x, _ = place((tick, y_low))
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{_number(tick)}</text>'
        )
    below, beside = f'x="{(WIDTH + _LEFT) / 2:.0f}" y="{HEIGHT - 4}"', f"translate(11 {HEIGHT / 2:.0f}) rotate(-90)"
    parts.append(f'<text class="label" {below} text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text class="label" transform="{beside}" text-anchor="middle">{escape(y_label)}</text>')
    for number, line in enumerate(lines):
        parts.append(f'<path class="line s{number % 6}" d="{_path(line, place)}"/>')
    right = WIDTH - _RIGHT
    for number in reversed(range(len(series))):
        name = escape(series[number].name)
        parts.append(f'<text class="key s{number % 6}" x="{right}" y="15" text-anchor="end">{name}</text>')
        right -= 7 * len(series[number].name) + 14
    return "".join([*parts, "</svg>"])


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers between low and high."""
    raw = (high - low) / most
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(magnitude * m for m in (1, 2, 2.5, 5, 10) if magnitude * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Round values between 10^low and 10^high: powers of ten, or evenly spaced ones where these are too few."""
    powers = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]
    return powers if len(powers) >= 3 else [v for v in nice_ticks(10**low, 10**high, 5) if v > 0]


def _span(values: Sequence[float], pad: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    margin = (high - low) * pad
    return low - margin, high + margin


def _path(line: Sequence[tuple[float, float] | None], place: object) -> str:
    assert callable(place)
    commands, pen_down = [], False
    for point in line:
        if point is None:
            pen_down = False
            continue
        x, y = place(point)
        commands.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return "".join(commands)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0e}"

"""Charts as data, drawn by hand as SVG for a page and as a bitmap for a preview.

A chart is kept as its numbers, so that page.json holds no drawing that a stranger could have written, and the
same numbers always give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw, ImageFont

__all__ = ["KINDS", "NEUTRAL", "Chart", "Series", "chart_image", "loss_chart", "svg"]

KINDS = ("line", "points", "bars", "whiskers", "level")
NEUTRAL = 3
"""The grey of ``Series.colour``, for controls and reference lines."""

_COLOURS = ("#17657d", "#c2571a", "#5b8c3e", "#7d868f")
"""Of a bitmap; a page takes those of its own light or dark style."""

_WIDTH, _HEIGHT, _SQUARE = 620, 330, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 14, 48


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of one colour. name: in the legend, "" for none.

    kind: "line" or "points" through (x, y); "bars" between the n + 1 edges x with n heights y; "whiskers",
    points with intervals from low to high; "level", a straight line across the chart at x or at y, the other
    being empty. faint: one of many lines.
    """

    kind: str
    x: Sequence[float] = ()
    y: Sequence[float] = ()
    name: str = ""
    colour: int = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    faint: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Series on two named axes. ticks: (place, name) along x where numbers would not do; log_x: x is shown in
    logarithms. square: both axes run from 0 to 1, as those of an ROC curve do.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]] = ()
    log_x: bool = False
    square: bool = False


@dataclass(frozen=True, slots=True)
class _Mark:
    """One thing to draw, in pixels. colour: number of a series, None for the ink of the page, -1 for a soft
    line.
    """

    kind: str
    at: tuple[tuple[float, float], ...]
    colour: int | None = None
    text: str = ""
    anchor: str = "middle"
    faint: bool = False
    dashed: bool = False


def loss_chart(curve: Sequence[Sequence[float]]) -> Chart:
    """The loss of a training. curve: (step, loss) or (step, loss, loss of what was held out)."""
    steps, held = [point[0] for point in curve], [point for point in curve if len(point) > 2]
    series = [Series("line", steps, [point[1] for point in curve], "training")]
    if held:
        series.append(Series("line", [p[0] for p in held], [p[2] for p in held], "validation", 1))
    caption = "Mean over the last 50 steps at each checkpoint. It has no unit; lower is better."
    return Chart("Loss", caption, "step", "loss", series)


def svg(chart: Chart) -> str:
    """The chart as an SVG element; its colours are classes of the page, so that it follows light and dark."""
    width, height = _size(chart)
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(chart.title)}">',
        *(_element(mark) for mark in _marks(chart)),
        "</svg>",
    ]
    return "".join(parts)


def chart_image(chart: Chart, scale: int = 2) -> Image.Image:
    """The chart as an RGB picture on white; a pixel of the page has ``scale`` of it."""
    width, height = _size(chart)
    image = Image.new("RGB", (width * scale, height * scale), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13 * scale)
    for mark in _marks(chart):
        _paint(draw, mark, scale, font)
    return image


def _size(chart: Chart) -> tuple[int, int]:
    width, height = (_SQUARE, _SQUARE) if chart.square else (_WIDTH, _HEIGHT)
    return width, height + 20 * len(_rows(chart))


def _element(mark: _Mark) -> str:
    style = {None: "ink", -1: "soft"}.get(mark.colour, f"c{mark.colour}")
    style += (" faint" if mark.faint else "") + (" dashed" if mark.dashed else "")
    (x, y), *rest = mark.at
    if mark.kind == "text":
        turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if mark.anchor == "up" else ""
        anchor = "middle" if mark.anchor == "up" else mark.anchor
        text = escape(mark.text)
        return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{text}</text>'
    if mark.kind == "dot":
        return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    if mark.kind == "box":
        wide, tall = rest[0][0] - x, rest[0][1] - y
        return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in mark.at)
    return f'<polyline class="{style}" points="{points}"/>'


def _paint(draw: ImageDraw.ImageDraw, mark: _Mark, scale: int, font: Any) -> None:
    colour = {None: "#1c2127", -1: "#d5dade"}.get(mark.colour) or _COLOURS[mark.colour or 0]
    at = [(x * scale, y * scale) for x, y in mark.at]
    if mark.kind == "text" and mark.anchor == "up":
        box = draw.textbbox((0, 0), mark.text, font=font)
        label = Image.new("L", (int(box[2]) + 2, int(box[3]) + 2))
        ImageDraw.Draw(label).text((0, 0), mark.text, fill=255, font=font)
        turned = label.rotate(90, expand=True)
        place = int(at[0][0] - turned.width), int(at[0][1] - turned.height / 2)
        draw.bitmap(place, turned, fill=colour)
    elif mark.kind == "text":
        anchors = {"middle": "ms", "start": "ls", "end": "rs"}
        draw.text(at[0], mark.text, fill=colour, font=font, anchor=anchors[mark.anchor])
    elif mark.kind == "dot":
        (x, y), r = at[0], 3 * scale
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif mark.kind == "box":
        draw.rectangle((*at[0], *at[1]), fill=colour)
    else:
        draw.line(at, fill="#a9cbd5" if mark.faint else colour, width=scale if mark.faint else 2 * scale)


class _Frame:
    """Where a number lies on the chart."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.width, self.height = _size(chart)
        self.top = _TOP + 20 * len(_rows(chart))
        bars = any(one.kind == "bars" for one in chart.series)
        xs = [self._scaled(x) for one in chart.series for x in one.x]
        ys = [y for one in chart.series for y in (*one.y, *one.low, *one.high)]
        self.x, self.y = _range(xs, 0.0 if bars else 0.03), _range(ys, 0.05)
        if bars:
            self.y = 0.0, self.y[1]
        if chart.square:
            self.x = self.y = 0.0, 1.0

    def _scaled(self, x: float) -> float:
        return math.log10(x) if self.chart.log_x else x

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point of the axes."""
        return self.across(x), self.up(y)

    def across(self, x: float) -> float:
        low, high = self.x
        share = (self._scaled(x) - low) / (high - low)
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def up(self, y: float) -> float:
        low, high = self.y
        return self.height - _BOTTOM - (y - low) / (high - low) * (self.height - self.top - _BOTTOM)

    def ticks(self) -> list[tuple[float, str]]:
        """(x, name) along the lower axis."""
        if self.chart.ticks:
            return [(x, name) for x, name in self.chart.ticks]
        if self.chart.log_x:
            powers = range(math.ceil(self.x[0] - 1e-9), math.floor(self.x[1] + 1e-9) + 1)
            return [(10.0**p, f"{10.0**p:g}") for p in powers]
        return [(x, f"{x:,.6g}") for x in _steps(*self.x)]


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    reach = (high - low) or abs(high) or 1.0
    return low - margin * reach, high + margin * reach


def _steps(low: float, high: float, most: int = 6, *, whole: bool = False) -> list[float]:
    """Round numbers from low to high, at most ``most`` intervals apart; whole ones where they count."""
    raw = max((high - low) / most, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * n for n in (1, 2, *(() if whole else (2.5,)), 5, 10) if power * n >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _marks(chart: Chart) -> list[_Mark]:
    frame = _Frame(chart)
    marks = _axes(chart, frame)
    for one in chart.series:
        marks += _drawn(one, frame)
    return marks + _legend(chart)


def _axes(chart: Chart, frame: _Frame) -> list[_Mark]:
    left, right, floor = _LEFT, frame.width - _RIGHT, frame.height - _BOTTOM
    marks = []
    for y in _steps(*frame.y, whole=any(one.kind == "bars" for one in chart.series)):
        up = frame.up(y)
        marks.append(_Mark("line", ((left, up), (right, up)), -1))
        marks.append(_Mark("text", ((left - 8, up + 4),), text=f"{y:,.6g}", anchor="end"))
    for x, name in frame.ticks():
        across = frame.across(x)
        marks.append(_Mark("line", ((across, floor), (across, floor + 5)), -1))
        marks.append(_Mark("text", ((across, floor + 19),), text=name))
    middle = (left + right) / 2, (frame.top + floor) / 2
    marks.append(_Mark("text", ((middle[0], frame.height - 8),), text=chart.x_label))
    marks.append(_Mark("text", ((16, middle[1]),), text=chart.y_label, anchor="up"))
    return marks


def _drawn(one: Series, frame: _Frame) -> list[_Mark]:
    look = {"colour": one.colour, "faint": one.faint, "dashed": one.dashed}
    if one.kind == "level":
        ends = [(x, y) for x in one.x for y in frame.y]
        if one.x:
            return [_Mark("line", tuple((frame.across(x), frame.up(y)) for x, y in ends), **look)]
        return [
            _Mark("line", ((_LEFT, frame.up(y)), (frame.width - _RIGHT, frame.up(y))), **look) for y in one.y
        ]
    if one.kind == "bars":
        edges = list(pairwise(one.x))
        return [
            _Mark("box", ((frame.across(low), frame.up(y)), (frame.across(high), frame.up(0.0))), **look)
            for (low, high), y in zip(edges, one.y, strict=True)
            if y
        ]
    points = tuple(frame.at(x, y) for x, y in zip(one.x, one.y, strict=True))
    if one.kind == "line":
        return [_Mark("line", points, **look)]
    marks = [_Mark("dot", (point,), **look) for point in points]
    if one.kind == "whiskers":
        for x, low, high in zip(one.x, one.low, one.high, strict=True):
            marks.append(_Mark("line", (frame.at(x, low), frame.at(x, high)), **look))
    return marks


def _rows(chart: Chart) -> list[list[Series]]:
    """The legend's entries, as many in a row above the chart as fit."""
    width, used = (_SQUARE if chart.square else _WIDTH) - _LEFT - _RIGHT, 0.0
    rows: list[list[Series]] = []
    for one in chart.series:
        if one.name:
            if not rows or used + _wide(one) > width:
                rows.append([])
                used = 0.0
            rows[-1].append(one)
            used += _wide(one)
    return rows


def _wide(one: Series) -> float:
    return 44 + 7.0 * len(one.name)


def _legend(chart: Chart) -> list[_Mark]:
    marks = []
    for n, row in enumerate(_rows(chart)):
        left, y = float(_LEFT), 18.0 + 20 * n
        for one in row:
            if one.kind == "bars":
                marks.append(_Mark("box", ((left, y - 10), (left + 14, y)), one.colour))
            else:
                swatch = (left, y - 4), (left + 18, y - 4)
                marks.append(_Mark("line", swatch, one.colour, dashed=one.dashed))
            marks.append(_Mark("text", ((left + 24, y),), text=one.name, anchor="start"))
            left += _wide(one)
    return marks

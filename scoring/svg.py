"""Small charts as inline SVG: no script, readable in print. Colours come from the page's CSS classes.

Not matplotlib's: its risk-coverage chart looks the same, but is five times the size, fixed in its colours where this one follows
a dark page, and needs 80 MB of packages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 14, 48

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Line:
    """A named series; `band` holds (x, low, high). `style` is the CSS class that colours it."""

    name: str
    style: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float | None, float | None]] = ()


@dataclass(frozen=True)
class Mark:
    """A vertical line at x with its words, `style` as that of lines."""

    x: float
    name: str
    style: str


@dataclass(frozen=True)
class Column:
    """A column from x to x, of parts that stand upon each other: (value, CSS class)."""

    x: tuple[float, float]
    parts: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Frame:
    """Axes: their ranges, ticks, captions, and how to write a tick."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    x_label: str
    y_label: str
    percent: tuple[bool, bool] = (False, False)

    def across(self, x: float) -> float:
        """Horizontal pixel of x."""
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def down(self, y: float) -> float:
        """Vertical pixel of y."""
        return HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)


def line_chart(title: str, frame: Frame, lines: Sequence[Line], marks: Sequence[Mark] = ()) -> Markup:
    """Lines with an optional band each, and a legend."""
    body = [_axes(frame), *_marked(frame, marks)]
    for line in lines:
        band = [(x, low, high) for x, low, high in line.band if low is not None and high is not None]
        if band:
            edge = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
            body.append(f'<polygon class="band {line.style}" points="{_path(frame, edge)}"/>')
    body += _curves(frame, lines)
    return _figure(
        title,
        body,
        legend=_legend([*((line.name, line.style) for line in lines), *((mark.name, mark.style) for mark in marks)]),
    )


def column_chart(
    title: str, frame: Frame, columns: Sequence[Column], names: Sequence[tuple[str, str]], marks: Sequence[Mark] = ()
) -> Markup:
    """Stacked columns; `names` are (words, CSS class) of the parts, for the legend."""
    body = [_axes(frame)]
    for column in columns:
        left, right = (frame.across(x) for x in column.x)
        base = 0.0
        for value, style in column.parts:
            if value > 0:
                top, bottom = frame.down(base + value), frame.down(base)
                body.append(
                    f'<rect class="column {style}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 0.5, 0.5):.1f}" height="{bottom - top:.1f}"/>'
                )
            base += value
    body += _marked(frame, marks)
    return _figure(title, body, legend=_legend([*names, *((mark.name, mark.style) for mark in marks)]))


def _marked(frame: Frame, marks: Sequence[Mark]) -> list[str]:
    return [
        f'<line class="line {mark.style}" x1="{frame.across(mark.x):.1f}" x2="{frame.across(mark.x):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for mark in marks
    ]


def _legend(keys: Sequence[tuple[str, str]]) -> str:
    shown = "".join(
        f'<span class="key"><svg width="22" height="8" aria-hidden="true"><line class="line {style}" x1="0" x2="22" y1="4" y2="4"/></svg>'
        f"{escape(name)}</span>"
        for name, style in keys
    )
    return f'<div class="legend">{shown}</div>'


def svg_file(title: str, frame: Frame, lines: Sequence[Line]) -> str:
    """Lines as a file of its own, for any viewer: the report's light colours in it, the legend below the chart."""
    css = resources.files("scoring").joinpath("evaluation/templates/report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+):(#\w+)", css.split("\n", 1)[0]))
    drawn = (rule for rule in css.splitlines() if rule.startswith((".tick", ".grid", ".line")))
    style = re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], "".join(drawn))
    body = [_axes(frame), *_curves(frame, lines)]
    for row, line in enumerate(lines):
        y = HEIGHT + 14 + 20 * row
        body.append(f'<line class="line {line.style}" x1="{LEFT}" x2="{LEFT + 24}" y1="{y}" y2="{y}"/>')
        body.append(f'<text class="tick" x="{LEFT + 32}" y="{y + 4}">{escape(line.name)}</text>')
    height = HEIGHT + 20 * (len(lines) + 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<rect width="{WIDTH}" height="{height}" fill="{colours["page"]}"/>{"".join(body)}</svg>\n'
    )


def reliability(title: str, frame: Frame, bins: Sequence[tuple[float, float, float, float]]) -> Markup:
    """Observed against predicted rates: (predicted, observed, low, high) of each bin, beside the diagonal."""
    body = [_axes(frame)]
    corner = min(frame.x[1], frame.y[1])
    body.append(f'<polyline class="line faint" points="{_path(frame, [(0, 0), (corner, corner)])}"/>')
    body.append(f'<polyline class="line model" points="{_path(frame, [(p, o) for p, o, _, _ in bins])}"/>')
    for predicted, observed, low, high in bins:
        x = frame.across(predicted)
        body.append(
            f'<line class="line model" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.down(low):.1f}" y2="{frame.down(high):.1f}"/>'
        )
        body.append(f'<circle class="dot model" cx="{x:.1f}" cy="{frame.down(observed):.1f}" r="4"/>')
    return _figure(title, body)


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Horizontal bars from zero: (label, value, CSS class)."""
    height = 22 * len(rows) + 34
    label_width, room = 250, WIDTH - 250 - 70
    low, high = min(0.0, *(value for _, value, _ in rows)), max(1e-9, *(value for _, value, _ in rows))

    def across(value: float) -> float:
        return label_width + (value - low) / (high - low) * room

    body = [f'<line class="axis" x1="{across(0):.1f}" x2="{across(0):.1f}" y1="4" y2="{height - 26}"/>']
    for i, (label, value, style) in enumerate(rows):
        y = 22 * i + 8
        x, width = min(across(0), across(value)), abs(across(value) - across(0))
        body.append(
            f'<text class="tick" x="{label_width - 8 - (across(0) - across(low)):.1f}" y="{y + 12}" text-anchor="end">{escape(label)}</text>'
        )
        body.append(f'<rect class="bar {style}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="15"/>')
        body.append(f'<text class="tick" x="{max(across(value), across(0)) + 6:.1f}" y="{y + 12}">{value:+.3f}</text>')
    return _figure(title, body, height=height)


def _figure(title: str, body: Sequence[str], *, height: int = HEIGHT, legend: str = "") -> Markup:
    said = escape(title)
    svg = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{said}">{"".join(body)}</svg>'
    return Markup(f"<figure>{svg}{legend}<figcaption>{said}</figcaption></figure>")  # noqa: S704 - every name in it is escaped


def _axes(frame: Frame) -> str:
    parts = []
    for tick in frame.y_ticks:
        y = frame.down(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick, percent=frame.percent[1])}</text>'
        )
    for tick in frame.x_ticks:
        x = frame.across(tick)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(tick, percent=frame.percent[0])}</text>'
        )
    base = frame.down(frame.y[0])
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base:.1f}" y2="{base:.1f}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(frame.x_label)}</text>'
    )
    centre = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" x="14" y="{centre}" text-anchor="middle" transform="rotate(-90 14 {centre})">{escape(frame.y_label)}</text>'
    )
    return "".join(parts)


def _curves(frame: Frame, lines: Sequence[Line]) -> list[str]:
    known = ((line.style, [(x, y) for x, y in line.points if y is not None]) for line in lines)
    return [f'<polyline class="line {style}" points="{_path(frame, points)}"/>' for style, points in known]


def _path(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{frame.across(x):.1f},{frame.down(y):.1f}" for x, y in points)


def _number(value: float, *, percent: bool) -> str:
    return f"{value:.0%}" if percent else f"{value:g}"

"""The console's charts, as inline SVG made here: no script, and colours from the page. Pure."""

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from scoring.svg import Column, Frame, Line, Mark, column_chart, line_chart, reliability
from streams.console.scores import BINS, Point, Spread
from streams.console.state import Slot
from streams.pipeline.quality.judging import Reliability
from streams.printable import printable

_FIFTHS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_MINUTES: Final = (-10.0, -8.0, -6.0, -4.0, -2.0, 0.0)


def decided(slots: Sequence[Slot], seconds: float) -> Markup | None:
    """Decisions by route over the last minutes, in slots of so many seconds; None where there were none."""
    highest = max((one.automated + one.escalated for one in slots), default=0) / seconds
    if not highest:
        return None
    top, ticks = _scale(highest)
    width = seconds / 60
    columns = [
        Column(
            (-width * (len(slots) - index), -width * (len(slots) - index - 1)),
            ((one.automated / seconds, "model"), (one.escalated / seconds, "single")),
        )
        for index, one in enumerate(slots)
    ]
    frame = Frame((-10, 0), (0, top), _MINUTES, ticks, "minutes from now", "decisions a second")
    names = [("acted on", "model"), ("to humans", "single")]
    return column_chart("Decisions of the last ten minutes, by route.", frame, columns, names)


def histogram(spread: Spread, threshold: float | None, policy: str) -> Markup:
    """The spread of P(error) with the threshold in it."""
    top, ticks = _scale(max(spread.counts))
    columns = []
    for index, count in enumerate(spread.counts):
        escalated = threshold is None or index / BINS >= threshold
        parts = ((float(count), "single" if escalated else "model"),)
        columns.append(Column((index / BINS, (index + 1) / BINS), parts))
    marks = [] if threshold is None else [Mark(threshold, f"threshold {threshold:g}", "mark")]
    frame = Frame((0, 1), (0, top), _FIFTHS, ticks, "P(the LLM is wrong)", "answers")
    names = [("below the threshold", "model"), ("to humans", "single")]
    title = f"P(error) of the last {spread.scored:,} answers of {printable(policy)}."
    return column_chart(title, frame, columns, names if marks else names[1:], marks)


def costs(points: Sequence[Point], threshold: float | None) -> Markup:
    """The expected cost of an answer over thresholds, with the operating point and the cheapest one."""
    top, ticks = _scale(max(one.cost for one in points))
    cheapest = min(points, key=lambda one: one.cost)
    marks = [Mark(cheapest.threshold, f"cheapest: {cheapest.threshold:g}", "oracle")]
    if threshold is not None:
        marks.append(Mark(threshold, f"in force: {threshold:g}", "mark"))
    frame = Frame((0, 1), (0, top), _FIFTHS, ticks, "threshold", "expected cost of an answer")
    curve = Line("expected cost, by the model's own word", "model", [(one.threshold, one.cost) for one in points])
    return line_chart("What each threshold would cost on these answers.", frame, [curve], marks)


def calibration(bins: Sequence[Reliability], policy: str) -> Markup:
    """Errors that humans found against those that P(error) foretold."""
    frame = Frame((0, 1), (0, 1), _FIFTHS, _FIFTHS, "P(the LLM is wrong)", "found wrong by humans", (True, True))
    rows = [(one.expected, one.observed, *_interval(one)) for one in bins]
    return reliability(
        f"Calibration on what humans judged of {printable(policy)}, by tenths, with 90 % intervals.", frame, rows
    )


def _interval(one: Reliability) -> tuple[float, float]:
    """Wilson's, of a share."""
    z, n, p = 1.645, one.judged, one.observed
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _scale(highest: float) -> tuple[float, list[float]]:
    """A round top above the highest value, and about four ticks up to it."""
    highest = max(highest, 1e-6)
    unit = 10 ** math.floor(math.log10(highest))
    step = next(one * unit for one in (0.2, 0.5, 1, 2, 5) if 4 * one * unit >= highest)
    count = math.ceil(highest / step - 1e-9)
    return step * count, [float(f"{step * index:.6g}") for index in range(count + 1)]

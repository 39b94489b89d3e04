"""Draws the figures of `scaling.py` and `latency.py`: medians, with bars from the least to the most of the rounds.

    benchmarks/.venv/bin/python benchmarks/plots.py FIGURES.json FOLDER

Runs in the peers' environment, which has matplotlib. Curves that the file does not hold are left alone.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter

_RATE = "decisions/s"


@dataclass(frozen=True)
class Plot:
    """One file: which figure of which curve, and its axes."""

    file: str
    curve: str
    figures: tuple[str, ...]
    x: str
    y: str = _RATE
    log_x: bool = True
    log_y: bool = False


PLOTS = (
    Plot("answer-length", "answer_length", ("throughput",), "tokens in an answer", log_y=True),
    Plot("batch", "batch", ("throughput",), "records in a batch (without Kafka)"),
    Plot(
        "pending", "pending", ("throughput", "throughput_at_random", "intake_only"), "pending requests (without Kafka)"
    ),
    Plot("pending-memory", "pending", ("bytes_beyond_request",), "pending requests", "bytes each, beyond its own"),
    Plot("kafka-batch-size", "kafka_batch_size", ("throughput",), "batch_size (records)"),
    Plot("kafka-partitions", "kafka_partitions", ("throughput",), "partitions of each topic"),
    Plot("kafka-workers", "kafka_workers", ("throughput",), "workers", log_x=False),
    Plot("kafka-pending", "kafka_pending", ("throughput",), "pending requests, restored at the start"),
    Plot(
        "restore",
        "kafka_pending",
        ("start_to_first_decision_s",),
        "pending requests, restored at the start",
        "s, start to decision",
    ),
    Plot("latency-exactly-once", "exactly_once", ("p50", "p95", "p99"), "load (% of capacity)", "ms", log_x=False),
    Plot("latency-at-least-once", "at_least_once", ("p50", "p95", "p99"), "load (% of capacity)", "ms", log_x=False),
)


def draw(plot: Plot, points: Sequence[Any], folder: Path) -> None:
    """One plot as an SVG file."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name in plot.figures:
        known = [(point["at"], point[name]) for point in points if name in point]
        if known:
            _line(axes, name, known)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    places = [point["at"] for point in points]
    if plot.log_x:
        least = min(place for place in places if place > 0)
        axes.set_xscale("symlog", linthresh=least) if 0 in places else axes.set_xscale("log")
    axes.set_xticks(places, [_short(place) for place in places])
    axes.minorticks_off()
    if plot.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,g}"))
    axes.grid(alpha=0.3)
    if len(plot.figures) > 1:
        axes.legend(frameon=False)
    figure.savefig(folder / f"{plot.file}.svg", metadata={"Date": None})
    plt.close(figure)


def _line(axes: Any, name: str, known: Iterable[tuple[float, Any]]) -> None:
    places = [place for place, _ in known]
    medians = [one["median"] for _, one in known]
    below = [one["median"] - one["min"] for _, one in known]
    above = [one["max"] - one["median"] for _, one in known]
    axes.errorbar(places, medians, (below, above), marker="o", markersize=4, capsize=3, label=name.replace("_", " "))


def _short(number: float) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    mpl.rcParams.update({"svg.hashsalt": "secondlook", "svg.fonttype": "none", "font.family": "sans-serif"})
    curves, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for plot in PLOTS:
        if plot.curve in curves:
            draw(plot, curves[plot.curve], folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The arithmetic that all benchmarks share: spreads over rounds, percentiles, rounds that interleave their points."""

import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeVar

import numpy as np

_Point = TypeVar("_Point", bound=Hashable)
_PERCENTILES = (50, 95, 99)


def spread(values: Sequence[float]) -> dict[str, float]:
    """The figure of a point: its median over the rounds, and how far they lie apart."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def spreads(laps: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of every figure that a point's laps have in common."""
    shared = [name for name in laps[0] if all(name in lap for lap in laps)]
    return {name: spread([lap[name] for lap in laps]) for name in shared}


def percentiles(values: Any) -> dict[str, float]:
    """p50, p95 and p99."""
    return {f"p{part}": float(value) for part, value in zip(_PERCENTILES, np.percentile(values, _PERCENTILES))}  # noqa: B905 - as many as asked for


def interleave(
    points: Iterable[_Point], measure: Callable[[_Point], Mapping[str, float]], *, rounds: int, what: str
) -> dict[_Point, list[Mapping[str, float]]]:
    """Measure every point once a round: a slow minute of the machine meets all of them, not one."""
    laps: dict[_Point, list[Mapping[str, float]]] = {point: [] for point in points}
    for number in range(rounds):
        for point, mine in laps.items():
            mine.append(measure(point))
            shown = "  ".join(f"{name} {value:,.6g}" for name, value in mine[-1].items())
            print(f"round {number + 1}  {what} {point}: {shown}", file=sys.stderr, flush=True)
    return laps


def curve(laps: Mapping[_Point, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """The JSON of a curve: one entry a point, `at` is where it stands."""
    return [{"at": point, **spreads(mine)} for point, mine in laps.items()]

"""How to spread audits over parts of the traffic, so that the error rate of all that is automated is known best. Pure.

The variance of the weighted error rate is sum N_h^2 p_h (1 - p_h) (1 / n_h - 1 / N_h) / N^2 for n_h audits of N_h verdicts with the error rate p_h. Under
a budget sum n_h it is least where the rate n_h / N_h goes with sqrt(p_h (1 - p_h)) (Neyman 1934): more of what is often wrong. Two things keep it
from trusting what it has seen too far: an error rate that few audits have measured is drawn towards that of all, and no part gets less
than a share of the equal rate, so that one that becomes worse is seen, and no audit stands for very many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FLOOR: Final = 0.5
"""Least rate of any part, as a share of the rate that all would have."""
_BELIEF: Final = 10
"""Audits that the error rate of all counts as in each part."""
_STEPS: Final = 60

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what is automated: its verdicts a day, and of its audits so far how many are judged, and found wrong."""

    name: str
    verdicts: float
    judged: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The audit rates of the parts, and the standard error of the day's error rate by them, and by one rate for all with as many audits."""

    rates: tuple[float, ...]
    error: float
    error_of_equal_rates: float


def plan_audits(parts: Sequence[Part], budget: float, floor: float = FLOOR) -> Plan:
    """Rates [parts] in 0 to 1 that come to at most `budget` audits a day. Raises ValueError for a budget or floor that makes no sense.

    Nothing depends on the order of the parts.
    """
    if not budget > 0 or not 0 <= floor <= 1:
        raise ValueError(f"a budget is positive and a floor lies in 0 to 1, not {budget} and {floor}")
    verdicts = np.array([part.verdicts for part in parts], dtype=float)
    total = float(verdicts.sum())
    if not total:
        return Plan(tuple(0.0 for _ in parts), 0.0, 0.0)
    equal = min(1.0, budget / total)
    spread = np.sqrt(_believed(parts) * (1 - _believed(parts)))
    rates = _filled(verdicts, spread, equal * total, floor * equal)
    alike = np.full(len(parts), equal)
    return Plan(tuple(rates.tolist()), _error(verdicts, spread, rates), _error(verdicts, spread, alike))


def _believed(parts: Sequence[Part]) -> Floats:
    judged, errors = (np.array([getattr(part, name) for part in parts], dtype=float) for name in ("judged", "errors"))
    everywhere = (errors.sum() + 0.5) / (judged.sum() + 1)
    return np.asarray((errors + _BELIEF * everywhere) / (judged + _BELIEF))


def _filled(verdicts: Floats, spread: Floats, audits: float, least: float) -> Floats:
    """Rates that go with the spread, cut to `least` and 1, and come to so many audits."""

    def at(level: float) -> Floats:
        return np.clip(level * spread, least, 1.0)

    low, high = 0.0, 1 / float(spread.min())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if (at(middle) * verdicts).sum() <= audits else (low, middle)
    return at(low)


def _error(verdicts: Floats, spread: Floats, rates: Floats) -> float:
    counted = verdicts > 0
    size, chance = verdicts[counted], rates[counted]
    return float(np.sqrt((size * spread[counted] ** 2 * (1 / chance - 1)).sum()) / verdicts.sum())

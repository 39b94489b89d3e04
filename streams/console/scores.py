"""The spread of P(error) lately, and what a threshold in it would do: shares, errors and costs by the model's own word. Pure."""

from typing import Final

import msgspec
import numpy as np

from scoring import Accounting

BINS: Final = 100
_HALF: Final = 10_000
"""Answers after which the older half is dropped."""


class Spread(msgspec.Struct, frozen=True):
    """Of the last answers with a verdict: `counts` by hundredths of P(error), and how many had none and went to humans whatever the threshold."""

    counts: list[int]
    unscored: int

    @property
    def scored(self) -> int:
        """Those with P(error)."""
        return sum(self.counts)


class Scores:
    """Counts in two halves: the one that fills, and the one before."""

    def __init__(self) -> None:
        self._counts, self._before = [0] * (BINS + 1), [0] * (BINS + 1)
        self._counted = 0

    def add(self, probability: float | None) -> None:
        """Count an answer."""
        if self._counted >= _HALF:
            self._before, self._counts, self._counted = self._counts, [0] * (BINS + 1), 0
        self._counts[BINS if probability is None else min(int(probability * BINS), BINS - 1)] += 1
        self._counted += 1

    def spread(self) -> Spread:
        """As it stands."""
        total = [now + before for now, before in zip(self._counts, self._before, strict=True)]
        return Spread(total[:BINS], total[BINS])


class Costs(msgspec.Struct, frozen=True):
    """Of one review and one mistake, in any one currency, and which reviews are charged."""

    review: float
    mistake: float
    accounting: Accounting


class Point(msgspec.Struct, frozen=True):
    """What a threshold does to these answers. `error` is the mean P(error) of the automated (None: nothing is), `cost` of each answer that has a score."""

    threshold: float
    escalated: float
    error: float | None
    cost: float


def points(spread: Spread, costs: Costs) -> list[Point]:
    """At every hundredth from 0 to 1; none where nothing is scored."""
    counts = np.array(spread.counts, dtype=np.float64)
    total = counts.sum()
    if not total:
        return []
    middle = (np.arange(BINS) + 0.5) / BINS
    charged = 1 - middle if costs.accounting == "false-discovery" else np.ones(BINS)
    below = np.concatenate(([0.0], np.cumsum(counts)))
    wrong = np.concatenate(([0.0], np.cumsum(counts * middle)))
    reviews = counts * charged
    reviewed = reviews.sum() - np.concatenate(([0.0], np.cumsum(reviews)))
    every = total + spread.unscored
    return [
        Point(
            threshold=at / BINS,
            escalated=float(1 - below[at] / every),
            error=float(wrong[at] / below[at]) if below[at] else None,
            cost=float((wrong[at] * costs.mistake + reviewed[at] * costs.review) / total),
        )
        for at in range(BINS + 1)
    ]


def at(found: list[Point], threshold: float) -> Point | None:
    """The point nearest to a threshold; None where there is none."""
    return min(found, key=lambda one: abs(one.threshold - threshold)) if found else None

"""95 % intervals for many figures at once, in one pass over the draws.

What is to be estimated is a tree of dicts and lists with a `Figure` at its leaves. Draws are made a block at a time and every
figure is taken from each, so memory grows with the rows alone, not with rows times replicates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring import sampled_error
from scoring.evaluation import metrics

Floats = NDArray[np.float64]
Rows = NDArray[np.int64] | NDArray[np.bool_]
Known = dict[Callable[[Floats], Floats], Floats]
"""What has been computed of one block."""

CELLS = 2**18
"""Weights in a block, 2 MiB, so that it stays near the processor; what a figure computes on the way is a few times as much."""


@dataclass(frozen=True)
class Figure:
    """`of` gives the figure's value in each replicate, [b], from weights [b, n]: how often each row was drawn.

    `less` is taken from it, on the same resampled rows. A paired difference is `tested` against zero: its estimate has a p-value. A `mean` tells
    what it is the mean of, for a better interval.
    """

    of: Callable[[Floats], Floats]
    tested: bool = False
    mean: "Mean | None" = None
    less: "Figure | None" = None

    def minus(self, other: "Figure", *, tested: bool = False) -> "Figure":
        """The paired difference of two figures."""
        return Figure(self.of, tested, less=other)

    def value(self, weights: Floats, known: Known) -> Floats:
        """In each replicate, [b]; of the parts what several figures have in common is computed once."""
        if self.of not in known:
            known[self.of] = self.of(weights)
        return known[self.of] if self.less is None else known[self.of] - self.less.value(weights, known)


@dataclass(frozen=True)
class Mean:
    """Of `values` [m] in `low` to `high`, of the rows [m]."""

    values: Floats
    rows: NDArray[np.int64]
    low: float = 0.0
    high: float = 1.0

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of rows."""
        return self.low == 0 and self.high == 1 and bool(np.isin(self.values, (0, 1)).all())


def mean_of(
    values: Floats | NDArray[np.bool_],
    rows: Rows | None = None,
    *,
    low: float = 0.0,
    high: float = 1.0,
    tested: bool = False,
) -> Figure:
    """The mean of `values` [n] in `low` to `high` over some of the rows, given by mask or number (None: all); NaN over none."""
    chosen = np.arange(len(values))[... if rows is None else rows]
    mean = Mean(values[chosen].astype(np.float64), chosen, low, high)

    def of(weights: Floats) -> Floats:
        return metrics.weighted_mean(mean.values, weights if rows is None else weights[:, chosen])

    return Figure(of, tested, mean)


@dataclass(frozen=True)
class Bootstrap:
    """Draws of whole groups with replacement. `groups` names that of each of the n rows.

    The interval of a rate is exact (Clopper and Pearson; of groups by the theorem below): draws of a few rows that are alike say nothing of others.

    Rows that stand for unequal shares of the traffic have `weights` [n]; none could have had one above `most`, and no group of the traffic has
    more than `largest` rows. Then few rows may carry most of a figure, and if these few are alike the draws are too, and say nothing of what they
    lack: nine audits without an error are no proof of none. So the interval of a mean, of a paired difference of costs as well, is that of the
    theorem in `scoring.sampled_error`, which holds at any number of rows, and there is no p-value beside it; the others (of AUROC, AUPRC, AURC, ECE
    and their differences) stay percentiles, which hold for many rows only.
    """

    groups: Sequence[str]
    replicates: int
    seed: int
    weights: Floats | None = None
    most: float = 0.0
    largest: int = 1

    def estimate(self, tree: Any) -> Any:
        """`tree` with {value, low, high} in place of every `Figure`: percentiles; null where undefined on this data."""
        values: dict[int, list[Floats]] = {id(figure): [] for figure in _figures(tree)}
        for weights in self.blocks():
            known: Known = {}
            for figure in _figures(tree):
                values[id(figure)].append(figure.value(weights, known))
        return self._settled(tree, {key: np.concatenate(parts) for key, parts in values.items()})

    def blocks(self) -> Iterator[Floats]:
        """Weights [b, n]: the sample itself comes first, the replicates follow."""
        for block in self._draws():
            yield block if self.weights is None else block * self.weights

    @cached_property
    def _members(self) -> NDArray[np.int64]:
        names = {name: i for i, name in enumerate(dict.fromkeys(self.groups))}
        return np.array([names[group] for group in self.groups])

    def _draws(self) -> Iterator[Floats]:
        member = self._members
        count = int(member.max()) + 1
        rng, chances = np.random.default_rng(self.seed), np.full(count, 1 / count)
        size = max(1, CELLS // len(member))
        sample = np.ones((1, len(member)))
        for start in range(0, 1 + self.replicates, size):
            ahead = len(sample) if start == 0 else 0
            draws = rng.multinomial(count, chances, size=min(size, 1 + self.replicates - start) - ahead)
            yield np.concatenate((sample[:ahead], draws[:, member].astype(float)))

    def _settled(self, tree: Any, values: dict[int, Floats]) -> Any:
        if isinstance(tree, dict):
            return {name: self._settled(branch, values) for name, branch in tree.items()}
        if isinstance(tree, list):
            return [self._settled(branch, values) for branch in tree]
        if not isinstance(tree, Figure):
            return tree
        found = values[id(tree)]
        stated = interval(found)
        mean = tree.mean
        if mean is not None and stated["value"] is not None and (self.weights is not None or mean.is_rate):
            return {**stated, **self._exact(mean), **({"p_value": None} if tree.tested else {})}
        return {**stated, "p_value": _p_value(found)} if tree.tested else stated

    def _exact(self, mean: Mean) -> dict[str, float | None]:
        weights = np.ones(len(self.groups)) if self.weights is None else self.weights
        stakes = weights / max(weights.max(), self.most)
        found, together = np.unique(self._members[mean.rows], return_inverse=True)
        equal = self.weights is None and len(found) == len(together)
        span = mean.high - mean.low
        shares = (mean.values - mean.low) / span
        bounds = sampled_error.interval(shares, stakes[mean.rows], equal=equal, groups=together, largest=self.largest)
        low, high = (mean.low + span * bound for bound in bounds)
        return {"low": low, "high": high}


def interval(values: Floats) -> dict[str, float | None]:
    """{value, low, high} of [1 + B]: the sample's own value and percentiles; replicates without a value are left out."""
    value, replicates = float(values[0]), values[1:][~np.isnan(values[1:])]
    if np.isnan(value) or len(replicates) == 0:
        return {"value": None if np.isnan(value) else value, "low": None, "high": None}
    low, high = np.percentile(replicates, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}


def _p_value(differences: Floats) -> float:
    """Twice the smaller share of replicates on either side of zero, the sample itself counted in, so it is never 0."""
    replicates = differences[1:]
    rarer_side = min((replicates <= 0).sum(), (replicates >= 0).sum())
    return min(1.0, 2 * float(rarer_side + 1) / (len(replicates) + 1))


def _figures(tree: Any) -> Iterator[Figure]:
    if isinstance(tree, Figure):
        yield tree
    elif isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from _figures(branch)

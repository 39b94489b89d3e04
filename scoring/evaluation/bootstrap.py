"""95 % intervals for many figures at once, in one pass over the draws.

What is to be estimated is a tree of dicts and lists with a `Figure` at its leaves. Draws are made a block at a time and every
figure is taken from each, so memory grows with the rows alone, not with rows times replicates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring import sampled_error

Floats = NDArray[np.float64]

CELLS = 2**21
"""Weights in a block, 16 MiB; what a figure computes on the way is a few times as much."""


@dataclass(frozen=True)
class Figure:
    """`of` gives the figure's value in each replicate, [b], from weights [b, n]: how often each row was drawn.

    A paired difference is `tested` against zero: its estimate has a p-value. A `mean` tells what it is the mean of, for a better interval.
    """

    of: Callable[[Floats], Floats]
    tested: bool = False
    mean: "Mean | None" = None

    def minus(self, other: "Figure", *, tested: bool = False) -> "Figure":
        """The paired difference: both on the same resampled rows."""
        return Figure(lambda weights: self.of(weights) - other.of(weights), tested)


@dataclass(frozen=True)
class Mean:
    """Of `values` [m] in 0 to `top`, of some rows."""

    values: Floats
    rows: NDArray[np.int64] | NDArray[np.bool_]
    top: float = 1.0


@dataclass(frozen=True)
class Bootstrap:
    """Draws of whole groups with replacement. `groups` names that of each of the n rows.

    Rows that stand for unequal shares of the traffic have `weights` [n]; none could have had one above `most`. Then few rows may carry most of
    a figure, and if these few are alike the draws are too, and say nothing of what they lack: nine audits without an error are no proof of none.
    So the interval of a mean is that of the theorem in `scoring.sampled_error`, which holds at any number of rows; the others (of AUROC, AUPRC,
    AURC, ECE, and of differences) stay percentiles, which hold for many rows only.
    """

    groups: Sequence[str]
    replicates: int
    seed: int
    weights: Floats | None = None
    most: float = 0.0

    def estimate(self, tree: Any) -> Any:
        """`tree` with {value, low, high} in place of every `Figure`: percentiles; null where undefined on this data."""
        values: dict[int, list[Floats]] = {id(figure): [] for figure in _figures(tree)}
        for weights in self.blocks():
            for figure in _figures(tree):
                values[id(figure)].append(figure.of(weights))
        return self._settled(tree, {key: np.concatenate(parts) for key, parts in values.items()})

    def blocks(self) -> Iterator[Floats]:
        """Weights [b, n]: the sample itself comes first, the replicates follow."""
        for block in self._draws():
            yield block if self.weights is None else block * self.weights

    def _members(self) -> NDArray[np.int64]:
        names = {name: i for i, name in enumerate(dict.fromkeys(self.groups))}
        return np.array([names[group] for group in self.groups])

    def _draws(self) -> Iterator[Floats]:
        member = self._members()
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
        if self.weights is not None and tree.mean is not None and stated["value"] is not None:
            stated |= self._exact(tree.mean, self.weights)
        return {**stated, "p_value": _p_value(found)} if tree.tested else stated

    def _exact(self, mean: Mean, weights: Floats) -> dict[str, float | None]:
        stakes = weights / max(weights.max(), self.most)
        _, together = np.unique(self._members()[mean.rows], return_inverse=True)
        low, high = sampled_error.interval(mean.values / mean.top, stakes[mean.rows], groups=together)
        return {"low": low * mean.top, "high": high * mean.top}


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

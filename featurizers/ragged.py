"""Reductions over ragged arrays: flat values plus [start, end) offsets, no Python loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

IMPOSSIBLE = -9999.0  # the APIs' word for "not among the top k"
ROUNDING = 1e-3  # servers round in float32: a log-probability may come out a hair above 0


def clean(logprobs: Floats) -> Floats:
    """Log-probabilities in nats with every value that says nothing turned into NaN, and rounding noise above 0 cut."""
    cleaned: Floats = np.minimum(logprobs, 0.0)
    cleaned[~((logprobs > IMPOSSIBLE) & (logprobs <= ROUNDING))] = np.nan
    return cleaned


def reduce_segments(ufunc: np.ufunc, values: Floats, offsets: Ints, empty: float) -> Floats:
    """Reduce each of s adjoining segments that cut up `values` at `offsets`, int64 [s + 1]; `empty` for empty ones."""
    starts = offsets[:-1]
    filled = starts < offsets[1:]
    if filled.all() and len(starts):
        all_reduced: Floats = ufunc.reduceat(values, starts)
        return all_reduced
    reduced = np.full(len(starts), empty)
    if filled.any():
        reduced[filled] = ufunc.reduceat(values, starts[filled])
    return reduced


@dataclass(frozen=True)
class Spans:
    """s spans [start, end) of v flat values, int64 [s] each. Statistics are [s], NaN where a span has no known value."""

    starts: Ints
    ends: Ints

    @classmethod
    def concatenate(cls, parts: Sequence["Spans"]) -> "Spans":
        """The spans of all parts, one part behind the other."""
        return cls(np.concatenate([part.starts for part in parts]), np.concatenate([part.ends for part in parts]))

    @property
    def sizes(self) -> Floats:
        """The number of values in each span, NaN where there are none."""
        return np.where(self.ends > self.starts, (self.ends - self.starts).astype(np.float64), np.nan)

    def mean(self, values: Floats) -> Floats:
        """The mean of the known values."""
        known = ~np.isnan(values)
        if known.all():
            return self._reduce(np.add, values, 0.0) / self.sizes
        total = self._reduce(np.add, np.where(known, values, 0.0), 0.0)
        count = self._reduce(np.add, known.astype(np.float64), 0.0)
        return total / np.where(count > 0, count, np.nan)

    def sum(self, values: Floats) -> Floats:
        """The sum; NaN as soon as one value is, for the sum of a part is no sum."""
        return np.where(self.ends > self.starts, self._reduce(np.add, values, 0.0), np.nan)

    def min(self, values: Floats) -> Floats:
        """The smallest known value."""
        return self._finite(self._reduce(np.fmin, values, np.inf))

    def max(self, values: Floats) -> Floats:
        """The largest known value."""
        return self._finite(self._reduce(np.fmax, values, -np.inf))

    @cached_property
    def _bounds(self) -> Ints:
        return np.stack([self.starts, self.ends], axis=1).ravel()

    def _reduce(self, ufunc: np.ufunc, values: Floats, empty: float) -> Floats:
        """Reduce `values[start:end]` for every span; `empty`, the identity, if it is empty."""
        if not len(self.starts):
            return np.zeros(0)
        padded = np.concatenate([values, [empty]])  # a span may end at len(values)
        reduced: Floats = ufunc.reduceat(padded, self._bounds)[::2]
        reduced[self.starts >= self.ends] = empty
        return reduced

    @staticmethod
    def _finite(values: Floats) -> Floats:
        return np.where(np.isinf(values), np.nan, values)

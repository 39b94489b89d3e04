"""Reductions over ragged arrays: flat values plus [start, end) offsets, no Python loop."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

IMPOSSIBLE = -9999.0  # the APIs' word for "not among the top k"
ROUNDING = 1e-3  # servers round in float32: a log-probability may come out a hair above 0


def clean(logprobs: Floats) -> Floats:
    """Log-probabilities in nats with every value that says nothing turned into NaN, and rounding noise above 0 cut."""
    known = (logprobs > IMPOSSIBLE) & (logprobs <= ROUNDING)
    return np.where(known, np.minimum(logprobs, 0.0), np.nan)


def reduce_spans(ufunc: np.ufunc, values: Floats, starts: Ints, ends: Ints, empty: float) -> Floats:
    """Reduce `values[start:end]` for every pair, [s]; `empty` where a span is empty or all its values are NaN.

    NaN values are left out; `empty` must be the ufunc's identity for the values at hand.
    """
    padded = np.append(np.where(np.isnan(values), empty, values), empty)  # ends may equal len(values)
    bounds = np.stack([starts, ends], axis=1).ravel()
    return np.where(starts < ends, ufunc.reduceat(padded, bounds)[::2] if len(bounds) else padded[:0], empty)

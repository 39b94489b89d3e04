"""What the cases of a batch are to metrics: columns, so that they are counted a batch at a time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featurizers import Vectors
from scoring import Scores
from streams.pipeline.matching import Case


@dataclass(frozen=True, slots=True)
class Measures:
    """Of n cases, m of them with an answer.

    `requests` [n] and `responses` [m] are the records' timestamps in ms, NaN where they have none; `is_answered` [n]. `policies` [m]
    and `error_probability` [m], NaN where it is not asked for or not known. `missing` [d]: answers that lack each predictor of `SCHEMA`.
    """

    requests: NDArray[np.float64]
    is_answered: NDArray[np.bool_]
    responses: NDArray[np.float64]
    policies: Sequence[str]
    error_probability: NDArray[np.float64]
    missing: NDArray[np.int64]


def measure(cases: Sequence[Case], answered: Sequence[Case], vectors: Vectors, scores: Scores | None) -> Measures:
    """The columns of a batch's `cases`; `answered` are those of the rows of `vectors` and `scores`."""
    return Measures(
        _stamps([case.request.timestamp for case in cases]),
        np.array([case.response is not None for case in cases], dtype=bool),
        _stamps([0 if case.answer is None else case.answer.timestamp for case in answered]),
        [case.policy for case in answered],
        _probabilities(vectors, scores),
        np.isnan(vectors.values).sum(axis=0),
    )


def _stamps(milliseconds: list[int]) -> NDArray[np.float64]:
    stamps = np.array(milliseconds, dtype=np.float64)
    stamps[stamps <= 0] = np.nan
    return stamps


def _probabilities(vectors: Vectors, scores: Scores | None) -> NDArray[np.float64]:
    """Of the answers with a verdict that lack nothing that the model needs: of the others it says nothing that counts."""
    if scores is None:
        return np.full(len(vectors.outcomes), np.nan)
    decides = (vectors.outcomes >= 0) & (vectors.outcomes <= 1) & scores.supported
    return np.where(decides, scores.error_probability.astype(np.float64), np.nan)

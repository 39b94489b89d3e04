"""What the training answers looked like, so that a stream of answers can be told from them: kept in the model's card.

Per policy and over all (`*`): how many training answers lay between which deciles of each predictor, how many lacked it, and how their
P(error) was spread. The population stability index (PSI) says how far a stream is from that: sum (a - e) ln(a / e) over the bins' shares.
Where nothing has changed, PSI / (1/n + 1/m) is about chi-squared, so small samples are not taken for drift.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.errors import ModelError

Counts = NDArray[np.float64]

EVERY_POLICY: Final = "*"
DECILES: Final = 10
LEAST_OF_A_POLICY: Final = 100
"""Training answers, as good as alike, from which on a policy has a reference of its own."""
LOG_ODDS: Final = np.arange(-8, 8.25, 0.5)
PROBABILITY_EDGES: Final = 1 / (1 + np.exp(-LOG_ODDS))
"""Bins of P(error), evenly in log-odds: as fine near 0, where the scores of a good LLM lie, as anywhere."""
BINS: Final = len(PROBABILITY_EDGES) + 1
_PRIOR: Final = 0.5
"""Added to every bin: one that is empty must not make the index infinite."""


class Reference(msgspec.Struct, frozen=True):
    """Of d predictors: the inner deciles `edges` [d, 9], and by policy the counts `predictors` [d, 11] (the last: missing) and `scores` [bins]."""

    edges: list[list[float]]
    predictors: dict[str, list[list[float]]]
    scores: dict[str, list[float]]

    def of(self, policy: str) -> tuple[Counts, Counts] | None:
        """The counts [d, 11] and [bins] of a policy, or of all together (`*`); None of one that was too rare to be held to them."""
        if policy not in self.predictors or policy not in self.scores:
            return None
        return np.array(self.predictors[policy]), np.array(self.scores[policy])


def reference_of(
    values: NDArray[np.float32],
    policies: Sequence[str],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> Reference:
    """The reference of n training answers: predictors float32 [n, d], NaN = missing, and P(error) [n] as of answers not trained on.

    `weights` [n] say how many answers of the traffic each stands for. Counts add up to as many answers as would tell as much if all weighed alike
    (Kish's effective size), so that a few that stand for many are not taken for many.
    """
    weighed = np.ones(len(policies)) if weights is None else weights
    inner = np.arange(1, DECILES) / DECILES
    edges = np.zeros((values.shape[1], DECILES - 1), dtype=np.float32)
    for column, of in zip(edges, values.T, strict=True):
        present = of[~np.isnan(of)]
        if len(present):
            column[:] = np.quantile(present, inner, method="inverted_cdf")
    cells, scored = bins_of(values, edges), score_bins(probabilities)
    named = np.array(policies)
    rows = {EVERY_POLICY: np.ones(len(named), dtype=bool), **{name: named == name for name in sorted(set(policies))}}
    stakes = {name: weighed[own] * weighed[own].sum() / (weighed[own] ** 2).sum() for name, own in rows.items()}
    known = {name: own for name, own in rows.items() if name == EVERY_POLICY or stakes[name].sum() >= LEAST_OF_A_POLICY}
    return Reference(
        edges.tolist(),
        {name: np.round(tally(cells[own], stakes[name]), 3).tolist() for name, own in known.items()},
        {name: np.round(np.bincount(scored[own], stakes[name], BINS), 3).tolist() for name, own in known.items()},
    )


def read_reference(card: Mapping[str, Any]) -> Reference | None:
    """The reference of a model's card; None where the card is older than that. Raises ModelError where it is garbled."""
    if "reference" not in card:
        return None
    try:
        found = msgspec.convert(card["reference"], Reference)
    except msgspec.ValidationError as problem:
        raise _garbled(str(problem)) from None
    widths = {len(row) for counts in found.predictors.values() for row in counts}
    widths |= {len(row) + 2 for row in found.edges}
    whole = widths == {DECILES + 1} and {len(row) for row in found.scores.values()} == {BINS}
    whole &= {len(counts) for counts in found.predictors.values()} == {len(found.edges)}
    if not whole or EVERY_POLICY not in found.predictors.keys() & found.scores.keys():
        raise _garbled("its parts do not fit each other")
    return found


def _garbled(problem: str) -> ModelError:
    return ModelError(f"The model's card garbles its reference: {problem}. Retrain with `secondlook train`.")


def bins_of(values: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bin of each value [n, d] by the edges [d, 9]; the last one is for what is missing."""
    found: NDArray[np.int64] = (values[:, :, None] >= edges[None]).sum(axis=2)
    found[np.isnan(values)] = DECILES
    return found


def score_bins(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each P(error)."""
    return np.searchsorted(PROBABILITY_EDGES, probabilities, side="right").astype(np.int64)


def tally(cells: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> Counts:
    """How many rows of `cells` [n, d] lie in each bin [d, 11]."""
    width = DECILES + 1
    flat = (cells + np.arange(cells.shape[1]) * width).ravel()
    each = None if weights is None else np.repeat(weights, cells.shape[1])
    return np.bincount(flat, each, cells.shape[1] * width).reshape(-1, width).astype(np.float64)


def stability_index(expected: Counts, counts: Counts) -> Counts:
    """PSI of counts [..., bins] against those expected, which may be of another total."""
    e, a = _shares(expected), _shares(counts)
    index: Counts = ((a - e) * np.log(a / e)).sum(axis=-1)
    return index


def _shares(counts: Counts) -> Counts:
    shares: Counts = (counts + _PRIOR) / (counts + _PRIOR).sum(axis=-1, keepdims=True)
    return shares

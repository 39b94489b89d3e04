"""Grouped, stratified folds, and what every family says of rows that it has not seen."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.training.calibration import METHODS, Calibrator, Method, fit_calibrator
from scoring.training.learners import Family, Setting, fit_learner
from scoring.training.meta_model import Expansion, MetaModel, Scorer, fit_expansion

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Candidate = tuple[str, Method]
"""A family and a calibration."""

FOLDS = 5
_LEAST_LIKELIHOOD = 1e-3
OUTCOME = "outcome_is_violation"


@dataclass(frozen=True)
class Sample:
    """What the folds cut: inputs [n, d + policies + languages], E [n], groups and strata [n]; `names` are the d predictors.

    `weights` [n]: how many each row stands for; None where all stand for as many.
    """

    inputs: NDArray[np.float32]
    errors: Bools
    groups: Sequence[str]
    strata: Sequence[str]
    names: tuple[str, ...]
    languages: int = 0
    weights: Floats | None = None

    def take(self, rows: NDArray[np.int64]) -> "Sample":
        """The given rows."""
        groups, strata = [self.groups[i] for i in rows], [self.strata[i] for i in rows]
        return Sample(
            self.inputs[rows],
            self.errors[rows],
            groups,
            strata,
            self.names,
            self.languages,
            of_rows(self.weights, rows),
        )


def of_rows(weights: Floats | None, rows: NDArray[np.int64] | Bools) -> Floats | None:
    """The weights of some rows; None where all weigh the same."""
    return None if weights is None else weights[rows]


def folds(sample: Sample, count: int, seed: int) -> NDArray[np.int64]:
    """Fold number of each row, [n]: groups stay together, strata are dealt out evenly, rows' order does not matter.

    A group belongs to the stratum of its first member in sorted order.
    """
    stratum_of: dict[str, tuple[str, bool]] = {}
    for group, stratum, error in sorted(zip(sample.groups, sample.strata, sample.errors.tolist(), strict=True)):
        stratum_of.setdefault(group, (stratum, error))

    def shuffled(group: str) -> bytes:
        return hashlib.sha256(f"{seed}:{group}".encode()).digest()

    dealt = sorted(stratum_of, key=lambda group: (stratum_of[group], shuffled(group)))
    fold_of = {group: i % count for i, group in enumerate(dealt)}
    return np.array([fold_of[group] for group in sample.groups])


def splits(sample: Sample, count: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test rows of each fold."""
    fold = folds(sample, count, seed)
    for number in range(count):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def expand(sample: Sample, *, interactions: bool) -> Expansion:
    """The expansion fitted on all rows."""
    return fit_expansion(sample.inputs, sample.names, OUTCOME, languages=sample.languages, interactions=interactions)


def fit_scorer(sample: Sample, family: Family, setting: Setting, seed: int) -> Scorer:
    """Expansion and learner on all rows."""
    expansion = expand(sample, interactions=family.interactions)
    columns = expansion.transform(sample.inputs)
    return Scorer(expansion, fit_learner(family, setting, expansion, columns, sample.errors, seed, sample.weights))


@dataclass(frozen=True)
class Trials:
    """Every family on one sample, over r deals of the folds.

    By family the setting with the least log loss and its out-of-fold scores [r, n]; by candidate P(E) [r, n].
    """

    settings: dict[str, Setting]
    scores: dict[str, Floats]
    predictions: dict[Candidate, Floats]


def try_families(sample: Sample, families: Mapping[str, Family], seeds: Sequence[int]) -> Trials:
    """Out-of-fold scores and probabilities of every family; another seed deals other folds.

    A row's score is by a learner that has not seen its group, and its probability by a calibrator fitted on the scores of the
    other folds, at the natural base rate. (Those scores' learners have seen the row's fold: that gives a calibrator's two or three
    numbers nothing to learn by heart, and spares a second layer of fits. `nested` in the trainer has no such short cut.)
    """
    dealt = np.stack([folds(sample, FOLDS, seed) for seed in seeds])
    attempts = [(name, setting) for name, family in families.items() for setting in family.settings]
    scores = [np.empty(dealt.shape) for _ in attempts]
    for deal, (seed, fold) in enumerate(zip(seeds, dealt, strict=True)):
        for number in range(FOLDS):
            part, test = sample.take(np.flatnonzero(fold != number)), np.flatnonzero(fold == number)
            expanded = _Expanded(part, sample.inputs[test])
            for (name, setting), found in zip(attempts, scores, strict=True):
                found[deal, test] = expanded.score(families[name], setting, seed)
    settings: dict[str, Setting] = {}
    best: dict[str, Floats] = {}
    losses: dict[str, float] = {}
    platt: dict[str, Floats] = {}
    for (name, setting), found in zip(attempts, scores, strict=True):
        told = calibrated("platt", found, dealt, sample.errors, sample.weights)
        loss = float(np.average(log_losses(told, sample.errors).mean(axis=0), weights=sample.weights))
        if loss < losses.get(name, np.inf):
            settings[name], best[name], losses[name], platt[name] = setting, found, loss, told

    def predicted(name: str, method: Method) -> Floats:
        return (
            platt[name] if method == "platt" else calibrated(method, best[name], dealt, sample.errors, sample.weights)
        )

    return Trials(settings, best, {(name, method): predicted(name, method) for name in families for method in METHODS})


class _Expanded:
    """The columns of the training and the test rows of one fold, made once for all families."""

    def __init__(self, part: Sample, unseen: NDArray[np.float32]) -> None:
        self._errors, self._weights = part.errors, part.weights
        self._made = {}
        for interactions in (False, True):
            expansion = expand(part, interactions=interactions)
            self._made[interactions] = expansion, expansion.transform(part.inputs), expansion.transform(unseen)

    def score(self, family: Family, setting: Setting, seed: int) -> Floats:
        expansion, columns, unseen = self._made[family.interactions]
        return fit_learner(family, setting, expansion, columns, self._errors, seed, self._weights).score(unseen)


def calibrated(
    method: Method, scores: Floats, dealt: NDArray[np.int64], errors: Bools, weights: Floats | None = None
) -> Floats:
    """P(E) [r, n] of out-of-fold scores [r, n]: each fold's by a calibrator fitted on the other folds of the same deal."""
    found = np.empty(scores.shape)
    for deal, fold in enumerate(dealt):
        for number in np.unique(fold):
            test = fold == number
            calibrator = fit_calibrator(method, scores[deal, ~test], errors[~test], of_rows(weights, ~test))
            found[deal, test] = calibrator.predict(scores[deal, test])
    return found


def final_calibrator(method: Method, scores: Floats, errors: Bools, weights: Floats | None = None) -> Calibrator:
    """Fitted on the out-of-fold scores of all deals, [r, n]."""
    tiled = None if weights is None else np.tile(weights, len(scores))
    return fit_calibrator(method, scores.ravel(), np.tile(errors, len(scores)), tiled)


def fit_candidate(
    sample: Sample, families: Mapping[str, Family], trials: Trials, chosen: Candidate, seed: int
) -> MetaModel:
    """The chosen candidate, refitted on all rows."""
    name, method = chosen
    scorer = fit_scorer(sample, families[name], trials.settings[name], seed)
    return MetaModel(scorer, final_calibrator(method, trials.scores[name], sample.errors, sample.weights))


def log_losses(probabilities: Floats, errors: Bools) -> Floats:
    """-ln of the probability that was given to what came, [r, n]; cut where a calibrator's step says 0 or 1."""
    likelihood = np.where(errors, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.clip(likelihood, _LEAST_LIKELIHOOD, None)))

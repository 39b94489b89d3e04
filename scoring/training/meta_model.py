"""The meta-model: predictors -> expanded, standardised columns -> score -> calibrated P(the LLM is wrong).

Needs the `train` extra. Everything but the trees' own sum computes in float64 on float32 inputs, as the exported graph does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.training.calibration import Calibrator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLIP = 5.0
"""Standardised columns are cut here: a linear model must not be driven by a value far outside what it was shown."""
_CATEGORY_SCALE = 0.5
"""That of every policy and language, as if half of all answers had it. Divided by its own spread, a rare one would be shrunk no more
than a common one; so, what a penalised learner says of it moves towards the whole as its labels get fewer."""


@dataclass(frozen=True)
class Expansion:
    """Inputs [n, d + categories] -> columns [n, m]: filled inputs, missing indicators, products with the outcome; standardised.

    Categories are policies and languages of their own. A missing predictor becomes its training median (a missing category the
    training mean), and where training met it missing an indicator says so. The inputs in `crossed` are multiplied by the
    outcome. `terms` names the groups of columns whose pushes are reported together; `term_of_column` is [m].
    """

    fill: Floats
    indicated: Ints
    outcome_column: int
    crossed: Ints
    terms: tuple[str, ...]
    term_of_column: Ints
    mean: Floats
    scale: Floats

    def transform(self, inputs: NDArray[np.float32]) -> Floats:
        """Standardised columns, float64 [n, m]."""
        return np.clip((self.expand(inputs) - self.mean) / self.scale, -CLIP, CLIP)

    def expand(self, inputs: NDArray[np.float32]) -> Floats:
        """Columns before standardisation, float64 [n, m]."""
        filled = np.where(np.isnan(inputs), self.fill, inputs.astype(np.float64))
        products = filled[:, [self.outcome_column]] * filled[:, self.crossed]
        return np.concatenate((filled, np.isnan(inputs[:, self.indicated]).astype(np.float64), products), axis=1)

    def of_terms(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Which columns belong to some of the terms, [m]."""
        wanted = [place for place, term in enumerate(self.terms) if term in names]
        return np.isin(self.term_of_column, wanted)


def fit_expansion(
    inputs: NDArray[np.float32],
    names: Sequence[str],
    outcome: str,
    *,
    languages: int = 0,
    interactions: bool = False,
) -> Expansion:
    """Learn fills and scales from inputs [n, d + policies + languages]; `names` are the d predictors, `outcome` the hard one of them.

    With `interactions` every predictor is crossed with the outcome, and its product counts to its own term.
    """
    d, width = len(names), inputs.shape[1]
    missing = np.isnan(inputs)
    never_seen = np.asarray(missing.all(axis=0))
    known = np.where(never_seen, 0.0, inputs.astype(np.float64))
    indicated = np.flatnonzero(missing[:, :d].any(axis=0) & ~never_seen[:d])
    outcome_column = list(names).index(outcome)
    predictors = np.setdiff1d(np.arange(d), [outcome_column]) if interactions else np.zeros(0, np.int64)
    terms, own, of_product = _terms(names, width - d - languages, languages)
    term_of_column = np.concatenate((np.arange(d), own, indicated, predictors, of_product))
    unscaled = Expansion(
        fill=np.concatenate((np.nanmedian(known[:, :d], axis=0), np.nanmean(known[:, d:], axis=0))),
        indicated=indicated,
        outcome_column=outcome_column,
        crossed=np.concatenate((predictors, np.arange(d, width))),
        terms=terms,
        term_of_column=term_of_column,
        mean=np.zeros(len(term_of_column)),
        scale=np.ones(len(term_of_column)),
    )
    columns = unscaled.expand(inputs)
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    # float32 noise around a constant is no spread
    flat = spread <= 1e-6 * np.maximum(1.0, np.abs(mean))
    return replace(
        unscaled, mean=mean, scale=np.where(flat, 1.0, np.where(term_of_column >= d, _CATEGORY_SCALE, spread))
    )


def _terms(names: Sequence[str], policies: int, languages: int) -> tuple[tuple[str, ...], Ints, Ints]:
    """The terms, and those of the categories' columns and of their products with the outcome, [policies + languages] each."""
    terms = [*names]
    own, products = [], []
    for name, count in (("policy", policies), ("language", languages)):
        if count:
            own += [len(terms)] * count
            products += [len(terms) + 1] * count
            terms += [name, f"{name} x outcome"]
    return tuple(terms), np.array(own, dtype=np.int64), np.array(products, dtype=np.int64)


@dataclass(frozen=True)
class Linear:
    """score = columns @ coefficients + intercept."""

    coefficients: Floats
    intercept: float

    def score(self, columns: Floats) -> Floats:
        """Scores [n] of columns [n, m]."""
        return np.asarray(columns @ self.coefficients + self.intercept)


@dataclass(frozen=True)
class Trees:
    """Regression trees whose leaves add up: score = base + the sum of the leaves that columns [n, m] fall into.

    `grown` are the trees, each with its nodes' column, split, left and right child, and leaf value; a leaf's left child is -1.
    Columns are compared in `dtype`; the sum is rounded to float32, as ONNX's tree operator does.
    """

    grown: tuple["Tree", ...]
    base: float
    dtype: Any = np.float64

    def score(self, columns: Floats) -> Floats:
        """Scores [n] of columns [n, m]."""
        cast, rows = columns.astype(self.dtype).astype(np.float64), np.arange(len(columns))
        column, split, left, right, value = self._nodes
        at = np.repeat(self._roots[:, None], len(columns), axis=1)
        while (inner := left[at] >= 0).any():
            goes_left = cast[rows, column[at]] <= split[at]
            at = np.where(inner, np.where(goes_left, left[at], right[at]), at)
        total: Floats = np.add.reduce(value[at], axis=0, initial=self.base).astype(np.float32)
        return total.astype(np.float64)

    @cached_property
    def _roots(self) -> Ints:
        """Where each tree begins, its nodes put behind those of the trees before it."""
        return np.cumsum([0, *(len(tree.left) for tree in self.grown[:-1])])

    @cached_property
    def _nodes(self) -> tuple[Ints, Floats, Ints, Ints, Floats]:
        """All trees' nodes in one row, so that all go down together: column, split, left, right, value."""
        trees = list(zip(self.grown, self._roots.tolist(), strict=True))
        return (
            np.concatenate([tree.column for tree in self.grown]),
            np.concatenate([tree.split for tree in self.grown]),
            np.concatenate([np.where(tree.left >= 0, tree.left + root, -1) for tree, root in trees]),
            np.concatenate([tree.right + root for tree, root in trees]),
            np.concatenate([tree.value for tree in self.grown]),
        )


@dataclass(frozen=True)
class Tree:
    """One tree's nodes, [k] each: go left where `columns[column] <= split`; `left` is -1 at a leaf, which gives `value`.

    `count` are the training rows that came by. A child's number is above its parent's.
    """

    column: Ints
    split: Floats
    left: Ints
    right: Ints
    value: Floats
    count: Floats

    def pushes(self) -> list[dict[int, float]]:
        """By node what each column has added to the root's mean on the way there (Saabas, 2014): at a leaf it makes up the value."""
        means = self.value.copy()
        inner = np.flatnonzero(self.left >= 0)
        for node in inner[::-1]:
            both = [self.left[node], self.right[node]]
            means[node] = np.average(means[both], weights=self.count[both])
        pushed: list[dict[int, float]] = [{} for _ in means]
        for node in inner:
            for child in (self.left[node], self.right[node]):
                before, column = pushed[node], int(self.column[node])
                pushed[child] = before | {column: before.get(column, 0.0) + float(means[child] - means[node])}
        return pushed


@dataclass(frozen=True)
class Blend:
    """score = that of a linear learner + that of trees, each already weighed."""

    linear: Linear
    trees: Trees

    def score(self, columns: Floats) -> Floats:
        """Scores [n] of columns [n, m]."""
        return self.linear.score(columns) + self.trees.score(columns)


Learner = Linear | Trees | Blend


@dataclass(frozen=True)
class Scorer:
    """Expansion and learner, not calibrated yet."""

    expansion: Expansion
    learner: Learner

    def score(self, inputs: NDArray[np.float32]) -> Floats:
        """Scores [n] that rank by risk of error."""
        return self.learner.score(self.expansion.transform(inputs))


@dataclass(frozen=True)
class MetaModel:
    """What is exported: inputs float32 [n, d + categories] -> P(E) [n]."""

    scorer: Scorer
    calibrator: Calibrator

    def predict(self, inputs: NDArray[np.float32]) -> Floats:
        """P(the LLM is wrong), [n]."""
        return self.calibrator.predict(self.scorer.score(inputs))

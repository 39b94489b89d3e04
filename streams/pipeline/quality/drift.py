"""Drift: whether predictors and P(error) are still spread as in training, by LLM, over all policies and in each that training knew well. Pure.

Judged are the last `WINDOW` answers or more, in whole periods, so that a burst of a few seconds is no drift however many answers it has; scores are
counted by whoever knows both routes. An old model's card has nothing to hold them against; then nothing is counted, and nothing told.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from featurizers import SCHEMA
from scoring.reference import DECILES, EVERY_POLICY, Counts, Reference, bins_of, stability_index, tally

WINDOW: Final = 2_000
LEAST: Final = 500
"""Answers that are judged at least."""
MOST_WINDOWS: Final = 100
"""Of a policy and an LLM: about 7 kB each."""
SHIFTED: Final = 0.2
"""PSI from which on a shift is commonly called large."""
_BY_CHANCE: Final = 45.0
"""Chi-squared of nine degrees of freedom is above it once in a million times."""
MISSING: Final = 0.05
"""How much more of the answers may lack a predictor than in training."""
_SIGMAS: Final = 5.0


class Stream(NamedTuple):
    """Whose answers are looked at together."""

    policy: str
    llm: str


class Drifted(NamedTuple):
    """How far a predictor is from training: its PSI, and the shares that lack it now and lacked it then; is either too far?"""

    name: str
    psi: float
    missing: float
    was_missing: float
    shifted: bool
    lacking: bool


class Vector(msgspec.Struct):
    """What counts here of a record of lpp.vectors."""

    schema: str
    values: list[float | None]
    policy: str
    llm: str | None = None


class _Window:
    """Two halves: the one that fills, and the one before."""

    def __init__(self, since: int) -> None:
        self.since = since
        """The period in which the first half began."""
        self.predictors = np.zeros((2, len(SCHEMA.names), DECILES + 1))

    def add(self, predictors: Counts, period: int) -> None:
        if self.predictors[0, 0].sum() >= WINDOW and period > self.since:
            self.predictors[1], self.predictors[0], self.since = self.predictors[0], 0, period
        self.predictors[0] += predictors


class DriftState(msgspec.Struct, array_like=True):
    """`Drift` to be stored."""

    model: str
    windows: list[tuple[Stream, int, list[int]]]


class Drift:
    """Counts answers against the reference of one model's card; `use` another one, and it begins anew."""

    def __init__(self) -> None:
        self.model = ""
        self.reference: Reference | None = None
        self._edges = np.zeros((0, 0), dtype=np.float32)
        self._windows: dict[Stream, _Window] = {}

    def use(self, model: str, reference: Reference | None) -> None:
        """Go by this model's reference."""
        if model != self.model:
            self._windows = {}
        fits = reference is not None and len(reference.edges) == len(SCHEMA.names)
        self.model, self.reference = model, reference if fits else None
        self._edges = np.array([] if reference is None else reference.edges, dtype=np.float32)

    def answered(self, vectors: Iterable[Vector], period: int) -> None:
        """Count the answers of a period by their predictors; those of another feature list are passed by."""
        if self.reference is None:
            return
        rows: defaultdict[Stream, list[Sequence[float | None]]] = defaultdict(list)
        for one in vectors:
            if one.schema == SCHEMA.id and len(one.values) == len(SCHEMA.names):
                for stream in self._of(one.policy, one.llm or ""):
                    rows[stream].append(one.values)
        for stream, values in rows.items():
            with np.errstate(over="ignore"):  # a value that no float32 holds is as far off as can be
                found = np.array(values, dtype=np.float64).astype(np.float32)
            self._window(stream, period).add(tally(bins_of(found, self._edges)), period)

    def streams(self) -> list[Stream]:
        """Those that are looked at."""
        return sorted(self._windows)

    def nearest(self, policy: str, llm: str) -> Stream:
        """What a policy's answers are looked at in: alone, or with all."""
        return self._of(policy, llm)[-1] if self.reference is not None else Stream(policy, llm)

    def predictors(self, stream: Stream) -> list[Drifted]:
        """How far each predictor is from training, the farthest first; nothing while there is too little."""
        known = None if self.reference is None else self.reference.of(stream.policy)
        if known is None or stream not in self._windows:
            return []
        counts, expected = self._windows[stream].predictors.sum(axis=0), known[0]
        n, m = counts[0].sum(), expected[0].sum()
        if n < LEAST:
            return []
        missing, was_missing = counts[:, DECILES] / n, expected[:, DECILES] / m
        present, were_present = counts[:, :DECILES], expected[:, :DECILES]
        index = stability_index(were_present, present)
        index[(present.sum(axis=1) == 0) | (were_present.sum(axis=1) == 0)] = 0.0  # that is for what is missing to tell
        limits = _limit(present.sum(axis=1), were_present.sum(axis=1))
        noise = _SIGMAS * np.sqrt((was_missing * (1 - was_missing) + 1 / m) * (1 / n + 1 / m))
        lacking = missing - was_missing > np.maximum(MISSING, noise)
        columns = (index, missing, was_missing, index > limits, lacking)
        rows = zip(SCHEMA.names, *(column.tolist() for column in columns), strict=True)
        return sorted((Drifted(*row) for row in rows), key=lambda one: (-one.psi, one.name))

    def scores(self, stream: Stream, counts: Counts) -> tuple[float, bool] | None:
        """The PSI of P(error), counted by bins, and whether it is too far; None while there is too little."""
        expected = None if self.reference is None else self.reference.of(stream.policy)
        if expected is None or counts.sum() < LEAST:
            return None
        index = float(stability_index(*_as_coarse(expected[1], counts)))
        return index, bool(index > _limit(counts.sum(), expected[1].sum()))

    def state(self) -> DriftState:
        """To be stored."""
        windows = [
            (stream, one.since, one.predictors.astype(int).ravel().tolist()) for stream, one in self._windows.items()
        ]
        return DriftState(self.model, windows)

    def restore(self, state: DriftState) -> None:
        """As it was stored; to be followed by `use`."""
        self.model, self._windows = state.model, {}
        for stream, since, predictors in state.windows:
            window = _Window(since)
            if len(predictors) == window.predictors.size:
                window.predictors[:] = np.reshape(predictors, window.predictors.shape)
                self._windows[stream] = window

    def _of(self, policy: str, llm: str) -> list[Stream]:
        if self.reference is None:
            return []
        every = Stream(EVERY_POLICY, llm)
        return [every, Stream(policy, llm)] if policy in self.reference.predictors else [every]

    def _window(self, stream: Stream, period: int) -> _Window:
        """That of a stream; the one that had no answer for longest makes room."""
        window = self._windows.pop(stream, None) or _Window(period)
        if len(self._windows) >= MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]
        self._windows[stream] = window
        return window


def _limit(n: "Counts | float", m: "Counts | float") -> Counts:
    """The PSI that is too far for two samples of this size."""
    limit: Counts = np.maximum(SHIFTED, _BY_CHANCE * (1 / np.maximum(n, 1.0) + 1 / np.maximum(m, 1.0)))
    return limit


def _as_coarse(expected: Counts, counts: Counts) -> tuple[Counts, Counts]:
    """Both in about ten bins of equally many expected ones: many that are nearly empty would add up to a shift of their own."""
    group = np.minimum((np.cumsum(expected) - expected / 2) * DECILES // max(expected.sum(), 1.0), DECILES - 1).astype(
        int
    )
    coarse, found = (np.bincount(group, of, DECILES).astype(np.float64) for of in (expected, counts))
    return coarse, found

"""What the books say: figures by policy, LLM and model, and what somebody should look at. Pure.

Nothing here changes what is decided.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
import numpy as np

from scoring.reference import BINS, EVERY_POLICY
from streams.pipeline.control_content import Bound
from streams.pipeline.quality.blocks import Blocks, Cell, Counts
from streams.pipeline.quality.books import RESULTS, SKIPPED, Books, Key
from streams.pipeline.quality.calibration import PARTS, Judged, evidence_against
from streams.pipeline.quality.drift import WINDOW, Drift, Drifted, Stream
from streams.pipeline.quality.items import (
    ABOVE,
    BELOW,
    BELOW_SUM,
    DRAWN,
    HELD,
    JUDGED,
    JUDGED_SUM,
    JUDGED_WRONG,
    NUMERATOR,
    OVERTURNED,
    RIGHT,
    SPLIT,
    UNAUDITED,
    UNTOLD,
    UPHELD,
    VARIANCE,
    WRONG,
)
from streams.pipeline.quality.ruling import Ruled
from streams.pipeline.quality.sequence import Audits, Floats, Kind, evidence_above
from streams.pipeline.scope import EVERY

MISSED: Final = 0.1
"""How often a confidence sequence may ever miss what it is about."""
FALSE_CALIBRATION: Final = 0.001
"""How often a calibrated model of one policy and LLM may ever be called uncalibrated."""
RISK, CALIBRATION, DRIFT, MISSING = KINDS = ("risk", "calibration", "drift", "missing")
_WORST: Final = 5
"""Predictors whose drift is told."""
_RECENT: Final = 200
"""Audits that the error rate of late is of, at least; periods count whole."""


class Reliability(msgspec.Struct, frozen=True):
    """Answers of one tenth of P(error): how many were judged, their mean P(error), and the share that was wrong."""

    judged: int
    expected: float
    observed: float


class Figures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Live quality of one policy, LLM and model, since the first decision counted. None: not known.

    `automated` decisions lay below the threshold, `unaudited` of them without any chance of an audit, and `drawn` for one; `estimated` is the
    mean P(error) of all those, known before any human has looked. Of the `audits` judged, `wrong` were, counted as they are: `error`, weighted, with
    its confidence sequence. `recent_error` is that of the last `recent_audits`. `escalated` verdicts were judged, of which `overturned`. `expected`
    and `observed` errors are those of `judged` answers.
    `drift` has the PSI of the predictors farthest from training, `score_drift` that of P(error); of a policy that training knew too little of they
    are those of all policies.
    """

    policy: str
    llm: str
    model: str
    automated: int = 0
    unaudited: int = 0
    drawn: int = 0
    above: int = 0
    held: int = 0
    estimated: float | None = None
    audits: int = 0
    wrong: int = 0
    error: float | None = None
    low: float | None = None
    high: float | None = None
    recent_audits: int = 0
    recent_error: float | None = None
    escalated: int = 0
    overturned: int = 0
    untold: int = 0
    split: int = 0
    judged: int = 0
    expected: float = 0.0
    observed: int = 0
    z: float | None = None
    reliability: list[Reliability] = []
    drift: dict[str, float] = {}
    score_drift: float | None = None


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody should look at. `kind` is one of `KINDS`, `subject` the predictor, if it is about one."""

    kind: str
    policy: str
    tenant: str = EVERY
    outcome: str = EVERY
    llm: str = ""
    subject: str = ""
    about: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What tells it from others, whatever its figures are by now."""
        return self.kind, self.policy, self.tenant, self.outcome, self.llm, self.subject


class Breach(NamedTuple):
    """A bound that the live risk has left, with the bound's own confidence."""

    ruled: Ruled
    bound: Bound
    audits: int
    wrong: int


class Judgement(NamedTuple):
    """All that is known at one look.

    `reviews` are human decisions by what became of them; `skipped` records were gone before they were read; `kept` are entries that the books hold.
    """

    figures: list[Figures]
    alerts: list[Alert]
    breaches: list[Breach]
    reviews: Mapping[str, int]
    skipped: int
    kept: Mapping[str, int] = {}


NOTHING: Final = Judgement([], [], [], {}, 0)


def judge(books: Books, drift: Drift, bounds: Mapping[Ruled, Bound], model: str, *, is_level: bool = True) -> Judgement:
    """Look at the books of the model in force.

    Unless `is_level`, one route of the decisions may have been read farther than the other: the spread of P(error) is not known then.
    """
    scores = {}
    for stream in drift.streams() if is_level else ():
        known = drift.scores(stream, _recent_scores(books, model, stream))
        if known is not None:
            scores[stream] = known
    figures: list[Figures] = []
    alerts: list[Alert] = []
    for number, key in sorted(books.keys.items(), key=lambda one: one[1]):
        if key.model == model:
            figures.append(_figures(key, books.blocks[number], drift, scores))
            alerts += _uncalibrated(key, books.blocks[number])
    for stream in drift.streams():
        alerts += _drifted(stream, drift, scores.get(stream))
    breaches = [
        Breach(ruled, bounds[ruled], len(audits), audits.errors)
        for ruled, blocks in books.ruled.values()
        if ruled in bounds and _is_left(blocks, bounds[ruled])
        for audits in [_audits(blocks.total())]
    ]
    reviews: dict[str, int] = {result: books.counts[result] for result in RESULTS}
    return Judgement(figures, [*map(_risk, breaches), *alerts], breaches, reviews, books.counts[SKIPPED], books.kept())


def most_audited(figures: list[Figures]) -> list[Figures]:
    """Those that most is known of first."""
    return sorted(figures, key=lambda one: (-one.audits, -one.automated, one.policy, one.llm))


def _figures(key: Key, blocks: Blocks, drift: Drift, scores: Mapping[Stream, tuple[float, bool]]) -> Figures:
    total = blocks.total()
    audits, judged = _audits(total), _judged(total)
    low, high = audits.interval(MISSED) if len(audits) else (None, None)
    recent = _recent_audits(blocks)
    automated = _sum(total, BELOW)
    stream = drift.nearest(key.policy, key.llm)
    return Figures(
        *key,
        automated=automated,
        unaudited=total[Cell(UNAUDITED)],
        drawn=total[Cell(DRAWN)],
        above=_sum(total, ABOVE),
        held=total[Cell(HELD)],
        estimated=_rounded(_sum(total, BELOW_SUM) / PARTS / automated) if automated else None,
        audits=len(audits),
        wrong=audits.errors,
        error=_rounded(audits.rate),
        low=_rounded(low),
        high=_rounded(high),
        recent_audits=len(recent),
        recent_error=_rounded(recent.rate),
        escalated=total[Cell(UPHELD)] + total[Cell(OVERTURNED)],
        overturned=total[Cell(OVERTURNED)],
        untold=total[Cell(UNTOLD)],
        split=total[Cell(SPLIT)],
        judged=int(judged.counts.sum()),
        expected=round(float(judged.expected.sum()), 6),
        observed=int(judged.wrong.sum()),
        z=_rounded(judged.z),
        reliability=_reliability(judged),
        drift={one.name: round(one.psi, 6) for one in _spread(drift.predictors(stream))[:_WORST]},
        score_drift=round(scores[stream][0], 6) if stream in scores else None,
    )


def _spread(predictors: list[Drifted]) -> list[Drifted]:
    """Those of which there is a spread to be told, then and now."""
    return [one for one in predictors if max(one.missing, one.was_missing) < 1]


def _reliability(judged: Judged) -> list[Reliability]:
    """By tenths of P(error)."""
    means = judged.expected / np.maximum(judged.counts, 1)
    tenth = np.minimum((10 * means).astype(int), 9)
    sums = [np.bincount(tenth, of, 10) for of in (judged.counts, judged.expected, judged.wrong)]
    filled = [[float(of[where]) for of in sums] for where in np.flatnonzero(sums[0])]
    return [
        Reliability(int(count), round(expected / count, 6), round(wrong / count, 6))
        for count, expected, wrong in filled
    ]


def _is_left(blocks: Blocks, bound: Bound) -> bool:
    by_time = ((number, _audits(counts)) for number, counts in blocks.by_time())
    return evidence_above(by_time, bound.max_risk) >= -math.log(1 - bound.confidence)


def _risk(breach: Breach) -> Alert:
    scope, bound = breach.ruled.scope, breach.bound
    return Alert(
        RISK,
        *scope,
        about=f"more than {bound.max_risk:g} of what is automated of {scope.words} is wrong, or was for a time since the bound was set, at a "
        f"confidence of {bound.confidence:g}: {breach.wrong} of {breach.audits} audits since then, those where humans could not tell among the wrong",
    )


def _uncalibrated(key: Key, blocks: Blocks) -> Iterable[Alert]:
    by_time = ((number, _judged(counts)) for number, counts in blocks.by_time())
    if evidence_against(by_time) < -math.log(FALSE_CALIBRATION):
        return
    judged = _judged(blocks.total())
    yield Alert(
        CALIBRATION,
        key.policy,
        llm=key.llm,
        about=f"P(error) is not what it says, or was not for a time: {judged.wrong.sum():.0f} errors where {judged.expected.sum():.1f} were "
        f"expected, in {judged.counts.sum():.0f} answers that humans have judged",
    )


def _drifted(stream: Stream, drift: Drift, scores: tuple[float, bool] | None) -> Iterable[Alert]:
    for one in drift.predictors(stream):
        if one.lacking:
            about = f"{one.missing:.1%} of the answers lack {one.name}, {one.was_missing:.1%} did in training"
            yield Alert(MISSING, stream.policy, llm=stream.llm, subject=one.name, about=about)
        if one.shifted:
            about = f"{one.name} is not spread as in training: PSI {one.psi:.2f}"
            yield Alert(DRIFT, stream.policy, llm=stream.llm, subject=one.name, about=about)
    if scores is not None and scores[1]:
        about = f"P(error) is not spread as in training: PSI {scores[0]:.2f}"
        yield Alert(DRIFT, stream.policy, llm=stream.llm, subject="error_probability", about=about)


def _recent_scores(books: Books, model: str, stream: Stream) -> Floats:
    """The last `WINDOW` scores or more of a stream, by bins; periods count whole."""
    found, last = np.zeros(BINS), 0
    blocks = (
        block
        for number, key in books.keys.items()
        if key.model == model and key.llm == stream.llm and stream.policy in (EVERY_POLICY, key.policy)
        for block in books.blocks[number].by_period()
    )
    for period, counts in sorted(blocks, key=lambda one: -one[0]):
        if found.sum() >= WINDOW and period != last:
            break
        last = period
        for cell, count in counts.items():
            if cell.what in (BELOW, ABOVE):
                found[cell.first] += count
    return found


def _recent_audits(blocks: Blocks) -> Audits:
    """The last `_RECENT` audits or more."""
    found: Counts = Counter()
    for _, counts in sorted(blocks.by_period(), key=lambda one: -one[0]):
        found.update({cell: count for cell, count in counts.items() if cell.what in (RIGHT, WRONG)})
        if found.total() >= _RECENT:
            break
    return _audits(found)


def _audits(counts: Counts) -> Audits:
    kinds: dict[Kind, tuple[int, int]] = {}
    for cell, count in counts.items():
        if cell.what in (RIGHT, WRONG):
            right, wrong = kinds.get(Kind(cell.first, cell.second), (0, 0))
            is_wrong = cell.what == WRONG
            kinds[Kind(cell.first, cell.second)] = (right + count * (not is_wrong), wrong + count * is_wrong)
    return Audits.of(kinds)


def _judged(counts: Counts) -> Judged:
    columns = {what: np.zeros(BINS) for what in (JUDGED, JUDGED_SUM, JUDGED_WRONG)}
    for cell, count in counts.items():
        if cell.what in columns:
            columns[cell.what][cell.first] += count
    numerator, variance = counts[Cell(NUMERATOR)] / PARTS, counts[Cell(VARIANCE)] / PARTS
    return Judged(columns[JUDGED], columns[JUDGED_SUM] / PARTS, columns[JUDGED_WRONG], numerator, variance)


def _sum(counts: Counts, what: str) -> int:
    return sum(count for cell, count in counts.items() if cell.what == what)


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 6)

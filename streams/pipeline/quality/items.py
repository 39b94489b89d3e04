"""What is known of one answer that went to a human, and what its verdict counts as. Pure."""

from bisect import bisect_right
from collections import Counter
from enum import IntEnum
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, Self

import msgspec

from scoring.human import HumanDecision, Reviews
from scoring.reference import PROBABILITY_EDGES
from streams.pipeline.quality.blocks import Cell, Counts
from streams.pipeline.quality.calibration import PARTS, terms
from streams.pipeline.quality.sequence import Kind
from streams.pipeline.scope import Scope

BELOW, BELOW_SUM, UNAUDITED, ABOVE, HELD = "below", "below_sum", "unaudited", "above", "held"
"""Decisions: by bin of P(error) below the threshold (automated or audited), with its sum in millionths, and those of them that no audit could
have met; above the threshold; and those that went to humans whatever their score."""
RIGHT, WRONG = "right", "wrong"
"""Audits that humans have judged, by kind."""
UPHELD, OVERTURNED = "upheld", "overturned"
"""Escalated verdicts of the LLM's that humans have judged."""
JUDGED, JUDGED_SUM, JUDGED_WRONG, NUMERATOR, VARIANCE = "judged", "judged_sum", "judged_wrong", "numerator", "variance"
"""All that is scored and judged, by bin of P(error), for calibration."""
UNTOLD, SPLIT = "untold", "split"
"""Answers of which humans could not tell, or disagreed by halves; and those where they were not of one mind."""


_DIGEST_SIZE: Final = 8
_EDGES: Final[list[float]] = PROBABILITY_EDGES.tolist()


class Ruled(NamedTuple):
    """The bound under which a decision was made: its scope, and the version that set it."""

    scope: Scope
    since: int


class Told(IntEnum):
    """What humans have said of an answer so far."""

    NOTHING = 0
    RIGHT = 1
    WRONG = 2
    UNTOLD = 3


class Word(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As much of a human decision as is needed, in little room: `reviewer` is a hash, `at` in ms since the epoch."""

    outcome: Literal[0, 1, 2, 3]
    reviewer: str | None = None
    at: int | None = None

    @classmethod
    def of(cls, decision: HumanDecision) -> Self:
        """Of a human decision."""
        named = decision.reviewer
        hashed = named and blake2b(named.encode(errors="replace"), digest_size=_DIGEST_SIZE).hexdigest()
        return cls(decision.outcome, hashed, decision.at)

    def decision(self) -> HumanDecision:
        """The human decision that it stands for."""
        return HumanDecision("", "", self.outcome, reviewer=self.reviewer, decided_at=self.at)


class Item(msgspec.Struct, array_like=True):
    """An answer that went to a human. `key` and `ruled` number its policy, LLM and model, and the bound it was decided under (-1: none).

    `outcome` is the LLM's verdict, `scored` P(error) in millionths (-1: none), `kind` that of an audit (None: escalated, or an audit whose
    chance is not known: `drawn`). `words` are what counts of the human decisions.
    """

    key: int
    period: int
    outcome: int | None
    scored: int
    drawn: bool
    kind: Kind | None
    ruled: int
    words: tuple[Word, ...] = ()
    told: int = Told.NOTHING
    split: bool = False

    def hear(self, word: Word) -> None:
        """Take in a human decision."""
        reviews = Reviews()
        for one in (*self.words, word):
            reviews.add(one.decision())
        self.words = tuple(Word(one.outcome, one.reviewer, one.at) for one in reviews.words)
        finding = reviews.finding()
        self.split = finding.split
        if finding.label is None:
            self.told = Told.UNTOLD
        else:
            self.told = Told.RIGHT if finding.label == self.outcome else Told.WRONG

    def counts(self) -> Counts:
        """What it adds to the counts of its policy, LLM and model, as it stands."""
        counts: Counts = Counter()
        if self.told == Told.NOTHING or self.outcome not in (0, 1):
            return counts
        counts[Cell(SPLIT)] += self.split
        if self.told == Told.UNTOLD:
            counts[Cell(UNTOLD)] += 1
            return +counts
        wrong = self.told == Told.WRONG
        if not self.drawn:
            counts[Cell(OVERTURNED if wrong else UPHELD)] += 1
        elif self.kind is not None:
            counts[Cell(WRONG if wrong else RIGHT, *self.kind)] += 1
        if self.scored >= 0:
            where = bin_of(self.scored)
            counts[Cell(JUDGED, where)] += 1
            counts[Cell(JUDGED_SUM, where)] += self.scored
            counts[Cell(JUDGED_WRONG, where)] += wrong
            numerator, variance = terms(self.scored / PARTS, wrong=wrong)
            counts[Cell(NUMERATOR)] += numerator
            counts[Cell(VARIANCE)] += variance
        return counts

    def audited(self) -> Counts:
        """What it adds to the counts of its bound: its verdict, where it is an audit."""
        return Counts({cell: count for cell, count in self.counts().items() if cell.what in (RIGHT, WRONG)})


def bin_of(scored: int) -> int:
    """The bin of a P(error) in millionths."""
    return bisect_right(_EDGES, scored / PARTS)

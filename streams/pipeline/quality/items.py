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

BELOW, BELOW_SUM, UNAUDITED, DRAWN, ABOVE, HELD = "below", "below_sum", "unaudited", "drawn", "above", "held"
"""Decisions: by bin of P(error) below the threshold (automated or audited), with its sum in millionths, those of them that no audit could have
met, and those that one did; above the threshold; and those that went to humans whatever their score."""
RIGHT, WRONG = "right", "wrong"
"""Audits that humans have judged, by kind."""
UPHELD, OVERTURNED = "upheld", "overturned"
"""Escalated verdicts of the LLM's that humans have judged."""
JUDGED, JUDGED_SUM, JUDGED_WRONG, NUMERATOR, VARIANCE = "judged", "judged_sum", "judged_wrong", "numerator", "variance"
"""All that is scored and judged, by bin of P(error), for calibration."""
UNTOLD, SPLIT = "untold", "split"
"""Answers of which humans could not tell, or disagreed by halves; and those where they were not of one mind."""
NONE: Final = -1
"""In place of a number: there is none."""

_DIGEST_SIZE: Final = 8
_EDGES: Final[list[float]] = PROBABILITY_EDGES.tolist()


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


class Lot(NamedTuple):
    """What many answers have in common, all of it whole numbers; `NONE` where there is none.

    `key` and `ruled` number the policy, LLM and model, and the bound that it was decided under; `outcome` is the LLM's verdict. `drawn`: below its
    threshold, so an audit. `chance`, `weight` and `ruled_weight` are codes: of the chance of that audit, and of how much it weighs among those of its
    policy, LLM and model, and among those of its bound.
    """

    key: int
    period: int
    outcome: int
    drawn: int
    chance: int
    weight: int
    ruled: int
    ruled_weight: int


class Item(NamedTuple):
    """An answer that went to a human: its lot, and its P(error) in millionths (`NONE`: not scored)."""

    lot: Lot
    scored: int


class Heard(msgspec.Struct, array_like=True):
    """An answer of which humans have spoken, and those of their words that count."""

    item: Item
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
            self.told = Told.RIGHT if finding.label == self.item.lot.outcome else Told.WRONG

    def counts(self) -> Counts:
        """What it adds to the counts of its policy, LLM and model, as it stands."""
        counts: Counts = Counter()
        if self.told == Told.NOTHING:
            return counts
        counts[Cell(SPLIT)] += self.split
        if self.told == Told.UNTOLD:
            counts[Cell(UNTOLD)] += 1
            return +counts
        lot, scored = self.item
        wrong = self.told == Told.WRONG
        if not lot.drawn:
            counts[Cell(OVERTURNED if wrong else UPHELD)] += 1
        elif lot.chance >= 0:
            counts[Cell(WRONG if wrong else RIGHT, *Kind(lot.chance, lot.weight))] += 1
        if scored >= 0:
            where = bin_of(scored)
            counts[Cell(JUDGED, where)] += 1
            counts[Cell(JUDGED_SUM, where)] += scored
            counts[Cell(JUDGED_WRONG, where)] += wrong
            numerator, variance = terms(scored / PARTS, wrong=wrong)
            counts[Cell(NUMERATOR)] += numerator
            counts[Cell(VARIANCE)] += variance
        return counts

    def ruled(self) -> Counts:
        """What it adds to the counts of its bound: an audit's verdict. Where humans cannot tell it counts as wrong, as when bounds are certified."""
        lot = self.item.lot
        if not lot.drawn or lot.chance < 0 or self.told == Told.NOTHING:
            return Counter()
        return Counter({Cell(RIGHT if self.told == Told.RIGHT else WRONG, *Kind(lot.chance, lot.ruled_weight)): 1})


def bin_of(scored: int) -> int:
    """The bin of a P(error) in millionths."""
    return bisect_right(_EDGES, scored / PARTS)

"""The contract of a human decision: what a review tool writes, and both the live figures and training read.

And what several decisions on one answer come to. Of each reviewer the latest word counts, of the reviewers more than half. Where no verdict
has more than half there is no label: in doubt it is open. That reviewers differed is kept: an LLM that is "wrong" on such an answer may not be.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from scoring.recording import UNREADABLE

Channel = Literal["review", "audit", "second_review", "appeal", "report"]
CHOSEN: Final[frozenset[Channel]] = frozenset({"appeal", "report"})
"""Channels of somebody who was not content. What comes by them was chosen, often for being wrong, and stands for nothing else."""
MOST_REVIEWERS: Final = 32
"""Reviewers of one answer that are counted. Of more, those whose names come first: whatever their records' order, the same."""

_Text = Annotated[str, msgspec.Meta(max_length=255)]


class ReviewedLlm(msgspec.Struct):
    """What the LLM had said, as in the reviewed decision."""

    outcome: int | None = None


class HumanDecision(msgspec.Struct):
    """A human's answer to one review. `llm` and `audit_probability` repeat the decision's, so that no store is needed to compare them.

    `decided_at` is in ms since the epoch, or RFC 3339 with an offset, as decisions and vectors have it; `at` in ms. `corrects`: it takes back what the same reviewer said before.
    """

    request_id: str
    policy: str
    outcome: Literal[0, 1, 2, 3]
    llm: ReviewedLlm | None = None
    reviewer: _Text | None = None
    reason: str | None = None
    channel: Channel | None = None
    decided_at: Annotated[int, msgspec.Meta(ge=0)] | Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    audit_probability: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    corrects: bool | None = None

    @property
    def at(self) -> int | None:
        """When, in ms since the epoch."""
        when = self.decided_at
        return round(when.timestamp() * 1000) if isinstance(when, datetime) else when

    @property
    def label(self) -> Literal[0, 1] | None:
        """0 or 1 for a verdict; None where the human found too little evidence (2) or a gap in the policy (3)."""
        return self.outcome if self.outcome in (0, 1) else None


class Finding(NamedTuple):
    """What humans have said of one answer.

    `label` is None where they could not tell, or no verdict has more than half of the reviewers; `split`: they differ. `chosen`: it is known by
    appeals and reports alone. `audit_probability` and `decided_at` (ms) are those of the latest word; `corrections` counts words taken back.
    """

    label: Literal[0, 1] | None
    reviewers: int
    split: bool
    chosen: bool
    channel: Channel | None
    audit_probability: float | None
    decided_at: int | None
    corrections: int


class Reviews:
    """The human decisions on one answer, one by one. Keeps one word of each reviewer, and nothing of the reasons.

    A reviewer's word is later than the one before it unless both say when, and it was earlier. Decisions without a reviewer are one's.
    """

    __slots__ = ("_corrections", "_words")

    def __init__(self) -> None:
        self._words: dict[tuple[bool, str], HumanDecision] = {}
        self._corrections = 0

    def add(self, decision: HumanDecision) -> None:
        """Count a decision in."""
        # What somebody says as a reviewer of a draw and what on an appeal are two things: the second was chosen.
        by = decision.channel in CHOSEN, decision.reviewer or ""
        before = self._words.get(by)
        self._corrections += bool(decision.corrects)
        if before is None or not _earlier(decision, before):
            self._words[by] = msgspec.structs.replace(decision, llm=None, reason=None)
        if len(self._words) > MOST_REVIEWERS:
            del self._words[max(self._words)]

    @property
    def words(self) -> list[HumanDecision]:
        """The decisions that count: added to another one's, they come to the same."""
        return list(self._words.values())

    def finding(self) -> Finding:
        """What they come to. Appeals and reports have a say only where no reviewer of a draw has had one."""
        drawn = [word for (chosen, _), word in self._words.items() if not chosen]
        words = drawn or list(self._words.values())
        votes = Counter(word.label for word in words)
        label, count = max(votes.items(), key=lambda vote: vote[1])
        latest = max(words, key=_when)
        return Finding(
            label if 2 * count > len(words) else None,
            len(words),
            len(votes) > 1,
            not drawn,
            latest.channel,
            latest.audit_probability,
            latest.at,
            self._corrections,
        )


def fold(records: Iterable[bytes]) -> tuple[dict[tuple[str, str], Finding], int]:
    """What the values of human-decisions come to, by request id and policy; and how many of them cannot be read."""
    decode = msgspec.json.Decoder(HumanDecision).decode
    reviews: defaultdict[tuple[str, str], Reviews] = defaultdict(Reviews)
    unreadable = 0
    for record in records:
        try:
            decision = decode(record)
        except UNREADABLE:
            unreadable += 1
            continue
        reviews[decision.request_id, decision.policy].add(decision)
    return {about: one.finding() for about, one in reviews.items()}, unreadable


def _earlier(one: HumanDecision, other: HumanDecision) -> bool:
    return one.at is not None and other.at is not None and one.at < other.at


def _when(one: HumanDecision) -> tuple[int, str]:
    """By time, then by name: the order of the records of several reviewers must not matter."""
    return -1 if one.at is None else one.at, one.reviewer or ""

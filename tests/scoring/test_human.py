"""Several humans on one answer: what they come to, whatever the order of their records."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.human import MOST_REVIEWERS, Finding, HumanDecision, Reviews, fold

ABOUT = ("a", "hate")
TEXTS = st.one_of(st.none(), st.text(max_size=255), st.sampled_from(["r1", "r2", "", "\ud7ff\x00'\"{"]))


def said(outcome: int, reviewer: str | None = None, **more: Any) -> dict[str, Any]:
    return {"request_id": "a", "policy": "hate", "outcome": outcome, "reviewer": reviewer, **more}


def found(*decisions: dict[str, Any]) -> Finding:
    findings, unreadable = fold([json.dumps(one).encode() for one in decisions])
    assert 0 == unreadable
    return findings[ABOUT]


@pytest.mark.parametrize(
    ("outcomes", "label", "split"),
    [
        ([1], 1, False),
        ([1, 1], 1, False),
        ([1, 0], None, True),
        ([1, 0, 1], 1, True),
        ([1, 2], None, True),
        ([1, 1, 3], 1, True),
        ([1, 1, 0, 0], None, True),
        ([2, 3], None, False),
    ],
)
def test_more_than_half_of_the_reviewers_make_a_label(outcomes: list[int], label: int | None, split: bool) -> None:
    """A tie is no label, one who cannot tell has a say, and that they differ is kept."""
    finding = found(*(said(outcome, f"r{i}") for i, outcome in enumerate(outcomes)))
    assert (label, split, len(outcomes)) == (finding.label, finding.split, finding.reviewers)


def test_the_latest_word_of_a_reviewer_counts() -> None:
    """By the time that both state; else the one that is read last. Without names all are one reviewer's."""
    assert 0 == found(said(1, "r", decided_at=5), said(0, "r", decided_at=6)).label
    assert 1 == found(said(1, "r", decided_at=6), said(0, "r", decided_at=5)).label
    assert 0 == found(said(1, "r", decided_at=6), said(0, "r")).label
    assert (0, 1) == found(said(1), said(0))[:2]


def test_a_correction_takes_back_what_was_said_and_is_counted() -> None:
    """It is no second opinion: nobody differs."""
    finding = found(said(1, "r"), said(0, "r", corrects=True))
    assert (0, False, 1) == (finding.label, finding.split, finding.corrections)


@pytest.mark.parametrize("channel", ["appeal", "report"])
def test_appeals_and_reports_speak_only_where_nobody_was_drawn(channel: str) -> None:
    """They were chosen: they change nothing that an audit found, even by the same reviewer, and are marked where they stand alone."""
    assert (0, False) == (found(said(0, "r"), said(1, "r", channel=channel), said(1, "s", channel=channel))[0], False)
    alone = found(said(1, "r", channel=channel))
    assert (1, True, channel) == (alone.label, alone.chosen, alone.channel)


DECISIONS = st.builds(
    HumanDecision,
    request_id=st.just("a"),
    policy=st.just("hate"),
    outcome=st.sampled_from([0, 1, 2, 3]),
    reviewer=TEXTS,
    reason=TEXTS,
    channel=st.sampled_from([None, "review", "audit", "second_review", "appeal", "report"]),
    decided_at=st.one_of(st.none(), st.integers(0, 5)),
    audit_probability=st.one_of(st.none(), st.sampled_from([0.0, 0.05, 1.0])),
    corrects=st.sampled_from([None, True, False]),
)


def folded(decisions: list[HumanDecision]) -> Finding:
    reviews = Reviews()
    for one in decisions:
        reviews.add(one)
    return reviews.finding()


@given(
    st.lists(DECISIONS, min_size=1, max_size=12, unique_by=lambda one: (one.reviewer or "", one.channel)), st.randoms()
)
def test_the_order_of_different_reviewers_does_not_matter(decisions: list[HumanDecision], random: Any) -> None:
    """Their records may come from several partitions."""
    one_word_each = list({(one.reviewer or "", one.channel in {"appeal", "report"}): one for one in decisions}.values())
    shuffled = list(one_word_each)
    random.shuffle(shuffled)
    assert folded(one_word_each) == folded(shuffled)


@given(st.permutations(range(MOST_REVIEWERS + 8)), st.booleans())
def test_what_is_kept_of_one_answer_is_bounded(order: list[int], again: bool) -> None:
    """However many reviewers there are, and whatever the order, as many count; and no reason is kept."""
    reviews = Reviews()
    for number in [*order, *(order if again else ())]:
        reviews.add(
            HumanDecision("a", "hate", 1 if number < MOST_REVIEWERS else 0, reviewer=f"{number:03}", reason="x" * 1000)
        )
    assert (1, MOST_REVIEWERS, False) == reviews.finding()[:3]
    assert all(word.reason is None for word in reviews._words.values())


@given(st.lists(st.one_of(st.binary(max_size=80), DECISIONS.map(msgspec.json.encode))))
def test_any_bytes_are_a_decision_or_counted(records: list[bytes]) -> None:
    """Nothing that a topic can hold stops the fold."""
    findings, unreadable = fold(records)
    assert unreadable <= len(records)
    assert all(one.reviewers >= 1 for one in findings.values())


def test_a_time_may_be_written_as_decisions_write_it() -> None:
    """RFC 3339 with an offset is the same moment in ms; without one it says no moment, and the decision is unreadable."""
    begun = b'{"request_id":"a","policy":"p","outcome":1,"decided_at":'
    times = [b"1764133200500", b'"2025-11-26T05:00:00.5Z"', b'"2025-11-26T06:00:00.500+01:00"']
    found = [fold([begun + time + b"}"])[0]["a", "p"].decided_at for time in times]
    assert [1764133200500] * 3 == found
    assert ({}, 1) == fold([begun + b'"2025-11-26T05:00:00"}'])

"""The books of live quality: a known history gives known figures, whatever the order, the repetitions and the restarts."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers import SCHEMA
from scoring.reference import reference_of
from streams.pipeline.control_content import Bound, Content, Threshold
from streams.pipeline.quality import books as module
from streams.pipeline.quality import memory
from streams.pipeline.quality.blocks import Blocks, Cell
from streams.pipeline.quality.books import OTHER, Books, Decision, Made
from streams.pipeline.quality.drift import WINDOW, Drift, Vector
from streams.pipeline.quality.judging import Figures, judge
from streams.pipeline.quality.ruling import Ruled, Ruling, bounds_in_force
from streams.pipeline.scope import EVERYTHING, Scoped

MODEL = "a" * 64
BOUND = Ruled(EVERYTHING, 3)
LATER = 10**6
"""The period of human decisions: after all decisions."""


def decision(request_id: str, p: float | None, reason: str, audit: float = 0.1, **more: Any) -> Decision:
    llm = {"name": "llm", "outcome": more.pop("outcome", 1)}
    body = {"request_id": request_id, "policy": "hate", "reasons": [reason], "llm": llm, "model": {"sha256": MODEL}}
    return msgspec.convert({**body, "error_probability": p, "audit_probability": audit, **more}, Decision)


def said(request_id: str, outcome: object, **more: Any) -> bytes:
    return json.dumps({"request_id": request_id, "policy": "hate", "outcome": outcome, **more}).encode()


def decide(books: Books, one: Decision, period: int = 0, ruled: Ruled | None = None) -> None:
    books.decided([Made(one, period, Ruling(ruled=ruled))])


def say(books: Books, *values: bytes) -> None:
    books.said([(value, LATER) for value in values])


def figures(books: Books) -> Figures:
    (found,) = judge(books, Drift(), {}, MODEL).figures
    return found


def again(books: Books) -> Books:
    return Books.of(list(books.pieces()), {name: packed() for name, packed in books.pages().items()})


def test_a_known_history_gives_known_figures() -> None:
    """Two automated, two audits of which one was wrong, an escalation that was overturned, and one that was held."""
    books = Books()
    decide(books, decision("1", 0.1, "below_threshold"), 0)
    decide(books, decision("2", 0.1, "below_threshold"), 0)
    decide(books, decision("3", 0.2, "audit"), 0)
    decide(books, decision("4", 0.2, "audit"), 1)
    decide(books, decision("5", 0.7, "above_threshold", 1.0), 1)
    decide(books, decision("6", None, "predictors_missing", 1.0), 1)
    for word in (said("3", 1), said("4", 0), said("5", 0), said("6", 1)):
        say(books, word)
    found = figures(books)
    assert (4, 0, 2, 1, 1) == (found.automated, found.unaudited, found.drawn, found.above, found.held)
    assert 0.15 == found.estimated
    assert (2, 1, 0.5) == (found.audits, found.wrong, found.error)
    assert (2, 0.5) == (found.recent_audits, found.recent_error)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high
    assert (2, 1) == (found.escalated, found.overturned)
    assert (3, 1.1, 2) == (found.judged, found.expected, found.observed)
    assert [(2, 0.2, 0.5), (1, 0.7, 1.0)] == [msgspec.structs.astuple(one) for one in found.reliability]


def test_audits_count_by_the_chance_they_had() -> None:
    """One of a stratum that is audited ten times as rarely stands for ten times as many."""
    books = Books()
    for number in range(200):
        often = number % 2 == 0
        decide(books, decision(str(number), 0.2, "audit", 0.5 if often else 0.05), 0)
        say(books, said(str(number), 1 if often else 0))
    assert 10 / 11 == pytest.approx(figures(books).error, abs=0.005)


def test_what_no_audit_could_meet_is_told() -> None:
    """The error rate says nothing of it."""
    books = Books()
    decide(books, decision("1", 0.1, "below_threshold", 0.0), 0)
    decide(books, decision("2", 0.1, "below_threshold", 0.1), 0)
    assert (2, 1) == (figures(books).automated, figures(books).unaudited)


def test_a_correction_takes_back_what_was_counted() -> None:
    """As if the first word had never been."""
    books, straight = Books(), Books()
    for one in (books, straight):
        decide(one, decision("1", 0.2, "audit"), 0, BOUND)
    say(books, said("1", 0, reviewer="ada"))
    assert 1 == figures(books).wrong
    say(books, said("1", 1, reviewer="ada", corrects=True))
    say(straight, said("1", 1, reviewer="ada"))
    assert figures(straight) == figures(books)
    assert straight.ruled[2][1].total() == books.ruled[2][1].total()


def test_reviewers_of_two_minds_are_no_label() -> None:
    """Two who differ leave it open, a third decides; that they were split is kept."""
    books = Books()
    decide(books, decision("1", 0.2, "audit"), 0)
    say(books, said("1", 0, reviewer="ada"))
    say(books, said("1", 1, reviewer="bob"))
    assert (0, 1, 1) == (figures(books).audits, figures(books).untold, figures(books).split)
    say(books, said("1", 1, reviewer="cleo"))
    assert (1, 0, 0, 1) == (figures(books).audits, figures(books).wrong, figures(books).untold, figures(books).split)


def test_what_came_by_an_appeal_counts_for_nothing() -> None:
    """Whoever appeals was not content: what is said of it is no draw."""
    books = Books()
    decide(books, decision("1", 0.2, "audit"), 0)
    say(books, said("1", 0, channel="appeal"))
    say(books, said("1", 0, channel="report"))
    assert (0, 2) == (figures(books).judged, books.counts["chosen"])


def test_a_repeated_decision_counts_once() -> None:
    """As at-least-once delivery may write it."""
    books = Books()
    for _ in range(2):
        decide(books, decision("1", 0.2, "audit"), 0)
    say(books, said("1", 0))
    assert (1, 1, 1) == (figures(books).automated, figures(books).audits, books.counts["repeated"])


def history(count: int = 300) -> list[tuple[str, Any]]:
    """Decisions in their order, and what humans say of them, of which some is said twice."""
    rng = np.random.default_rng(1)
    decided: list[tuple[str, Any]] = []
    words: list[tuple[str, Any]] = []
    for number in range(count):
        reason = str(rng.choice(["below_threshold", "audit", "above_threshold", "model_failed"]))
        p = None if reason == "model_failed" else round(float(rng.beta(1, 3)), 4)
        about = f"item {number}"
        decided.append(
            ("decided", (decision(about, p, reason, 1.0 if reason == "above_threshold" else 0.1), number // 7))
        )
        if reason != "below_threshold" and rng.random() < 0.9:
            reviewers = "ab"[: int(rng.integers(1, 3))]
            words += [("said", said(about, int(rng.integers(0, 4)), reviewer=one)) for one in reviewers]
    return [*decided, *words]


def replay(books: Books, events: Iterable[tuple[str, Any]]) -> Books:
    for kind, event in events:
        if kind == "decided":
            decide(books, *event, BOUND)
        else:
            say(books, event)
    return books


HISTORY = history()
KNOWN = figures(replay(Books(), HISTORY))


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, len(HISTORY)), max_size=4))
def test_any_order_and_any_restart_give_the_same(random: Any, restarts: list[int]) -> None:
    """Human decisions before their decisions too: the figures are the same to the last digit."""
    events = HISTORY.copy()
    random.shuffle(events)
    books = Books()
    for number, event in enumerate(events):
        if number in restarts:
            books = again(books)
        replay(books, [event])
    assert KNOWN == figures(books)
    assert {0} == {books.counts[name] for name in ("unmatched", "forgotten", "unreadable", "late")}


hostile = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda fields: json.dumps(fields).encode(),
        st.fixed_dictionaries(
            {
                "request_id": st.one_of(st.sampled_from(["item 1", "item 2", "x" * 300, ""]), st.integers()),
                "policy": st.sampled_from(["hate", "spam"]),
                "outcome": st.one_of(st.integers(-1, 5), st.none(), st.text(max_size=3), st.just(10**30)),
            },
            optional={
                "reviewer": st.one_of(st.text(max_size=300), st.none(), st.integers()),
                "channel": st.one_of(st.sampled_from(["review", "audit", "appeal", "else"]), st.none()),
                "decided_at": st.one_of(st.integers(-5, 2**70), st.none()),
                "corrects": st.one_of(st.booleans(), st.none()),
                "audit_probability": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.none()),
            },
        ),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(hostile, max_size=30))
def test_hostile_human_decisions_do_no_harm(values: list[bytes]) -> None:
    """Nothing is raised, what cannot be read is counted, what was said of others stays, and it can be stored."""
    books = Books()
    for request_id in ("item 1", "item 3"):
        decide(books, decision(request_id, 0.2, "audit"), 0, BOUND)
    say(books, said("item 3", 0))
    for value in values:
        say(books, value)
    found = figures(books)
    assert found == figures(again(books))
    assert 1 <= found.audits + found.untold <= 2
    assert found.wrong <= found.audits
    assert all(count >= 0 for one in books.blocks.values() for count in one.total().values())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pages of four answers of each kind, and little else."""
    for name in ("MOST_AUDITS", "MOST_ESCALATED", "MOST_WITHOUT"):
        monkeypatch.setattr(module, name, 12)
    monkeypatch.setattr(memory, "PAGE", 4)
    monkeypatch.setattr(module, "MOST_EARLY", 5)
    monkeypatch.setattr(module, "MOST_KEYS", 3)
    monkeypatch.setattr(module, "MOST_WORDS", 2)


@pytest.mark.usefixtures("small")
def test_memory_is_bounded() -> None:
    """The oldest answers go first, early words and new policies beyond the most are counted elsewhere."""
    books = Books()
    for number in range(24):
        say(books, said(f"never {number}", 1))
        decide(books, decision(str(number), 0.2, "audit", policy=f"policy {number}"))
    assert (19, 12) == (books.counts["unmatched"], books.counts["forgotten"])
    assert {"audits": 12, "escalated": 0, "without_verdict": 0, "words": 0, "early_words": 5} == books.kept()
    assert 4 == len(books.keys) == len(books.blocks)
    assert OTHER in {key.policy for key in books.keys.values()}
    assert 24 == sum(one.automated for one in judge(books, Drift(), {}, MODEL).figures)


@pytest.mark.usefixtures("small")
def test_a_flood_of_what_is_escalated_drives_no_audit_out() -> None:
    """The risk is known by audits alone, and anybody may write what is escalated."""
    books = Books()
    decide(books, decision("audit", 0.2, "audit"))
    for number in range(100):
        decide(books, decision(f"flood {number}", 0.7, "above_threshold", 1.0))
        decide(books, decision(f"none {number}", None, "no_response", 1.0, outcome=None))
    say(books, said("audit", 0), said("flood 0", 0), said("flood 99", 0), said("none 99", 0))
    assert (1, 1) == (figures(books).audits, figures(books).overturned)
    assert (2, 1) == (books.counts["counted"], books.counts["no_verdict"])


@pytest.mark.usefixtures("small")
def test_a_review_whose_answer_is_forgotten_is_told() -> None:
    """Once the decisions are an hour beyond it, it is no longer waited for; of an answer that is remembered it counts whenever it comes."""
    books = Books()
    books.said([(said("forgotten", 1), 7)])
    decide(books, decision("1", 0.2, "audit"), 10)
    assert 0 == books.counts["unmatched"]
    decide(books, decision("2", 0.2, "audit"), 11)
    assert 1 == books.counts["unmatched"]
    books.said([(said("1", 0), 10**5)])
    assert 1 == figures(books).wrong


@pytest.mark.usefixtures("small")
def test_a_word_that_comes_after_the_first_was_settled_changes_nothing() -> None:
    """What was counted stays, also where the answer is in a page; and that it came is told."""
    books = Books()
    for number in range(10):
        decide(books, decision(str(number), 0.2, "audit"))
    for number in range(10):
        say(books, said(str(number), 0, reviewer="ada"))
    books = again(books)
    say(books, said("0", 1, reviewer="ada"), said("9", 1, reviewer="ada"))
    assert (10, 9) == (figures(books).audits, figures(books).wrong)
    assert (11, 1) == (books.counts["counted"], books.counts["late"])


@pytest.mark.usefixtures("small")
def test_what_a_lost_page_held_is_forgotten_and_what_was_counted_stays() -> None:
    """A human decision of it is told as unmatched."""
    books = Books()
    for number in range(6):
        decide(books, decision(str(number), 0.2, "audit"))
    say(books, said("5", 0), said("1", 0))
    after = Books.of(list(books.pieces()), {})
    assert (1, figures(books)) == (after.pages_lost, figures(after))
    after.said([(said("2", 0), 0)])
    decide(after, decision("6", 0.2, "audit"), 10)
    assert 1 == after.counts["unmatched"]


def test_ids_that_are_made_to_look_alike_do_not() -> None:
    """What an answer is known by takes a secret, and where an id ends and the policy begins."""
    one, other = Books(b"salt"), Books(b"pepper")
    for books in (one, other):
        decide(books, decision("1", 0.2, "audit"))
        decide(books, decision("1h", 0.2, "audit", policy="ate"))
    assert 2 == sum(found.drawn for found in judge(one, Drift(), {}, MODEL).figures)
    assert not {*one._audits._latest} & {*other._audits._latest}


def test_models_that_are_over_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted of the one in force goes on."""
    monkeypatch.setattr(module, "MOST_KEYS", 2)
    books = Books()
    for model in ("b" * 64, "c" * 64, MODEL, MODEL):
        decide(books, decision(f"of {model}", 0.2, "audit", model={"sha256": model}), 0)
    assert 1 == figures(books).automated
    say(books, said(f"of {'b' * 64}", 1))


def test_a_day_has_no_more_blocks_than_an_hour_a_year_little_more() -> None:
    """And nothing is lost on the way."""
    books = Books()
    for period in range(0, 400 * 96, 7):
        decide(books, decision(str(period), 0.2, "below_threshold"), period)
    (blocks,) = books.blocks.values()
    assert len(blocks.by_time()) < 40
    assert len(range(0, 400 * 96, 7)) == figures(books).automated


def content(max_risk: float = 0.1) -> Content:
    bound = Threshold(0.3, "bound", MODEL, since=3, bound=Bound(max_risk, 0.9))
    return Content(thresholds=Scoped({EVERYTHING: bound}))


def breaches(wrong: int, audits: int) -> Any:
    books = Books()
    for number in range(audits):
        decide(books, decision(str(number), 0.05, "audit", policy="hate"), number // 10, BOUND)
        say(books, said(str(number), 0 if number % audits < wrong else 1))
    return judge(books, Drift(), bounds_in_force(content()), MODEL)


def test_the_risk_that_leaves_its_bound_is_told() -> None:
    """With the bound's confidence: 40 of 100 where one in ten is allowed; 8 of 100 are not."""
    found = breaches(40, 100)
    (alert,) = [one for one in found.alerts if one.kind == "risk"]
    assert ("risk", "*", "*", "*", "", "") == alert.names
    assert "40 of 100 audits" in alert.about
    assert [BOUND] == [one.ruled for one in found.breaches]
    assert [] == breaches(8, 100).breaches


def test_where_humans_cannot_tell_counts_as_wrong_against_a_bound() -> None:
    """As when the bound was certified; of the error rate it is left out, and told beside."""
    books = Books()
    for number in range(100):
        decide(books, decision(str(number), 0.05, "audit"), number // 10, BOUND)
        say(books, said(str(number), 2 if number < 40 else 1))
    found = judge(books, Drift(), bounds_in_force(content()), MODEL)
    assert (60, 0, 40) == (found.figures[0].audits, found.figures[0].wrong, found.figures[0].untold)
    assert [(100, 40)] == [(one.audits, one.wrong) for one in found.breaches]


def test_the_error_rate_of_late_is_that_of_the_last_audits() -> None:
    """What was before the last hundreds is in that of all, and not in that of late."""
    books = Books()
    for number in range(1000):
        decide(books, decision(str(number), 0.05, "audit"), number // 50)
        say(books, said(str(number), 0 if number >= 800 else 1))
    assert (0.2, 200, 1.0) == (figures(books).error, figures(books).recent_audits, figures(books).recent_error)


def test_without_audits_nothing_is_known_of_the_error() -> None:
    """No number stands for that, nor an interval."""
    books = Books()
    decide(books, decision("1", 0.1, "below_threshold"))
    found = figures(books)
    assert (None, None, None, None) == (found.error, found.low, found.high, found.recent_error)


def test_periods_are_numbered_from_the_earliest_in_whatever_order_they_come() -> None:
    """No two blocks have the same number: the shares of the gamblers that begin with them would add up to more than one."""
    periods = [40, 12, 39, 3, 25, 41, 11, 3]
    one, other = Blocks(), Blocks()
    for blocks, order in ((one, periods), (other, periods[::-1])):
        for period in order:
            blocks.add(period, [(Cell("a"), 1)])
    assert one.by_time() == other.by_time()
    numbers = [number for number, _ in one.by_time()]
    assert (0, len(numbers)) == (numbers[0], len(set(numbers)))


def test_calibration_that_breaks_is_told() -> None:
    """Forty errors where five were expected; of six nothing is said."""
    assert ["calibration"] == [one.kind for one in breaches(40, 100).alerts if one.kind != "risk"]
    assert [] == breaches(6, 100).alerts


def test_what_was_counted_for_another_bound_is_let_go() -> None:
    """It starts anew with the new one."""
    books = Books()
    decide(books, decision("1", 0.2, "audit"), 0, BOUND)
    books.keep_ruled([Ruled(EVERYTHING, 7)])
    say(books, said("1", 0))
    assert {} == books.ruled
    assert 1 == figures(books).audits


def test_scores_of_late_are_told_from_training_where_both_routes_are_known() -> None:
    """What was before the last thousands is forgotten; while one route lags, nothing is said."""
    rng = np.random.default_rng(2)
    scores = rng.beta(1, 3, 2000)
    values = np.zeros((2000, len(SCHEMA.names)), dtype=np.float32)
    drift, books = Drift(), Books()
    drift.use(MODEL, reference_of(values, ["hate"] * 2000, scores))
    drift.answered([Vector(SCHEMA.id, [0.0] * len(SCHEMA.names), "hate", "llm")], 0)

    def go_on(a: float, b: float, period: int) -> set[str]:
        for number, p in enumerate(rng.beta(a, b, WINDOW).tolist()):
            reason = "below_threshold" if p < 0.3 else "above_threshold"
            decide(books, decision(f"{period} {number}", p, reason), period)
        return {one.policy for one in judge(books, drift, {}, MODEL).alerts if one.subject == "error_probability"}

    assert set() == go_on(1, 3, 0)
    assert {"*", "hate"} == go_on(3, 3, 1)
    assert not judge(books, drift, {}, MODEL, is_level=False).alerts
    assert set() == go_on(1, 3, 2)

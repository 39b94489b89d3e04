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
from streams.pipeline.quality.books import OTHER, Books, Decision
from streams.pipeline.quality.drift import WINDOW, Drift, Vector
from streams.pipeline.quality.items import Ruled
from streams.pipeline.quality.judging import Figures, bounds_in_force, judge, ruling_bound
from streams.pipeline.scope import EVERYTHING, Scope, Scoped

MODEL = "a" * 64
BOUND = Ruled(EVERYTHING, 3)


def decision(request_id: str, p: float | None, reason: str, audit: float = 0.1, **more: Any) -> Decision:
    llm = {"name": "llm", "outcome": more.pop("outcome", 1)}
    body = {"request_id": request_id, "policy": "hate", "reasons": [reason], "llm": llm, "model": {"sha256": MODEL}}
    return msgspec.convert({**body, "error_probability": p, "audit_probability": audit, **more}, Decision)


def said(request_id: str, outcome: object, **more: Any) -> bytes:
    return json.dumps({"request_id": request_id, "policy": "hate", "outcome": outcome, **more}).encode()


def figures(books: Books) -> Figures:
    (found,) = judge(books, Drift(), {}, MODEL).figures
    return found


def again(books: Books) -> Books:
    return Books.of(list(books.pieces()))


def test_a_known_history_gives_known_figures() -> None:
    """Two automated, two audits of which one was wrong, an escalation that was overturned, and one that was held."""
    books = Books()
    books.decided(decision("1", 0.1, "below_threshold"), 0)
    books.decided(decision("2", 0.1, "below_threshold"), 0)
    books.decided(decision("3", 0.2, "audit"), 0)
    books.decided(decision("4", 0.2, "audit"), 1)
    books.decided(decision("5", 0.7, "above_threshold", 1.0), 1)
    books.decided(decision("6", None, "predictors_missing", 1.0), 1)
    for word in (said("3", 1), said("4", 0), said("5", 0), said("6", 1)):
        books.said(word)
    found = figures(books)
    assert (4, 0, 1, 1) == (found.automated, found.unaudited, found.above, found.held)
    assert 0.15 == found.estimated
    assert (2, 1, 0.5) == (found.audits, found.wrong, found.error)
    assert found.low < 0.5 < found.high
    assert (2, 1) == (found.escalated, found.overturned)
    assert (3, 1.1, 2) == (found.judged, found.expected, found.observed)
    assert [(2, 0.2, 0.5), (1, 0.7, 1.0)] == [msgspec.structs.astuple(one) for one in found.reliability]


def test_audits_count_by_the_chance_they_had() -> None:
    """One of a stratum that is audited ten times as rarely stands for ten times as many."""
    books = Books()
    for number in range(200):
        often = number % 2 == 0
        books.decided(decision(str(number), 0.2, "audit", 0.5 if often else 0.05), 0)
        books.said(said(str(number), 1 if often else 0))
    assert 10 / 11 == pytest.approx(figures(books).error, abs=0.005)


def test_what_no_audit_could_meet_is_told() -> None:
    """The error rate says nothing of it."""
    books = Books()
    books.decided(decision("1", 0.1, "below_threshold", 0.0), 0)
    books.decided(decision("2", 0.1, "below_threshold", 0.1), 0)
    assert (2, 1) == (figures(books).automated, figures(books).unaudited)


def test_a_correction_takes_back_what_was_counted() -> None:
    """As if the first word had never been."""
    books, straight = Books(), Books()
    for one in (books, straight):
        one.decided(decision("1", 0.2, "audit"), 0, BOUND)
    books.said(said("1", 0, reviewer="ada"))
    assert 1 == figures(books).wrong
    books.said(said("1", 1, reviewer="ada", corrects=True))
    straight.said(said("1", 1, reviewer="ada"))
    assert figures(straight) == figures(books)
    assert straight.ruled[2][1].total() == books.ruled[2][1].total()


def test_reviewers_of_two_minds_are_no_label() -> None:
    """Two who differ leave it open, a third decides; that they were split is kept."""
    books = Books()
    books.decided(decision("1", 0.2, "audit"), 0)
    books.said(said("1", 0, reviewer="ada"))
    books.said(said("1", 1, reviewer="bob"))
    assert (0, 1, 1) == (figures(books).audits, figures(books).untold, figures(books).split)
    books.said(said("1", 1, reviewer="cleo"))
    assert (1, 0, 0, 1) == (figures(books).audits, figures(books).wrong, figures(books).untold, figures(books).split)


def test_what_came_by_an_appeal_counts_for_nothing() -> None:
    """Whoever appeals was not content: what is said of it is no draw."""
    books = Books()
    books.decided(decision("1", 0.2, "audit"), 0)
    books.said(said("1", 0, channel="appeal"))
    books.said(said("1", 0, channel="report"))
    assert (0, 2) == (figures(books).judged, books.counts["chosen"])


def test_a_repeated_decision_counts_once() -> None:
    """As at-least-once delivery may write it."""
    books = Books()
    for _ in range(2):
        books.decided(decision("1", 0.2, "audit"), 0)
    books.said(said("1", 0))
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
            books.decided(*event, BOUND)
        else:
            books.said(event)
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
    assert {0} == {books.counts[name] for name in ("unmatched", "forgotten", "unreadable")}


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
        books.decided(decision(request_id, 0.2, "audit"), 0, BOUND)
    books.said(said("item 3", 0))
    for value in values:
        books.said(value)
    found = figures(books)
    assert found == figures(again(books))
    assert 1 <= found.audits + found.untold <= 2
    assert found.wrong <= found.audits
    assert all(count >= 0 for one in books.blocks.values() for count in one.total().values())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest items go first, early words and new policies beyond the most are counted elsewhere."""
    monkeypatch.setattr(module, "MOST_ITEMS", 10)
    monkeypatch.setattr(module, "MOST_EARLY", 5)
    monkeypatch.setattr(module, "MOST_KEYS", 3)
    books = Books()
    for number in range(20):
        books.said(said(f"never {number}", 1))
        books.decided(decision(str(number), 0.2, "audit", policy=f"policy {number}"), 0)
    assert (15, 10) == (books.counts["unmatched"], books.counts["forgotten"])
    assert 4 == len(books.keys) == len(books.blocks)
    assert OTHER in books.keys.values()


def test_models_that_are_over_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted of the one in force goes on."""
    monkeypatch.setattr(module, "MOST_KEYS", 2)
    books = Books()
    for model in ("b" * 64, "c" * 64, MODEL, MODEL):
        books.decided(decision(f"of {model}", 0.2, "audit", model={"sha256": model}), 0)
    assert 1 == figures(books).automated
    books.said(said(f"of {'b' * 64}", 1))


def test_a_day_has_no_more_blocks_than_an_hour_a_year_little_more() -> None:
    """And nothing is lost on the way."""
    books = Books()
    for period in range(0, 400 * 96, 7):
        books.decided(decision(str(period), 0.2, "below_threshold"), period)
    (blocks,) = books.blocks.values()
    assert len(blocks.by_time()) < 40
    assert len(range(0, 400 * 96, 7)) == figures(books).automated


def content(max_risk: float = 0.1) -> Content:
    bound = Threshold(0.3, "bound", MODEL, since=3, bound=Bound(max_risk, 0.9))
    narrow = Threshold(0.2, "set", MODEL, since=4)
    return Content(thresholds=Scoped({EVERYTHING: bound, Scope("spam"): narrow}))


@pytest.mark.parametrize(
    ("policy", "version", "expected"), [("hate", 3, BOUND), ("hate", 9, BOUND), ("hate", 2, None), ("spam", 9, None)]
)
def test_a_bound_rules_what_was_decided_under_it(policy: str, version: int, expected: Ruled | None) -> None:
    """Nothing from before it, nor what has a threshold of its own."""
    assert expected == ruling_bound(content(), Scope(policy, "acme", "allow"), version)


def breaches(wrong: int, audits: int) -> Any:
    books = Books()
    for number in range(audits):
        books.decided(decision(str(number), 0.05, "audit", policy="hate"), number // 10, BOUND)
        books.said(said(str(number), 0 if number % audits < wrong else 1))
    return judge(books, Drift(), bounds_in_force(content()), MODEL)


def test_the_risk_that_leaves_its_bound_is_told() -> None:
    """With the bound's confidence: 40 of 100 where one in ten is allowed; 8 of 100 are not."""
    found = breaches(40, 100)
    (alert,) = [one for one in found.alerts if one.kind == "risk"]
    assert ("risk", "*", "*", "*", "", "") == alert.names
    assert "40 of 100 audits" in alert.about
    assert [BOUND] == [one.ruled for one in found.breaches]
    assert [] == breaches(8, 100).breaches


def test_calibration_that_breaks_is_told() -> None:
    """Forty errors where five were expected; of six nothing is said."""
    assert ["calibration"] == [one.kind for one in breaches(40, 100).alerts if one.kind != "risk"]
    assert [] == breaches(6, 100).alerts


def test_what_was_counted_for_another_bound_is_let_go() -> None:
    """It starts anew with the new one."""
    books = Books()
    books.decided(decision("1", 0.2, "audit"), 0, BOUND)
    books.keep_ruled([Ruled(EVERYTHING, 7)])
    books.said(said("1", 0))
    assert {} == books.ruled
    assert 1 == figures(books).audits


def test_scores_of_late_are_told_from_training_where_both_routes_are_known() -> None:
    """What was before the last thousands is forgotten; while one route lags, nothing is said."""
    rng = np.random.default_rng(2)
    scores = rng.beta(1, 3, 2000)
    values = np.zeros((2000, len(SCHEMA.names)), dtype=np.float32)
    drift, books = Drift(), Books()
    drift.use(MODEL, reference_of(values, ["hate"] * 2000, scores))
    drift.answered([Vector(SCHEMA.id, [0.0] * len(SCHEMA.names), "hate", "llm")])

    def go_on(a: float, b: float, period: int) -> set[str]:
        for number, p in enumerate(rng.beta(a, b, WINDOW).tolist()):
            reason = "below_threshold" if p < 0.3 else "above_threshold"
            books.decided(decision(f"{period} {number}", p, reason), period)
        return {one.policy for one in judge(books, drift, {}, MODEL).alerts if one.subject == "error_probability"}

    assert set() == go_on(1, 3, 0)
    assert {"*", "hate"} == go_on(3, 3, 1)
    assert not judge(books, drift, {}, MODEL, is_level=False).alerts
    assert set() == go_on(1, 3, 2)

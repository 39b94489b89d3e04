"""Review budgets and risk bounds in the fold: where a threshold begins, who may move it, and what a new model makes of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.pipeline.control_content import Bound, Budget, Threshold
from streams.pipeline.control_log import ControlLog
from streams.pipeline.scope import EVERYTHING, Scope
from tests.streams.pipeline.test_control_log import MODEL, fold, refused, threshold, values

OTHER = "b" * 64
HATE = Scope("hate")


def budget(
    policy: str = "hate", share: float = 0.2, lowest: float = 0.1, highest: float = 0.5, **more: Any
) -> dict[str, Any]:
    limits = {"share": share, "lowest": lowest, "highest": highest}
    return {"type": "set_review_budget", "policy": policy, **limits, **more}


def adjust(value: float, expected_version: int | None, policy: str = "hate", **more: Any) -> dict[str, Any]:
    message = {"type": "adjust_threshold", "policy": policy, "threshold": value, **more}
    return message if expected_version is None else {**message, "expected_version": expected_version}


def bound(value: float = 0.3, policy: str = "hate", model: str = MODEL, **more: Any) -> dict[str, Any]:
    counts = {"labels": 500, "automated": 200, "errors": 8, "labels_sha256": "c" * 64, "sample": "audits"}
    promise = {"max_risk": 0.1, "confidence": 0.95, "threshold": value}
    return {"type": "set_risk_bound", "policy": policy, **promise, **counts, "model": model, **more}


def use(sha256: str, *, keep: bool = False) -> dict[str, Any]:
    return {"type": "set_model", "sha256": sha256, "keep_thresholds": keep}


def of(log: ControlLog, scope: Scope = HATE) -> Threshold:
    return log.content.thresholds[scope]


@pytest.mark.parametrize(
    ("before", "start"),
    [
        ([], 0.1),
        ([threshold(0.3)], 0.3),
        ([threshold(0.9)], 0.5),
        ([threshold(0.0)], 0.1),
        ([threshold(0.4, "*")], 0.4),
        ([use(MODEL)], 0.1),
        ([threshold(0.4, model=OTHER)], 0.1),
    ],
)
def test_a_budget_begins_where_the_threshold_is(before: list[dict[str, Any]], start: float) -> None:
    """Or at the limit next to it; at the lowest where nobody knows it, or it was another model's."""
    log = fold(*before, budget(model=MODEL))
    version = len(before) + 1
    assert Threshold(start, "budget", MODEL, since=version, budget=Budget(0.2, 0.1, 0.5, version)) == of(log)


def test_a_budget_for_all_takes_the_place_of_what_policies_have() -> None:
    """As a threshold does; and what is set for one policy afterwards is no part of it."""
    log = fold(threshold(0.3), budget("*"))
    assert [EVERYTHING] == list(log.content.thresholds)
    fold(threshold(0.3), adjust(0.2, 3, "*"), log=log)
    assert {"*": 0.2, "hate": 0.3} == values(log)


def test_its_threshold_is_moved_by_messages() -> None:
    """Which keep the budget, with who set it when; a move is a version like any other."""
    log = fold(budget(), adjust(0.2, 1), adjust(0.35, 2))
    assert Threshold(0.35, "budget", None, since=3, budget=Budget(0.2, 0.1, 0.5, 1)) == of(log)


def test_a_move_without_a_budget_is_refused() -> None:
    """Of a scope that has none, has one no more, or has one for another scope only; and beyond the limits."""
    log = fold(budget("spam"))
    assert "no_budget" == refused(log, adjust(0.2, 1))
    assert "no_budget" == refused(log, adjust(0.2, 1, "*"))
    assert "no_budget" == refused(log, adjust(0.2, 1, "spam", tenant="acme"))
    for beyond in (0.05, 0.51):
        assert "no_budget" == refused(log, adjust(beyond, 1, "spam"))


def test_two_that_move_at_once_do_not_both_move() -> None:
    """The second looked at a version that is in force no more; one that names none is refused at once."""
    log = fold(budget(), adjust(0.2, 1))
    assert "stale" == refused(log, adjust(0.2, 1))
    assert "invalid" == refused(log, adjust(0.3, None))


@pytest.mark.parametrize(
    "message",
    [
        threshold(0.3),
        {"type": "set_costs", "policy": "hate", "accounting": "false-discovery", "review": 1, "mistake": 3},
        threshold(0.3, "*"),
        bound(),
    ],
)
def test_whatever_else_sets_the_threshold_ends_its_budget(message: dict[str, Any]) -> None:
    """Nobody moves it from then on."""
    log = fold(budget(), message)
    assert "no_budget" == refused(log, adjust(0.2, 2))


def test_a_rollback_restores_a_budget_as_it_stood() -> None:
    """With the threshold of then, from which it is moved on."""
    log = fold(budget(), adjust(0.2, 1), threshold(0.9), {"type": "rollback", "to_version": 2})
    assert 0.2 == of(log).value
    assert 0.4 == of(fold(adjust(0.4, 4), log=log)).value


def test_a_new_model_ends_a_budget_or_begins_it_anew_at_the_lowest() -> None:
    """What share a threshold sends to humans under another model is not known; its limits are kept if thresholds are."""
    begun = [use(MODEL), budget(), adjust(0.4, 2)]
    assert not fold(*begun, use(OTHER)).content.thresholds
    kept = of(fold(*begun, use(OTHER, keep=True)))
    assert Threshold(0.1, "budget", OTHER, (MODEL,), since=4, budget=Budget(0.2, 0.1, 0.5, 2)) == kept
    same = of(fold(*begun, use(MODEL)))
    assert 0.4 == same.value


def test_a_bound_is_of_one_model() -> None:
    """Its message names it; with another model its scope is closed, also where thresholds are kept, and by no way open again."""
    log = fold(use(MODEL), threshold(0.9, "*"), bound())
    assert Threshold(0.3, "bound", MODEL, since=3, bound=Bound(0.1, 0.95)) == of(log)
    assert "other_model" == refused(log, bound(model=OTHER))
    fold(use(OTHER, keep=True), log=log)
    assert Threshold(0.0, "bound", OTHER, since=5) == of(log)
    assert 0.9 == of(log, EVERYTHING).value
    fold(use(MODEL, keep=True), log=log)
    assert 0.0 == of(log).value
    assert 0.3 == of(fold(bound(), log=log)).value


@pytest.mark.parametrize(
    "counts",
    [
        {"automated": 28, "errors": 0},
        {"automated": 200, "errors": 21},
        {"automated": 501, "errors": 8},
        {"automated": 3, "errors": 8},
        {"labels": 0, "automated": 0, "errors": 0},
    ],
)
def test_a_bound_whose_own_counts_speak_against_it_is_refused(counts: dict[str, int]) -> None:
    """Too few, too many wrong, or more than there are: whoever wrote it did not certify it."""
    assert "invalid" == refused(fold(), bound(**counts))
    assert 0.3 == of(fold(bound(automated=29, errors=0))).value


@pytest.mark.parametrize(
    "message",
    [
        budget(share=0.0),
        budget(share=1.0),
        budget(lowest=0.6),
        budget(lowest=-0.1),
        {name: value for name, value in budget().items() if name != "highest"},
        bound(max_risk=0.0),
        bound(confidence=0.4),
        bound(confidence=1.0),
        bound(sample="reviews"),
        {name: value for name, value in bound().items() if name != "model"},
    ],
)
def test_what_makes_no_sense_is_refused(message: dict[str, Any]) -> None:
    """Limits are stated, and in their order; a bound states its labels and its model."""
    assert "invalid" == refused(ControlLog(), message)


@given(
    st.lists(
        st.one_of(st.floats(0, 1).map(lambda value: ("move", value)), st.sampled_from([("use", MODEL), ("use", OTHER)]))
    )
)
def test_a_threshold_never_leaves_the_limits_of_its_budget(steps: list[tuple[str, Any]]) -> None:
    """Whatever is written."""
    log = fold(budget())
    for what, value in steps:
        message = adjust(value, log.version) if what == "move" else use(value, keep=True)
        log.take(log.position, 0, json.dumps(message).encode())
        mine = of(log)
        assert mine.budget is not None
        assert mine.value is not None
        assert 0.1 <= mine.value <= 0.5


def test_the_hash_tells_budgets_and_bounds_apart() -> None:
    """The same threshold for another reason is another content; what has neither keeps the hash that it had."""
    hashes = {
        fold(use(MODEL), message).content.hash
        for message in (
            threshold(0.1),
            budget(),
            budget(share=0.3),
            budget(highest=0.6),
            bound(0.1),
            bound(0.1, max_risk=0.2),
            bound(0.1, confidence=0.9),
        )
    }
    assert 7 == len(hashes)

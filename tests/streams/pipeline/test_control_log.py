"""The fold of the control log: each message applied or refused by the log alone, the last good one kept."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map
from msgspec.structs import replace

from streams.errors import ControlError
from streams.pipeline.control_content import NOTHING_SAID, AuditRate, Content, Shadow, Threshold
from streams.pipeline.control_log import REMEMBERED, ControlLog
from streams.pipeline.control_messages import SetThreshold, encode_control, parse_control
from streams.pipeline.scope import EVERYTHING, Scope, Scoped

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MODEL = "a" * 64


def fold(*messages: dict[str, Any], log: ControlLog | None = None) -> ControlLog:
    """The log after these messages, each of which it must take."""
    log = log or ControlLog()
    for message in messages:
        taken = log.take(log.position, stamp(), json.dumps(message).encode())
        assert taken.refusal is None, taken.refusal
    return log


def refused(log: ControlLog, message: dict[str, Any], at: int | None = None) -> str:
    """The code with which it refuses a message, which must change nothing."""
    before = log.content, log.version
    taken = log.take(log.position, stamp() if at is None else at, json.dumps(message).encode())
    assert taken.refusal is not None
    assert before == (log.content, log.version)
    return taken.refusal.code


def stamp(seconds: float = 0) -> int:
    return int((NOW.timestamp() + seconds) * 1000)


def threshold(value: float = 0.3, policy: str = "hate", **more: Any) -> dict[str, Any]:
    return {"type": "set_threshold", "policy": policy, "threshold": value, **more}


def values(log: ControlLog) -> dict[str, float | None]:
    return {str(scope): one.value for scope, one in log.content.thresholds.items()}


def test_preparing_a_model_makes_no_version() -> None:
    """Whoever saw a version in force may still expect it after it, and the next version is the next message's offset + 1."""
    log = fold(threshold(), {"type": "prepare_model", "sha256": MODEL, "expected_version": 1})
    assert (1, 2) == (log.version, log.position)
    assert 3 == fold(threshold(0.4, expected_version=1), log=log).version
    assert "stale" == refused(log, {"type": "prepare_model", "sha256": MODEL, "expected_version": 1})
    assert "unknown_version" == refused(log, {"type": "rollback", "to_version": 2})
    assert "invalid" == refused(log, {"type": "prepare_model", "sha256": "latest"})
    old_form = fold({"type": "prepare_model", "sha256": MODEL}, threshold(version=1))
    assert 2 == old_form.version


def test_the_version_is_that_of_the_last_message_applied() -> None:
    """Its offset + 1: what is refused makes none."""
    log = fold(threshold())
    assert "invalid" == refused(log, {"type": "set_everything"})
    assert (1, 2) == (log.version, log.position)
    assert 3 == fold(threshold(0.4), log=log).version


def test_a_threshold_for_one_policy_leaves_the_others() -> None:
    """And one for every policy replaces all."""
    assert {"*": None, "hate": 0.7} == values(fold(threshold(0.7)))
    assert {"*": 0.1} == values(fold(threshold(0.7), threshold(0.1, "*")))


def test_a_threshold_knows_where_it_comes_from() -> None:
    """Set by hand or by costs, for which model, and since when."""
    log = fold(
        {"type": "set_model", "sha256": MODEL},
        threshold(),
        {"type": "set_costs", "policy": "spam", "accounting": "false-discovery", "review": 1, "mistake": 3},
    )
    assert Threshold(0.3, "set", MODEL, since=2) == log.content.thresholds[Scope("hate")]
    assert Threshold(0.25, "costs", MODEL, since=3) == log.content.thresholds[Scope("spam")]


def test_setting_a_scope_replaces_what_was_set_inside() -> None:
    """And leaves what merely overlaps: which of two counts is a matter of their order."""
    of_acme, removals = threshold(0.2, tenant="acme"), threshold(0.1, outcome="remove")
    log = fold(of_acme, removals, threshold(0.4, "*", tenant="acme"))
    assert {"*": None, "hate, outcome remove": 0.1, "*, tenant acme": 0.4} == values(log)
    assert {"*": None, "hate": 0.5, "*, tenant acme": 0.4} == values(fold(of_acme, threshold(0.5), log=log))
    assert {"*": 0.6} == values(fold(threshold(0.6, "*"), log=log))


def test_costs_by_outcome_are_one_message() -> None:
    """A missed violation is a wrong `allow`, a wrong removal a wrong `remove`; they stand in for what the scope had."""
    costs = {"type": "set_costs", "policy": "hate", "accounting": "false-discovery", "review": 1}
    by_outcome = {**costs, "missed_violation": 9, "wrong_removal": 3}
    log = fold(threshold(0.5), threshold(0.4, tenant="acme"), by_outcome)
    assert {"*": None, "hate, outcome allow": 0.1, "hate, outcome remove": 0.25} == values(log)
    of_acme = fold({**by_outcome, "tenant": "acme"}, log=log)
    assert 0.1 == values(of_acme)["hate, tenant acme, outcome allow"]
    assert {"*": None, "hate": 0.25} == values(fold({**costs, "mistake": 3}, log=log))
    for wrong in ({}, {"missed_violation": 9}, {"mistake": 3, "wrong_removal": 3}):
        assert "invalid" == refused(log, {**costs, **wrong})
    assert "invalid" == refused(log, {**by_outcome, "outcome": "remove"})


def test_a_floor_is_no_higher_than_its_rate() -> None:
    """It would be the rate then."""
    rate = {"type": "set_audit_rate", "policy": "*", "rate": 0.1}
    assert AuditRate(0.1, 1, 0.1) == fold({**rate, "floor": 0.1}).content.audit_rates[EVERYTHING]
    assert "invalid" == refused(ControlLog(), {**rate, "floor": 0.2})


def test_a_new_model_drops_thresholds_unless_they_were_made_for_it() -> None:
    """One may be made for a model before the swap, while the log names none."""
    log = fold(threshold(policy="spam"), threshold(0.2, model=MODEL), {"type": "set_model", "sha256": MODEL})
    assert {"hate": 0.2} == values(log)
    assert "other_model" == refused(log, threshold(0.9, model="b" * 64))


def test_what_a_new_model_takes_away_does_not_fall_to_a_wider_threshold() -> None:
    """A policy that was closed, or had a lower threshold, would be automated by that of all, which was made for the model."""
    of_all = threshold(0.3, "*", model=MODEL)
    swap = {"type": "set_model", "sha256": MODEL}
    log = fold(of_all, threshold(0.0), threshold(0.1, "spam", outcome="remove"), swap)
    assert {"*": 0.3, "hate": 0.0, "spam, outcome remove": 0.0} == values(log)
    wider = fold(threshold(0.3, "*"), threshold(0.3, "*", tenant="acme"), threshold(0.1, model=MODEL), swap)
    assert {"hate": 0.1} == values(wider)
    crossing = fold(threshold(0.3, "*", tenant="acme", model=MODEL), threshold(0.1), swap)
    assert {"*, tenant acme": 0.3, "hate": 0.0} == values(crossing)


def test_kept_thresholds_remember_the_models_before() -> None:
    """Through one swap after another; costs are bound to none."""
    costs = {"type": "set_costs", "policy": "spam", "accounting": "false-discovery", "review": 1, "mistake": 3}
    keep = [{"type": "set_model", "sha256": letter * 64, "keep_thresholds": True} for letter in "aba"]
    content = fold(threshold(), costs, *keep).content
    assert ((None, "a" * 64, "b" * 64), ()) == (
        content.thresholds[Scope("hate")].kept_from,
        content.thresholds[Scope("spam")].kept_from,
    )


def test_a_stop_is_taken_back_by_its_own_name() -> None:
    """What was stopped apart stays stopped when all is resumed."""
    stop, resume = {"type": "stop_automation"}, {"type": "resume_automation"}
    log = fold({**stop, "policy": "hate"}, {**stop, "policy": "*"})
    assert "not_stopped" == refused(log, {**resume, "policy": "spam"})
    assert {Scope("hate")} == set(fold({**resume, "policy": "*"}, log=log).content.stops)
    assert "not_stopped" == refused(log, {**resume, "policy": "*"})
    assert not fold({**resume, "policy": "hate"}, log=log).content.stops
    of_acme = {"policy": "*", "tenant": "acme"}
    fold({**stop, **of_acme}, log=log)
    assert "not_stopped" == refused(log, {**resume, "policy": "*"})
    assert not fold({**resume, **of_acme}, log=log).content.stops


def test_a_rollback_restores_what_was_in_force() -> None:
    """As a new version of the same content."""
    log = fold(threshold(0.2), {"type": "set_audit_rate", "policy": "*", "rate": 0.1})
    then = log.content.hash
    fold(threshold(0.9), {"type": "set_model", "sha256": MODEL}, {"type": "rollback", "to_version": 2}, log=log)
    assert (5, then) == (log.version, log.content.hash)
    assert NOTHING_SAID == fold({"type": "rollback", "to_version": 0}, log=log).content


def test_a_rollback_lifts_no_stop() -> None:
    """Only resume does: a kill switch must not go off by the way."""
    log = fold(threshold(0.2), {"type": "stop_automation", "policy": "*"}, {"type": "rollback", "to_version": 1})
    assert {EVERYTHING} == set(log.content.stops)


def test_only_versions_that_were_in_force_can_be_restored() -> None:
    """Not those of refused messages, nor those too long ago."""
    log = fold(threshold())
    refused(log, {"type": "set_everything"})
    assert "unknown_version" == refused(log, {"type": "rollback", "to_version": 2})
    fold(*[threshold(0.5)] * REMEMBERED, log=log)
    assert "unknown_version" == refused(log, {"type": "rollback", "to_version": 1})


def test_a_message_made_for_another_version_is_refused() -> None:
    """Whoever looked at version 1 does not undo version 2."""
    log = fold(threshold(), threshold(0.4, expected_version=1))
    assert "stale" == refused(log, threshold(0.5, expected_version=1))


def test_a_message_expires_by_the_brokers_clock() -> None:
    """Whenever it is read: what counts is when it was written."""
    message = threshold(expires_at=(NOW + timedelta(seconds=5)).isoformat())
    assert "expired" == refused(ControlLog(), message, stamp(5))
    assert "expired" == refused(ControlLog(), message, stamp(10**7))
    assert ControlLog().take(0, stamp(4.9), json.dumps(message).encode()).refusal is None
    unstamped = ControlLog().take(0, None, json.dumps(message).encode())
    assert unstamped.refusal is not None


def test_messages_of_the_old_form_are_counted() -> None:
    """`version` had to rise with each message; it still must, and is not the version in force."""
    log = fold(threshold(), threshold(0.4, version=7), threshold(0.5))
    assert "stale" == refused(log, threshold(0.6, version=8))
    assert 5 == fold(threshold(0.6, version=9), log=log).version


def test_costs_that_give_no_threshold_are_refused() -> None:
    """A review dearer than the mistake that it prevents."""
    message = {"type": "set_costs", "policy": "*", "accounting": "review-charged", "review": 3, "mistake": 2}
    assert "invalid" == refused(ControlLog(), message)


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"type": "set_threshold", "policy": "*"}, "threshold"),
        ({"type": "set_threshold", "policy": "*", "threshold": 1.01}, "threshold"),
        ({"type": "set_threshold", "policy": "*", "threshold": -0.1}, "threshold"),
        ({"type": "set_threshold", "policy": "*", "threshold": "0.5"}, "threshold"),
        ({"type": "set_threshold", "policy": "", "threshold": 0.5}, "policy"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "version": 0}, "version"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "version": 10**23}, "version"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "expires_at": "2026-01-31T09:00:00"}, "expires_at"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "reason": "x" * 1001}, "reason"),
        ({"type": "set_costs", "policy": "*", "accounting": "other", "review": 1, "mistake": 2}, "accounting"),
        ({"type": "set_costs", "policy": "*", "accounting": "review-charged", "review": 0, "mistake": 2}, "review"),
        ({"type": "set_model", "sha256": "../../etc/passwd"}, "sha256"),
        ({"type": "set_everything"}, "type"),
        ({"threshold": 0.5}, "type"),
        ({"type": "set_threshold", "threshold": 0.5}, "policy"),
        ({"type": "stop_automation"}, "policy"),
        ({"type": "resume_automation"}, "policy"),
        ({"type": "rollback", "to_version": -1}, "to_version"),
        ({"type": "set_costs", "accounting": "false-discovery", "review": 1, "mistake": 2}, "policy"),
        ({"type": "set_audit_rate", "rate": 0.5}, "policy"),
        ({"type": "set_threshold", "threshold": 0.5, "polcy": "hate"}, "polcy"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "verson": 3}, "verson"),
        ({"type": "set_model", "policy": "*", "sha256": "a" * 64}, "policy"),
    ],
)
def test_a_bad_message_is_refused_and_says_which_field(message: dict[str, Any], named: str) -> None:
    """The error names the field, so that the issuer can mend it."""
    with pytest.raises(ControlError, match=named):
        parse_control(json.dumps(message).encode())


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_is_raised(value: bytes) -> None:
    """Whatever the bytes, the outcome is a message or a ControlError."""
    with suppress(ControlError):
        parse_control(value)


def test_the_hash_tells_contents_apart_by_every_field() -> None:
    """A field that it left out could differ between workers and nobody would see it. When something was set is no content."""
    changed = {
        "model": MODEL,
        "thresholds": Scoped({EVERYTHING: Threshold(0.3, "set")}),
        "audit_rates": Scoped({EVERYTHING: AuditRate(0.1)}),
        "stops": Map({EVERYTHING: 1}),
        "shadow": Shadow(MODEL, keep_thresholds=False, changes=()),
    }
    assert changed.keys() == set(Content.__struct_fields__) - {"model_since"}
    others = [replace(NOTHING_SAID, **{name: value}).hash for name, value in changed.items()]
    assert 1 + len(changed) == len({NOTHING_SAID.hash, *others})
    assert NOTHING_SAID.hash == replace(NOTHING_SAID, model_since=7).hash


def test_the_hash_of_what_knows_policies_alone_stays() -> None:
    """As it was before there were scopes: a fleet does not look split while it is upgraded."""
    assert "3cab83c3367d1a7d" == NOTHING_SAID.hash
    stop = {"type": "stop_automation", "policy": "spam"}
    rate = {"type": "set_audit_rate", "policy": "hate", "rate": 0.1}
    assert "fcb1f979bc28fa2e" == fold(threshold(), threshold(0.2, "*"), threshold(0.4), rate, stop).content.hash


@pytest.mark.parametrize(
    "narrow", [{"tenant": "acme"}, {"tenant": "other"}, {"outcome": "allow"}, {"tenant": "acme", "outcome": "remove"}]
)
def test_the_hash_tells_scopes_apart(narrow: dict[str, str]) -> None:
    """Each of the three kinds of settings by each dimension."""
    rate = {"type": "set_audit_rate", "policy": "hate", "rate": 0.1}
    messages = [threshold(), rate, {**rate, "floor": 0.1}, {"type": "stop_automation", "policy": "hate"}]
    narrowed = [{**message, **narrow} for message in messages]
    others = [fold(message).content.hash for message in (*messages, *narrowed, {**threshold(), "outcome": "remove"})]
    assert len(others) == len(set(others))


def folding(policies: int, *, rollbacks: bool, tenants: bool) -> float:
    """Seconds that a log of 10,000 messages about so many policies, or tenants of one, takes; the best of three."""
    names = [str(number % policies) for number in range(10_000)]
    scopes = [Scope("hate", name) if tenants else Scope(name) for name in names]
    messages = [encode_control(SetThreshold(policy=of.policy, tenant=of.tenant, threshold=0.3)) for of in scopes]
    if rollbacks:
        messages[1::2] = [json.dumps({"type": "rollback", "to_version": number}).encode() for number in range(5_000)]
    taken = []
    for _ in range(3):
        log, started = ControlLog(), time.process_time()
        for offset, value in enumerate(messages):
            log.take(offset, 0, value)
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize(("rollbacks", "tenants"), [(False, False), (True, False), (False, True)])
def test_what_a_message_costs_does_not_grow_with_the_policies(rollbacks: bool, tenants: bool) -> None:
    """A message that copied them all made the replay of a long log take eleven seconds: here a hundred times as many."""
    many = folding(2_000, rollbacks=rollbacks, tenants=tenants)
    assert many < 8 * folding(20, rollbacks=rollbacks, tenants=tenants)

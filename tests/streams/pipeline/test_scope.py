"""Scopes: whom a control is about, which of several counts, and what one that is set anew takes away."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.pipeline.control_content import AuditRate
from streams.pipeline.controls import Controls
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import EVERY, EVERYTHING, OUTCOMES, UNREADABLE, Scope, Scoped, by_specificity
from tests.streams.pipeline.test_controls import Model

ORDER = [
    ("p", "t", "allow"),
    ("p", "t", "*"),
    ("p", "*", "allow"),
    ("p", "*", "*"),
    ("*", "t", "allow"),
    ("*", "t", "*"),
    ("*", "*", "allow"),
    ("*", "*", "*"),
]
SCOPES = st.builds(Scope, st.sampled_from("*pq"), st.sampled_from("*tu"), st.sampled_from(["*", *OUTCOMES]))


def lies_in(decision: tuple[str, str, str], scope: Scope) -> bool:
    return all(named in (EVERY, has) for named, has in zip(scope, decision, strict=True))


def test_the_policy_weighs_more_than_the_tenant_and_the_tenant_more_than_the_outcome() -> None:
    """The order of specificity, in full."""
    assert ORDER == by_specificity("p", "t", "allow")


@given(
    thresholds=st.dictionaries(SCOPES, st.floats(0, 1)),
    rates=st.dictionaries(SCOPES, st.builds(AuditRate, st.floats(0, 1), floor=st.floats(0, 0.3))),
    stopped=st.frozensets(SCOPES, max_size=2),
    policy=st.sampled_from("*pqx"),
    tenant=st.sampled_from("*tux"),
    outcome=st.sampled_from([0, 1]),
)
def test_a_ruling_is_that_of_the_most_specific_scopes(
    thresholds: Mapping[Scope, float],
    rates: Mapping[Scope, AuditRate],
    stopped: frozenset[Scope],
    policy: str,
    tenant: str,
    outcome: int,
) -> None:
    """Against a resolver that tries all eight; asked twice, it says the same."""
    model: Any = Model(policies=frozenset("p"))
    decision = policy, tenant, OUTCOMES[outcome]
    keys = [
        Scope(*(has if named != EVERY else EVERY for named, has in zip(one, decision, strict=True))) for one in ORDER
    ]
    allowed = [key for key in keys if policy == "p" or key.policy != EVERY]
    expected = (
        next((thresholds[key] for key in allowed if key in thresholds), None),
        max(
            next((rates[key].rate for key in keys if key in rates), 0.0),
            max((one.floor for scope, one in rates.items() if lies_in(decision, scope)), default=0.0),
        ),
        Reason.AUTOMATION_STOPPED if any(lies_in(decision, scope) for scope in stopped) else None,
    )
    controls = Controls(model, thresholds, rates, stopped=stopped)
    assert expected == controls.ruling(policy, tenant, outcome) == controls.ruling(policy, tenant, outcome)


@given(st.dictionaries(SCOPES, st.integers()), SCOPES, st.integers())
def test_what_is_set_replaces_all_that_was_set_inside(settings: dict[Scope, int], scope: Scope, value: int) -> None:
    """And nothing else, however the settings are held."""
    left = {
        one: had for one, had in settings.items() if not all(a in (EVERY, b) for a, b in zip(scope, one, strict=True))
    }
    before = Scoped(settings)
    placed = before.placed(scope, {scope: value})
    assert {**left, scope: value} == placed
    assert settings == before
    assert (len(left) + 1, left.keys() | {scope}) == (len(placed), set(placed))
    assert not before.placed(EVERYTHING, {})


@given(SCOPES, SCOPES)
def test_a_scope_covers_what_lies_inside(one: Scope, other: Scope) -> None:
    """Every decision that lies in the narrower lies in the wider."""
    decisions = [(p, t, o) for p in "pqx" for t in "tux" for o in OUTCOMES]
    every = all(lies_in(decision, one) for decision in decisions if lies_in(decision, other))
    assert one.covers(other) == every


@given(SCOPES, SCOPES)
def test_of_two_that_overlap_one_counts_before_the_other(one: Scope, other: Scope) -> None:
    """The one that comes first among the eight of any decision that lies in both; of what lies inside nothing needs be said."""
    shared = [
        by_specificity(*decision)
        for decision in ((p, t, o) for p in "pqx" for t in "tux" for o in OUTCOMES)
        if lies_in(decision, one) and lies_in(decision, other)
    ]
    first = bool(shared) and all(keys.index(one) < keys.index(other) for keys in shared)
    assert one.counts_before(other) == (first and not other.covers(one))


@pytest.mark.parametrize(
    ("scope", "short", "words"),
    [
        (EVERYTHING, "*", "every policy"),
        (Scope("hate"), "hate", "policy hate"),
        (Scope(tenant="acme"), "*, tenant acme", "every policy, tenant acme"),
        (
            Scope("hate", "acme", "remove"),
            "hate, tenant acme, outcome remove",
            "policy hate, tenant acme, outcome remove",
        ),
    ],
)
def test_a_scope_reads_well(scope: Scope, short: str, words: str) -> None:
    """In a table and in a sentence."""
    assert (short, words) == (str(scope), scope.words)


@pytest.mark.parametrize("named", [{"thresholds": {Scope(tenant="t"): 0.1}}, {"stopped": frozenset({Scope("q", "t")})}])
def test_a_tenant_that_cannot_be_read_may_be_any(named: dict[str, Any]) -> None:
    """So nothing of it is automated once tenants are told apart; until then it does not matter."""
    model: Any = Model(policies=frozenset("p"))
    given = {"thresholds": {EVERYTHING: 0.4}}
    assert (0.4, 0.0, None) == Controls(model, **given).ruling("p", UNREADABLE, 0)
    apart = Controls(model, **{**given, **named})
    assert Reason.TENANT_UNREADABLE == apart.ruling("p", UNREADABLE, 0).closed
    assert (0.4 if "stopped" in named else None, None) == (
        apart.ruling("p", EVERY, 0).threshold,
        apart.ruling("p", EVERY, 0).closed,
    )


def test_rulings_are_remembered_by_the_tenants_that_are_named() -> None:
    """A tenant in a request takes no memory of its own, and policies not without bound."""
    controls = Controls(None, {Scope(tenant="t"): 0.1})
    for number in range(20_001):
        controls.ruling("p", f"tenant-{number}", 0)
    assert 1 == len(controls._rulings)
    for number in range(20_001):
        controls.ruling(f"policy-{number}", "t", 0)
    assert 10_000 >= len(controls._rulings)

"""Under what a decision was made: its bound, and what the chance of its audit weighs."""

import math
from collections import Counter

import numpy as np
import pytest

from streams.pipeline.control_content import AuditRate, Bound, Content, Threshold
from streams.pipeline.quality.books import Books, Made
from streams.pipeline.quality.drift import Drift
from streams.pipeline.quality.judging import judge
from streams.pipeline.quality.ruling import Ruled, Ruling, Rulings, bounds_in_force, lowest_rate, ruling_bound
from streams.pipeline.quality.sequence import Audits, Kind, coded, evidence_above
from streams.pipeline.scope import EVERYTHING, Scope, Scoped
from tests.streams.pipeline.quality.test_books import MODEL, decision, said

BOUND = Ruled(EVERYTHING, 3)
PLAIN = Content()


def audited(rates: dict[Scope, AuditRate], since: int = 0) -> Content:
    bound = Threshold(0.3, "bound", MODEL, since=3, bound=Bound(0.1, 0.9))
    narrow = Threshold(0.2, "set", MODEL, since=4)
    thresholds = Scoped({EVERYTHING: bound, Scope("spam"): narrow}) if since >= 3 else PLAIN.thresholds
    return Content(thresholds=thresholds, audit_rates=Scoped({EVERYTHING: AuditRate(0.0), **rates}))


@pytest.mark.parametrize(
    ("policy", "version", "expected"), [("hate", 3, BOUND), ("hate", 9, BOUND), ("hate", 2, None), ("spam", 9, None)]
)
def test_a_bound_rules_what_was_decided_under_it(policy: str, version: int, expected: Ruled | None) -> None:
    """Nothing from before it, nor what has a threshold of its own."""
    assert expected == ruling_bound(audited({}, since=3), Scope(policy, "acme", "allow"), version)


@pytest.mark.parametrize(
    ("rates", "scope", "expected"),
    [
        ({}, EVERYTHING, 0.0),
        ({EVERYTHING: AuditRate(0.1)}, Scope("hate"), 0.1),
        ({EVERYTHING: AuditRate(0.1), Scope("hate"): AuditRate(0.01)}, EVERYTHING, 0.01),
        ({EVERYTHING: AuditRate(0.1), Scope("hate"): AuditRate(0.01)}, Scope("spam"), 0.1),
        ({EVERYTHING: AuditRate(0.01), Scope("hate"): AuditRate(0.1)}, Scope("hate"), 0.1),
        ({EVERYTHING: AuditRate(0.1), Scope("hate"): AuditRate(0.0)}, EVERYTHING, 0.1),
        ({EVERYTHING: AuditRate(0.1, floor=0.05), Scope("hate"): AuditRate(0.01)}, Scope("hate"), 0.05),
        ({EVERYTHING: AuditRate(0.1, floor=0.05)}, Scope("hate"), 0.1),
        ({EVERYTHING: AuditRate(0.1), Scope("hate", "acme"): AuditRate(0.02)}, Scope("hate"), 0.02),
        ({Scope("*", "acme"): AuditRate(0.1, floor=0.05), Scope("hate"): AuditRate(0.0)}, Scope("hate"), 0.05),
    ],
)
def test_the_lowest_rate_is_that_below_which_no_audit_lies(
    rates: dict[Scope, AuditRate], scope: Scope, expected: float
) -> None:
    """Of the policy, and of what is set inside of it; what is not audited at all is none."""
    assert expected == lowest_rate(audited(rates), scope)


def test_what_was_in_force_at_a_version_is_what_counts() -> None:
    """Whenever the decision is read: a rate that was lowered since weighs nothing down. Before all that is known, the first of it."""
    contents = [audited({EVERYTHING: AuditRate(rate)}, version) for version, rate in ((2, 0.2), (5, 0.1), (9, 0.01))]
    rulings = Rulings(list(zip((2, 5, 9), contents, strict=True)))
    assert [0.2, 0.2, 0.2, 0.1, 0.1, 0.01] == [
        rulings.of("hate", None, version).lowest for version in (0, 2, 4, 5, 8, 9)
    ]
    assert Ruling(0.1, 0.1, BOUND, 0.1) == rulings.of("hate", Scope("hate"), 7)
    assert Ruling(0.1, 0.1, None, 0.0) == rulings.of("spam", Scope("spam"), 7)
    assert 9 == rulings.version


def test_audits_weigh_against_all_that_they_are_taken_together_with() -> None:
    """In its policy one weighs whole; against a bound of all, what is audited ten times as often weighs a tenth."""
    content = audited({EVERYTHING: AuditRate(0.01), Scope("hate"): AuditRate(0.1)}, since=3)
    rulings, books = Rulings([(3, content)]), Books()
    scope = Scope("hate", "*", "remove")
    books.decided([Made(decision("1", 0.1, "audit", 0.1), 0, rulings.of("hate", scope, 3))])
    books.said([(said("1", 0), 0)])
    (own,), ((_, bound),) = books.blocks.values(), books.ruled.values()
    kinds = [[(cell.first, cell.second) for cell in of.total() if cell.what == "wrong"] for of in (own, bound)]
    assert [[(coded(0.1), coded(1.0))], [(coded(0.1), coded(0.1))]] == kinds


def share_of_alarms(weigh_by_policy: bool, draws: int = 200) -> float:
    """A bound of all policies, at the very error rate; a tenth of the decisions is audited ten times as often and has most errors."""
    rng, raised, bound = np.random.default_rng(1), 0, 0.9 * 0.05 + 0.1 * 0.55
    for _ in range(draws):
        blocks: list[tuple[int, Audits]] = []
        for period in range(40):
            counts = Counter[tuple[Kind, bool]]()
            for share, rate, error in ((0.9, 0.02, 0.05), (0.1, 0.2, 0.55)):
                seen = int(rng.binomial(int(1000 * share), rate))
                wrong = int(rng.binomial(seen, error))
                kind = Kind(coded(rate), coded(1.0 if weigh_by_policy else 0.02 / rate))
                counts[kind, True] += wrong
                counts[kind, False] += seen - wrong
            kinds = {kind for kind, _ in counts}
            blocks.append((period, Audits.of({kind: (counts[kind, False], counts[kind, True]) for kind in kinds})))
            if evidence_above(blocks, bound) >= math.log(10):
                raised += 1
                break
    return raised / draws


def test_a_bound_over_policies_that_are_audited_unequally_is_seldom_broken_falsely() -> None:
    """At most as often as it says, where audits that weigh alike break it nearly always."""
    assert share_of_alarms(weigh_by_policy=False) <= 0.1
    assert share_of_alarms(weigh_by_policy=True) > 0.9


def test_bounds_in_force_are_those_of_now() -> None:
    """By scope and by the version that set them."""
    assert {BOUND: Bound(0.1, 0.9)} == bounds_in_force(audited({}, since=3))
    assert [] == judge(Books(), Drift(), bounds_in_force(audited({}, since=3)), MODEL).breaches

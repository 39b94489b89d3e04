"""Audits go where they tell most, and nowhere none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.sampled_error import interval
from streams.pipeline.audit_plan import FLOOR, Part, plan_audits

PARTS = st.lists(
    st.builds(
        lambda verdicts, judged, share: Part("p", verdicts, judged, round(share * judged)),
        st.integers(0, 10**6),
        st.integers(0, 500),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=6,
)


@given(PARTS, st.floats(1, 1e6), st.floats(0, 1))
def test_a_plan_keeps_to_the_budget_and_the_floor(parts: list[Part], budget: float, floor: float) -> None:
    """Rates are chances, come to no more audits than asked, to no fewer where there are as many verdicts, and are no worse than equal ones."""
    plan = plan_audits(parts, budget, floor)
    verdicts = np.array([part.verdicts for part in parts])
    audits, rates = float(verdicts @ plan.rates), np.array(plan.rates)
    assert (rates >= 0).all()
    assert (rates <= 1).all()
    assert audits == pytest.approx(min(budget, verdicts.sum()), rel=1e-6, abs=1e-9)
    if verdicts.sum():
        assert (rates >= floor * min(1.0, budget / verdicts.sum()) * (1 - 1e-9)).all()
    assert plan.error <= plan.error_of_equal_rates * (1 + 1e-6) + 1e-6


def test_rates_go_with_the_spread_of_errors() -> None:
    """Neyman's: a part that is wrong in half of its verdicts gets five times the rate of one that is wrong in one of a hundred."""
    parts = [Part("bad", 1000, 100_000, 50_000), Part("good", 1000, 100_000, 1_000)]
    bad, good = plan_audits(parts, 100, floor=0).rates
    assert pytest.approx((0.5 * 0.5) ** 0.5 / (0.01 * 0.99) ** 0.5, rel=0.01) == bad / good
    assert (good, bad) == pytest.approx(plan_audits(parts[::-1], 100, floor=0).rates)


def test_what_few_audits_say_is_not_believed_alone() -> None:
    """Three right answers are no reason to look away."""
    few, many = (plan_audits([Part("a", 1000, 200, 40), Part("b", 1000, n, 0)], 100, floor=0) for n in (3, 300))
    assert few.rates[1] > 2 * many.rates[1]
    assert few.rates[1] > few.rates[0] / 2


def test_a_part_that_looks_flawless_is_still_looked_at() -> None:
    """At half of the equal rate at least, unless said otherwise."""
    plan = plan_audits([Part("bad", 1000, 1000, 500), Part("good", 9000, 9000, 0)], 500)
    assert plan.rates[1] == pytest.approx(FLOOR * 0.05)


@pytest.mark.parametrize(("budget", "floor"), [(0, 0.5), (float("nan"), 0.5), (10, 1.5), (10, -0.1)])
def test_a_plan_for_nothing_is_refused(budget: float, floor: float) -> None:
    """It says what it may be."""
    with pytest.raises(ValueError, match="budget is positive"):
        plan_audits([Part("a", 10)], budget, floor)


def test_the_interval_of_the_error_is_narrower_than_with_one_rate_for_all() -> None:
    """The finite-sample one, which is what a bound is made of; over 200 draws with the same number of audits."""
    parts = [Part("bad", 2_000, 400, 140), Part("good", 18_000, 400, 2)]
    sizes, rates = np.array([2_000, 18_000]), np.array([0.35, 0.005])
    rng = np.random.default_rng(6)
    wrong = np.arange(20_000) < 0
    wrong[: int(2_000 * rates[0])] = wrong[2_000 : 2_000 + int(18_000 * rates[1])] = True
    widths = {}
    for name, chosen in (("planned", plan_audits(parts, 1_000).rates), ("equal", (0.05, 0.05))):
        chance = np.repeat(chosen, sizes)
        found = []
        for _ in range(200):
            seen = rng.random(20_000) < chance
            found.append(interval(wrong[seen], chance.min() / chance[seen]))
        widths[name] = np.mean([high - low for low, high in found])
    assert widths["planned"] < 0.9 * widths["equal"]

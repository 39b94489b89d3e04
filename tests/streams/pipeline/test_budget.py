"""The controller of a review budget, on simulated traffic: it holds the share, slowly, within its limits, and then keeps still."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.pipeline.budget import (
    ALWAYS,
    COUNT,
    EDGES,
    LONGEST,
    SPAN,
    STATES,
    STEP,
    BudgetState,
    Fate,
    Finding,
    Seen,
    Window,
    band,
    bin_of,
    control,
    seen,
)
from streams.pipeline.control_content import Budget
from streams.pipeline.control_limits import SetReviewBudget
from streams.pipeline.control_messages import SetAuditRate, SetThreshold, StopAutomation
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Case
from streams.pipeline.routing import Verdict, decide
from streams.pipeline.scope import EVERYTHING
from tests.rig import request
from tests.streams.pipeline.test_controls import honoured

Floats = NDArray[np.float64]
Scores = Callable[[np.random.Generator, int], Floats]
"""P(error) of so many decisions; NaN for those that always go to humans."""


class Traffic:
    """A stream of decisions under a threshold that the controller moves once a minute."""

    def __init__(
        self, budget: Budget, scores: Scores, *, a_minute: int = 1000, audits: float = 0.0, seed: int = 0
    ) -> None:
        self.budget, self.scores, self.a_minute, self.audits = budget, scores, a_minute, audits
        self.random = np.random.default_rng(seed)
        self.window = Window()
        self.minute = 0
        self.thresholds = [budget.lowest]
        self.findings: list[Finding] = []

    @property
    def threshold(self) -> float:
        return self.thresholds[-1]

    @property
    def moves(self) -> Floats:
        return np.diff(self.thresholds)

    def run(self, minutes: int) -> "Traffic":
        for _ in range(minutes):
            self.decide(self.scores(self.random, self.a_minute))
            self.minute += 1
            finding = control(self.budget, self.threshold, self.window.sample(self.minute))
            self.findings.append(finding)
            self.thresholds.append(self.threshold if finding.move_to is None else finding.move_to)
        return self

    def decide(self, scores: Floats) -> None:
        bins = np.where(np.isnan(scores), ALWAYS, np.searchsorted(EDGES, scores, side="right"))
        drawn = self.random.random(len(scores)) < self.audits
        fates = np.select([np.isnan(scores) | (scores >= self.threshold), drawn], [0, 1], 2)
        pairs, counts = np.unique(np.stack([bins, fates]), axis=1, return_counts=True)
        for (where, fate), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            self.window.add(self.minute, where, (Fate.HUMAN, Fate.AUDITED, Fate.AUTOMATED)[fate], count)

    def share(self, threshold: Any = None) -> Any:
        """The true share to humans of the traffic as it is now, at a threshold or each of several."""
        scores = np.sort(self.scores(np.random.default_rng(7), 100_000))  # those without one come last
        known = scores[: np.count_nonzero(~np.isnan(scores))]
        at = self.threshold if threshold is None else threshold
        escalated = 1 - np.searchsorted(known, at, side="left") / len(scores)
        return escalated + (1 - escalated) * self.audits


def beta(a: float, b: float, always: float = 0.0) -> Scores:
    def draw(random: np.random.Generator, count: int) -> Floats:
        return np.where(random.random(count) < always, np.nan, random.beta(a, b, count))

    return draw


def atoms(*values: float) -> Scores:
    return lambda random, count: random.choice(np.array(values), count)


PROBABILITIES = st.just(0.0) | st.floats(EDGES[1], 1)
"""Numbers nearer to zero than the first edge are zero to a budget, which counts scores between edges."""


@st.composite
def any_scores(draw: st.DrawFn) -> Scores:
    """A mixture of a smooth part, of a few scores that many decisions have, and of decisions without one."""
    a, b = draw(st.floats(0.1, 5)), draw(st.floats(0.1, 5))
    tied = draw(st.lists(PROBABILITIES, min_size=1, max_size=4))
    ties, always = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0])), draw(st.sampled_from([0.0, 0.05, 0.3]))

    def mixed(random: np.random.Generator, count: int) -> Floats:
        scores = np.where(random.random(count) < ties, random.choice(np.array(tied), count), random.beta(a, b, count))
        return np.where(random.random(count) < always, np.nan, scores)

    return mixed


BUDGETS = st.builds(
    lambda share, one, two: Budget(share, min(one, two), max(one, two)),
    st.floats(0.02, 0.9),
    PROBABILITIES,
    PROBABILITIES,
)


# What it says holds but for chance, which other draws in each run would meet one day; shrinking took minutes.
@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
@given(scores=any_scores(), budget=BUDGETS, audits=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 2**32 - 1))
def test_traffic_that_stays_as_it_is_settles_and_is_left_alone(
    scores: Scores, budget: Budget, audits: float, seed: int
) -> None:
    """Whatever its scores: within the band, or as close as the limits and ties let it; and then it keeps still."""
    traffic = Traffic(budget, scores, a_minute=400, audits=audits, seed=seed).run(90)
    assert all(budget.lowest <= one <= budget.highest for one in traffic.thresholds)
    settled = len(traffic.moves)
    traffic.run(60)
    off = traffic.share() - budget.share
    near = 2 * band(budget.share, 400 * SPAN)
    # Where hardly more than what is wanted goes to humans at any threshold, chance says when it is too much, and so when it begins to move.
    just_always_escalated = 0 < traffic.share(1.0) - budget.share <= near
    assert just_always_escalated or np.count_nonzero(traffic.moves[settled:]) <= 2
    match traffic.findings[-1].state:
        case BudgetState.HELD | BudgetState.MOVING if off < 0:
            higher_share = traffic.share(_next_below(traffic))
            nothing_sends_more = higher_share <= traffic.share()  # within the limits
            assert -off <= near or nothing_sends_more or higher_share > budget.share - near
        case BudgetState.HELD | BudgetState.MOVING:
            assert off <= near
        case BudgetState.AT_LOWEST:
            assert off < 0
        case BudgetState.AT_HIGHEST:
            assert traffic.share(budget.highest) > budget.share
        case BudgetState.ALWAYS_ESCALATED:
            over = traffic.share(1.0) - budget.share
            assert over > -near  # few are automated, and so few tell how many are drawn for audit
            # How many are drawn for audit shows only once some are automated; and chance can hide a hair.
            assert audits or over <= near or not traffic.moves.any()
        case BudgetState.GATHERING:
            raise AssertionError


def _next_below(traffic: Traffic) -> float:
    """The highest threshold below the one in force at which more would go to humans, within the limits."""
    lowest = traffic.budget.lowest
    lower = np.array([lowest, *(one for one in EDGES if lowest <= one < traffic.threshold)])
    return float(max(lower[traffic.share(lower) > traffic.share()], default=lowest))


def held(traffic: Traffic, wanted: float | None = None) -> bool:
    """Whether the true share is near what is wanted."""
    share = traffic.budget.share if wanted is None else wanted
    return abs(traffic.share() - share) <= 1.5 * band(share, traffic.a_minute * SPAN)


def test_a_share_is_held_from_either_side() -> None:
    """From where everything goes to humans, and from where nothing does; also where all scores are tiny."""
    for scores in (beta(2, 5), beta(1, 400), beta(0.3, 0.3, always=0.05)):
        for start in (0.0, 1.0):
            traffic = Traffic(Budget(0.2, 0.0, 1.0), scores)
            traffic.thresholds = [start]
            assert held(traffic.run(90)), (traffic.share(), traffic.threshold)


def test_once_it_is_held_it_keeps_still() -> None:
    """Chance moves the measured share all the time; that is no reason to move the threshold."""
    traffic = Traffic(Budget(0.2, 0.0, 1.0), beta(2, 5), a_minute=300).run(80)
    settled = len(traffic.moves)
    traffic.run(240)
    assert np.count_nonzero(traffic.moves[settled:]) <= 1
    assert {BudgetState.HELD, BudgetState.MOVING} >= {one.state for one in traffic.findings[80:]}


def test_it_moves_in_small_steps_in_one_direction() -> None:
    """One move turns a fiftieth of the traffic at most, and none comes back on the one before."""
    traffic = Traffic(Budget(0.2, 0.0, 1.0), beta(2, 5)).run(90)
    moves = traffic.moves[traffic.moves != 0]
    assert (moves > 0).all()
    shares = traffic.share(np.array(traffic.thresholds))
    assert np.abs(np.diff(shares)).max() <= STEP + 0.02  # and what chance makes of it


def test_a_drift_is_followed() -> None:
    """The LLM gets worse over an hour, and stays so."""
    traffic = Traffic(Budget(0.2, 0.0, 1.0), beta(2, 8)).run(80)
    for step in range(60):
        traffic.scores = beta(2, 8 - step / 12)
        traffic.run(1)
    assert held(traffic.run(40))


def test_a_burst_moves_it_little_and_for_a_while() -> None:
    """One minute of ten times the traffic, all of it bad: it leaves the window, and the threshold comes back."""
    traffic = Traffic(Budget(0.2, 0.05, 0.9), beta(2, 8)).run(80)
    before, usual = traffic.threshold, traffic.scores
    traffic.scores, traffic.a_minute = beta(8, 2), 10_000
    traffic.run(1)
    traffic.scores, traffic.a_minute = usual, 1000
    traffic.run(SPAN)
    assert abs(traffic.share() - traffic.share(before)) <= (SPAN + 2) * STEP
    assert held(traffic.run(60))


def test_a_limit_is_not_left_and_does_not_wind_up() -> None:
    """However long it stands at a limit: when the traffic is as before, the share is held again at once."""
    traffic = Traffic(Budget(0.2, 0.1, 0.4), beta(2, 8)).run(80)
    traffic.scores = beta(8, 2)
    traffic.run(500)
    assert (0.4, BudgetState.AT_HIGHEST) == (traffic.threshold, traffic.findings[-1].state)
    traffic.scores = beta(2, 8)
    assert held(traffic.run(60))
    traffic.scores = beta(1, 100)
    traffic.run(200)
    assert (0.1, BudgetState.AT_LOWEST) == (traffic.threshold, traffic.findings[-1].state)


def test_what_always_escalates_can_exceed_the_budget() -> None:
    """It says so, and automates no more than before in vain; once it is over, it goes on."""
    usual = beta(2, 8)
    traffic = Traffic(Budget(0.2, 0.0, 1.0), usual).run(80)
    before = traffic.threshold
    traffic.scores = beta(2, 8, always=0.5)
    traffic.run(60)
    assert BudgetState.ALWAYS_ESCALATED == traffic.findings[-1].state
    assert abs(traffic.share(before) - traffic.share()) <= 5 * STEP  # until the window was of it
    traffic.scores = usual
    assert held(traffic.run(60))


def test_audits_use_up_budget() -> None:
    """They go to humans like the rest; an audit rate above the budget cannot be met."""
    assert held(Traffic(Budget(0.2, 0.0, 1.0), beta(2, 5), audits=0.1).run(90))
    traffic = Traffic(Budget(0.2, 0.0, 1.0), beta(2, 5), audits=0.5).run(200)
    assert BudgetState.ALWAYS_ESCALATED == traffic.findings[-1].state


def test_a_score_that_many_have_is_not_split() -> None:
    """All of them go to humans or none: none where they are more than the budget has room for."""
    traffic = Traffic(Budget(0.2, 0.0, 1.0), atoms(0.3)).run(60)
    assert (0.0, BudgetState.HELD) == (traffic.share(), traffic.findings[-1].state)
    roomy = Traffic(Budget(0.6, 0.0, 1.0), atoms(0.3, 0.7))
    roomy.thresholds = [1.0]
    assert 0.3 < roomy.run(60).threshold <= 0.7
    assert 1 == np.count_nonzero(roomy.moves)


def test_a_little_traffic_moves_nothing() -> None:
    """Nor does much of it within a moment; days-old decisions do not count."""
    window = Window()
    budget = Budget(0.2, 0.0, 1.0)
    window.add(0, bin_of(0.9), Fate.HUMAN, 1_000_000)
    assert BudgetState.GATHERING == control(budget, 0.5, window.sample(SPAN - 1)).state
    assert BudgetState.MOVING == control(budget, 0.5, window.sample(SPAN)).state
    window.add(SPAN, bin_of(0.1), Fate.AUTOMATED, COUNT - 1)
    assert 1_000_000 + COUNT - 1 == window.sample(2 * SPAN).count
    assert COUNT - 1 == window.sample(LONGEST).count
    assert BudgetState.GATHERING == control(budget, 0.5, window.sample(LONGEST)).state
    assert 0 == window.sample(LONGEST + SPAN).count
    assert control(budget, 0.5, window.sample(LONGEST + SPAN)).measured is None


def test_a_silence_moves_nothing() -> None:
    """What was decided before it says nothing of what comes after; with the next decisions it goes on."""
    window, budget = Window(), Budget(0.2, 0.0, 1.0)
    for minute in range(SPAN + 1):
        window.add(minute, bin_of(0.9), Fate.HUMAN, COUNT)
    assert BudgetState.MOVING == control(budget, 0.5, window.sample(2 * SPAN)).state
    for later in (2 * SPAN + 1, 10 * SPAN, LONGEST):
        assert BudgetState.GATHERING == control(budget, 0.5, window.sample(later)).state
    window.add(10 * SPAN, bin_of(0.9), Fate.HUMAN)
    assert BudgetState.MOVING == control(budget, 0.5, window.sample(10 * SPAN)).state


def test_a_window_is_as_short_as_it_can_be() -> None:
    """What is newer does without the oldest minutes once there is enough of it."""
    window = Window()
    for minute in range(50):
        window.add(minute, bin_of(0.9 if minute < 30 else 0.1), Fate.HUMAN, COUNT // SPAN)
    sample = window.sample(50)
    assert (COUNT, SPAN) == (sample.count, sample.minutes)
    assert 0 == sample.scored[bin_of(0.9)]


@given(st.floats(0, 1), st.sampled_from(EDGES))
def test_a_bin_knows_on_which_side_of_a_threshold_it_is(probability: float, threshold: float) -> None:
    """The very comparison by which a worker decides."""
    assert (probability >= threshold) == (bin_of(probability) >= bin_of(threshold))


def test_what_a_finding_says() -> None:
    """What was measured is what was decided; the share is what the threshold in force makes of the same decisions."""
    window = Window()
    window.add(0, bin_of(0.9), Fate.HUMAN, 500)
    window.add(0, bin_of(0.3), Fate.HUMAN, 500)
    window.add(0, ALWAYS, Fate.HUMAN, 100)
    window.add(0, bin_of(0.1), Fate.AUTOMATED, 900)
    window.add(0, bin_of(0.1), Fate.AUDITED, 100)
    finding = control(Budget(0.1, 0.2, 1.0), 0.5, window.sample(SPAN))
    assert (2100, 1200 / 2100) == (finding.count, finding.measured)
    assert finding.share is not None
    assert abs(finding.share - (100 + 500 + 150) / 2100) < 1e-9
    assert set(BudgetState) == set(STATES)


SHARE = SetReviewBudget(policy="*", share=0.2, lowest=0.4, highest=0.5)


@pytest.mark.parametrize(
    ("outcome", "probability", "where", "fate"),
    [
        (0, 0.9, bin_of(0.9), Fate.HUMAN),
        (1, 0.1, bin_of(0.1), Fate.AUTOMATED),
        (1, None, ALWAYS, Fate.HUMAN),
        (2, None, ALWAYS, Fate.HUMAN),
        (None, None, ALWAYS, Fate.HUMAN),
    ],
)
def test_a_decision_counts_by_its_score_or_always(
    outcome: int | None, probability: float | None, where: int, fate: Fate
) -> None:
    """With an outcome and a score it depends on the threshold; without either it goes to a human whatever that is."""
    controls, model = honoured(SHARE), "0" * 64
    assert Seen(model, EVERYTHING, where, fate) == told(controls, outcome, probability)
    audited = honoured(SHARE, SetAuditRate(policy="*", rate=1.0))
    expected = Fate.AUDITED if fate is Fate.AUTOMATED else fate
    assert Seen(model, EVERYTHING, where, expected) == told(audited, outcome, probability)


def test_what_is_decided_under_a_stop_counts_for_nothing() -> None:
    """Nor what is decided while the controls are not honoured, or where no budget is."""
    assert told(honoured(SetThreshold(policy="*", threshold=0.4)), 0, 0.9) is None
    for stop in (StopAutomation(policy="*"), StopAutomation(policy="spam"), StopAutomation(policy="*", tenant="acme")):
        controls = honoured(SHARE, stop)
        assert told(controls, 0, 0.9) is None
        assert told(controls, None, None) is None
    assert told(replace(honoured(SHARE), problem="unread"), 0, 0.9) is None
    apart = SetReviewBudget(policy="hate", share=0.2, lowest=0.4, highest=0.5)
    assert told(honoured(apart, StopAutomation(policy="spam")), 0, 0.9) is not None


def told(controls: Controls, outcome: int | None, probability: float | None) -> Seen | None:
    case, verdict = Case("a", "hate", request(), None, None), Verdict()
    verdict.outcome, verdict.error_probability = outcome, probability
    return seen(case, verdict, decide(case, verdict, controls).reason, controls)

"""The controller of a review budget: what was decided lately, and whether to move a threshold for it. Pure.

Every scored answer tells where it would have gone under *any* threshold, so the window says at once what share each threshold would
have sent to humans. Nothing is integrated over time: nothing winds up at a limit, and no move waits for the effect of the one before.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.pipeline.control_content import Budget
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import Verdict
from streams.pipeline.scope import EVERY, OUTCOMES, Scope

EDGES: Final[tuple[float, ...]] = tuple(
    sorted({0.0, 1.0, *(round(1 / (1 + math.exp(-0.02 * step)), 5) for step in range(-460, 461))})
)
"""The thresholds that it sets, evenly in log-odds: as fine near 0, where the scores of a good LLM lie, as anywhere."""
ALWAYS: Final = -1
"""In place of a bin: it goes to a human whatever the threshold."""
SPAN: Final = 10
"""Minutes that a window spans at least: a burst is not the traffic."""
COUNT: Final = 2_000
"""Decisions that it holds at least."""
LONGEST: Final = 24 * 60
"""Minutes after which a decision says nothing of today's traffic."""
STEP: Final = 0.02
"""Share of the traffic that one move turns from one route to the other at most, unless a single score has more."""
_SIGMAS: Final = 4.0
_RELATIVE: Final = 0.05


class Fate(StrEnum):
    """What became of one decision."""

    AUTOMATED = "automated"
    AUDITED = "audited"
    HUMAN = "human"


class BudgetState(StrEnum):
    """How a budget stands."""

    GATHERING = "gathering"
    HELD = "held"
    MOVING = "moving"
    AT_LOWEST = "at_lowest"
    AT_HIGHEST = "at_highest"
    ALWAYS_ESCALATED = "always_escalated"
    STOPPED = "stopped"
    NO_KEY = "no_key"
    UNWRITTEN = "unwritten"


STATES: Final[dict[BudgetState, str]] = {
    BudgetState.GATHERING: f"Too little has been decided lately to judge by: that takes {SPAN} minutes and {COUNT:,} decisions in one worker.",
    BudgetState.HELD: "The share is within its band of what is wanted.",
    BudgetState.MOVING: "The share is outside of its band, and the threshold moves.",
    BudgetState.AT_LOWEST: "Fewer go to humans than the budget has room for, and the limit `lowest` is reached.",
    BudgetState.AT_HIGHEST: "Cannot be met: more go to humans than the budget has room for, and the limit `highest` is reached.",
    BudgetState.ALWAYS_ESCALATED: "Cannot be met: what goes to humans whatever the threshold exceeds the budget. The threshold stays.",
    BudgetState.STOPPED: "Automation is stopped in all or part of its scope: what is decided now says nothing, and the threshold stays.",
    BudgetState.NO_KEY: "The threshold should move, but only signed messages count and this worker has no key (`control_sign_with`).",
    BudgetState.UNWRITTEN: "The threshold should move, but the message could not be written: the worker's log says why.",
}
UNMET: Final = frozenset(
    {BudgetState.AT_HIGHEST, BudgetState.ALWAYS_ESCALATED, BudgetState.NO_KEY, BudgetState.UNWRITTEN}
)
"""Those in which somebody has to do something."""


class Seen(NamedTuple):
    """A decision, as far as a budget is concerned: by which model it was scored, whose budget it used up, its bin, and its fate."""

    model: str
    scope: Scope
    where: int
    fate: Fate


_SCORED: Final = {
    Reason.BELOW_THRESHOLD: Fate.AUTOMATED,
    Reason.AUDIT: Fate.AUDITED,
    Reason.ABOVE_THRESHOLD: Fate.HUMAN,
}


def seen(case: Case, verdict: Verdict, reason: Reason, controls: Controls) -> Seen | None:
    """What a decision means for a budget; None where it means nothing: no budget, or everything goes to humans for now."""
    if not controls.budgets or controls.model is None:
        return None
    outcome = OUTCOMES[verdict.outcome] if verdict.outcome in (0, 1) else EVERY
    scope = controls.budget_of(case.policy, case.tenant, outcome)
    if scope is None or controls.holds_back(scope):
        return None
    probability = verdict.error_probability if reason in _SCORED else None
    where = ALWAYS if probability is None else bin_of(probability)
    return Seen(controls.model.sha256, scope, where, _SCORED.get(reason, Fate.HUMAN))


@dataclass(frozen=True, slots=True)
class Sample:
    """Decisions of a window: how many there are, reached humans, and would always; `scored` [bins] those whose score decides.

    `audit_rate` is the share of what lay below its threshold that went to humans all the same; `minutes` what the window spans, of which
    nothing was decided in the last `quiet` ones.
    """

    count: int
    humans: int
    always: int
    scored: NDArray[np.int64]
    audit_rate: float
    minutes: int
    quiet: int

    @property
    def is_enough(self) -> bool:
        """Whether it can be judged by; after a silence, what came before it says nothing."""
        return self.count >= COUNT and self.minutes >= SPAN >= self.quiet

    def shares(self) -> NDArray[np.float64]:
        """The share [bins] that would go to humans with the threshold at the lower end of each bin; the first bin has none: all."""
        above = np.cumsum(self.scored[::-1])[::-1]
        drawn = (above[0] - above) * self.audit_rate
        shares: NDArray[np.float64] = (self.always + above + drawn) / self.count
        return shares


@dataclass(frozen=True, slots=True)
class Finding:
    """How a budget stands: its state, the share that the threshold in force would have sent to humans, of how many decisions.

    `measured` is the share that did go there; `move_to` the threshold to set, None where it stays.
    """

    state: BudgetState
    wanted: float
    measured: float | None
    share: float | None
    count: int
    move_to: float | None = None


def bin_of(probability: float) -> int:
    """The bin of a P(error): it is at or above the threshold `EDGES[k]` if and only if its bin is above k."""
    return bisect_right(EDGES, probability)


class Window:
    """The decisions of the last minutes: as few as hold `COUNT` of them and span `SPAN` minutes, none older than a day."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, Counter[tuple[int, Fate]]]] = deque()

    def add(self, minute: int, where: int, fate: Fate, count: int = 1) -> None:
        """Count decisions, of a bin or `ALWAYS`. Minutes do not fall."""
        if not self._minutes or minute > self._minutes[-1][0]:
            self._minutes.append((minute, Counter()))
        self._minutes[-1][1][where, fate] += count

    def sample(self, minute: int) -> Sample:
        """What it holds; the minute that is still running counts with what it has."""
        self._forget(minute)
        every: Counter[tuple[int, Fate]] = Counter()
        for _, counts in self._minutes:
            every.update(counts)
        scored = np.zeros(len(EDGES) + 1, dtype=np.int64)
        fates: Counter[Fate] = Counter()
        for (where, fate), count in every.items():
            fates[fate] += count
            if where != ALWAYS:
                scored[where] += count
        below, total = fates[Fate.AUTOMATED] + fates[Fate.AUDITED], fates.total()
        return Sample(
            total,
            total - fates[Fate.AUTOMATED],
            total - int(scored.sum()),
            scored,
            fates[Fate.AUDITED] / below if below else 0.0,
            minute - self._minutes[0][0] if self._minutes else 0,
            minute - self._minutes[-1][0] if self._minutes else 0,
        )

    def _forget(self, minute: int) -> None:
        """Let go of the minutes that the rest does without."""
        total = sum(counts.total() for _, counts in self._minutes)
        while self._minutes:
            oldest = self._minutes[0]
            total -= oldest[1].total()
            following = self._minutes[1][0] if len(self._minutes) > 1 else minute
            spare = total >= COUNT and minute - following >= SPAN
            if not spare and oldest[0] > minute - LONGEST:
                return
            self._minutes.popleft()


def band(wanted: float, count: int) -> float:
    """How far the share of so many decisions may lie from what is wanted: what chance makes of it, and at least a twentieth of it."""
    return max(_RELATIVE * wanted, _SIGMAS * math.sqrt(wanted * (1 - wanted) / count))


def control(budget: Budget, threshold: float, sample: Sample) -> Finding:
    """Judge a budget by a window, with the threshold in force."""
    measured = sample.humans / sample.count if sample.count else None
    if not sample.is_enough:
        return Finding(BudgetState.GATHERING, budget.share, measured, None, sample.count)
    curve = _Curve(budget, sample)
    now, tolerance = curve.share(threshold), band(budget.share, sample.count)

    def found(state: BudgetState, move_to: float | None = None) -> Finding:
        return Finding(state, budget.share, measured, now, sample.count, move_to)

    if curve.share(1.0) > budget.share + tolerance:
        return found(BudgetState.ALWAYS_ESCALATED)
    if abs(now - budget.share) <= tolerance:
        return found(BudgetState.HELD)
    move_to = curve.step_from(threshold, now)
    if move_to is not None:
        return found(BudgetState.MOVING, move_to)
    if now > budget.share:
        return found(BudgetState.AT_HIGHEST)
    return found(BudgetState.AT_LOWEST if threshold <= budget.lowest else BudgetState.HELD)


class _Curve:
    """The share to humans over the thresholds within a budget's limits."""

    def __init__(self, budget: Budget, sample: Sample) -> None:
        self._wanted = budget.share
        self._shares = sample.shares()
        between = EDGES[bisect_right(EDGES, budget.lowest) : bisect_left(EDGES, budget.highest)]
        self._options = [(one, self.share(one)) for one in (budget.lowest, *between, budget.highest)]

    def share(self, threshold: float) -> float:
        """At a threshold; one between two edges counts as the lower of them."""
        return float(self._shares[bin_of(threshold)])

    def step_from(self, threshold: float, now: float) -> float | None:
        """The next threshold on the way to what is wanted; None where none within the limits comes closer.

        Where many decisions have one score, what is wanted is a ceiling.
        """
        if now > self._wanted:
            goal = max(self._wanted, now - STEP)
            higher = [(one, share) for one, share in self._options if one > threshold and share < now]
            return next((one for one, share in higher if share <= goal), higher[-1][0] if higher else None)
        lower = [(one, share) for one, share in self._options if one < threshold and now < share <= self._wanted]
        return next((one for one, share in lower if share <= now + STEP), lower[-1][0] if lower else None)

"""What other controls would have made of answers that have been: the same verdicts and the same routing, over recorded vectors. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers import Vectors
from scoring import Accounting
from scoring.sampled_error import Measured, measure
from streams.pipeline.controls import Controls, is_calibrated
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.records import REQUESTS, Record
from streams.pipeline.routing import AUTO_ACTION, decide
from streams.pipeline.scope import EVERY, EVERYTHING, OUTCOMES, Scope
from streams.pipeline.verdicts import read_verdicts

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
_NO_RECORD = Record(REQUESTS, 0, 0, 0, None, None, None)


@dataclass(frozen=True)
class Answers:
    """n recorded answers: `values` float32 [n, d], `outcomes` [n] (-1: none found).

    `chance` [n] is that with which each came to a human when it was decided: 1 where it was escalated, the audit rate else; NaN: unknown.
    `judged` [n] are those that came to one so and are decided by now, `wrong` [n] those of them where the LLM was found wrong.
    """

    request_ids: Sequence[str]
    policies: Sequence[str]
    tenants: Sequence[str]
    values: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    chance: Floats
    judged: Bools
    wrong: Bools
    languages: Sequence[str | None] | None = None


@dataclass(frozen=True)
class Costs:
    """Of one review and of one mistake of either kind, in any one currency, and which reviews are charged."""

    review: float
    missed_violation: float
    wrong_removal: float
    accounting: Accounting

    def stated(self) -> dict[str, Any]:
        """By name; one `mistake` where both kinds cost the same."""
        by_outcome = {"missed_violation": self.missed_violation, "wrong_removal": self.wrong_removal}
        mistakes = {"mistake": self.wrong_removal} if self.missed_violation == self.wrong_removal else by_outcome
        return {"review": self.review, **mistakes, "accounting": self.accounting}


@dataclass(frozen=True)
class Outcome:
    """For n answers under some controls: which would be automated, and P(error), NaN where it is none or no probability.

    `unescalated` are those and the audits, which are a random part of what would be automated without them.
    """

    automated: Bools
    unescalated: Bools
    probability: Floats

    def costs(self, costs: Costs, outcomes: NDArray[np.int8]) -> Floats:
        """The expected cost of each answer [n], of the LLM's outcome [n], by the model's own word; NaN where it has none."""
        right = 1 - self.probability if costs.accounting == "false-discovery" else np.ones(len(self.probability))
        mistake = np.where(outcomes == 1, costs.wrong_removal, costs.missed_violation)
        cost = np.where(self.automated, self.probability * mistake, right * costs.review)
        return np.where(np.isnan(self.probability), np.nan, cost)


def simulate(answers: Answers, controls: Controls) -> Outcome:
    """Decide every answer as a worker under these controls would. Raises ModelError when the model fails on them."""
    count, model = len(answers.values), controls.model
    scores = None if model is None else model.score(answers.values, answers.policies, answers.languages)
    unknown: list[Any] = [None] * count
    vectors = Vectors(answers.values, answers.outcomes, unknown, unknown, unknown, [""] * count)
    verdicts = read_verdicts(vectors, scores, model)
    automated, audited = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    answered = zip(answers.request_ids, answers.policies, answers.tenants, verdicts, strict=True)
    for row, (request_id, policy, tenant, verdict) in enumerate(answered):
        case = Case(request_id, policy, _NO_RECORD, None, None, tenant=tenant)
        decision = decide(case, verdict, controls)
        automated[row], audited[row] = decision.route == AUTO_ACTION, decision.reason == Reason.AUDIT
    means_something = model is not None and is_calibrated(model)
    known = [one.error_probability if means_something else None for one in verdicts]
    return Outcome(
        automated, automated | audited, np.array([np.nan if one is None else one for one in known], dtype=np.float64)
    )


def compare(
    answers: Answers, now: Outcome, then: Outcome, costs: Costs, about: Scope = EVERYTHING
) -> Iterator[dict[str, Any]]:
    """What would change: over all answers, in the scope that it is about, by outcome where costs are, and by policy."""
    policies = [Scope(policy) for policy in sorted(set(answers.policies))]
    narrow = [] if about in policies else [about]
    if about.outcome == EVERY and costs.missed_violation != costs.wrong_removal:
        narrow += [about._replace(outcome=outcome) for outcome in OUTCOMES]
    for scope in dict.fromkeys([EVERYTHING, *narrow, *policies]):
        yield _row(scope, _within(scope, answers), answers, now, then, costs)


def _within(scope: Scope, answers: Answers) -> Bools:
    """Which answers lie in a scope."""
    within = np.ones(len(answers.policies), dtype=bool)
    for named, has in ((scope.policy, answers.policies), (scope.tenant, answers.tenants)):
        if named != EVERY:
            within &= np.array(has) == named
    return within if scope.outcome == EVERY else within & (answers.outcomes == OUTCOMES.index(scope.outcome))


def _row(scope: Scope, rows: Bools, answers: Answers, now: Outcome, then: Outcome, costs: Costs) -> dict[str, Any]:
    return {
        **scope._asdict(),
        "answers": int(rows.sum()),
        "to_humans": int((rows & now.automated & ~then.automated).sum()),
        "to_automation": int((rows & ~now.automated & then.automated).sum()),
        **{
            name: {
                "escalation_rate": float(1 - one.automated[rows].mean()) if rows.any() else 0.0,
                "automated": int(one.automated[rows].sum()),
                "expected_cost": _mean(one.costs(costs, answers.outcomes)[rows]),
                "expected_error": _mean(one.probability[rows & one.automated]),
                "measured_error": asdict(_measured(answers, rows & one.unescalated)),
            }
            for name, one in (("now", now), ("then", then))
        },
    }


def _measured(answers: Answers, rows: Bools) -> Measured:
    return measure(answers.chance[rows], answers.judged[rows], answers.wrong[rows])


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def over_thresholds(outcome: Outcome, thresholds: Sequence[float]) -> list[tuple[float, float | None]]:
    """At each threshold, had all policies it: the escalation rate, and the expected error among what is automated."""
    found = []
    for threshold in thresholds:
        automated = outcome.probability < threshold  # not where there is none: NaN is below nothing
        found.append((float(1 - automated.mean()), _mean(outcome.probability[automated])))
    return found

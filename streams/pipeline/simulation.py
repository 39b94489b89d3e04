"""What other controls would have made of answers that have been: the same verdicts and the same routing, over recorded vectors. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers import Vectors
from scoring import Accounting
from streams.pipeline.controls import Controls, is_calibrated
from streams.pipeline.matching import Case
from streams.pipeline.reasons import Reason
from streams.pipeline.records import REQUESTS, Record
from streams.pipeline.routing import AUTO_ACTION, decide
from streams.pipeline.sampled_error import Measured, measure
from streams.pipeline.stages import read_verdicts

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
    values: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    chance: Floats
    judged: Bools
    wrong: Bools


@dataclass(frozen=True)
class Costs:
    """Of one review and of one mistake, in any one currency, and which reviews are charged."""

    review: float
    mistake: float
    accounting: Accounting


@dataclass(frozen=True)
class Outcome:
    """For n answers under some controls: which would be automated, and P(error), NaN where it is none or no probability.

    `unescalated` are those and the audits, which are a random part of what would be automated without them.
    """

    automated: Bools
    unescalated: Bools
    probability: Floats

    def costs(self, costs: Costs) -> Floats:
        """The expected cost of each answer [n], by the model's own word; NaN where it has none."""
        right = 1 - self.probability if costs.accounting == "false-discovery" else np.ones(len(self.probability))
        cost = np.where(self.automated, self.probability * costs.mistake, right * costs.review)
        return np.where(np.isnan(self.probability), np.nan, cost)


def simulate(answers: Answers, controls: Controls) -> Outcome:
    """Decide every answer as a worker under these controls would. Raises ModelError when the model fails on them."""
    count, model = len(answers.values), controls.model
    scores = None if model is None else model.score(answers.values, answers.policies)
    unknown: list[Any] = [None] * count
    vectors = Vectors(answers.values, answers.outcomes, unknown, unknown, unknown, [""] * count)
    verdicts = read_verdicts(vectors, scores, model)
    automated, audited = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    for row, (request_id, policy, verdict) in enumerate(
        zip(answers.request_ids, answers.policies, verdicts, strict=True)
    ):
        route, reason, _ = decide(Case(request_id, policy, _NO_RECORD, None, None), verdict, controls)
        automated[row], audited[row] = route == AUTO_ACTION, reason == Reason.AUDIT
    means_something = model is not None and is_calibrated(model)
    known = [one.error_probability if means_something else None for one in verdicts]
    return Outcome(
        automated, automated | audited, np.array([np.nan if one is None else one for one in known], dtype=np.float64)
    )


def compare(answers: Answers, now: Outcome, then: Outcome, costs: Costs) -> Iterator[dict[str, Any]]:
    """What would change: over all answers (policy `*`) first, then by policy."""
    policies = np.array(answers.policies)
    yield _row("*", np.ones(len(policies), dtype=bool), answers, now, then, costs)
    for policy in sorted(set(answers.policies)):
        yield _row(policy, policies == policy, answers, now, then, costs)


def _row(policy: str, rows: Bools, answers: Answers, now: Outcome, then: Outcome, costs: Costs) -> dict[str, Any]:
    return {
        "policy": policy,
        "answers": int(rows.sum()),
        "to_humans": int((rows & now.automated & ~then.automated).sum()),
        "to_automation": int((rows & ~now.automated & then.automated).sum()),
        **{
            name: {
                "escalation_rate": float(1 - one.automated[rows].mean()),
                "automated": int(one.automated[rows].sum()),
                "expected_cost": _mean(one.costs(costs)[rows]),
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

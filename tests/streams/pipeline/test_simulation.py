"""What other controls would have made of recorded answers: the decisions, their expected cost, and what humans found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scoring import RECORDING, load_model
from scoring.data import load
from streams.pipeline.control_content import AuditRate
from streams.pipeline.controls import Controls
from streams.pipeline.scope import EVERYTHING, Scope
from streams.pipeline.simulation import Answers, Costs, Outcome, compare, over_thresholds, simulate

COSTS = Costs(1.0, 4.0, 4.0, "false-discovery")


def answers(count: int, **more: object) -> Answers:
    nobody = np.zeros(count, dtype=bool)
    policies = ["hate"] * count
    given = Answers(
        [str(n) for n in range(count)],
        policies,
        ["*"] * count,
        np.zeros((count, 1), np.float32),
        np.zeros(count, np.int8),
        np.zeros(count),
        nobody,
        nobody,
    )
    return replace(given, **more)  # type: ignore[arg-type]


def outcome(automated: list[bool], probability: list[float]) -> Outcome:
    return Outcome(np.array(automated), np.array(automated), np.array(probability))


def test_decisions_are_those_of_the_threshold(models: Path) -> None:
    """Automated is what has an outcome, every predictor that the model needs, a policy that it knows, and P(error) below the threshold."""
    data, model = load([RECORDING]), load_model(models)
    nobody = np.zeros(len(data), dtype=bool)
    ids = [origin.request_id for origin in data.origins]
    given = Answers(
        ids, data.policies, ["*"] * len(data), data.values, data.outcomes, np.zeros(len(data)), nobody, nobody
    )
    scores = model.score(data.values, data.policies)
    of_hate = np.array([policy == "hate" for policy in data.policies])
    below = scores.error_probability < np.where(of_hate, 0.6, 0.3)
    expected = below & data.decided & scores.supported
    found = simulate(given, Controls(model, {EVERYTHING: 0.3, Scope("hate"): 0.6}))
    assert expected.tolist() == found.automated.tolist()
    assert 0 < expected.sum() < len(data)
    scored = data.decided & scores.supported
    assert np.allclose(scores.error_probability[scored], found.probability[scored], atol=1e-6)
    assert np.isnan(found.probability[~scored]).all()
    closed = simulate(given, Controls(None, {}, problem="no model"))
    assert not closed.automated.any()
    assert np.isnan(closed.probability).all()


@pytest.mark.parametrize(("accounting", "now", "then"), [("false-discovery", 0.7, 1.2), ("review-charged", 0.9, 1.2)])
def test_costs_are_those_that_the_model_expects(accounting: str, now: float, then: float) -> None:
    """Of an escalated answer its review, charged in full or where the LLM is right; of an automated one its P(error) times the mistake."""
    before = outcome([True, False, False], [0.2, 0.4, np.nan])
    after = outcome([True, True, False], [0.2, 0.4, np.nan])
    costs = Costs(1.0, 4.0, 4.0, accounting)  # type: ignore[arg-type]
    row, only = compare(answers(3), before, after, costs)
    assert (pytest.approx(now), pytest.approx(then)) == (row["now"]["expected_cost"], row["then"]["expected_cost"])
    assert (pytest.approx(0.2), pytest.approx(0.3)) == (row["now"]["expected_error"], row["then"]["expected_error"])
    assert (0, 1, 3) == (row["to_humans"], row["to_automation"], row["answers"])
    assert (pytest.approx(2 / 3), pytest.approx(1 / 3)) == (
        row["now"]["escalation_rate"],
        row["then"]["escalation_rate"],
    )
    assert {**row, "policy": "hate"} == only


def test_each_policy_has_its_row() -> None:
    """And all together come first; nothing is said where nothing is automated."""
    before, after = outcome([True, True], [0.1, 0.2]), outcome([True, False], [0.1, 0.2])
    rows = list(compare(answers(2, policies=["hate", "spam"]), before, after, COSTS))
    assert ["*", "hate", "spam"] == [row["policy"] for row in rows]
    assert [1, 0, 1] == [row["to_humans"] for row in rows]
    assert rows[2]["then"]["expected_error"] is None


def test_a_mistake_costs_what_its_outcome_costs() -> None:
    """Then each outcome has a row of its own."""
    given = answers(2, outcomes=np.array([0, 1], np.int8))
    both = outcome([True, True], [0.1, 0.1])
    rows = list(compare(given, both, both, Costs(1.0, 10.0, 4.0, "false-discovery")))
    assert [("*", "*", 0.7), ("*", "allow", 1.0), ("*", "remove", 0.4), ("hate", "*", 0.7)] == [
        (row["policy"], row["outcome"], round(row["now"]["expected_cost"], 9)) for row in rows
    ]


def test_a_scope_has_its_row() -> None:
    """That of a tenant, among all and beside the policies."""
    before, after = outcome([True] * 3, [0.1] * 3), outcome([True, False, False], [0.1] * 3)
    given = answers(3, tenants=["*", "acme", "other"])
    rows = list(compare(given, before, after, COSTS, Scope("hate", "acme")))
    assert [("*", "*", 2), ("hate", "acme", 1), ("hate", "*", 2)] == [
        (row["policy"], row["tenant"], row["to_humans"]) for row in rows
    ]


def test_what_humans_found_counts_where_they_judged() -> None:
    """Among what is automated only, each by the chance with which it came to them."""
    judged, wrong = np.array([True, True, True, False]), np.array([False, True, True, False])
    given = answers(4, judged=judged, wrong=wrong, chance=np.array([0.5, 0.5, 1.0, 0.5]))
    before, after = outcome([True, True, False, True], [0.1] * 4), outcome([False, False, False, True], [0.1] * 4)
    row, _ = compare(given, before, after, COSTS)
    measured = row["now"]["measured_error"]
    assert (3, 2, 2, 1, 0.5) == tuple(measured[name] for name in ("of", "judged", "audits", "errors", "rate"))
    assert ("no audits judged", None) == tuple(row["then"]["measured_error"][name] for name in ("problem", "rate"))


def test_audits_are_what_speaks_for_the_automated(models: Path) -> None:
    """Those that would be drawn anew are no less a part of what would be automated without them."""
    data, model = load([RECORDING]), load_model(models)
    nobody = np.zeros(len(data), dtype=bool)
    ids = [origin.request_id for origin in data.origins]
    given = Answers(
        ids, data.policies, ["*"] * len(data), data.values, data.outcomes, np.zeros(len(data)), nobody, nobody
    )
    plain = simulate(given, Controls(model, {EVERYTHING: 0.3}))
    audited = simulate(given, Controls(model, {EVERYTHING: 0.3}, {EVERYTHING: AuditRate(0.5)}))
    assert plain.automated.tolist() == plain.unescalated.tolist() == audited.unescalated.tolist()
    assert 0 < audited.automated.sum() < plain.automated.sum()


def test_over_thresholds() -> None:
    """From everything escalated to all that has a score automated."""
    found = over_thresholds(outcome([False] * 4, [0.1, 0.3, 0.5, np.nan]), [0.0, 0.3, 0.4, 1.0])
    assert [(1.0, None), (0.75, 0.1), (0.5, 0.2), (0.25, 0.3)] == [
        (rate, error and round(error, 9)) for rate, error in found
    ]

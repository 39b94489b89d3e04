"""The numbers, reckoned by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("each_reader")

Values = Callable[..., dict[str, float]]
ln = math.log


def entropy(*probabilities: float) -> float:
    return -sum(p * ln(p) for p in probabilities)


def test_outcome_token(values: Values, verdict: list[Any]) -> None:
    """The outcome token's predictors are taken over the labels' masses, blanks and quotes stripped."""
    q = [0.2 / 0.95, 0.6 / 0.95, 0.1 / 0.95, 0.05 / 0.95]
    expected = {
        "outcome_logprob": ln(0.6),
        "outcome_max_softmax": q[1],
        "outcome_entropy": entropy(*q),
        "outcome_margin": 0.4 / 0.95,
        "outcome_log_margin": ln(3),
        "outcome_coverage": 0.95,
        "q_violation": q[1],
        "q_evidence_deficiency": q[2],
        "q_policy_gap": q[3],
        "outcome_is_violation": 1.0,
        "outcome_is_evidence_deficiency": 0.0,
        "outcome_is_policy_gap": 0.0,
    }
    actual = values(verdict)
    assert pytest.approx(expected, abs=1e-6) == {name: actual[name] for name in expected}


def test_sequence(values: Values, verdict: list[Any]) -> None:
    """The sequence's predictors are taken over all tokens; one with a single known alternative has no distribution."""
    logprobs = [ln(0.9), ln(0.5), 0.0, ln(0.6), ln(0.8), ln(0.5), ln(0.4), ln(0.99)]
    mean = sum(logprobs) / 8
    entropies = [
        entropy(0.9, 0.1),
        entropy(0.5, 0.25, 0.25),
        entropy(0.6, 0.2, 0.1, 0.05, 0.05),
        entropy(0.8, 0.2),
        entropy(0.5, 0.5),
        entropy(0.6, 0.4),
        entropy(0.99, 0.01),
    ]
    margins = [0.8, 0.25, 0.4, 0.6, 0.0, 0.2, 0.98]
    expected = {
        "sequence_logprob_mean": mean,
        "sequence_logprob_min": ln(0.4),
        "sequence_logprob_std": math.sqrt(sum((logprob - mean) ** 2 for logprob in logprobs) / 8),
        "sequence_logprob_sum": 8 * mean,
        "sequence_perplexity": (0.9 * 0.5 * 0.6 * 0.8 * 0.5 * 0.4 * 0.99) ** (-1 / 8),
        "sequence_entropy_mean": sum(entropies) / 7,
        "sequence_entropy_max": max(entropies),
        "sequence_margin_mean": sum(margins) / 7,
        "sequence_margin_min": 0.0,
        "token_count": 8.0,
        "low_probability_fraction": 1 / 8,
    }
    actual = values(verdict)
    assert pytest.approx(expected, abs=1e-6) == {name: actual[name] for name in expected}


def test_stated_confidence(values: Values, verdict: list[Any]) -> None:
    """The stated confidence is read from the text, its log-probability summed over its tokens."""
    actual = values(verdict)
    assert pytest.approx(0.8) == actual["stated_confidence"]
    assert pytest.approx(ln(0.5) + ln(0.4)) == actual["stated_confidence_logprob"]
    assert 0.0 == actual["stated_confidence_missing"]


def test_spans(values: Values, verdict: list[Any]) -> None:
    """Each part of the answer has the statistics of its own tokens."""
    expected = {
        "outcome_sequence_logprob_mean": ln(0.6),
        "outcome_sequence_entropy_mean": entropy(0.6, 0.2, 0.1, 0.05, 0.05),
        "outcome_sequence_margin_mean": 0.4,
        "outcome_token_count": 1.0,
        "confidence_sequence_logprob_mean": (ln(0.5) + ln(0.4)) / 2,
        "confidence_sequence_logprob_min": ln(0.4),
        "confidence_sequence_entropy_mean": (ln(2) + entropy(0.6, 0.4)) / 2,
        "confidence_sequence_margin_mean": 0.1,
        "confidence_token_count": 2.0,
    }
    actual = values(verdict)
    assert pytest.approx(expected, abs=1e-6) == {name: actual[name] for name in expected}
    assert all(math.isnan(actual[name]) for name in actual if name.startswith("rationale"))


def test_rationale_span(values: Values) -> None:
    """A rationale's tokens are those inside its string."""
    tokens = [
        ('{"outcome": ', -0.1, {}),
        ("0", -0.2, {}),
        (', "rationale": "', -0.3, {}),
        ("fine", -0.4, {}),
        (" here", -0.6, {}),
        ('"}', -0.8, {}),
    ]
    actual = values(tokens)
    assert pytest.approx(-0.5) == actual["rationale_sequence_logprob_mean"]
    assert pytest.approx(-0.6) == actual["rationale_sequence_logprob_min"]
    assert 2.0 == actual["rationale_token_count"]


def test_one_label_with_mass(values: Values) -> None:
    """With mass at one label only, the log margin is missing: ln 0 is not a number to learn from."""
    actual = values([('{"outcome": ', -0.1, {}), ("2", ln(0.9), {"2": ln(0.9), "x": ln(0.1)}), ("}", -0.1, {})])
    assert 1.0 == actual["outcome_max_softmax"]
    assert 0.0 == actual["outcome_entropy"]
    assert 1.0 == actual["outcome_margin"]
    assert pytest.approx(0.9) == actual["outcome_coverage"]
    assert math.isnan(actual["outcome_log_margin"])


def test_no_alternatives(values: Values) -> None:
    """Without alternatives there is the emitted token's log-probability and no distribution."""
    actual = values([('{"outcome": ', -0.1, {}), ("1", -0.2, {}), ("}", -0.3, {})])
    assert pytest.approx(-0.2) == actual["outcome_logprob"]
    assert pytest.approx(-0.6) == actual["sequence_logprob_sum"]
    missing = ("outcome_max_softmax", "outcome_coverage", "q_violation", "sequence_entropy_mean", "sequence_margin_min")
    assert all(math.isnan(actual[name]) for name in missing)


@pytest.mark.parametrize("marker", [-9999.0, -10000.0, -3.4028235e38, None])
def test_missing_logprob(values: Values, marker: float | None) -> None:
    """A log-probability that says "not among the top k" is left out; a sum over it is missing."""
    actual = values([('{"outcome": ', -0.2, {}), ("1", marker, {}), ("}", -0.4, {})])
    assert pytest.approx(-0.3) == actual["sequence_logprob_mean"]
    assert pytest.approx(-0.4) == actual["sequence_logprob_min"]
    assert math.isnan(actual["sequence_logprob_sum"])
    assert math.isnan(actual["outcome_logprob"])


def test_logprob_above_zero(values: Values) -> None:
    """Rounding noise above 0 is 0; a log-probability well above 0 is none."""
    actual = values([("0", 1e-7, {}), ("x", 3.0, {})])
    assert 0.0 == actual["sequence_logprob_mean"]
    assert math.isnan(actual["sequence_logprob_sum"])


def test_perplexity_stays_finite(values: Values) -> None:
    """A perplexity beyond float32 is cut to its largest number."""
    assert math.isfinite(values([("x", -9000.0, {})])["sequence_perplexity"])

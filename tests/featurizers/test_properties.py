"""What holds for every answer."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers import PRESETS, SCHEMA, decode, featurize

Values = Callable[..., dict[str, float]]

LOGPROBS = st.floats(-30, 0) | st.sampled_from([-9999.0, 0.0, -1e-9])
TOP = st.dictionaries(st.sampled_from(["0", "1", "2", "3", " 1", '"0', "x", "10", ""]), LOGPROBS, max_size=9)
TEXTS = st.sampled_from(["a", " ", "é", "}", "x"])


@st.composite
def answers(draw: st.DrawFn) -> list[Any]:
    label = draw(st.sampled_from("0123"))
    around = st.lists(st.tuples(TEXTS, LOGPROBS, TOP), max_size=4)
    key = ('{"outcome": ', draw(LOGPROBS), draw(TOP))
    return [*draw(around), key, (label, draw(LOGPROBS), draw(TOP)), ("}", draw(LOGPROBS), draw(TOP)), *draw(around)]


@given(answers())
def test_ranges(values: Values, tokens: list[Any]) -> None:
    """Every value lies within the range that the schema gives, or is missing where the schema allows it."""
    actual = values(tokens)
    for feature in SCHEMA.features:
        value = actual[feature.name]
        if math.isnan(value):
            assert not feature.always, feature.name
        else:
            assert feature.low - 1e-6 <= value <= feature.high + 1e-6, feature.name


@given(answers(), st.randoms(use_true_random=False))
def test_permutation(values: Values, tokens: list[Any], shuffler: random.Random) -> None:
    """The order of the alternatives does not matter."""
    permuted = []
    for text, logprob, top in tokens:
        items = list(top.items())
        shuffler.shuffle(items)
        permuted.append((text, logprob, dict(items)))
    assert pytest.approx(values(tokens), nan_ok=True, abs=1e-6) == values(permuted)


@given(st.lists(st.floats(-8, 8), min_size=4, max_size=4), st.floats(-20, -0.1))
def test_renormalisation(values: Values, logits: list[float], constant: float) -> None:
    """A constant added to all log-probabilities of a token changes nothing that is renormalised."""
    peak = max(logits)

    def answer(shift: float) -> dict[str, float]:
        top = {str(code): logit - peak + shift for code, logit in enumerate(logits)}
        return values([('{"outcome": ', -0.1, {}), ("1", top["1"], top), ("}", -0.1, {})])

    before, after = answer(-0.05), answer(-0.05 + constant)
    unchanged = [
        "outcome_max_softmax",
        "outcome_entropy",
        "outcome_margin",
        "outcome_log_margin",
        "q_violation",
        "q_evidence_deficiency",
        "q_policy_gap",
        "sequence_entropy_mean",
        "sequence_margin_mean",
    ]
    assert pytest.approx([before[name] for name in unchanged], abs=1e-5) == [after[name] for name in unchanged]


@given(st.lists(st.floats(-20, 0), min_size=2, max_size=20))
def test_entropy_bound(values: Values, logprobs: list[float]) -> None:
    """The entropy of k alternatives is at most ln k, the margin between 0 and 1."""
    actual = values([("x", logprobs[0], {str(i): logprob for i, logprob in enumerate(logprobs)})])
    assert 0.0 <= actual["sequence_entropy_max"] <= math.log(len(logprobs)) + 1e-5
    assert 0.0 <= actual["sequence_margin_min"] <= 1.0


@given(answers())
def test_q_sums_to_one(values: Values, tokens: list[Any]) -> None:
    """The label distribution sums to 1: the largest share and the three that are features bound the rest."""
    actual = values(tokens)
    named = [actual[name] for name in ("q_violation", "q_evidence_deficiency", "q_policy_gap")]
    if not math.isnan(named[0]):
        remaining = 1.0 - sum(named)  # q_0
        assert -1e-6 <= remaining
        assert pytest.approx(max(*named, remaining), abs=1e-6) == actual["outcome_max_softmax"]


@settings(max_examples=30)
@given(st.lists(answers(), min_size=1, max_size=6))
def test_batches(body: Callable[..., Any], batch: list[list[Any]]) -> None:
    """An answer's vector does not depend on what else is in its batch."""
    responses = [decode(json.dumps(body(tokens)).encode()) for tokens in batch]
    together = featurize(responses, PRESETS["lpp"]).values
    alone = np.vstack([featurize([response], PRESETS["lpp"]).values for response in responses])
    assert np.allclose(alone, together, equal_nan=True, atol=1e-6)


def test_empty_batch() -> None:
    """No answers make an array of no rows."""
    assert (0, len(SCHEMA.names)) == featurize([], PRESETS["lpp"]).values.shape

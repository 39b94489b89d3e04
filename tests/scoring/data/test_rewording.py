"""The recorded answers in other words: the same verdicts, the same log-probabilities."""

import numpy as np
import pytest

from featurizers import PRESETS, SCHEMA, OutcomeSpec, SpecError
from scoring import RECORDING, read_recording
from scoring.data import from_items, reworded

ITEMS = read_recording(RECORDING)[:200]
OURS = OutcomeSpec(
    name="ours",
    labels=(("allow",), ("remove", "limit"), ("unclear",), ("no rule",)),
    field="verdict",
    confidence_field="sure",
)
CYRILLIC = OutcomeSpec(
    name="other", labels=(("да",), ("нет",), ("мало",), ("иное",)), field="ответ", confidence_field="confidence"
)


@pytest.mark.parametrize("spec", [OURS, CYRILLIC], ids=["ours", "other"])
def test_json_keeps_its_form_and_its_predictors(spec: OutcomeSpec) -> None:
    """Every predictor is the recording's own; hardly an answer is left out."""
    new = reworded(ITEMS, spec)
    assert 0.95 * len(ITEMS) < len(new)
    kept = {item.request_id for item in new}
    before, after = from_items([item for item in ITEMS if item.request_id in kept]), from_items(new, spec)
    assert before.outcomes.tolist() == after.outcomes.tolist()
    np.testing.assert_allclose(before.values, after.values, rtol=1e-5)


def test_of_a_first_word_the_verdict_is_left() -> None:
    """The outcome's predictors are the recording's, and the answer has one token."""
    new = reworded(ITEMS, PRESETS["allow-block"])
    found = from_items(new, PRESETS["allow-block"])
    assert {1.0} == set(found.values[:, SCHEMA.names.index("token_count")])
    assert {0, 1} == set(found.outcomes.tolist())
    column = SCHEMA.names.index("outcome_logprob")
    kept = {item.request_id for item in new}
    before = from_items([item for item in ITEMS if item.request_id in kept])
    np.testing.assert_allclose(before.values[:, column], found.values[:, column], rtol=1e-5)


@pytest.mark.parametrize("preset", ["llama-guard", "qwen3guard", "nemoguard"])
def test_other_forms_are_refused(preset: str) -> None:
    """What cannot be said for certain is not made up."""
    with pytest.raises(SpecError, match="save answers of your own LLM"):
        reworded(ITEMS, PRESETS[preset])

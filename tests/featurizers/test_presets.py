"""Each preset on its family's own output format."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from featurizers import PRESETS, OutcomeSpec, decode, featurize
from featurizers.locate import Located, locator

HARMONY = "<|channel|>analysis<|message|>It threatens.<|end|><|start|>assistant<|channel|>final<|message|>"
GPT_OSS = '{"violation": 1, "policy_category": "H2.f", "rule_ids": ["H2.f"], "confidence": "high", "rationale": "It threatens."}'
POLY = "Harmful request: {}\nRequest safety violations: {}\nResponse refusal: no\nHarmful response: {}\nResponse safety violations: {}"

# preset, answer, outcome, category, confidence (None: not stated)
ANSWERS = [
    ("llama-guard", "\n\nsafe", 0, None, None),
    ("llama-guard", "\n\nunsafe\nS1,S10", 1, "S1,S10", None),
    ("llama-guard", "unsafe\nS1\nS10\n", 1, "S1", None),
    ("llama-guard", "unsafe", 1, None, None),
    ("llama-guard", "safe\nS1", -1, None, None),
    ("llama-guard", "safe\nThis content is unsafe.", -1, None, None),
    ("llama-guard", "safe\n\nBut: S1, S9", -1, None, None),
    ("llama-guard", "unsafe\nBut it is safe.", -1, "But it is safe.", None),
    ("llama-guard", "unsafe\nS1\nThe post says so.", -1, "S1", None),
    ("shieldgemma", "Yes", 1, None, None),
    ("shieldgemma", "Yes\n\nThere is no doubt that it threatens.", 1, None, None),
    ("shieldgemma", "No\n\nOn second thought, it does.", -1, None, None),
    ("shieldgemma", "No", 0, None, None),
    ("shieldgemma", "**No**, because the post is kind.", 0, None, None),
    ("granite-guardian", "Yes", 1, None, None),
    ("granite-guardian", "No\n<confidence> High </confidence>", 0, None, 0.9),
    ("granite-guardian", "<think>\nIt may be no harm.\n</think>\n\n<score> yes </score>", 1, None, None),
    ("granite-guardian", "<score> no </score>", 0, None, None),
    ("granite-guardian", "<think>\n</think>\n<score> no </score>", 0, None, None),
    ("granite-guardian", "<score> no </score><score> yes </score>", -1, None, None),
    ("wildguard", "Harmful request: yes\nResponse refusal: no\nHarmful response: no", 1, None, None),
    ("wildguard", "Harmful request: no\nResponse refusal: yes\nHarmful response: yes", 1, None, None),
    ("wildguard", "Harmful request: no\nResponse refusal: n/a\nHarmful response: n/a", 0, None, None),
    ("wildguard", "Harmful request: no", -1, None, None),
    ("wildguard", "Harmful request: no\nHarmful request: yes\nHarmful response: no", -1, None, None),
    ("wildguard", "Harmful request: no\nResponse refusal: yes\nHarmful response: no", 0, None, None),
    ("wildguard", "Harmful request: no\nHarmful response: no\nAnswer: yes", -1, None, None),
    ("polyguard", POLY.format("no", "S2", "no", "None"), -1, "S2", None),
    ("polyguard", POLY.format("yes", "S2, S5", "no", "None"), 1, "S2, S5", None),
    ("polyguard", POLY.format("no", "None", "yes", "S1"), 1, "S1", None),
    ("polyguard", POLY.format("no", "None", "no", "None"), 0, None, None),
    ("qwen3guard", "Safety: Unsafe\nCategories: Violent\nRefusal: No", 1, "Violent", None),
    ("qwen3guard", "Safety: Safe\nCategories: None", 0, "None", None),
    ("qwen3guard", "Safety: Controversial\nCategories: Politically Sensitive Topics", 2, "Politically Sensitive Topics", None),
    ("qwen3guard", "Safety: Safe\nCategories: Violent", -1, "Violent", None),
    ("qwen3guard", "Text to check:\nSafety: Safe\n\nAnswer: Unsafe", -1, None, None),
    ("nemotron-content-safety", "User Safety: safe", 0, None, None),
    ("nemotron-content-safety", "<think>\nIt is kind.\n</think>\nUser Safety: safe\nResponse Safety: safe", 0, None, None),
    ("nemotron-content-safety", "User Safety: safe\nResponse Safety: unsafe\nSafety Categories: Violence, Threat", 1, "Violence, Threat", None),
    ("nemotron-content-safety", "User Safety: safe\nSafety Categories: Violence", -1, "Violence", None),
    ("nemotron-safety-reasoning", "Prompt harm: harmful\nResponse harm: None", 1, None, None),
    ("nemotron-safety-reasoning", "<think>\nNo harm.\n</think>\n\nPrompt harm: unharmful\nResponse Harm: None", 0, None, None),
    ("nemotron-safety-reasoning", "Prompt harm: unharmful\nResponse Harm: harmful", 1, None, None),
    ("nemotron-safety-reasoning", "Prompt harm: None\nResponse Harm: unharmful", -1, None, None),
    ("nemoguard", '{"User Safety": "safe", "Response Safety": null}', 0, None, None),
    ("nemoguard", '{"User Safety": "safe", "Response Safety": "safe"} ', 0, None, None),
    ("nemoguard", '{"User Safety": "unsafe", "Safety Categories": "Violence, Threat"} ', 1, "Violence, Threat", None),
    ("nemoguard", '{"User Safety": "safe", "Response Safety": "unsafe", "Safety Categories": "Hate"}', 1, "Hate", None),
    ("nemoguard", '{"Response Safety": "safe"}', -1, None, None),
    ("gpt-oss-safeguard", HARMONY + GPT_OSS, 1, "H2.f", 0.9),
    ("gpt-oss-safeguard", '{"violation": 0, "policy_category": null}', 0, None, None),
    ("gpt-oss-safeguard", '{"violation": 0, "confidence": "unheard of"}', 0, None, None),
    ("cope", "1", 1, None, None),
    ("cope", "1\n", 1, None, None),
    ("cope", "0\nIt is fine.", -1, None, None),
    ("zero-one", "0", 0, None, None),
    ("zero-one", HARMONY + "1", 1, None, None),
    ("yes-no", "Yes.", 1, None, None),
    ("allow-block", "ALLOW", 0, None, None),
    ("true-false", "true", 1, None, None),
    ("lpp", '{"outcome": 3, "confidence": 70}', 3, None, 0.7),
]  # fmt: skip


def locate(text: str, spec: OutcomeSpec) -> Located:
    return locator(spec).locate(text, False, False)


@pytest.mark.parametrize(("preset", "text", "outcome", "category", "confidence"), ANSWERS)
def test_answer(preset: str, text: str, outcome: int, category: str | None, confidence: float | None) -> None:
    """Outcome, category and confidence are read from the family's own format."""
    found = locate(text, PRESETS[preset])
    stated = None if math.isnan(found.confidence) else found.confidence
    assert (outcome, category, confidence) == (found.outcome, found.category, stated)


def test_every_preset_has_an_answer() -> None:
    """No preset is untried."""
    assert set(PRESETS) == {preset for preset, *_ in ANSWERS}


def ln(p: float) -> float:
    return math.log(p)


DISTRIBUTIONS: list[tuple[str, list[Any]]] = [
    ("llama-guard", [("\n\n", ln(1.0), {}), ("unsafe", ln(0.7), {"unsafe": ln(0.7), "safe": ln(0.3)}), ("\nS1", -0.1, {})]),
    ("shieldgemma", [("Yes", ln(0.7), {"Yes": ln(0.7), "No": ln(0.3)})]),
    ("granite-guardian", [("<score>", 0.0, {}), (" yes", ln(0.7), {" yes": ln(0.7), " no": ln(0.3)}), (" </score>", 0.0, {})]),
    ("qwen3guard", [("Safety:", 0.0, {}), (" Unsafe", ln(0.7), {" Unsafe": ln(0.7), " Safe": ln(0.3)}), ("\nCategories: Violent", 0.0, {})]),
    ("wildguard", [("Harmful request:", 0.0, {}), (" yes", ln(0.7), {" yes": ln(0.7), " no": ln(0.3)}), ("\nHarmful response: no", 0.0, {})]),
    ("nemoguard", [('{"User Safety": "', 0.0, {}), ("unsafe", ln(0.7), {"unsafe": ln(0.7), "safe": ln(0.3)}), ('"}', 0.0, {})]),
    ("gpt-oss-safeguard", [(HARMONY + '{"violation": ', 0.0, {}), ("1", ln(0.7), {"1": ln(0.7), "0": ln(0.3)}), ("}", 0.0, {})]),
    ("nemotron-content-safety", [("User Safety:", 0.0, {}), (" unsafe", ln(0.7), {" unsafe": ln(0.7), " safe": ln(0.3)}), ("\n", 0.0, {})]),
    ("nemotron-safety-reasoning", [("Prompt harm:", 0.0, {}), (" harmful", ln(0.7), {" harmful": ln(0.7), " unharmful": ln(0.3)}), ("\n", 0.0, {})]),
    ("cope", [("1", ln(0.7), {"1": ln(0.7), "0": ln(0.3)})]),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "tokens"), DISTRIBUTIONS, ids=[preset for preset, _ in DISTRIBUTIONS])
def test_distribution(values: Callable[..., dict[str, float]], preset: str, tokens: list[Any]) -> None:
    """The label's distribution is taken at the token that carries it."""
    actual = values(tokens, preset)
    assert pytest.approx([ln(0.7), 0.7, 1.0]) == [
        actual[name] for name in ("outcome_logprob", "q_violation", "outcome_coverage")
    ]


def test_reasoning_counts_for_no_statistic(values: Callable[..., dict[str, float]]) -> None:
    """The tokens of reasoning that stand in the text are not the answer's."""
    answer = [("yes", -0.5, {"yes": -0.5, "no": -1.0}), (".", -0.25, {})]
    reasoned = [("<think>", -3.0, {}), ("no", -4.0, {}), ("</think>", -5.0, {}), *answer]
    assert pytest.approx(values(answer, "yes-no"), nan_ok=True) == values(reasoned, "yes-no")


def test_several_fields_that_say_no(values: Callable[..., dict[str, float]]) -> None:
    """Where several labels together say no, none of their distributions is the outcome's."""
    actual = values([("Harmful request: no\nHarmful response: no", -0.1, {"x": -0.1, "y": -2.0})], "wildguard")
    assert 0.0 == actual["outcome_is_violation"]
    assert math.isnan(actual["q_violation"])


def test_fields_that_say_none() -> None:
    """A field that may be absent is so where it says "none"; where all are, there is no outcome."""
    spec = OutcomeSpec(name="s", labels=(("no",), ("yes",)), any_of=("a?", "b?"))
    texts = ['{"a": "None", "b": "no"}', '{"a": null, "b": "yes"}', '{"a": "n/a", "b": ""}']
    assert [0, 1, -1] == [locate(text, spec).outcome for text in texts]


def test_score() -> None:
    """A score has a cut from which on it is a violation; what is no number is no outcome."""
    spec = OutcomeSpec(name="s", field="toxicity", violation_at=0.5)
    texts = ['{"toxicity": 0.5}', '{"toxicity": "0.49"}', '{"toxicity": "high"}', '{"toxicity": NaN}']
    assert [1, 0, -1, -1] == [locate(text, spec).outcome for text in texts]
    value = json.dumps({"choices": [{"message": {"content": texts[0]}}]}).encode()
    assert math.isnan(featurize([decode(value)], spec).values[0, 0])


def test_category_of_several_words() -> None:
    """A list of categories is carried as it stands, and a long one cut."""
    spec = OutcomeSpec(name="s", labels=(("0",), ("1",)), category_field="tags")
    assert '["a", "b"]' == locate('{"outcome": 1, "tags": ["a", "b"]}', spec).category
    assert "null" == locate('{"outcome": 1, "tags": "null"}', spec).category
    assert 200 == len(locate(json.dumps({"outcome": 1, "tags": "x" * 999}), spec).category or "")

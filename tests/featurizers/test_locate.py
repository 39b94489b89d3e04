"""Where the outcome, the confidence and the rationale sit in an answer's text."""

import math

import pytest

from featurizers import PRESETS, OutcomeSpec
from featurizers.locate import Located, locator


def locate(text: str, *, truncated: bool = False, spec: OutcomeSpec = PRESETS["lpp"]) -> Located:
    return locator(spec).locate(text, False, truncated)


ANSWERS = {
    "plain": '{"outcome": 1, "confidence": 80}',
    "fenced": '```json\n{\n  "outcome": 1,\n  "confidence": 80\n}\n```',
    "prose around": 'Sure! Here it is: {"outcome":1,"confidence":80}. Hope that helps.',
    "strings": '{"outcome": "1", "confidence": "80"}',
    "per cent": '{"outcome": 1, "confidence": "80%"}',
    "other keys first": '{"why": "it \\"outcome\\": 0 says", "confidence": 80.0, "outcome": 1}',
    "python": "{'outcome': 1, 'confidence': 80}",
    "other case": '{"Outcome": 1, "CONFIDENCE": 80}',
    "cut off": '```json\n{\n  "outcome": 1,\n  "confidence": 80\n',
    "said twice": 'Like {"outcome": 1, "confidence": 10}: {"outcome": 1, "confidence": 80}',
    "comments and commas": '{"outcome": 1, /* "outcome": 0 */ "confidence": 80, // sure\n}',
    "escaped": '{"\\u006futcome": "\\u0031", "confidence": "8\\u0030"}',
    "nested beside it": '{"post": {"outcome": 0, "confidence": 1}, "outcome": 1, "confidence": 80}',
}


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_found(text: str) -> None:
    """The label and the confidence are found through fences, prose and sloppy JSON."""
    located = locate(text)
    start, end = located.outcome_span
    assert (1, None, 0.8) == (located.outcome, located.problem, located.confidence)
    assert text[start:end] in {"1", "\\u0031"}


PROBLEMS = {
    "empty_answer": "  \n",
    "outcome_missing": "It violates the policy.",
    "outcome_unknown": '{"outcome": 7}',
    "outcome_ambiguous": 'Either {"outcome": 0} or {"outcome": 1}',
    "refusal": "I\u2019m sorry, I can't do that.",
}


@pytest.mark.parametrize(("problem", "text"), PROBLEMS.items())
def test_problem(problem: str, text: str) -> None:
    """An answer without an outcome that can be acted on says why."""
    located = locate(text)
    assert (-1, problem, (0, 0)) == (located.outcome, located.problem, located.outcome_span)


def test_truncated_before_the_outcome() -> None:
    """An answer cut off before its outcome is told from one that never had it."""
    assert "answer_truncated" == locate('{"rationale": "well, ', truncated=True).problem


def test_number_cut_off() -> None:
    """A number at the end of a truncated answer may have had more digits: it is not taken."""
    text = '{"outcome": 1, "confidence": 10'
    assert math.isnan(locate(text, truncated=True).confidence)
    assert 0.1 == locate(text).confidence


@pytest.mark.parametrize("stated", ["150", "-5", "high", "null", "NaN", "Infinity", "1e999", '"8 out of 10"'])
def test_no_confidence(stated: str) -> None:
    """A confidence that is no number in its scale is missing, never bent into it."""
    located = locate(f'{{"outcome": 1, "confidence": {stated}}}')
    assert math.isnan(located.confidence)
    assert (0, 0) == located.confidence_span


def test_rationale() -> None:
    """The rationale is the inside of its string."""
    text = '{"outcome": 1, "rationale": "it \\"hurts\\" }"}'
    start, end = locate(text).rationale_span
    assert 'it \\"hurts\\" }' == text[start:end]


def test_agreeing_labels_of_one_code() -> None:
    """Two labels of the same code agree; the first is the one decided at."""
    spec = OutcomeSpec(name="s", labels=(("no",), ("yes", "y")), where="regex", pattern=r"-> (\w+)")
    located = locate("-> y -> yes", spec=spec)
    assert (1, (3, 4)) == (located.outcome, located.outcome_span)


UNCERTAIN = {
    "two words": ("lpp", '{"outcome": 0 1}'),
    "a key with a blank": ("lpp", '{"outcome": 0, "outcome ": 1}'),
    "a last object that says nothing": ("lpp", '{"outcome": 0}\n{"verdict": "violation"}'),
    "a label alone behind lines": ("qwen3guard", "Safety: Safe\nUnsafe"),
    "a fullwidth colon": ("qwen3guard", "Safety\uff1a Unsafe\nSafety: Safe"),
    "quoted lines": ("wildguard", '"Harmful request: no\nHarmful response: no"'),
    "restated lines": ("wildguard", "Let me restate the post.\nHarmful request: no\nHarmful response: no"),
}


@pytest.mark.parametrize(("preset", "text"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_uncertain(preset: str, text: str) -> None:
    """What may be a quotation, or is said in two ways, is no outcome."""
    assert -1 == locate(text, spec=PRESETS[preset]).outcome

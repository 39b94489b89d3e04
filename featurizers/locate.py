"""Finds the outcome label, the stated confidence and the rationale in an answer's text, by character offset."""

import re
from functools import cache
from typing import NamedTuple

from featurizers.spec import OutcomeSpec

NOWHERE = (0, 0)
REFUSAL = re.compile(
    r"\s*+(?:i['\u2019]?m sorry|sorry,|i (?:can['\u2019]?t|cannot|won['\u2019]?t|am unable))", re.IGNORECASE
)


class Located(NamedTuple):
    """Character spans [start, end) in the text; an empty span where a part is absent.

    `outcome` is the code 0..3, or -1 with the `problem` that says why; `confidence` is in 0..1, NaN where none is stated.
    """

    outcome: int
    problem: str | None
    confidence: float
    outcome_span: tuple[int, int] = NOWHERE
    confidence_span: tuple[int, int] = NOWHERE
    rationale_span: tuple[int, int] = NOWHERE


@cache
def _fields(keys: tuple[str, ...]) -> re.Pattern[str]:
    """Every `"key": value` of the keys, in JSON or in a Python-like dict, whole or cut off behind the value.

    Possessive quantifiers keep the time linear whatever the text.
    """
    names = "|".join(map(re.escape, keys))
    return re.compile(
        rf"""(["'])({names})\1\s*+:\s*+(?:"((?:[^"\\]|\\.)*+)"|'([^']*+)'|([^\s"',\[\]{{}}]++))""",
        re.IGNORECASE | re.DOTALL,
    )


def locate(text: str, spec: OutcomeSpec, *, refused: bool, truncated: bool) -> Located:
    """Read one answer's text by the spec. Never raises."""
    keys = tuple(key for key in (spec.field, spec.confidence_field, spec.rationale_field) if key)
    found: dict[str, re.Match[str]] = {}
    problem = None
    for match in _fields(keys).finditer(text):
        key = match[2].casefold()
        if key not in found:
            found[key] = match
        elif key == spec.field and match[match.lastindex or 0] != found[key][found[key].lastindex or 0]:
            problem = "outcome_ambiguous"
    confidence, confidence_span = _confidence(found.get(spec.confidence_field or ""), spec, len(text), truncated)
    rationale = found.get(spec.rationale_field or "")
    rationale_span = rationale.span(rationale.lastindex or 0) if rationale else NOWHERE
    outcome, outcome_span = -1, NOWHERE
    label = found.get(spec.field)
    if label is None:
        problem = _why_missing(text, refused, truncated)
    elif problem is None:
        value = label[label.lastindex or 0]
        outcome = spec.codes.get(value.strip().casefold(), -1)
        if outcome < 0:
            problem = "outcome_unknown"
        else:
            outcome_span = label.span(label.lastindex or 0)
    return Located(outcome, problem, confidence, outcome_span, confidence_span, rationale_span)


def _confidence(
    match: re.Match[str] | None, spec: OutcomeSpec, length: int, truncated: bool
) -> tuple[float, tuple[int, int]]:
    nothing = float("nan"), NOWHERE
    if match is None or (truncated and match.end() == length):  # a number cut off may have had more digits
        return nothing
    group = match.lastindex or 0
    try:
        confidence = float(match[group].strip().removesuffix("%")) / spec.confidence_scale
    except ValueError:
        return nothing
    return (confidence, match.span(group)) if 0.0 <= confidence <= 1.0 else nothing


def _why_missing(text: str, refused: bool, truncated: bool) -> str:
    if refused or REFUSAL.match(text):
        return "refusal"
    if not text.strip():
        return "empty_answer"
    return "answer_truncated" if truncated else "outcome_missing"

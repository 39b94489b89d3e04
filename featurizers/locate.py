"""Finds the outcome label, the stated confidence and the rationale in an answer's text, by character offset."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from featurizers.spec import OutcomeSpec

Span = tuple[int, int]
NOWHERE: Span = (0, 0)
NAN = float("nan")


class Located(NamedTuple):
    """What an answer's text says. Spans are characters [start, end), empty where a part is absent.

    `outcome` is the code 0..3, or -1 with the `problem` that says why; `confidence` is in 0..1, NaN where none is stated.
    """

    outcome: int
    problem: str | None
    confidence: float
    outcome_span: Span
    confidence_span: Span
    rationale_span: Span


class Found(NamedTuple):
    """A candidate value with its span."""

    value: str
    span: Span


class Locator:
    """An outcome spec, compiled. Takes time linear in the text, except where a user's own pattern does not."""

    def __init__(self, spec: OutcomeSpec) -> None:
        self._spec = spec
        self._codes = {label.casefold(): code for code, labels in enumerate(spec.labels) for label in labels}
        outcome_field = spec.field if spec.where == "json-field" else None
        self._keys = {
            part: key.casefold()
            for part, key in (
                ("outcome", outcome_field),
                ("confidence", spec.confidence_field),
                ("rationale", spec.rationale_field),
            )
            if key is not None
        }
        self._fields = _fields_pattern(sorted(set(self._keys.values()))) if self._keys else None
        self._patterns = {
            part: re.compile(pattern)
            for part, pattern in (
                ("outcome", self._outcome_pattern()),
                ("confidence", spec.confidence_pattern),
                ("rationale", spec.rationale_pattern),
            )
            if pattern is not None
        }
        self._refusal = re.compile(spec.refusal, re.IGNORECASE)

    def _outcome_pattern(self) -> str | None:
        if self._spec.where == "regex":
            return self._spec.pattern
        if self._spec.where == "first-token":
            words = "|".join(re.escape(word) for word in sorted(self._codes, key=len, reverse=True))
            return rf"\A[\W_]*?(?i:({words}))(?!\w)"
        return None

    def locate(self, text: str, *, refused: bool, truncated: bool) -> Located:
        """Read one answer. Never raises."""
        fields = self._find_fields(text)
        labels = self._find("outcome", fields, text)
        outcome, problem, outcome_span = self._outcome(labels, text, refused, truncated)
        stated = next(self._find("confidence", fields, text), None)
        confidence, confidence_span = NAN, NOWHERE
        # A number that the end of a truncated answer cut off may have had more digits.
        if stated is not None and not (truncated and stated.span[1] == len(text)):
            confidence = _number(stated.value) / self._spec.confidence_scale
            if 0.0 <= confidence <= 1.0:
                confidence_span = stated.span
            else:
                confidence = NAN
        rationale = next(self._find("rationale", fields, text), None)
        return Located(
            outcome, problem, confidence, outcome_span, confidence_span, rationale.span if rationale else NOWHERE
        )

    def _find_fields(self, text: str) -> list[tuple[str, Found]]:
        if self._fields is None:
            return []
        found = []
        for match in self._fields.finditer(text):
            group = match.lastindex or 0
            found.append((match[2].casefold(), Found(match[group], match.span(group))))
        return found

    def _find(self, part: str, fields: list[tuple[str, Found]], text: str) -> Iterator[Found]:
        key = self._keys.get(part)
        if key is not None:
            yield from (found for name, found in fields if name == key)
        pattern = self._patterns.get(part)
        if pattern is not None:
            group = "label" if "label" in pattern.groupindex else 1
            for match in pattern.finditer(text):
                if match[group] is not None:
                    yield Found(match[group], match.span(group))

    def _outcome(
        self, labels: Iterator[Found], text: str, refused: bool, truncated: bool
    ) -> tuple[int, str | None, Span]:
        """The outcome on which all the label's occurrences agree; where they do not, nobody can act on the answer."""
        first: dict[int, Span] = {}
        unknown = False
        for label in labels:
            code = self._codes.get(label.value.strip().casefold(), -1)
            if code < 0:
                unknown = True
            else:
                first.setdefault(code, label.span)
        if len(first) == 1:
            code, span = next(iter(first.items()))
            return code, None, span
        if first:
            return -1, "outcome_ambiguous", NOWHERE
        if refused or self._refusal.match(text):
            return -1, "refusal", NOWHERE
        if not text.strip():
            return -1, "empty_answer", NOWHERE
        if unknown:
            return -1, "outcome_unknown", NOWHERE
        return -1, "answer_truncated" if truncated else "outcome_missing", NOWHERE


@lru_cache(maxsize=64)
def locator(spec: OutcomeSpec) -> Locator:
    """The compiled spec."""
    return Locator(spec)


def _fields_pattern(keys: list[str]) -> re.Pattern[str]:
    """Every `"key": value` of the keys: in JSON, fenced or not, in a Python-like dict, whole or cut off behind the value.

    A key inside a JSON string cannot match, as its quotes are escaped there. Possessive quantifiers keep it linear.
    """
    names = "|".join(map(re.escape, keys))
    value = r"""(?:"((?:[^"\\]|\\.)*+)"|'([^']*+)'|([^\s"',\[\]{}]++))"""
    return re.compile(rf"""(["'])({names})\1\s*+:\s*+{value}""", re.IGNORECASE | re.DOTALL)


def _number(value: str) -> float:
    try:
        return float(value.strip().removesuffix("%"))
    except ValueError:
        return NAN

"""Finds the outcome label, the stated confidence and the rationale in an answer's text, by character offset."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from featurizers.spec import OutcomeSpec

Span = tuple[int, int]
NOWHERE: Span = (0, 0)
NAN = float("nan")

# Verdicts without a rationale repeat all the time: an answer as short as this is read once.
SHORT = 128
CACHED_ANSWERS = 4096


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


Value = tuple[str, Span]  # a candidate for a part, with its span
OUTCOME, CONFIDENCE, RATIONALE = range(3)


class Locator:
    """An outcome spec, compiled. Takes time linear in the text, except where a user's own pattern does not."""

    def __init__(self, spec: OutcomeSpec) -> None:
        self._codes = {label.casefold(): code for code, labels in enumerate(spec.labels) for label in labels}
        self._scale = spec.confidence_scale
        self._refusal = re.compile(spec.refusal, re.IGNORECASE)
        self._parts = {key.casefold(): part for part, key in enumerate(spec.json_keys()) if key is not None}
        self._fields = _fields_pattern(self._parts) if self._parts else None
        outcome_pattern = _first_word_pattern(self._codes) if spec.where == "first-token" else spec.pattern
        patterns = (outcome_pattern, spec.confidence_pattern, spec.rationale_pattern)
        self._cached = lru_cache(maxsize=CACHED_ANSWERS)(self._locate)
        self._patterns = [(part, re.compile(pattern)) for part, pattern in enumerate(patterns) if pattern is not None]

    def locate(self, text: str, refused: bool, truncated: bool) -> Located:
        """Read one answer. Never raises."""
        return (self._cached if len(text) <= SHORT else self._locate)(text, refused, truncated)

    def _locate(self, text: str, refused: bool, truncated: bool) -> Located:
        found = self._find(text)
        outcome, problem, outcome_span = self._outcome(found[OUTCOME])
        if outcome < 0 and problem is None:
            problem = self._why_missing(text, bool(found[OUTCOME]), refused, truncated)
        confidence, confidence_span = NAN, NOWHERE
        for value, span in found[CONFIDENCE][:1]:
            # A number that the end of a truncated answer cut off may have had more digits.
            stated = NAN if truncated and span[1] == len(text) else _number(value) / self._scale
            if 0.0 <= stated <= 1.0:
                confidence, confidence_span = stated, span
        rationale_span = found[RATIONALE][0][1] if found[RATIONALE] else NOWHERE
        return Located(outcome, problem, confidence, outcome_span, confidence_span, rationale_span)

    def _find(self, text: str) -> tuple[list[Value], list[Value], list[Value]]:
        found: tuple[list[Value], list[Value], list[Value]] = ([], [], [])
        if self._fields is not None:
            for match in self._fields.finditer(text):
                group = match.lastindex or 0
                found[self._parts[match[2].casefold()]].append((match[group], match.span(group)))
        for part, pattern in self._patterns:
            group_name = "label" if "label" in pattern.groupindex else 1
            for match in pattern.finditer(text):
                if match[group_name] is not None:
                    found[part].append((match[group_name], match.span(group_name)))
        return found

    def _outcome(self, labels: list[Value]) -> tuple[int, str | None, Span]:
        """The outcome on which all the label's occurrences agree; where they do not, nobody can act on the answer."""
        first: dict[int, Span] = {}
        for value, span in labels:
            code = self._codes.get(value.strip().casefold(), -1)
            if code >= 0:
                first.setdefault(code, span)
        if len(first) > 1:
            return -1, "outcome_ambiguous", NOWHERE
        for code, span in first.items():
            return code, None, span
        return -1, None, NOWHERE

    def _why_missing(self, text: str, unknown: bool, refused: bool, truncated: bool) -> str:
        if refused or self._refusal.match(text):
            return "refusal"
        if not text.strip():
            return "empty_answer"
        if unknown:
            return "outcome_unknown"
        return "answer_truncated" if truncated else "outcome_missing"


@lru_cache(maxsize=64)
def locator(spec: OutcomeSpec) -> Locator:
    """The compiled spec."""
    return Locator(spec)


def _first_word_pattern(words: Iterable[str]) -> str:
    alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return rf"\A[\W_]*?(?i:({alternatives}))(?!\w)"


def _fields_pattern(keys: Iterable[str]) -> re.Pattern[str]:
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

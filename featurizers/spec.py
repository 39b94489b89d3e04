"""Outcome specs: where the label sits in an answer and which strings mean which outcome code."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from featurizers.caseless import caseless
from featurizers.errors import SpecError

Where = Literal["json-field", "line", "first-token", "regex"]
Around = Literal["read", "refused"]
CODES = 4
PARTS = ("confidence", "rationale", "category")

REFUSAL = r"\s*(?:i['\u2019]?m (?:very )?sorry|i am sorry|sorry,|i (?:can['\u2019]?t|cannot|can not|won['\u2019]?t|am unable|am not able))"

# How reasoning opens, and what ends it. An answer that does not begin with the opening has no reasoning.
Reasoning = tuple[tuple[str, str], ...]
REASONING: dict[str, Reasoning] = {
    "none": (),
    "think": (
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<reasoning>", "</reasoning>"),
        ("[THINK]", "[/THINK]"),
    ),
    "harmony": (
        ("<|channel|>", "<|channel|>final<|message|>"),
        ("<|start|>assistant", "<|channel|>final<|message|>"),
        ("analysis", "assistantfinal"),
    ),
}
REASONING["auto"] = REASONING["think"] + REASONING["harmony"][:2]


@dataclass(frozen=True)
class OutcomeSpec:
    """How to read an LLM's answer.

    `labels[c]` are the strings that mean code c (0 no violation, 1 violation, 2 evidence deficiency, 3 policy gap); case
    does not matter. The label is the value of the JSON key `field`, of the line `field: label`, the answer's first word, or
    the group `label` (else the first group) of `pattern`.

    Prose around the JSON is `read`, in English, for what it says of the verdict; where it is `refused`, any but a code fence
    leaves no outcome. `beside` names lines that hold a label and are not the outcome's: any other line with another label does.

    `any_of` lists several fields in place of `field`: a violation if one of them says so; one whose name ends in `?` may be
    absent. With `violation_at` the field holds a score in place of a label: a violation from that number on.

    The stated confidence is the number in `confidence_field`, or in the first group of `confidence_pattern`, divided by
    `confidence_scale`, or one of `confidence_words` with the probability that it stands for; rationale and category are
    found in the same two ways. `reasoning` are the marks between which an answer may begin with reasoning. Unless
    `may_be_cut`, a label outside of JSON does not count in an answer that was cut off: what was to follow may have revoked
    it. An answer without a label whose start matches `refusal` is a refusal.

    Raises `SpecError` on contradictions.
    """

    name: str
    labels: tuple[tuple[str, ...], ...] = ()
    where: Where = "json-field"
    field: str = "outcome"
    prose: Around = "read"
    beside: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    violation_at: float | None = None
    pattern: str | None = None
    confidence_field: str | None = None
    confidence_pattern: str | None = None
    confidence_scale: float = 100.0
    confidence_words: tuple[tuple[str, float], ...] = ()
    rationale_field: str | None = None
    rationale_pattern: str | None = None
    category_field: str | None = None
    category_pattern: str | None = None
    reasoning: Reasoning = REASONING["auto"]
    may_be_cut: bool = False
    refusal: str = REFUSAL

    def __post_init__(self) -> None:
        if self.where not in get_args(Where):
            raise self._error(f"`where` is {self.where!r}; it must be one of {', '.join(get_args(Where))}")
        if (self.where == "regex") != (self.pattern is not None):
            raise self._error('`pattern` and `where = "regex"` belong together')
        if self.named and not all(self.outcome_fields()):
            raise self._error("`field` is empty; it names the label's JSON key or line")
        if not self.named and (self.any_of or self.violation_at is not None):
            raise self._error('`any_of` and `score` need `where = "json-field"` or `where = "line"`')
        for part in PARTS:
            if getattr(self, f"{part}_field") is not None and getattr(self, f"{part}_pattern") is not None:
                raise self._error(f"{part} has both `field` and `pattern`; give one")
        keys = [caseless(key) for key in (*self.outcome_fields(), *self.part_fields().values())]
        if len(keys) != len(set(keys)):
            raise self._error("outcome, confidence, rationale and category need fields of their own")
        self._check_around()
        self._check_confidence()
        for pattern in (self.pattern, *(getattr(self, f"{part}_pattern") for part in PARTS)):
            self._check_pattern(pattern)
        self._check_labels()
        self._compiled(self.refusal)
        if not all(closing for _, closing in self.reasoning):
            raise self._error("`reasoning` needs the mark that ends it")

    @property
    def named(self) -> bool:
        """Whether the label stands under a name."""
        return self.where in {"json-field", "line"}

    def outcome_fields(self) -> tuple[str, ...]:
        """The names that the label may stand under."""
        if not self.named:
            return ()
        return tuple(name.removesuffix("?") for name in self.any_of) or (self.field,)

    def part_fields(self) -> dict[str, str]:
        """The names that confidence, rationale and category stand under."""
        fields = {part: getattr(self, f"{part}_field") for part in PARTS}
        return {part: field for part, field in fields.items() if field is not None}

    def _check_around(self) -> None:
        if self.prose not in get_args(Around):
            raise self._error(f"`prose` is {self.prose!r}; it must be one of {', '.join(get_args(Around))}")
        if self.prose == "refused" and self.where != "json-field":
            raise self._error('`prose` needs `where = "json-field"`')
        if self.beside and self.where != "line":
            raise self._error('`beside` needs `where = "line"`')

    def _check_confidence(self) -> None:
        if not (self.confidence_scale > 0 and math.isfinite(self.confidence_scale)):
            raise self._error("the confidence `scale` must be a positive number")
        for word, probability in self.confidence_words:
            if not 0 <= probability <= 1:
                raise self._error(f"the confidence word {word!r} stands for {probability:g}; give a number from 0 to 1")
        if self.confidence_words and self.confidence_field is None and self.confidence_pattern is None:
            raise self._error("`confidence_words` need a confidence `field` or `pattern`")

    def _check_labels(self) -> None:
        if self.violation_at is not None:
            if self.labels or not math.isfinite(self.violation_at):
                raise self._error("a `score` has a finite `violation_at`, and no labels beside it")
            return
        if len(self.labels) > CODES:
            raise self._error("there are only four codes, 0 to 3")
        if not all(self.labels[:2]) or len(self.labels) < 2:  # noqa: PLR2004 -- codes 0 and 1
            raise self._error("codes 0 and 1 need at least one label each")
        seen: dict[str, int] = {}
        for code, labels in enumerate(self.labels):
            for label in labels:
                word = caseless(label)
                if not word or word != word.strip():
                    raise self._error(f"the label {label!r} of code {code} is empty or has blanks around it")
                if seen.setdefault(word, code) != code:
                    raise self._error(f"the label {label!r} means both code {seen[word]} and code {code}")

    def _check_pattern(self, pattern: str | None) -> None:
        if pattern is not None and not self._compiled(pattern).groups:
            raise self._error(f"the pattern {pattern!r} has no group; put parentheses round the part to read")

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        try:
            return re.compile(pattern)
        except re.error as error:
            raise self._error(f"the pattern {pattern!r} is no regular expression: {error}") from None

    def _error(self, message: str) -> SpecError:
        return SpecError(f"outcome spec {self.name!r}: {message}")


# What reads an answer that no spec of a directory is for, as nobody said what its words mean: it finds no outcome.
NO_SPEC = OutcomeSpec(name="none", labels=(("0",), ("1",)), where="regex", pattern=r"(?!)()")

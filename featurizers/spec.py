"""Outcome specs: where the label sits in an answer and which strings mean which outcome code."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from featurizers.errors import SpecError

Where = Literal["json-field", "first-token", "regex"]
CODES = 4

REFUSAL = r"\s*(?:i['\u2019]?m (?:very )?sorry|i am sorry|sorry,|i (?:can['\u2019]?t|cannot|can not|won['\u2019]?t|am unable|am not able))"


@dataclass(frozen=True)
class OutcomeSpec:
    """How to read an LLM's answer.

    `labels[c]` are the strings that mean code c (0 no violation, 1 violation, 2 evidence deficiency, 3 policy gap); case
    does not matter. The label is the value of the JSON key `field`, the answer's first word, or the group `label` (else
    the first group) of `pattern`. The stated confidence is the number at the JSON key `confidence_field`, or in the first
    group of `confidence_pattern`, divided by `confidence_scale`; the rationale is found in the same two ways. An answer
    without a label whose start matches `refusal` is a refusal.

    Raises `SpecError` on contradictions.
    """

    name: str
    labels: tuple[tuple[str, ...], ...]
    where: Where = "json-field"
    field: str = "outcome"
    pattern: str | None = None
    confidence_field: str | None = None
    confidence_pattern: str | None = None
    confidence_scale: float = 100.0
    rationale_field: str | None = None
    rationale_pattern: str | None = None
    refusal: str = REFUSAL

    def __post_init__(self) -> None:
        if self.where not in get_args(Where):
            raise self._error(f"`where` is {self.where!r}; it must be one of {', '.join(get_args(Where))}")
        if (self.where == "regex") != (self.pattern is not None):
            raise self._error('`pattern` and `where = "regex"` belong together')
        if self.where == "json-field" and not self.field:
            raise self._error("`field` is empty; it names the JSON key of the label")
        for part in ("confidence", "rationale"):
            if getattr(self, f"{part}_field") is not None and getattr(self, f"{part}_pattern") is not None:
                raise self._error(f"{part} has both `field` and `pattern`; give one")
        keys = [key.casefold() for key in self.json_keys() if key is not None]
        if len(keys) != len(set(keys)):
            raise self._error("outcome, confidence and rationale need JSON keys of their own")
        if not (self.confidence_scale > 0 and math.isfinite(self.confidence_scale)):
            raise self._error("the confidence `scale` must be a positive number")
        for pattern in (self.pattern, self.confidence_pattern, self.rationale_pattern):
            self._check_pattern(pattern)
        self._check_labels()
        self._compiled(self.refusal)

    def json_keys(self) -> tuple[str | None, str | None, str | None]:
        """The JSON keys of outcome, confidence and rationale."""
        outcome = self.field if self.where == "json-field" else None
        return outcome, self.confidence_field, self.rationale_field

    def _check_labels(self) -> None:
        if len(self.labels) > CODES:
            raise self._error("there are only four codes, 0 to 3")
        if not all(self.labels[:2]) or len(self.labels) < 2:  # noqa: PLR2004 -- codes 0 and 1
            raise self._error("codes 0 and 1 need at least one label each")
        seen: dict[str, int] = {}
        for code, labels in enumerate(self.labels):
            for label in labels:
                word = label.casefold()
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


def _verdict(name: str, no_violation: tuple[str, ...], violation: tuple[str, ...], where: Where) -> OutcomeSpec:
    return OutcomeSpec(name=name, labels=(no_violation, violation), where=where)


PRESETS: dict[str, OutcomeSpec] = {
    spec.name: spec
    for spec in (
        OutcomeSpec(
            name="lpp",
            labels=(("0",), ("1",), ("2",), ("3",)),
            confidence_field="confidence",
            rationale_field="rationale",
        ),
        _verdict("llama-guard", ("safe",), ("unsafe",), "first-token"),
        _verdict("yes-no", ("no",), ("yes",), "first-token"),
        _verdict("allow-block", ("allow",), ("block",), "first-token"),
        _verdict("true-false", ("false",), ("true",), "first-token"),
    )
}


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    field: str | None = None
    pattern: str | None = None


class _Confidence(_Part, frozen=True):
    scale: float = 100.0


class _SpecFile(Struct, forbid_unknown_fields=True):
    """The TOML table of a spec."""

    labels: dict[Literal["0", "1", "2", "3"], list[str]]
    name: str | None = None
    where: str = "json-field"
    field: str = "outcome"
    pattern: str | None = None
    refusal: str = REFUSAL
    confidence: _Confidence = _Confidence()
    rationale: _Part = _Part()


def load_spec(source: str | Path) -> OutcomeSpec:
    """A preset by its name, or the spec in a TOML file.

    Raises `SpecError` for a file that cannot be read or a spec that contradicts itself, with the reason.
    """
    if isinstance(source, str) and source in PRESETS:
        return PRESETS[source]
    path = Path(source)
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=_SpecFile)
    except OSError as error:
        raise SpecError(
            f"outcome spec {str(source)!r}: no such preset ({', '.join(PRESETS)}), and the file cannot be read: {error.strerror}"
        ) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SpecError(f"outcome spec {path}: {error}") from None
    return OutcomeSpec(
        name=file.name or path.stem,
        labels=tuple(tuple(file.labels.get(code, ())) for code in ("0", "1", "2", "3")),
        where=file.where,  # type: ignore[arg-type] # checked by OutcomeSpec, with a better message
        field=file.field,
        pattern=file.pattern,
        confidence_field=file.confidence.field,
        confidence_pattern=file.confidence.pattern,
        confidence_scale=file.confidence.scale,
        rationale_field=file.rationale.field,
        rationale_pattern=file.rationale.pattern,
        refusal=file.refusal,
    )

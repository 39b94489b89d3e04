"""Outcome specs from TOML files."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from featurizers.errors import SpecError
from featurizers.presets import PRESETS
from featurizers.spec import REASONING, REFUSAL, OutcomeSpec, Reasoning


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    field: str | None = None
    pattern: str | None = None


class _Confidence(_Part, frozen=True):
    scale: float = 100.0


class _Score(Struct, frozen=True, forbid_unknown_fields=True):
    field: str
    violation_at: float


class Match(Struct, frozen=True, forbid_unknown_fields=True):
    """Which answers a spec is for: `*` and `?` stand for any characters; what is left out matches every answer."""

    provider: str | None = None
    llm: str | None = None
    policy: str | None = None
    header: dict[str, str] = {}


class _SpecFile(Struct, forbid_unknown_fields=True):
    """The TOML table of a spec: of its own, or a `preset`'s under a name of its own."""

    preset: str | None = None
    match: Match = Match()
    labels: dict[Literal["0", "1", "2", "3"], list[str]] | None = None
    name: str | None = None
    where: str = "json-field"
    field: str = "outcome"
    prose: str = "read"
    beside: list[str] = []
    any_of: list[str] = []
    score: _Score | None = None
    pattern: str | None = None
    refusal: str = REFUSAL
    reasoning: str | tuple[str, str] = "auto"
    may_be_cut: bool = False
    confidence: _Confidence = _Confidence()
    confidence_words: dict[str, float] = {}
    rationale: _Part = _Part()
    category: _Part = _Part()


def load_spec(source: str | Path) -> OutcomeSpec:
    """A preset by its name, or the spec in a TOML file.

    Raises `SpecError` for a file that cannot be read or a spec that contradicts itself, with the reason.
    """
    if isinstance(source, str) and source in PRESETS:
        return PRESETS[source]
    return load_rule(Path(source))[1]


def load_rule(path: Path) -> tuple[Match, OutcomeSpec]:
    """The spec in a TOML file, and which answers it is for; raises as `load_spec` does."""
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=_SpecFile)
    except OSError as error:
        raise SpecError(
            f"outcome spec {str(path)!r}: no such preset ({', '.join(PRESETS)}), and the file cannot be read: {error.strerror}"
        ) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SpecError(f"outcome spec {path}: {_plainly(str(error))}") from None
    name = file.name or path.stem
    return file.match, _own_spec(file, name) if file.preset is None else _named_preset(file, file.preset, name)


def _named_preset(file: _SpecFile, preset: str, name: str) -> OutcomeSpec:
    if preset not in PRESETS:
        raise SpecError(f"outcome spec {name!r}: there is no preset {preset!r}; give {', '.join(PRESETS)}")
    if file != _SpecFile(preset=preset, match=file.match, name=file.name):
        raise SpecError(f"outcome spec {name!r}: beside `preset` stand `name` and `match` only")
    return replace(PRESETS[preset], name=name)


def _own_spec(file: _SpecFile, name: str) -> OutcomeSpec:
    if file.labels is None and file.score is None:
        raise SpecError(
            f"outcome spec {name!r}: `labels` are missing: give the strings that mean 0 and 1, or a `score`"
        )
    return OutcomeSpec(
        name=name,
        labels=() if file.labels is None else tuple(tuple(file.labels.get(code, ())) for code in ("0", "1", "2", "3")),
        where=file.where,  # type: ignore[arg-type] # checked by OutcomeSpec, with a better message
        field=file.field if file.score is None else file.score.field,
        prose=file.prose,  # type: ignore[arg-type] # likewise
        beside=tuple(file.beside),
        any_of=tuple(file.any_of),
        violation_at=None if file.score is None else file.score.violation_at,
        pattern=file.pattern,
        confidence_field=file.confidence.field,
        confidence_pattern=file.confidence.pattern,
        confidence_scale=file.confidence.scale,
        confidence_words=tuple(file.confidence_words.items()),
        rationale_field=file.rationale.field,
        rationale_pattern=file.rationale.pattern,
        category_field=file.category.field,
        category_pattern=file.category.pattern,
        reasoning=_reasoning(file.reasoning, name),
        may_be_cut=file.may_be_cut,
        refusal=file.refusal,
    )


def _reasoning(setting: str | tuple[str, str], name: str) -> Reasoning:
    if not isinstance(setting, str):
        return (setting,)
    if setting not in REASONING:
        known = ", ".join(sorted(REASONING))
        raise SpecError(
            f"outcome spec {name!r}: `reasoning` is {setting!r}; give {known}, or the two marks around it as a list"
        )
    return REASONING[setting]


_KINDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a table",
    "str": "a text",
}
_WRONG_LENGTH = re.compile(r"Expected `array` of length (\d+), got (\d+)")
_WRONG_KIND = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")


def _plainly(problem: str) -> str:
    """A slip in a file in the words of the file: the setting, not the path of a data structure."""
    what, _, where = problem.partition(" - at `")
    for theirs, ours in (
        ("Object contains unknown field", "there is no setting"),
        ("Object missing required field", "there must be"),
    ):
        what = what.replace(theirs, ours)
    what = what.replace("Invalid enum value", "there is no code")
    what = _WRONG_LENGTH.sub(r"it must be a list of \1, not of \2", what)
    what = _WRONG_KIND.sub(lambda kinds: f"it must be {_kind(kinds[1])}, not {_kind(kinds[2])}", what)
    setting = where.rstrip("`").removeprefix("key` in `").lstrip("`$.").replace("[...]", "")
    return f"{what} (in `{setting}`)" if setting else what


def _kind(names: str) -> str:
    return " or ".join(_KINDS.get(name, name) for name in names.split(" | ") if name != "null") or "nothing"

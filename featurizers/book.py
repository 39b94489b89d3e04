"""Several outcome specs in one directory, chosen answer by answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from featurizers.errors import SpecError
from featurizers.spec import NO_SPEC, OutcomeSpec
from featurizers.spec_files import Match, load_rule


@dataclass(frozen=True)
class SpecBook:
    """Specs with what each is for, in order; the first that matches an answer reads it."""

    rules: tuple[tuple[Match, OutcomeSpec], ...]

    def choose(
        self, *, provider: str, llm: str | None, policy: str, headers: Iterable[tuple[str, bytes | None]]
    ) -> OutcomeSpec:
        """The spec of one answer; `NO_SPEC` if none matches. `headers` are the answer's, then the request's."""
        given: dict[str, str] = {}
        for name, value in headers:
            given.setdefault(name, (value or b"").decode(errors="replace"))
        for match, spec in self.rules:
            if _matches(match, provider, llm, policy, given):
                return spec
        return NO_SPEC


def load_specs(folder: str | Path) -> SpecBook:
    """The specs of a directory's TOML files, in the order of the files' names.

    Raises `SpecError` for a directory without any, for a file that `load_spec` refuses, and for two specs of one name.
    """
    paths = sorted(Path(folder).glob("*.toml"))
    if not paths:
        raise SpecError(f"outcome specs {str(folder)!r}: the directory has no .toml file, or cannot be read")
    rules = tuple(load_rule(path) for path in paths)
    names = [spec.name for _, spec in rules]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"outcome specs {str(folder)!r}: two specs have the name {name!r}; give each its own")
    return SpecBook(rules)


def _matches(match: Match, provider: str, llm: str | None, policy: str, headers: Mapping[str, str]) -> bool:
    wanted = ((match.provider, provider), (match.llm, llm), (match.policy, policy))
    return all(_fits(pattern, value) for pattern, value in wanted) and all(
        _fits(pattern, headers.get(name)) for name, pattern in match.header.items()
    )


def _fits(pattern: str | None, value: str | None) -> bool:
    return pattern is None or (value is not None and fnmatchcase(value, pattern))

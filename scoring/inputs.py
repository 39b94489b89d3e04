"""The meta-model's input: raw predictors, then one column per policy and per language that has coefficients of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Inputs:
    """Layout of the input [n, d + len(policies) + len(languages)], float32: those with coefficients of their own.

    Every other policy has all policy columns NaN, and so with languages. The model fills them with their training means, as if
    of an average policy: the pooled model.
    """

    policies: tuple[str, ...]
    languages: tuple[str, ...] = ()

    @cached_property
    def _blocks(self) -> tuple["_Block", "_Block"]:
        return _Block.of(self.policies), _Block.of(self.languages)

    def encode(
        self, values: NDArray[np.float32], policies: Sequence[str], languages: Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """Append the columns of policies [n] and languages [n] to `values` [n, d]. A language is a BCP 47 tag; None is unknown."""
        if not self.policies and not self.languages:
            return values
        by_policy, by_language = self._blocks
        tags = [None] * len(values) if languages is None else languages
        spoken = {tag: language_of(tag) for tag in set(tags)}
        columns = by_policy.columns(policies), by_language.columns([spoken[tag] for tag in tags])
        return np.concatenate((values, *columns), axis=1)


def language_of(tag: object) -> str | None:
    """The language of a BCP 47 tag, without region and script ("pt-BR" and "PT" are "pt"); None for what is no text."""
    return tag.replace("_", "-").partition("-")[0].lower() or None if isinstance(tag, str) else None


@dataclass(frozen=True)
class _Block:
    places: dict[str | None, int]
    codes: NDArray[np.float32]
    """One row a name, and the last one NaN throughout."""

    @classmethod
    def of(cls, names: Sequence[str]) -> "_Block":
        pooled = np.full((1, len(names)), np.nan, dtype=np.float32)
        codes = np.concatenate((np.eye(len(names), dtype=np.float32), pooled))
        return cls({name: place for place, name in enumerate(names)}, codes)

    def columns(self, names: Sequence[str | None]) -> NDArray[np.float32]:
        """One row a name: its code, or NaN throughout."""
        return self.codes[[self.places.get(name, -1) for name in names]]

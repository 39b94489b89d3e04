"""Which part of the traffic has labels: what was escalated, what was audited, and what nobody has seen."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Stratum = Literal["escalated", "audited", "automated", "unknown"]
NEGLIGIBLE = 0.01
"""Share of the verdicts below which a part that has no labels is passed by."""


@dataclass(frozen=True)
class Traffic:
    """Of the verdicts (answers with outcome 0 or 1) that were read: how many each stratum has, and how many of them labels that count.

    `unseen` automated ones had no chance of an audit. Labels that do not count: `chosen` came by appeals and reports, or are of what nobody had
    drawn; `of_unknown_chance` ones have none stated; on `divided` answers no verdict has more than half of the reviewers, and of `untold` ones
    nobody could tell. `least` is the smallest chance of a label that any answer had, where it had one at all. `largest`: so many verdicts has the
    request that has most of them; they are drawn together.
    """

    answers: Counter[Stratum] = field(default_factory=Counter)
    labelled: Counter[Stratum] = field(default_factory=Counter)
    unseen: int = 0
    chosen: int = 0
    of_unknown_chance: int = 0
    divided: int = 0
    untold: int = 0
    least: float | None = None
    largest: int = 1

    @property
    def unlabelled(self) -> list[str]:
        """The parts of the traffic, `escalated` and `automated`, of which there is no label that stands for them. None where chances are unknown."""
        return self.without(self.labelled)

    def without(self, labelled: Mapping[Any, int], least: int = 1) -> list[str]:
        """The parts of which there are fewer than `least` of some of the labels: so many of each stratum."""
        if not self.answers.keys() - {"unknown"}:
            return []
        parts: dict[str, tuple[Stratum, ...]] = {"escalated": ("escalated",), "automated": ("automated", "audited")}
        return [
            name
            for name, strata in parts.items()
            if sum(self.answers[one] for one in strata) > NEGLIGIBLE * self.answers.total()
            and sum(labelled.get(one, 0) for one in strata) < least
        ]

    def stated(self) -> dict[str, Any]:
        """For a card or a report."""
        return {
            "strata": {
                name: {"verdicts": count, "labelled": self.labelled[name]}
                for name, count in sorted(self.answers.items())
            },
            "unlabelled": self.unlabelled,
            **{name: getattr(self, name) for name in ("unseen", "chosen", "of_unknown_chance", "divided", "untold")},
        }


def strata_words(strata: Mapping[str, Mapping[str, int]]) -> str:
    """How many verdicts of each stratum have a label that counts, of what `Traffic.stated` has of them."""
    return ", ".join(f"{one['labelled']} of {one['verdicts']} {name}" for name, one in strata.items())

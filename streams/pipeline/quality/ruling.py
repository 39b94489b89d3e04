"""Under what a decision was made: the bound that it counts for, and the audit rates that its chance is weighed against. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.pipeline.control_content import Bound, Content
from streams.pipeline.scope import EVERYTHING, Scope, by_specificity

_MOST: Final = 10_000
"""Lowest rates that are kept: policies are named from outside."""


class Ruled(NamedTuple):
    """The bound under which a decision was made: its scope, and the version that set it."""

    scope: Scope
    since: int


class Ruling(NamedTuple):
    """What held for a decision: the lowest audit rate of its policy (0: none is known), and of all; its bound, and the lowest of the bound's scope."""

    lowest: float = 0.0
    lowest_of_all: float = 0.0
    ruled: Ruled | None = None
    ruled_lowest: float = 0.0


class Rulings:
    """What held at each version of the control log, the last one now; before the first that is known, as at that."""

    def __init__(self, versions: Sequence[tuple[int, Content]]) -> None:
        self._versions = [version for version, _ in versions]
        self._contents = [content for _, content in versions]
        self._lowest: dict[tuple[int, Scope], float] = {}

    @property
    def version(self) -> int:
        """The last one."""
        return self._versions[-1]

    def of(self, policy: str, scope: Scope | None, version: int) -> Ruling:
        """What held for a decision of a version; `scope` is where it lies, if the LLM gave a verdict."""
        where = max(0, bisect_right(self._versions, version) - 1)
        lowest, of_all = (self._lowest_rate(where, one) for one in (Scope(policy), EVERYTHING))
        ruled = None if scope is None else ruling_bound(self._contents[-1], scope, version)
        return Ruling(lowest, of_all, ruled, 0.0 if ruled is None else self._lowest_rate(where, ruled.scope))

    def _lowest_rate(self, where: int, scope: Scope) -> float:
        known = self._lowest.get((where, scope))
        if known is None:
            if len(self._lowest) >= _MOST:
                self._lowest.clear()
            known = self._lowest[where, scope] = lowest_rate(self._contents[where], scope)
        return known


def lowest_rate(content: Content, scope: Scope) -> float:
    """An audit rate that no audited decision of a scope lies below; 0 where nothing of it is audited."""
    rates = content.audit_rates
    whole = next((one for one in by_specificity(*scope) if one in rates), scope)  # what is wider counts for none of it
    within = [one for one in rates if scope.overlaps(one) and (one == whole or one.weighs_more_than(whole))]
    floors = {one: rate.floor for one, rate in rates.items() if rate.floor and scope.overlaps(one)}
    least = min(floors.values(), default=0.0)
    own = (
        max((rates[one].rate, *(floor for wider, floor in floors.items() if wider.covers(one)))) or least
        for one in within
    )
    return min(filter(None, own), default=0.0)


def ruling_bound(content: Content, decision: Scope, version: int) -> Ruled | None:
    """The bound under which a decision was made, if it was made under one that is still in force."""
    for scope in by_specificity(*decision):
        threshold = content.thresholds.get(scope)
        if threshold is not None:
            is_bound = threshold.bound is not None and threshold.since <= version
            return Ruled(scope, threshold.since) if is_bound else None
    return None


def bounds_in_force(content: Content) -> dict[Ruled, Bound]:
    """Every bound that is in force."""
    return {Ruled(scope, one.since): one.bound for scope, one in content.thresholds.items() if one.bound is not None}

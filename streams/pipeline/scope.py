"""Whom a control is about: a policy, a tenant and an outcome of the LLM, each one of them or all. Pure."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeVar

from immutables import Map

_T = TypeVar("_T")

EVERY: Final = "*"
"""In place of a policy, a tenant or an outcome: all of them."""
UNREADABLE: Final = ""
"""The tenant of a request that has one, though not as a text: it may be any."""

Outcome = Literal["*", "allow", "remove"]
OUTCOMES: Final[tuple[Outcome, Outcome]] = ("allow", "remove")
"""What the LLM's outcomes 0 and 1 would have done. Wrong, the first is a missed violation, the second a wrong removal."""


class Scope(NamedTuple):
    """A policy, a tenant (the request's field `tenant`) and an outcome (one of `OUTCOMES`); `*` is every one.

    Of all the scopes that a decision lies in, the most specific one that is set counts: the policy weighs more than the
    tenant, the tenant more than the outcome.
    """

    policy: str = EVERY
    tenant: str = EVERY
    outcome: str = EVERY

    def covers(self, other: "Scope") -> bool:
        """Whether the other lies inside of it, or is the same."""
        policy, tenant, outcome = self
        return (policy in (EVERY, other[0])) and (tenant in (EVERY, other[1])) and (outcome in (EVERY, other[2]))

    def overlaps(self, other: "Scope") -> bool:
        """Whether a decision can lie in both."""
        return all(EVERY in both or both[0] == both[1] for both in zip(self, other, strict=True))

    def counts_before(self, other: "Scope") -> bool:
        """Whether it is the more specific one of two that overlap, neither inside the other."""
        if not self.overlaps(other) or self.covers(other) or other.covers(self):
            return False
        return [name == EVERY for name in self] < [name == EVERY for name in other]

    def weighs_more_than(self, other: "Scope") -> bool:
        """Whether a setting of it is what counts where a decision lies in both."""
        return self != other and (other.covers(self) or self.counts_before(other))

    def __str__(self) -> str:
        """As short as it gets: the policy, then what it is narrowed to."""
        tenant = "" if self.tenant == EVERY else f", tenant {self.tenant}"
        return f"{self.policy}{tenant}" + ("" if self.outcome == EVERY else f", outcome {self.outcome}")

    @property
    def words(self) -> str:
        """For a sentence: `every policy`, `policy hate, tenant acme`."""
        return f"every policy{str(self)[1:]}" if self.policy == EVERY else f"policy {self}"


EVERYTHING: Final = Scope()


def by_specificity(policy: str, tenant: str, outcome: str) -> list[Scope]:
    """The eight scopes that a decision lies in, the most specific first."""
    return [Scope(p, t, o) for p in (policy, EVERY) for t in (tenant, EVERY) for o in (outcome, EVERY)]


class Scoped(Mapping[Scope, _T]):
    """What is set, by scope. Immutable, and cheap to make another of, however many policies and tenants there are."""

    __slots__ = ("_by_policy",)

    def __init__(self, settings: Mapping[Scope, _T] = MappingProxyType({})) -> None:
        by_policy: dict[str, dict[Scope, _T]] = {}
        for scope, one in settings.items():
            by_policy.setdefault(scope.policy, {})[scope] = one
        self._by_policy: Map[str, Map[Scope, _T]] = Map({policy: Map(of) for policy, of in by_policy.items()})

    def __getitem__(self, scope: Scope) -> _T:
        return self._by_policy[scope[0]][scope]

    def __iter__(self) -> Iterator[Scope]:
        for of_policy in self._by_policy.values():
            yield from of_policy

    def __len__(self) -> int:
        return sum(len(of_policy) for of_policy in self._by_policy.values())

    def __hash__(self) -> int:
        return hash(self._by_policy)

    def changed(self, scope: Scope, one: _T) -> "Scoped[_T]":
        """With another setting of this very scope; what is set inside of it stays."""
        made: Scoped[_T] = object.__new__(Scoped)
        made._by_policy = self._by_policy.set(scope.policy, self._by_policy[scope.policy].set(scope, one))
        return made

    def placed(self, scope: Scope, given: Mapping[Scope, _T]) -> "Scoped[_T]":
        """With what is `given`, all of the scope's policy, in place of all that was set for a scope and inside of it."""
        if scope.policy == EVERY:
            kept = {policy: left for policy, had in self._by_policy.items() if (left := _without(had, scope))}
            by_policy = Map(kept)
        else:
            by_policy = self._by_policy
        left = _without(by_policy.get(scope.policy, Map()), scope)
        for one, value in given.items():
            left = left.set(one, value)
        made: Scoped[_T] = object.__new__(Scoped)  # a log has many messages: this is done for each of them
        made._by_policy = by_policy.set(scope.policy, left)
        return made


def _without(of_policy: "Map[Scope, _T]", scope: Scope) -> "Map[Scope, _T]":
    """What is set for one policy, but for a scope and what lies inside of it."""
    if scope.tenant == EVERY and scope.outcome == EVERY:
        return Map()
    if EVERY in (scope.policy, scope.tenant):
        return Map({one: value for one, value in of_policy.items() if not scope.covers(one)})
    for outcome in (EVERY, *OUTCOMES) if scope.outcome == EVERY else (scope.outcome,):
        inside = Scope(scope.policy, scope.tenant, outcome)  # as many tenants as there are, these are few
        if inside in of_policy:
            of_policy = of_policy.delete(inside)
    return of_policy

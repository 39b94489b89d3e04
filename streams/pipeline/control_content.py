"""What the control log says is in force: an immutable value, the same for everyone who has read the same messages.

It knows models by their sha256 alone. Whether a worker can do what it says is another matter: see `streams.pipeline.controls`.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec
from immutables import Map

from streams.pipeline.scope import EVERYTHING, Scope, Scoped

_T = TypeVar("_T")

Origin = Literal["settings", "set", "costs", "budget", "bound"]
"""Where a threshold comes from."""


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of a scope's decisions that is to go to humans, and the limits within which its threshold may move for that."""

    share: float
    lowest: float
    highest: float
    since: int = 0


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a threshold was certified for: at most `max_risk` wrong verdicts among the automated, with `confidence`."""

    max_risk: float
    confidence: float


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """P(error) from which a human decides, and what it stands on.

    `value` is None where the costs in each worker's settings give it. `model` is the one whose scores it was made for (None: the
    one in the worker's settings), `kept_from` the models before that one, under which it was in force already. `since` is the
    version that set it. `budget` is what it is moved for, `bound` what it promises; a bound of another model is None, and its value 0.
    """

    value: float | None
    origin: Origin
    model: str | None = None
    kept_from: tuple[str | None, ...] = ()
    since: int = 0
    budget: Budget | None = None
    bound: Bound | None = None


class AuditRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of automatic decisions that a human sees all the same.

    `floor` is the least share of all that lies in the scope, whatever narrower scopes have.
    """

    rate: float
    since: int = 0
    floor: float = 0.0


class Shadow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked at beside what is in force, and has no effect: what would be in force with these changes.

    `model` is another one (None: the one in force), which `keep_thresholds` has those in force; `changes` are messages that
    set thresholds, put on top.
    """

    model: str | None
    keep_thresholds: bool
    changes: tuple[Any, ...]
    since: int = 0


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is in force after a message; the default is what is in force before the first one.

    By scope: `thresholds`, `audit_rates`, and `stops`, the versions that stopped automation. `model` is None while no
    message has named one: each worker then has that of its settings. `shadow` is without effect.
    """

    model: str | None = None
    model_since: int = 0
    thresholds: Scoped[Threshold] = Scoped({EVERYTHING: Threshold(None, "settings")})
    audit_rates: Scoped[AuditRate] = Scoped({EVERYTHING: AuditRate(0.0)})
    stops: "Map[Scope, int]" = Map()
    shadow: Shadow | None = None

    @property
    def hash(self) -> str:
        """The same for the same content, whoever computes it and whichever versions led to it."""
        stated: dict[str, Any] = {
            "model": self.model,
            "thresholds": _stated(self.thresholds, _threshold_stated),
            "audit_rates": _stated(self.audit_rates, lambda one: (one.rate, one.floor) if one.floor else one.rate),
            "stops": sorted(scope.policy for scope in self.stops if scope == Scope(scope.policy)),
        }
        narrow = {
            "thresholds": _narrow(self.thresholds, _threshold_stated),
            "audit_rates": _narrow(self.audit_rates, lambda one: (one.rate, one.floor)),
            "stops": _narrow(self.stops, lambda _: None),
        }
        if any(narrow.values()):  # what knows policies alone has the hash that it had before there were scopes
            stated["narrow"] = narrow
        if self.shadow is not None:  # without one, older workers have the same hash
            stated["shadow"] = self.shadow.model, self.shadow.keep_thresholds, self.shadow.changes
        return hashlib.sha256(msgspec.json.encode(stated, order="deterministic")).hexdigest()[:16]


NOTHING_SAID: Final = Content()
"""Version 0: the control log is empty, and each worker goes by its settings."""


def _threshold_stated(one: Threshold) -> object:
    stated: tuple[object, ...] = (one.value, one.origin, one.model, sorted(str(model) for model in one.kept_from))
    if one.budget is not None:
        stated += (one.budget.share, one.budget.lowest, one.budget.highest)
    return stated if one.bound is None else (*stated, one.bound.max_risk, one.bound.confidence)


def _stated(settings: Mapping[Scope, _T], state: Callable[[_T], object]) -> dict[str, object]:
    """By policy, what is set for whole policies."""
    return {scope.policy: state(one) for scope, one in settings.items() if scope == Scope(scope.policy)}


def _narrow(settings: Mapping[Scope, _T], state: Callable[[_T], object]) -> list[object]:
    """What is set for less than a whole policy."""
    return [(*scope, state(settings[scope])) for scope in sorted(settings) if scope != Scope(scope.policy)]

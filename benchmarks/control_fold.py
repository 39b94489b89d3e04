"""The control log folded anew: from what docs/guarantees.md promises, with none of the stream's code.

A mistake in the stream's fold is not made here a second time. Pure.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from control_messages import ALL, FOR_THE_RECORD, OUTCOMES, RefusedError, Scope, parse, scope_of
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_REMEMBERED = 1_000
_MOST_AHEAD = 300
EVERYTHING = Scope(ALL)


class Budget(NamedTuple):
    """The share of the traffic that is to go to humans, and the limits of the threshold."""

    share: float
    lowest: float
    highest: float


class Limit(NamedTuple):
    """A threshold: its value (None: that of the workers' costs), what gave it, and the models that it was made for."""

    value: float | None
    origin: str
    model: str | None
    kept_from: tuple[str | None, ...] = ()
    budget: Budget | None = None

    @property
    def of_costs(self) -> bool:
        return self.origin in ("settings", "costs")


class Audit(NamedTuple):
    """A share of what is automated, and the least share whatever else is set inside of its scope."""

    rate: float
    floor: float = 0.0


class Shadow(NamedTuple):
    """What is decided beside: another model, or the one in force (None), and messages on top."""

    model: str | None
    keep: bool
    changes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class State:
    """What is in force. `model` is None while the log names none: then it is that of the workers' settings."""

    model: str | None = None
    limits: Mapping[Scope, Limit] = field(default_factory=lambda: {EVERYTHING: Limit(None, "settings", None)})
    audits: Mapping[Scope, Audit] = field(default_factory=lambda: {EVERYTHING: Audit(0.0)})
    stops: frozenset[Scope] = frozenset()
    shadow: Shadow | None = None

    @property
    def names_tenants(self) -> bool:
        """Whether anything is set for a tenant."""
        return any(scope.tenant != ALL for scope in (*self.limits, *self.audits, *self.stops))

    def beside(self) -> "State":
        """What would be in force with the shadow, nothing stopped. Raises RefusedError where that is nothing."""
        then = replace(self, shadow=None, stops=frozenset())
        if self.shadow is None:
            return then
        if self.shadow.model is not None:
            then = _with_model(then, self.shadow.model, keep=self.shadow.keep)
        for change in self.shadow.changes:
            then = _with_limit(then, change)
        return then


class Keys:
    """The public keys (raw) whose messages count in a topic, and when each signed last."""

    def __init__(self, topic: str, keys: list[bytes]) -> None:
        self._topic = topic
        self._keys = {hashlib.sha256(key).hexdigest()[:16]: key for key in keys}
        self._last: dict[str, float] = {}

    def check(self, value: bytes, message: Mapping[str, Any], stamp: int, signature: bytes | None) -> None:
        """Raise RefusedError where the message is not one of theirs, or a copy."""
        name, _, signed = (signature or b"").decode().partition(":")
        if name not in self._keys:
            raise RefusedError("not signed")
        text = b"secondlook control message\0" + self._topic.encode() + b"\0" + value
        try:
            Ed25519PublicKey.from_public_bytes(self._keys[name]).verify(base64.b64decode(signed), text)
        except (InvalidSignature, ValueError):
            raise RefusedError("bad signature") from None
        if message.get("issued_at") is None or message.get("expires_at") is None:
            raise RefusedError("not dated")
        issued = datetime.fromisoformat(message["issued_at"]).timestamp()
        if issued <= self._last.get(name, float("-inf")) or issued > stamp / 1000 + _MOST_AHEAD:
            raise RefusedError("replayed")
        self._last[name] = issued


class Fold:
    """The log so far: `states` by version, in their order, `refused` with why, by offset."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.states: dict[int, State] = {0: State()}
        self.refused: dict[int, str] = {}
        self._keys = keys
        self._count = 0
        """Of messages applied, as the old field `version` counts them."""

    @property
    def version(self) -> int:
        return next(reversed(self.states))

    @property
    def state(self) -> State:
        return self.states[self.version]

    def take(self, offset: int, stamp: int, value: bytes | None, signature: bytes | None = None) -> bool:
        """Whether the message at this offset, stamped at this time (ms), changes what is in force."""
        try:
            message = parse(value)
            if self._keys is not None:
                self._keys.check(value or b"", message, stamp, signature)
            self._check(message, stamp)
            state = self._applied(message)
        except RefusedError as problem:
            self.refused[offset] = str(problem)
            return False
        if state is None:
            return False
        self._count = message.get("version") or self._count + 1
        self.states[offset + 1] = state
        return True

    def _check(self, message: dict[str, Any], stamp: int) -> None:
        if message.get("expected_version") not in (None, self.version):
            raise RefusedError("stale")
        if message.get("version") is not None and message["version"] <= self._count:
            raise RefusedError("stale")
        expires = message.get("expires_at")
        if expires is not None and stamp >= datetime.fromisoformat(expires).timestamp() * 1000:
            raise RefusedError("expired")

    def _applied(self, message: dict[str, Any]) -> State | None:
        """The state after a message; None for one that only asks for something."""
        if message["type"] == "rollback":
            if message["to_version"] not in list(self.states)[-_REMEMBERED:]:
                raise RefusedError("unknown version")
            then = self.states[message["to_version"]]
            return replace(then, stops=then.stops | self.state.stops)
        return _APPLY.get(message["type"], _with_limit)(self.state, message)


def _with_audit(now: State, message: Mapping[str, Any]) -> State:
    audit, scope = Audit(message["rate"], message.get("floor", 0.0)), scope_of(message)
    if audit.floor > audit.rate:
        raise RefusedError("floor above rate")
    return replace(now, audits=_put(now.audits, scope, {scope: audit}))


def _stopped(now: State, message: Mapping[str, Any]) -> State:
    return replace(now, stops=now.stops | {scope_of(message)})


def _resumed(now: State, message: Mapping[str, Any]) -> State:
    if scope_of(message) not in now.stops:
        raise RefusedError("not stopped")
    return replace(now, stops=now.stops - {scope_of(message)})


def _without_shadow(now: State, _message: Mapping[str, Any]) -> State:
    if now.shadow is None:
        raise RefusedError("no shadow")
    return replace(now, shadow=None)


def _put(before: Mapping[Scope, Any], scope: Scope, given: Mapping[Scope, Any]) -> dict[Scope, Any]:
    """What is given, in place of all that was set inside of the scope."""
    return {**{one: had for one, had in before.items() if not scope.holds(one)}, **given}


def _with_limit(now: State, message: Mapping[str, Any]) -> State:
    """After a message that sets a threshold, of whatever kind."""
    scope, made_for = scope_of(message), message.get("model")
    if made_for is not None and now.model not in (None, made_for):
        raise RefusedError("other model")
    model = made_for or now.model
    match message["type"]:
        case "set_threshold":
            given = {scope: Limit(message["threshold"], "set", model)}
        case "set_costs":
            given = {one: Limit(value, "costs", model) for one, value in _of_costs(scope, message).items()}
        case "set_review_budget":
            given = {scope: _of_budget(now, scope, model, message)}
        case "adjust_threshold":
            given = {scope: _adjusted(now.limits.get(scope), message)}
        case "set_risk_bound":
            _certify(message)
            given = {scope: Limit(message["threshold"], "bound", model)}
        case kind:
            raise AssertionError(kind)
    return replace(
        now, limits=_put(now.limits, scope, given) if message["type"] != "adjust_threshold" else {**now.limits, **given}
    )


def _of_costs(scope: Scope, message: Mapping[str, Any]) -> dict[Scope, float]:
    missed, wrong, mistake = (message.get(name) for name in ("missed_violation", "wrong_removal", "mistake"))
    if mistake is not None and missed is None and wrong is None:
        costs = {scope: mistake}
    elif mistake is None and missed is not None and wrong is not None and scope.outcome == ALL:
        costs = {scope._replace(outcome=one): cost for one, cost in zip(OUTCOMES, (missed, wrong), strict=True)}
    else:
        raise RefusedError("invalid")
    review, found = message["review"], {}
    for one, cost in costs.items():
        if message["accounting"] == "review-charged" and review >= cost:
            raise RefusedError("invalid")
        found[one] = review / (review + cost) if message["accounting"] == "false-discovery" else review / cost
    return found


def _of_budget(now: State, scope: Scope, model: str | None, message: Mapping[str, Any]) -> Limit:
    budget = Budget(message["share"], message["lowest"], message["highest"])
    if budget.lowest > budget.highest:
        raise RefusedError("invalid")
    before = next((now.limits[one] for one in scope.around() if one in now.limits), None)
    if before is None or before.value is None or before.model not in (None, model):
        start = budget.lowest
    else:
        start = sorted((budget.lowest, before.value, budget.highest))[1]
    return Limit(start, "budget", model, (), budget)


def _adjusted(before: Limit | None, message: Mapping[str, Any]) -> Limit:
    if message.get("expected_version") is None or before is None or before.budget is None:
        raise RefusedError("no budget")
    if not before.budget.lowest <= message["threshold"] <= before.budget.highest:
        raise RefusedError("outside of the limits")
    return before._replace(value=message["threshold"])


def _certify(message: Mapping[str, Any]) -> None:
    """Raise RefusedError where the counts certify nothing: more errors than the risk allows, or too few labels for the confidence."""
    errors, automated, risk = message["errors"], message["automated"], message["max_risk"]
    if not errors <= automated <= message["labels"] or errors > risk * automated:
        raise RefusedError("uncertified")
    if (1 - Decimal(risk)) ** automated > 1 - Decimal(message["confidence"]):
        raise RefusedError("uncertified")


def _with_model(now: State, sha256: str, *, keep: bool) -> State:
    """Another model: the thresholds stay that were made for it, and all where they are kept.

    One that goes must not leave its answers to a wider one that stays: it becomes 0.
    """
    limits = {}
    for scope, one in now.limits.items():
        if one.model == sha256:
            limits[scope] = one
        elif keep:
            limits[scope] = _kept(one, sha256)
    if not keep:
        gone = [scope for scope in now.limits if scope not in limits]
        closed = [scope for scope in gone if any(scope.counts_before(one) for one in limits)]
        limits.update(dict.fromkeys(closed, Limit(0.0, "set", sha256)))
    shadow = now.shadow
    if shadow is not None and sha256 != now.model and shadow.model in (None, now.model, sha256):
        shadow = None
    return replace(now, model=sha256, limits=limits, shadow=shadow)


def _kept(one: Limit, sha256: str) -> Limit:
    """A threshold under the next model: a bound closes its scope, a budget begins at its lowest, what was set stays."""
    if one.origin == "bound":
        return Limit(0.0, "bound", sha256)
    before = one.kept_from if one.model in one.kept_from or one.of_costs else (*one.kept_from, one.model)
    if one.budget is not None:
        return Limit(one.budget.lowest, "budget", sha256, before, one.budget)
    return Limit(one.value, one.origin, sha256, before)


def _with_shadow(now: State, message: Mapping[str, Any]) -> State:
    changes = tuple(message.get("changes", ()))
    shadow = Shadow(message.get("sha256"), message.get("keep_thresholds", False), changes)
    if shadow.model is None and not changes:
        raise RefusedError("a shadow of nothing")
    if any(change.get(name) is not None for change in changes for name in FOR_THE_RECORD):
        raise RefusedError("invalid")
    then = replace(now, shadow=shadow)
    then.beside()
    return then


def _shadow_prepared(now: State, message: Mapping[str, Any]) -> None:
    _with_shadow(now, message)


_APPLY: dict[str, Callable[[State, Mapping[str, Any]], State | None]] = {
    "set_audit_rate": _with_audit,
    "set_model": lambda now, message: _with_model(now, message["sha256"], keep=message.get("keep_thresholds", False)),
    "prepare_model": lambda _now, _message: None,
    "set_shadow": _with_shadow,
    "prepare_shadow": _shadow_prepared,
    "clear_shadow": _without_shadow,
    "stop_automation": _stopped,
    "resume_automation": _resumed,
}
"""What is not here sets a threshold."""

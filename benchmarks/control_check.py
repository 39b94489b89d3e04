"""The control log folded, and decisions judged by it, anew: from what docs/guarantees.md promises, with none of the stream's code.

A mistake in the stream's fold or routing is not made here a second time. Pure.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

ALL = "*"
AUTO, HUMAN = "auto-action", "human-review"
_ACTIONS = ("allow", "remove")
_INCONCLUSIVE = {2: "evidence_deficiency", 3: "policy_gap"}
_REMEMBERED = 1_000
_ROUNDING = 2e-6
"""Decisions carry seven decimals of a float32; a batch of another size may round its last bit otherwise."""


class RefusedError(Exception):
    """A control message that must change nothing."""


class Limit(NamedTuple):
    """A threshold: its value (None: that of the workers' costs), where it comes from, and the models that it was made for."""

    value: float | None
    by_hand: bool
    model: str | None
    kept_from: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class State:
    """What is in force. `model` is None while the log names none: then it is that of the workers' settings."""

    model: str | None = None
    limits: Mapping[str, Limit] = field(default_factory=lambda: {ALL: Limit(None, by_hand=False, model=None)})
    audits: Mapping[str, float] = field(default_factory=lambda: {ALL: 0.0})
    stops: frozenset[str] = frozenset()


class Fold:
    """The log so far: `states` by version, in their order, `refused` with why, by offset."""

    def __init__(self) -> None:
        self.states: dict[int, State] = {0: State()}
        self.refused: dict[int, str] = {}
        self._count = 0
        """Of messages applied, as the old field `version` counts them."""

    @property
    def version(self) -> int:
        return next(reversed(self.states))

    @property
    def state(self) -> State:
        return self.states[self.version]

    def take(self, offset: int, timestamp: int, value: bytes | None) -> bool:
        """Whether the message at this offset, stamped at this time (ms), changes what is in force."""
        try:
            message = _parsed(value)
            self._check(message, timestamp)
            state = self._applied(message)
        except RefusedError as problem:
            self.refused[offset] = str(problem)
            return False
        if state is None:
            return False
        self._count = message.get("version") or self._count + 1
        self.states[offset + 1] = state
        return True

    def _check(self, message: dict[str, Any], timestamp: int) -> None:
        if message.get("expected_version") not in (None, self.version):
            raise RefusedError("stale")
        if message.get("version") is not None and message["version"] <= self._count:
            raise RefusedError("stale")
        expires = message.get("expires_at")
        if expires is not None and timestamp >= datetime.fromisoformat(expires).timestamp() * 1000:
            raise RefusedError("expired")

    def _applied(self, message: dict[str, Any]) -> State | None:
        """The state after a message; None for one that only asks for something."""
        now, kind, policy = self.state, message["type"], message.get("policy")
        match kind:
            case "set_threshold" | "set_costs":
                made_for = message.get("model")
                if made_for is not None and now.model not in (None, made_for):
                    raise RefusedError("other_model")
                by_hand = kind == "set_threshold"
                value = message["threshold"] if by_hand else _of_costs(message)
                return replace(now, limits=_set(now.limits, policy, Limit(value, by_hand, made_for or now.model)))
            case "set_audit_rate":
                return replace(now, audits=_set(now.audits, policy, message["rate"]))
            case "set_model":
                return replace(now, model=message["sha256"], limits=_carried(now, message))
            case "stop_automation":
                return replace(now, stops=now.stops | {policy})
            case "resume_automation":
                if policy not in now.stops:
                    raise RefusedError("not_stopped")
                return replace(now, stops=now.stops - {policy})
            case "rollback":
                if message["to_version"] not in list(self.states)[-_REMEMBERED:]:
                    raise RefusedError("unknown_version")
                then = self.states[message["to_version"]]
                return replace(then, stops=then.stops | now.stops)
        return None


def _set(before: Mapping[str, Any], policy: str | None, value: Any) -> dict[str, Any]:
    """For one policy, or for all in place of what each had."""
    return {ALL: value} if policy == ALL else {**before, str(policy): value}


def _of_costs(message: dict[str, Any]) -> float:
    review, mistake = message["review"], message["mistake"]
    if message["accounting"] == "review-charged" and review >= mistake:
        raise RefusedError("invalid")
    return float(review / (review + mistake) if message["accounting"] == "false-discovery" else review / mistake)


def _carried(now: State, message: dict[str, Any]) -> dict[str, Limit]:
    """The thresholds that stay under another model: those made for it, and with `keep_thresholds` all."""
    sha256, stay = message["sha256"], {}
    for policy, one in now.limits.items():
        if one.model == sha256:
            stay[policy] = one
        elif message.get("keep_thresholds"):
            new = one.by_hand and one.model not in one.kept_from
            stay[policy] = Limit(one.value, one.by_hand, sha256, (*one.kept_from, one.model) if new else one.kept_from)
    return stay


def _number(least: float, most: float, *, above: bool = False) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (least < value if above else least <= value) and value <= most

    return fits


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255


def _is_sha(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_moment(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


_MUST: dict[str, dict[str, Callable[[Any], bool]]] = {
    "set_threshold": {"policy": _is_text, "threshold": _number(0, 1)},
    "set_costs": {
        "policy": _is_text,
        "accounting": lambda value: value in ("false-discovery", "review-charged"),
        "review": _number(0, float("inf"), above=True),
        "mistake": _number(0, float("inf"), above=True),
    },
    "set_audit_rate": {"policy": _is_text, "rate": _number(0, 1)},
    "set_model": {"sha256": _is_sha},
    "prepare_model": {"sha256": _is_sha},
    "stop_automation": {"policy": _is_text},
    "resume_automation": {"policy": _is_text},
    "rollback": {"to_version": _is_whole},
}
_MAY: dict[str, Callable[[Any], bool]] = {
    "issued_by": lambda value: isinstance(value, str),
    "reason": lambda value: isinstance(value, str) and len(value) <= 1000,
    "expected_version": _is_whole,
    "expires_at": _is_moment,
    "version": lambda value: _is_whole(value) and value > 0,
}
_MAY_OF = {
    "set_threshold": {"model": _is_sha},
    "set_costs": {"model": _is_sha},
    "set_model": {"keep_thresholds": lambda value: isinstance(value, bool)},
    "prepare_model": {"keep_thresholds": lambda value: isinstance(value, bool)},
}


def _parsed(value: bytes | None) -> dict[str, Any]:
    """The message, as JSON. Raises RefusedError where a field is missing, unknown or wrong."""
    try:
        message = json.loads(value or b"")
    except ValueError:
        raise RefusedError("invalid") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in _MUST:
        raise RefusedError("invalid")
    may = _MAY | _MAY_OF.get(kind, {})
    given = {name: one for name, one in message.items() if name != "type"}
    if _MUST[kind].keys() - given.keys() or given.keys() - _MUST[kind].keys() - may.keys():
        raise RefusedError("invalid")
    optional = {name: one for name, one in given.items() if name in may and one is not None}
    if not all(fits(given[name]) for name, fits in _MUST[kind].items()) or not all(
        may[name](one) for name, one in optional.items()
    ):
        raise RefusedError("invalid")
    return {"type": kind, **{name: given[name] for name in _MUST[kind]}, **optional}


class Model(NamedTuple):
    """What is known of a model that workers can load; no `policies` means that it covers all."""

    calibrated: bool
    policies: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """What does not stand in the log: the models that the workers have, that of their settings, and the threshold of their costs."""

    models: Mapping[str, Model]
    own: str
    of_costs: float

    def without(self, sha256: str) -> "Facts":
        """The same for a worker that lacks a model."""
        return replace(self, models={name: one for name, one in self.models.items() if name != sha256})

    def in_use(self, state: State) -> str | None:
        """The model that scores, if it is there."""
        return sha256 if (sha256 := state.model or self.own) in self.models else None

    def can(self, state: State) -> bool:
        """Whether a worker with these models can do what is in force."""
        model = self.in_use(state)
        return model is not None and all(
            self._can(one, model, state.model is not None) for one in state.limits.values()
        )

    def _can(self, one: Limit, model: str, named: bool) -> bool:
        if one.value is None and not named:
            return True
        if not one.by_hand and not self.models[model].calibrated:
            return False
        if one.by_hand and one.model not in (None, model):
            return False
        scales = {model, *(self.own if name is None else name for name in one.kept_from)} if one.kept_from else set()
        return all(name in self.models and self.models[name].calibrated for name in scales)

    def threshold(self, state: State, policy: str) -> float | None:
        """The policy's own threshold, else that of all where the model covers the policy."""
        model = self.in_use(state)
        one = state.limits.get(policy)
        if one is None and model is not None:
            covered = self.models[model].policies
            one = state.limits.get(ALL) if not covered or policy in covered else None
        if one is None or one.value is not None:
            return None if one is None else one.value
        return self.of_costs if state.model or self.models[self.own].calibrated else 0.0


class Answer(NamedTuple):
    """What is known of a recorded answer: its policy, its outcome (below 0: none), P(error) by model (None: lacks predictors)."""

    policy: str
    outcome: int
    scores: Mapping[str, float | None]


class Scorer(msgspec.Struct, gc=False):
    """The model that a decision names."""

    sha256: str | None


class Decided(msgspec.Struct, gc=False):
    """As much of a decision as is judged."""

    request_id: str
    policy: str
    route: str
    action: str
    error_probability: float | None
    threshold: float | None
    reasons: list[str]
    model: Scorer
    control_version: int
    decided_at: str


def wrongs(decided: Decided, answer: Answer, states: Mapping[int, State], facts: Facts) -> list[str]:
    """What in a decision is not as the version that it names says; nothing, if all agrees."""
    if decided.control_version not in states:
        return [f"control_version {decided.control_version} is none"]
    state = states[decided.control_version]
    model = facts.in_use(state)
    due = answer.scores[model] if model is not None and answer.outcome in (0, 1) else None
    is_same = _same(due, decided.error_probability)
    score = decided.error_probability if is_same else due  # what a last bit decides is the model's to decide
    reason, threshold = _expected(decided.request_id, answer, score, state, facts)
    route = AUTO if reason == "below_threshold" else HUMAN
    expected: Sequence[tuple[str, Any, Any]] = (
        ("policy", answer.policy, decided.policy),
        ("model", model, decided.model.sha256),
        ("reasons", [reason], decided.reasons),
        ("threshold", threshold, decided.threshold),
        ("route", route, decided.route),
        ("action", _ACTIONS[answer.outcome] if route == AUTO else "review", decided.action),
    )
    found = [f"{name} is {there}, not {due}" for name, due, there in expected if due != there]
    if not is_same:
        found.append(f"error_probability is {decided.error_probability}, not {due}")
    return found


def _expected(
    request_id: str, answer: Answer, score: float | None, state: State, facts: Facts
) -> tuple[str, float | None]:
    """Reason, and the threshold that was asked."""
    if answer.outcome < 0:
        return "outcome_missing", None
    if answer.outcome in _INCONCLUSIVE:
        return _INCONCLUSIVE[answer.outcome], None
    if score is None and facts.in_use(state) is not None:
        return "predictors_missing", None
    if not facts.can(state):
        return "controls_not_honoured", None
    if state.stops & {ALL, answer.policy}:
        return "automation_stopped", None
    threshold = facts.threshold(state, answer.policy)
    if threshold is None or score is None:
        return "no_threshold", None
    if score >= threshold:
        return "above_threshold", threshold
    rate = state.audits.get(answer.policy, state.audits.get(ALL, 0.0))
    return ("audit" if zlib.crc32(request_id.encode()) < rate * 2**32 else "below_threshold"), threshold


def _same(due: float | None, there: float | None) -> bool:
    if due is None or there is None:
        return due is there
    return abs(due - there) < _ROUNDING

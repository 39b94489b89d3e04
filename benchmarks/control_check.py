"""Decisions judged by the control log as `control_fold` folds it: from what docs/guarantees.md promises, with none of the stream's code.

A mistake in the stream's routing is not made here a second time. Pure.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
from control_fold import Limit, State
from control_messages import ALL, OUTCOMES, Scope

AUTO, HUMAN = "auto-action", "human-review"
UNREADABLE = ""
"""How a decision names the tenant of a request that has one, though not as a text."""
_INCONCLUSIVE = {2: "evidence_deficiency", 3: "policy_gap"}
_ROUNDING = 2e-6
"""Decisions carry seven decimals of a float32; a batch of another size may round its last bit otherwise."""


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
        if one.of_costs and not self.models[model].calibrated:
            return False
        if not one.of_costs and one.model not in (None, model):
            return False
        scales = {model, *(self.own if name is None else name for name in one.kept_from)} if one.kept_from else set()
        return all(name in self.models and self.models[name].calibrated for name in scales)

    def threshold(self, state: State, scope: Scope) -> float | None:
        """The most specific one; that of all policies only where the model covers the policy."""
        model = self.in_use(state)
        covered = frozenset[str]() if model is None else self.models[model].policies
        for around in scope.around():
            one = state.limits.get(around)
            if one is None or (around.policy == ALL and (model is None or (covered and scope.policy not in covered))):
                continue
            if one.value is not None:
                return one.value
            return self.of_costs if state.model or self.models[self.own].calibrated else 0.0
        return None


class Answer(NamedTuple):
    """What is known of a recorded answer: its policy, its outcome (below 0: none), P(error) by model (None: lacks predictors), its tenant."""

    policy: str
    outcome: int
    scores: Mapping[str, float | None]
    tenant: str = ALL


class Scorer(msgspec.Struct, gc=False):
    """The model that a decision names."""

    sha256: str | None


class Stamp(msgspec.Struct, gc=False):
    """What a decision says of the shadow."""

    model: str | None
    error_probability: float | None
    threshold: float | None
    route: str
    reasons: list[str]


class Decided(msgspec.Struct, gc=False):
    """As much of a decision as is judged."""

    request_id: str
    policy: str
    tenant: str | None
    route: str
    action: str
    error_probability: float | None
    threshold: float | None
    audit_probability: float
    reasons: list[str]
    model: Scorer
    control_version: int
    decided_at: str
    shadow: Stamp | None = None


class Due(NamedTuple):
    """What must be said of an answer under a state: by its model, its P(error), and how it is decided with that."""

    model: str | None
    score: float | None
    reason: str
    threshold: float | None
    audit_probability: float

    @property
    def route(self) -> str:
        return AUTO if self.reason == "below_threshold" else HUMAN


def wrongs(decided: Decided, answer: Answer, states: Mapping[int, State], facts: Facts) -> list[str]:
    """What in a decision is not as the version that it names says; nothing, if all agrees."""
    if decided.control_version not in states:
        return [f"control_version {decided.control_version} is none"]
    state = states[decided.control_version]
    due = _due(decided.request_id, answer, state, facts, decided.error_probability)
    expected: Sequence[tuple[str, Any, Any]] = (
        ("policy", answer.policy, decided.policy),
        ("tenant", None if answer.tenant == ALL else answer.tenant, decided.tenant),
        ("model", due.model, decided.model.sha256),
        ("reasons", [due.reason], decided.reasons),
        ("threshold", due.threshold, decided.threshold),
        ("audit_probability", due.audit_probability, decided.audit_probability),
        ("route", due.route, decided.route),
        ("action", ("allow", "remove")[answer.outcome] if due.route == AUTO else "review", decided.action),
    )
    found = [f"{name} is {there}, not {wanted}" for name, wanted, there in expected if wanted != there]
    if not _same(due.score, decided.error_probability):
        found.append(f"error_probability is {decided.error_probability}, not {due.score}")
    return [*found, *_wrong_shadow(decided, answer, state, facts)]


def _wrong_shadow(decided: Decided, answer: Answer, state: State, facts: Facts) -> Iterator[str]:
    """What in the stamp of the shadow is wrong. Where a worker cannot do what the shadow asks for, there must be none."""
    beside, stamp = state.beside(), decided.shadow
    if state.shadow is None or not facts.can(beside):
        if stamp is not None:
            yield f"shadow is {stamp}, where there is none"
        return
    if stamp is None:
        yield "shadow is missing"
        return
    due = _due(decided.request_id, answer, beside, facts, stamp.error_probability)
    expected: Sequence[tuple[str, Any, Any]] = (
        ("model", due.model, stamp.model),
        ("reasons", [due.reason], stamp.reasons),
        ("threshold", due.threshold, stamp.threshold),
        ("route", due.route, stamp.route),
    )
    for name, wanted, there in expected:
        if wanted != there:
            yield f"shadow {name} is {there}, not {wanted}"
    if not _same(due.score, stamp.error_probability):
        yield f"shadow error_probability is {stamp.error_probability}, not {due.score}"


def _due(request_id: str, answer: Answer, state: State, facts: Facts, said: float | None) -> Due:
    """What is due; where what was said differs from the score by its last bits alone, that decides."""
    model = facts.in_use(state)
    score = answer.scores[model] if model is not None and answer.outcome in (0, 1) else None
    asked = said if _same(score, said) else score
    reason, threshold, chance = _decided(request_id, answer, asked, state, facts)
    return Due(model, score, reason, threshold, chance)


def _decided(
    request_id: str, answer: Answer, score: float | None, state: State, facts: Facts
) -> tuple[str, float | None, float]:
    """Reason, the threshold that was asked, and the chance of a human's look."""
    if answer.outcome < 0:
        return "outcome_missing", None, 1.0
    if answer.outcome in _INCONCLUSIVE:
        return _INCONCLUSIVE[answer.outcome], None, 1.0
    if score is None and facts.in_use(state) is not None:
        return "predictors_missing", None, 1.0
    if not facts.can(state):
        return "controls_not_honoured", None, 1.0
    is_unknown = answer.tenant == UNREADABLE and state.names_tenants
    scope = Scope(answer.policy, ALL if answer.tenant == UNREADABLE else answer.tenant, OUTCOMES[answer.outcome])
    if any(stop.holds(scope) for stop in state.stops):
        return "automation_stopped", None, 1.0
    if is_unknown:
        return "tenant_unreadable", None, 1.0
    threshold = facts.threshold(state, scope)
    if threshold is None or score is None:
        return "no_threshold", None, 1.0
    if score >= threshold:
        return "above_threshold", threshold, 1.0
    rates = [state.audits[one] for one in scope.around() if one in state.audits]
    rate = max(rates[0].rate, *(one.floor for one in rates)) if rates else 0.0
    drawn = zlib.crc32(request_id.encode()) < rate * 2**32
    return ("audit" if drawn else "below_threshold"), threshold, rate


def _same(due: float | None, there: float | None) -> bool:
    if due is None or there is None:
        return due is there
    return abs(due - there) < _ROUNDING

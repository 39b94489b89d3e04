"""What a worker does under what the control log says: the model itself, thresholds as numbers, or why it can't.

The log is the same for every worker; here comes in what is not: which models it has, and what its settings say.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from featurizers import SecondlookError
from scoring import ErrorModel
from streams.errors import ControlError
from streams.pipeline.control_content import NOTHING_SAID, AuditRate, Budget, Content, Threshold
from streams.pipeline.control_messages import PrepareModel, PrepareShadow, SetModel, shadowed
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import EVERY, OUTCOMES, UNREADABLE, Scope, by_specificity

FindModel = Callable[[str], ErrorModel]
"""The model of a sha256; raises ModelError where it cannot be had."""


_REMEMBERED: Final = 10_000
"""Rulings that a snapshot keeps; more policies than that are a fault, or an attack."""


class Ruling(NamedTuple):
    """What holds for the decisions of one policy, tenant and outcome; `closed` says why none of them is automated, if so."""

    threshold: float | None
    audit_rate: float
    closed: Reason | None = None


@dataclass(frozen=True, slots=True)
class Controls:
    """One immutable snapshot, swapped whole; a batch is scored and routed under one.

    `problem` says why what is in force cannot be honoured: everything goes to humans then, and `model` may be None. `shadow` is
    what is decided beside it, without effect, and `shadow_problem` why there is none though one is set.
    """

    model: ErrorModel | None
    thresholds: Mapping[Scope, float]
    audit_rates: Mapping[Scope, AuditRate] = NOTHING_SAID.audit_rates
    version: int = 0
    stopped: frozenset[Scope] = frozenset()
    problem: str | None = None
    shadow: "Controls | None" = None
    shadow_problem: str | None = None
    budgets: Mapping[Scope, Budget] = field(default_factory=lambda: MappingProxyType({}))
    policies: frozenset[str] = field(init=False, repr=False, compare=False)
    """Those that have thresholds of their own."""
    _tenants: frozenset[str] = field(init=False, repr=False, compare=False)
    """Those told apart, among them those that cannot be read; none where nothing is set by tenant."""
    _rulings: dict[tuple[str, str, int], Ruling] = field(default_factory=dict, init=False, repr=False, compare=False)
    _payers: dict[tuple[str, str, str], Scope | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        policies = frozenset(scope.policy for scope in self.thresholds) - {EVERY}
        object.__setattr__(self, "policies", policies)  # the class is frozen
        named = {scope.tenant for scope in (*self.thresholds, *self.audit_rates, *self.stopped)} - {EVERY}
        object.__setattr__(self, "_tenants", frozenset({*named, UNREADABLE} if named else ()))

    def ruling(self, policy: str, tenant: str, outcome: int) -> Ruling:
        """What holds for the LLM's outcome 0 or 1 under a policy of a tenant: of all that is set for it, the most specific."""
        key = policy, tenant if tenant in self._tenants else EVERY, outcome
        found = self._rulings.get(key)
        if found is None:
            if len(self._rulings) >= _REMEMBERED:
                self._rulings.clear()
            found = self._rulings[key] = self._resolve(*key)
        return found

    def _resolve(self, policy: str, tenant: str, outcome: int) -> Ruling:
        scopes = by_specificity(policy, tenant, OUTCOMES[outcome])
        rates = [self.audit_rates[scope] for scope in scopes if scope in self.audit_rates]
        rate = max((rates[0].rate, *(one.floor for one in rates))) if rates else 0.0
        closed = Reason.TENANT_UNREADABLE if tenant == UNREADABLE else None
        if not self.stopped.isdisjoint(scopes):
            closed = Reason.AUTOMATION_STOPPED
        covered = self._covers(policy)
        thresholds = (
            self.thresholds[scope]
            for scope in scopes
            if scope in self.thresholds and (covered or scope.policy != EVERY)
        )
        return Ruling(next(thresholds, None), rate, closed)

    def budget_of(self, policy: str, tenant: str, outcome: str) -> Scope | None:
        """The scope whose review budget a decision uses up: that whose threshold is its own, if it has a budget.

        `outcome` is one of `OUTCOMES`, or `*` of an answer that has neither.
        """
        key = policy, tenant if tenant in self._tenants else EVERY, outcome
        if key not in self._payers:
            if len(self._payers) >= _REMEMBERED:
                self._payers.clear()
            own = next((scope for scope in by_specificity(*key) if scope in self.thresholds), None)
            self._payers[key] = own if own in self.budgets else None
        return self._payers[key]

    def holds_back(self, scope: Scope) -> bool:
        """Whether what is decided in a scope says nothing of its threshold: all or part of it goes to humans for now."""
        return self.problem is not None or any(stop.overlaps(scope) for stop in self.stopped)

    def _covers(self, policy: str) -> bool:
        """Whether a threshold of `*` is for this policy too: the model was trained on it, or on none (a single estimator)."""
        return self.model is not None and (policy in self.model.policies or not self.model.policies)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a worker's settings give, where the log says nothing: its model, and the threshold of its costs.

    The score of an uncalibrated model is no probability, so no cost gives a threshold for it: everything goes to humans.
    """

    model: ErrorModel
    cost_threshold: float
    trust: str = ""
    """Hash of the keys that sign control messages, if any do."""

    @property
    def threshold(self) -> float:
        """Of the model in the settings."""
        return self.cost_threshold if is_calibrated(self.model) else 0.0

    @property
    def hash(self) -> str:
        """The same for workers whose settings agree."""
        return hashlib.sha256(
            f"{self.model.sha256} {self.cost_threshold!r}{self.trust and ' '}{self.trust}".encode()
        ).hexdigest()[:16]


def is_calibrated(model: ErrorModel) -> bool:
    """Whether the model's scores are probabilities."""
    return bool(model.card["calibrated"])


def honour(content: Content, version: int, baseline: Baseline, find_model: FindModel) -> Controls:
    """The snapshot of a worker that has these settings and models; raises nothing.

    Where anything of it cannot be honoured, nothing is automated: `problem` says why. The model still scores if it is there.
    """
    return with_shadow(_live(content, version, baseline, find_model), content, baseline, find_model)


def with_shadow(controls: Controls, content: Content, baseline: Baseline, find_model: FindModel) -> Controls:
    """The same controls, with the shadow as far as it can be honoured now: it is left out whole or not at all. Raises nothing."""
    if content.shadow is None:
        return replace(controls, shadow=None, shadow_problem=None)
    try:
        shadow = _live(shadowed(content), controls.version, baseline, find_model)
    except Exception as problem:  # noqa: BLE001 - whatever it is, what is in force does not hang on it
        return replace(controls, shadow=None, shadow_problem=str(problem) or repr(problem))
    if shadow.problem is not None:
        return replace(controls, shadow=None, shadow_problem=shadow.problem)
    return replace(controls, shadow=shadow, shadow_problem=None)


def _live(content: Content, version: int, baseline: Baseline, find_model: FindModel) -> Controls:
    controls = Controls(None, {}, content.audit_rates, version, frozenset(content.stops))
    try:
        model = baseline.model if content.model is None else find_model(content.model)
        controls = replace(controls, model=model)
        thresholds = {
            scope: _value(scope, one, model, baseline, find_model, named=content.model is not None)
            for scope, one in content.thresholds.items()
        }
    except SecondlookError as problem:
        return replace(controls, problem=str(problem))
    budgets = {scope: one.budget for scope, one in content.thresholds.items() if one.budget is not None}
    return replace(controls, thresholds=thresholds, budgets=budgets)


def try_out(
    message: PrepareModel | PrepareShadow, content: Content, version: int, baseline: Baseline, find_model: FindModel
) -> str | None:
    """Why a worker could not honour it if the model were put in force now, or the shadow set; None if it could."""
    if isinstance(message, PrepareShadow):
        then = message.beside(content, version)
        return with_shadow(by_settings(baseline), then, baseline, find_model).shadow_problem
    step = SetModel(sha256=message.sha256, keep_thresholds=message.keep_thresholds)
    return _live(step.apply(content, version, _nothing_to_find), version, baseline, find_model).problem


def by_settings(baseline: Baseline) -> Controls:
    """What holds until a control message says otherwise."""
    return honour(NOTHING_SAID, 0, baseline, _nothing_to_find)


def _value(
    scope: Scope, one: Threshold, model: ErrorModel, baseline: Baseline, find_model: FindModel, *, named: bool
) -> float:
    """The threshold as a number. Raises ControlError where this model cannot be trusted with it."""
    if one.origin == "settings" and not named:
        return baseline.threshold
    whose = scope.words
    if one.origin in ("settings", "costs") and not is_calibrated(model):
        raise ControlError(
            f"the threshold of {whose} follows from costs, but model {model.sha256[:12]} is not calibrated: its scores are no "
            "probabilities. Set a threshold for it (secondlook control set-threshold), or go back to a calibrated model"
        )
    if one.origin not in ("settings", "costs") and one.model not in (None, model.sha256):
        raise ControlError(
            f"the threshold of {whose} was made for model {one.model}, but this worker's settings have {model.sha256}. Name the "
            "model for all workers: secondlook control set-model"
        )
    for before in one.kept_from:
        source = baseline.model if before is None else find_model(before)
        if not (is_calibrated(source) and is_calibrated(model)):
            raise ControlError(
                f"the threshold of {whose} was kept from model {source.sha256[:12]} for {model.sha256[:12]}, but "
                f"{(model if is_calibrated(source) else source).sha256[:12]} is not calibrated: their scores are on no common scale. "
                "Set one for the model in force (secondlook control set-threshold)"
            )
    return baseline.cost_threshold if one.value is None else one.value


def _nothing_to_find(named: object) -> Any:
    raise AssertionError(named)

"""What a worker does under what the control log says: the model itself, thresholds as numbers, or why it can't.

The log is the same for every worker; here comes in what is not: which models it has, and what its settings say.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from featurizers import SecondlookError
from scoring import ErrorModel
from streams.errors import ControlError
from streams.pipeline.control_content import EVERY_POLICY, NOTHING_SAID, Content, Threshold
from streams.pipeline.control_messages import PrepareModel, SetModel

FindModel = Callable[[str], ErrorModel]
"""The model of a sha256; raises ModelError where it cannot be had."""


@dataclass(frozen=True, slots=True)
class Controls:
    """One immutable snapshot, swapped whole; a batch is scored and routed under one.

    `problem` says why what is in force cannot be honoured: everything goes to humans then, and `model` may be None.
    """

    model: ErrorModel | None
    thresholds: Mapping[str, float]
    audit_rates: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({EVERY_POLICY: 0.0}))
    version: int = 0
    stopped: frozenset[str] = frozenset()
    problem: str | None = None

    def threshold(self, policy: str) -> float | None:
        """The threshold for a policy: its own, else that of `*` if the model covers the policy, else None.

        A model covers the policies it was trained on; one that was never trained (a single estimator) covers all.
        """
        own = self.thresholds.get(policy)
        if own is None and self.model is not None and (policy in self.model.policies or not self.model.policies):
            return self.thresholds.get(EVERY_POLICY)
        return own

    def audit_rate(self, policy: str) -> float:
        """The share of automatic decisions to audit: the policy's own, else that of `*`."""
        return self.audit_rates.get(policy, self.audit_rates[EVERY_POLICY])

    def is_stopped(self, policy: str) -> bool:
        """Whether automation of the policy is stopped, by its name or with all."""
        return bool(self.stopped) and not self.stopped.isdisjoint((policy, EVERY_POLICY))


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
    controls = Controls(
        None,
        {},
        {policy: one.rate for policy, one in content.audit_rates.items()},
        version,
        frozenset(content.stops),
    )
    try:
        model = baseline.model if content.model is None else find_model(content.model)
        controls = replace(controls, model=model)
        thresholds = {
            policy: _value(policy, one, model, baseline, find_model, named=content.model is not None)
            for policy, one in content.thresholds.items()
        }
    except SecondlookError as problem:
        return replace(controls, problem=str(problem))
    return replace(controls, thresholds=thresholds)


def try_model(
    message: PrepareModel, content: Content, version: int, baseline: Baseline, find_model: FindModel
) -> str | None:
    """Why a worker could not honour it if the model were put in force now; None if it could."""
    step = SetModel(sha256=message.sha256, keep_thresholds=message.keep_thresholds)
    return honour(step.apply(content, version, _nothing_to_find), version, baseline, find_model).problem


def by_settings(baseline: Baseline) -> Controls:
    """What holds until a control message says otherwise."""
    return honour(NOTHING_SAID, 0, baseline, _nothing_to_find)


def _value(
    policy: str, one: Threshold, model: ErrorModel, baseline: Baseline, find_model: FindModel, *, named: bool
) -> float:
    """The threshold as a number. Raises ControlError where this model cannot be trusted with it."""
    if one.origin == "settings" and not named:
        return baseline.threshold
    whose = "every policy" if policy == EVERY_POLICY else policy
    if one.origin != "set" and not is_calibrated(model):
        raise ControlError(
            f"the threshold of {whose} follows from costs, but model {model.sha256[:12]} is not calibrated: its scores are no "
            "probabilities. Set a threshold for it (secondlook control set-threshold), or go back to a calibrated model"
        )
    if one.origin == "set" and one.model not in (None, model.sha256):
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

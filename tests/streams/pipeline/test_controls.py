"""Honouring: what a worker with its own models and settings does under what the control log says."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from scoring import ModelError
from streams.pipeline.control_content import AuditRate
from streams.pipeline.control_log import ControlLog
from streams.pipeline.control_messages import PrepareModel, SetCosts, SetModel, SetThreshold, encode_control
from streams.pipeline.controls import Baseline, Controls, by_settings, honour, try_out
from streams.pipeline.scope import EVERYTHING, Scope

OWN, OTHER, RAW = "0" * 64, "a" * 64, "b" * 64


@dataclass
class Model:
    """Stands in for an ErrorModel where only its identity, policies and calibration count."""

    sha256: str = OWN
    calibrated: bool = True
    name: str = "stub"
    policies: frozenset[str] = field(default_factory=lambda: frozenset({"hate"}))

    @property
    def card(self) -> dict[str, Any]:
        return {"calibrated": self.calibrated}


@dataclass
class Shelf:
    """A worker's models, and those that it is looking for."""

    has: dict[str, Any] = field(default_factory=dict)
    looking: set[str] = field(default_factory=set)

    def find(self, sha256: str) -> Any:
        if sha256 not in self.has:
            raise ModelError(f"no model {sha256}")
        return self.has[sha256]

    def names(self) -> list[str]:
        return list(self.has)

    def is_looking(self, sha256: str) -> bool:
        return sha256 in self.looking

    def look_again(self, sha256: str) -> None:
        """Somebody says that it is there."""


def baseline(**model: Any) -> Baseline:
    return Baseline(Model(**model), 0.4)  # type: ignore[arg-type]


def honoured(*messages: Any, own: Baseline | None = None, has: tuple[str, ...] = (OTHER, RAW)) -> Controls:
    """What a worker does after these messages, if it has these models (RAW is not calibrated)."""
    log = ControlLog()
    for offset, message in enumerate(messages):
        assert log.take(offset, 0, encode_control(message)).refusal is None

    def find(sha256: str) -> Any:
        if sha256 not in has:
            raise ModelError(f"no model {sha256}")
        return Model(sha256, calibrated=sha256 != RAW)

    return honour(log.content, log.version, own or baseline(), find)


def test_without_a_message_the_settings_hold() -> None:
    """The model of the settings, the threshold of their costs; a model that is not calibrated has none."""
    assert (None, {EVERYTHING: 0.4}, 0) == (honoured().problem, honoured().thresholds, honoured().version)
    assert {EVERYTHING: 0.0} == by_settings(baseline(calibrated=False)).thresholds


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (PrepareModel(sha256=OTHER), None),
        (PrepareModel(sha256=OTHER, keep_thresholds=True), None),
        (PrepareModel(sha256=RAW), None),
        (PrepareModel(sha256=RAW, keep_thresholds=True), "is not calibrated"),
        (PrepareModel(sha256="c" * 64), "no model"),
    ],
)
def test_trying_a_model_says_what_putting_it_in_force_would(message: PrepareModel, why: str | None) -> None:
    """Ready, or the very reason for which everything would go to humans; what is in force stays meanwhile."""
    shelf = Shelf({OWN: Model(), OTHER: Model(OTHER), RAW: Model(RAW, calibrated=False)})
    log = ControlLog()
    log.take(0, 0, encode_control(SetThreshold(policy="*", threshold=0.2)))
    before = log.content
    assert log.take(1, 0, encode_control(message)).refusal is None
    problem = try_out(message, log.content, log.version, baseline(), shelf.find)
    assert why is problem if why is None else why in str(problem)
    assert before is log.content
    step = SetModel(sha256=message.sha256, keep_thresholds=message.keep_thresholds)
    log.take(2, 0, encode_control(step))
    assert problem == honour(log.content, log.version, baseline(), shelf.find).problem


def test_a_model_that_is_not_there_stops_automation() -> None:
    """Nothing is scored by another model, and nothing has a threshold."""
    controls = honoured(SetModel(sha256=OTHER), SetThreshold(policy="*", threshold=0.9), has=())
    assert "no model" in str(controls.problem)
    assert (None, {}) == (controls.model, controls.thresholds)
    assert controls.ruling("hate", "*", 0).threshold is None


def test_a_new_model_has_no_threshold_of_a_stranger() -> None:
    """It can be honoured, and everything goes to humans until it has its own."""
    swapped = (SetThreshold(policy="hate", threshold=0.7), SetModel(sha256=OTHER))
    assert (None, {}) == (honoured(*swapped).problem, honoured(*swapped).thresholds)
    assert 0.2 == honoured(*swapped, SetThreshold(policy="*", threshold=0.2)).ruling("hate", "*", 0).threshold


def test_thresholds_are_kept_between_calibrated_models_only() -> None:
    """Where one of the two is not, their scores are on no common scale."""
    by_hand = SetThreshold(policy="hate", threshold=0.7)
    kept = honoured(by_hand, SetModel(sha256=OTHER, keep_thresholds=True))
    assert (None, {Scope("hate"): 0.7, EVERYTHING: 0.4}) == (kept.problem, dict(kept.thresholds))
    to_raw = honoured(by_hand, SetModel(sha256=RAW, keep_thresholds=True))
    assert "not calibrated" in str(to_raw.problem)
    from_raw = honoured(
        SetModel(sha256=RAW),
        SetThreshold(policy="hate", threshold=0.7),
        SetModel(sha256=OTHER, keep_thresholds=True),
    )
    assert "kept from model bbbb" in str(from_raw.problem)


def test_a_kept_threshold_needs_the_model_that_it_was_made_for() -> None:
    """Without its card nobody knows its scale; what follows from costs needs no such thing."""
    swap = (SetModel(sha256=RAW), SetModel(sha256=OTHER, keep_thresholds=True))
    by_hand = honoured(swap[0], SetThreshold(policy="hate", threshold=0.7), swap[1], has=(OTHER,))
    assert f"no model {RAW}" in str(by_hand.problem)
    costs = SetCosts(policy="*", accounting="false-discovery", review=1, mistake=3)
    assert {EVERYTHING: 0.25} == honoured(swap[0], costs, swap[1], has=(OTHER,)).thresholds


def test_costs_need_a_calibrated_model() -> None:
    """Its scores are no probabilities, so the worker says what to do instead, and automates nothing."""
    costs = SetCosts(policy="*", accounting="false-discovery", review=1, mistake=3)
    controls = honoured(SetModel(sha256=RAW), costs)
    assert "set-threshold" in str(controls.problem)
    assert controls.model is not None  # which still orders the reviews


def test_a_threshold_made_for_another_model_of_the_settings_is_a_strangers() -> None:
    """The log names no model, so each worker has its own: only those that have the right one automate."""
    made_for_own = SetThreshold(policy="*", threshold=0.7, model=OWN)
    assert {EVERYTHING: 0.7} == honoured(made_for_own).thresholds
    assert "was made for model" in str(honoured(made_for_own, own=baseline(sha256=OTHER)).problem)


@pytest.mark.parametrize(
    ("policy", "thresholds", "expected"),
    [
        ("hate", {"*": 0.4}, 0.4),
        ("hate", {"*": 0.4, "hate": 0.6}, 0.6),
        ("new-policy", {"*": 0.4}, None),
        ("new-policy", {"*": 0.4, "new-policy": 0.2}, 0.2),
        ("hate", {}, None),
        ("*", {"*": 0.4}, None),
    ],
)
def test_the_star_covers_only_policies_the_model_was_trained_on(
    policy: str, thresholds: dict[str, float], expected: float | None
) -> None:
    """A policy the model has never seen goes to humans until somebody sets a threshold for it by name."""
    scoped = {Scope(name): value for name, value in thresholds.items()}
    assert expected == Controls(Model(), scoped).ruling(policy, "*", 0).threshold  # type: ignore[arg-type]


def test_an_audit_rate_holds_for_its_policy() -> None:
    """The policy's own rate wins over that of `*`."""
    controls = Controls(None, {}, {EVERYTHING: AuditRate(0.1), Scope("hate"): AuditRate(0.5)})
    assert [0.5, 0.1] == [controls.ruling(policy, "*", 0).audit_rate for policy in ("hate", "spam")]


def test_the_settings_of_workers_are_told_apart() -> None:
    """By model and costs."""
    assert 3 == len({baseline().hash, baseline(sha256=OTHER).hash, Baseline(Model(), 0.5).hash})  # type: ignore[arg-type]

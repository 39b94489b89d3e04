"""The shadow in the control log and on a worker: what sets and ends it, and that what is in force does not hang on it."""

from dataclasses import replace
from typing import Any

import pytest

from streams.errors import ControlError
from streams.pipeline.control_log import ControlLog
from streams.pipeline.control_messages import (
    ClearShadow,
    PrepareShadow,
    Rollback,
    SetCosts,
    SetModel,
    SetShadow,
    SetThreshold,
    StopAutomation,
    encode_control,
)
from streams.pipeline.controls import Controls, honour, try_out
from streams.pipeline.reasons import Refusal
from streams.pipeline.scope import EVERYTHING, Scope
from tests.streams.pipeline.test_controls import OTHER, OWN, RAW, Model, Shelf, baseline

THIRD = "c" * 64
LOWER = SetThreshold(policy="hate", threshold=0.2)
COSTS = SetCosts(policy="*", accounting="false-discovery", review=1, mistake=3)
ALL = (OWN, OTHER, RAW, THIRD)


def folded(*messages: Any) -> ControlLog:
    log = ControlLog()
    for offset, message in enumerate(messages):
        assert log.take(offset, 0, encode_control(message)).refusal is None
    return log


def shelf(*has: str) -> Shelf:
    return Shelf({sha256: Model(sha256, calibrated=sha256 != RAW) for sha256 in has})


def honoured(*messages: Any, has: tuple[str, ...] = ALL) -> Controls:
    log = folded(*messages)
    return honour(log.content, log.version, baseline(), shelf(*has).find)


def refusal(*messages: Any) -> ControlError:
    *before, last = messages
    log = folded(*before)
    content = log.content
    refused = log.take(len(before), 0, encode_control(last)).refusal
    assert content is log.content
    assert refused is not None
    return refused


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("changes", [(), (LOWER,), (COSTS, LOWER)])
@pytest.mark.parametrize("sha256", [None, OTHER, OWN])
def test_the_shadow_is_what_would_be_in_force(sha256: str | None, changes: tuple[Any, ...], *, keeps: bool) -> None:
    """The same model and thresholds as when the messages that it is made of had been issued."""
    before = (SetThreshold(policy="spam", threshold=0.7),)
    if sha256 is None and not changes:
        return
    model = () if sha256 is None else (SetModel(sha256=sha256, keep_thresholds=keeps),)
    in_force = honoured(*before, *model, *changes)
    shadow = honoured(*before, SetShadow(sha256=sha256, keep_thresholds=keeps, changes=changes)).shadow
    assert shadow is not None
    assert (in_force.model, in_force.thresholds, None) == (shadow.model, shadow.thresholds, shadow.problem)


def test_the_shadow_follows_what_is_in_force_where_it_says_nothing() -> None:
    """So what differs is what it is for; an automation that is stopped is looked behind."""
    set_shadow = SetShadow(changes=(LOWER,))
    later = (SetThreshold(policy="spam", threshold=0.7), StopAutomation(policy="*"))
    controls = honoured(set_shadow, *later)
    assert controls.shadow is not None
    assert {EVERYTHING: 0.4, Scope("hate"): 0.2, Scope("spam"): 0.7} == dict(controls.shadow.thresholds)
    assert (frozenset({EVERYTHING}), frozenset()) == (controls.stopped, controls.shadow.stopped)


@pytest.mark.parametrize(
    ("shadow", "has", "why"),
    [
        (SetShadow(sha256=OTHER, changes=(LOWER,)), (RAW,), f"no model {OTHER}"),
        (SetShadow(sha256=RAW, changes=(COSTS,)), (RAW,), "is not calibrated"),
        (SetShadow(sha256=RAW, keep_thresholds=True), (RAW,), "is not calibrated"),
        (SetShadow(changes=(SetThreshold(policy="*", threshold=0.1, model=OTHER),)), (OTHER,), "was made for model"),
    ],
)
def test_a_shadow_that_cannot_be_honoured_is_left_out(shadow: SetShadow, has: tuple[str, ...], why: str) -> None:
    """It says why, and what is in force is honoured as without it."""
    without, beside = honoured(has=has), honoured(shadow, has=has)
    assert (None, True) == (beside.shadow, why in str(beside.shadow_problem)), beside.shadow_problem
    assert without == replace(beside, shadow_problem=None, version=0)


def test_a_model_whose_card_lacks_a_field_is_left_out() -> None:
    """Whatever goes wrong with the shadow's model, it ends nothing."""

    class Odd(Model):
        @property
        def card(self) -> dict[str, Any]:
            return {}

    log = folded(SetShadow(sha256=OTHER, changes=(COSTS,)))
    controls = honour(log.content, log.version, baseline(), Shelf({OTHER: Odd(OTHER)}).find)
    assert (None, None, "'calibrated'") == (controls.problem, controls.shadow, controls.shadow_problem)


@pytest.mark.parametrize(
    ("shadow", "model", "ends"),
    [
        (SetShadow(sha256=OTHER), OTHER, True),
        (SetShadow(sha256=OTHER), THIRD, False),
        (SetShadow(changes=(LOWER,)), OTHER, True),
        (SetShadow(changes=(LOWER,)), RAW, False),
        (SetShadow(sha256=RAW, changes=(LOWER,)), OTHER, True),
    ],
)
def test_a_shadow_ends_with_the_model_that_it_was_compared_with(shadow: SetShadow, model: str, *, ends: bool) -> None:
    """Put in force, it is no shadow; and one of the model that was in force (RAW) was made for that one's scores."""
    log = folded(SetModel(sha256=RAW), shadow, SetModel(sha256=model))
    assert ends == (log.content.shadow is None)


def test_a_shadow_is_replaced_cleared_and_rolled_back_to() -> None:
    """Each makes a version; a rollback restores the shadow of then, and none where there was none."""
    log = folded(SetShadow(changes=(LOWER,)), SetShadow(sha256=OTHER), ClearShadow(), Rollback(to_version=1))
    assert log.content.shadow is not None
    assert (None, (LOWER,), 4) == (log.content.shadow.model, log.content.shadow.changes, log.version)
    assert folded(SetShadow(changes=(LOWER,)), Rollback(to_version=0)).content.shadow is None


def test_the_hash_tells_shadows_apart() -> None:
    """By model, thresholds and whether those in force are kept; not by when it was set."""
    shadows = [
        SetShadow(sha256=OTHER),
        SetShadow(sha256=OTHER, keep_thresholds=True),
        SetShadow(sha256=THIRD),
        SetShadow(sha256=OTHER, changes=(LOWER,)),
        SetShadow(sha256=OTHER, changes=(COSTS,)),
        SetShadow(sha256=OTHER, changes=(COSTS, LOWER)),
    ]
    hashes = [folded(one).content.hash for one in shadows]
    assert len(shadows) + 1 == len({*hashes, folded().content.hash})
    assert hashes[-1] == folded(*shadows).content.hash


@pytest.mark.parametrize(
    ("messages", "why", "code"),
    [
        ((ClearShadow(),), "there is no shadow", Refusal.NO_SHADOW),
        ((SetShadow(),), "neither a model nor thresholds", Refusal.INVALID),
        ((SetShadow(keep_thresholds=True),), "neither a model nor thresholds", Refusal.INVALID),
        (
            (SetShadow(changes=(SetThreshold(policy="*", threshold=0.1, reason="why"),)),),
            "stand in set_shadow itself",
            Refusal.INVALID,
        ),
        (
            (SetShadow(changes=(SetCosts(policy="*", accounting="review-charged", review=2, mistake=1),)),),
            "no threshold makes it pay",
            Refusal.INVALID,
        ),
        (
            (SetShadow(sha256=OTHER, changes=(SetThreshold(policy="*", threshold=0.1, model=THIRD),)),),
            "was made for model",
            Refusal.OTHER_MODEL,
        ),
        (
            (PrepareShadow(sha256=OTHER, changes=(SetThreshold(policy="*", threshold=0.1, reason="why"),)),),
            "stand in",
            Refusal.INVALID,
        ),
    ],
)
def test_what_is_no_shadow_is_refused(messages: tuple[Any, ...], why: str, code: Refusal) -> None:
    """By the log alone, with the reason."""
    refused = refusal(*messages)
    assert (True, code) == (why in str(refused), refused.code), refused


@pytest.mark.parametrize("changes", [(), (COSTS,), (LOWER,)])
@pytest.mark.parametrize("sha256", [OTHER, RAW, THIRD])
def test_trying_a_shadow_out_says_what_setting_it_would(sha256: str, changes: tuple[Any, ...]) -> None:
    """Ready, or the reason for which it would be left out; what is in force stays meanwhile."""
    log = folded(SetThreshold(policy="*", threshold=0.2))
    before = log.content
    step = PrepareShadow(sha256=sha256, changes=changes)
    assert log.take(1, 0, encode_control(step)).refusal is None
    assert before is log.content
    has = shelf(OWN, OTHER, RAW)
    problem = try_out(step, log.content, log.version, baseline(), has.find)
    log.take(2, 0, encode_control(SetShadow(sha256=sha256, changes=changes)))
    assert problem == honour(log.content, log.version, baseline(), has.find).shadow_problem
    assert (sha256 == THIRD or (sha256 == RAW and changes == (COSTS,))) == (problem is not None)


def test_trying_out_what_has_become_pointless_meanwhile_says_so() -> None:
    """Another model has come into force since it was asked for: that is no failure of the worker."""
    step = PrepareShadow(sha256=OTHER, changes=(SetThreshold(policy="*", threshold=0.1, model=THIRD),))
    assert "was made for model" in str(try_out(step, folded().content, 0, baseline(), shelf(OTHER).find))

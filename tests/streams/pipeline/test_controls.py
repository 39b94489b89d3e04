"""Control messages: validated whole, applied whole, the last good one kept."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ControlError
from streams.pipeline.controls import Controls, apply_control, parse_control


@dataclass
class Model:
    """Stands in for an ErrorModel where only its identity and policies count."""

    sha256: str = "0" * 64
    name: str = "stub"
    policies: frozenset[str] = field(default_factory=lambda: frozenset({"hate"}))


def controls(**changes: Any) -> Controls:
    return Controls(**{"model": Model(), "thresholds": {"*": 0.4}, **changes})


def applied(message: dict[str, Any], before: Controls | None = None) -> Controls:
    known = {"a" * 64: Model("a" * 64)}

    def load(sha256: str) -> Any:
        if sha256 not in known:
            raise ControlError(f"no model {sha256}")
        return known[sha256]

    return apply_control(before or controls(), parse_control(json.dumps(message).encode()), load)


def test_a_threshold_for_one_policy_leaves_the_others() -> None:
    """The policy gets its own threshold, the rest keep theirs, the version counts up."""
    after = applied({"type": "set_threshold", "policy": "hate", "threshold": 0.7})
    assert ({"*": 0.4, "hate": 0.7}, 1) == (dict(after.thresholds), after.version)


def test_a_threshold_for_every_policy_replaces_all() -> None:
    """After `*` no policy keeps a threshold of its own."""
    before = controls(thresholds={"*": 0.4, "hate": 0.7})
    assert {"*": 0.1} == dict(applied({"type": "set_threshold", "policy": "*", "threshold": 0.1}, before).thresholds)


def test_costs_give_their_threshold() -> None:
    """False discovery: review / (review + mistake)."""
    message = {"type": "set_costs", "policy": "*", "accounting": "false-discovery", "review": 1, "mistake": 3}
    assert 0.25 == pytest.approx(applied(message).thresholds["*"])


def test_a_model_is_swapped_by_its_sha256() -> None:
    """A model of the directory takes over; one that is not there is refused."""
    assert "a" * 64 == applied({"type": "set_model", "sha256": "a" * 64}).model.sha256
    with pytest.raises(ControlError, match="no model"):
        applied({"type": "set_model", "sha256": "b" * 64})


def test_an_audit_rate_holds_for_its_policy() -> None:
    """The policy's own rate wins over that of `*`."""
    after = applied({"type": "set_audit_rate", "policy": "hate", "rate": 0.5})
    assert (0.5, 0.0) == (after.audit_rate("hate"), after.audit_rate("spam"))


def test_a_version_that_is_not_newer_is_refused() -> None:
    """A message issued on a stale view cannot undo a newer one."""
    message = {"type": "set_threshold", "policy": "*", "threshold": 0.1}
    with pytest.raises(ControlError, match="version 3 is not above version 3"):
        applied({**message, "version": 3}, controls(version=3))
    assert 9 == applied({**message, "version": 9}, controls(version=3)).version


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"type": "set_threshold", "policy": "*"}, "threshold"),
        ({"type": "set_threshold", "policy": "*", "threshold": 1.01}, "threshold"),
        ({"type": "set_threshold", "policy": "*", "threshold": -0.1}, "threshold"),
        ({"type": "set_threshold", "policy": "*", "threshold": "0.5"}, "threshold"),
        ({"type": "set_threshold", "policy": "", "threshold": 0.5}, "policy"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "version": 0}, "version"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "version": 10**23}, "version"),
        ({"type": "set_costs", "policy": "*", "accounting": "other", "review": 1, "mistake": 2}, "accounting"),
        ({"type": "set_costs", "policy": "*", "accounting": "review-charged", "review": 0, "mistake": 2}, "review"),
        ({"type": "set_model", "sha256": "../../etc/passwd"}, "sha256"),
        ({"type": "set_everything"}, "type"),
        ({"threshold": 0.5}, "type"),
        ({"type": "set_threshold", "threshold": 0.5}, "policy"),
        ({"type": "set_costs", "accounting": "false-discovery", "review": 1, "mistake": 2}, "policy"),
        ({"type": "set_audit_rate", "rate": 0.5}, "policy"),
        ({"type": "set_threshold", "threshold": 0.5, "polcy": "hate"}, "polcy"),
        ({"type": "set_threshold", "policy": "*", "threshold": 0.5, "verson": 3}, "verson"),
        ({"type": "set_model", "policy": "*", "sha256": "a" * 64}, "policy"),
    ],
)
def test_a_bad_message_is_refused_and_says_which_field(message: dict[str, Any], named: str) -> None:
    """The error names the field, so that the issuer can mend it."""
    with pytest.raises(ControlError, match=named):
        parse_control(json.dumps(message).encode())


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_is_raised(value: bytes) -> None:
    """Whatever the bytes, the outcome is a message or a ControlError."""
    with suppress(ControlError):
        parse_control(value)


@pytest.mark.parametrize(
    ("policy", "thresholds", "expected"),
    [
        ("hate", {"*": 0.4}, 0.4),
        ("hate", {"*": 0.4, "hate": 0.6}, 0.6),
        ("new-policy", {"*": 0.4}, None),
        ("new-policy", {"*": 0.4, "new-policy": 0.2}, 0.2),
        ("hate", {}, None),
    ],
)
def test_the_star_covers_only_policies_the_model_was_trained_on(
    policy: str, thresholds: dict[str, float], expected: float | None
) -> None:
    """A policy the model has never seen goes to humans until somebody sets a threshold for it by name."""
    assert expected == controls(thresholds=thresholds).threshold(policy)

"""Which labels promise something: audits are a fair draw of what is automated, what was escalated is not."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streams.errors import ControlError
from streams.pipeline.audits import Labels, Period, audit_labels, period
from streams.pipeline.control_content import NOTHING_SAID, Content
from streams.pipeline.control_log import ControlLog
from streams.pipeline.scope import EVERYTHING, Scope

MODEL, OTHER = "a" * 64, "b" * 64
NOW = Period(1, None, 0.1)


def decision(request_id: str, score: float = 0.1, **more: Any) -> bytes:
    """An audited decision, unless said otherwise."""
    return json.dumps(
        {
            "request_id": request_id,
            "policy": "hate",
            "tenant": None,
            "error_probability": score,
            "threshold": 0.4,
            "audit_probability": 0.1,
            "reasons": ["audit"],
            "llm": {"name": "m", "outcome": 0, "confidence": None},
            "model": {"name": "stub", "sha256": MODEL},
            "control_version": 1,
            **more,
        }
    ).encode()


def said(request_id: str, outcome: int = 0, policy: str = "hate", **more: Any) -> bytes:
    return json.dumps({"request_id": request_id, "policy": policy, "outcome": outcome, **more}).encode()


def labels(decisions: Sequence[bytes], human: Sequence[bytes], scope: Scope = EVERYTHING, when: Period = NOW) -> Labels:
    return audit_labels(decisions, human, scope, MODEL, when)


def test_an_audit_is_a_label_and_a_review_is_none() -> None:
    """Nor is what another model scored, what was decided before, what is out of scope, or no record at all."""
    decisions = [
        decision("audit", 0.2),
        decision("reviewed", 0.9, reasons=["above_threshold"], audit_probability=1.0),
        decision("stopped", reasons=["automation_stopped"], threshold=None, audit_probability=1.0),
        decision("at-the-same-chance", reasons=["above_threshold"]),
        decision("other-model", model={"name": "x", "sha256": OTHER}),
        decision("old", control_version=0),
        decision("spam", policy="spam"),
        decision("removal", llm={"outcome": 1}),
        decision("acme", tenant="acme"),
        decision("before-audits-had-a-chance", audit_probability=0.0),
        b"rubbish",
    ]
    human = [said(json.loads(one)["request_id"], 1, json.loads(one)["policy"]) for one in decisions[:-1]]
    found = labels(decisions, [*human, b"rubbish"], Scope("hate", outcome="allow"))
    assert ((("acme", "hate"), ("audit", "hate")), [True, True]) == (tuple(sorted(found.ids)), found.errors.tolist())
    assert (("acme", "hate"),) == labels(decisions, human, Scope("hate", "acme")).ids


def test_wrong_is_what_a_human_says_last_and_what_none_can_tell() -> None:
    """A verdict that nobody can confirm is not counted as right."""
    decisions = [decision(name, llm={"outcome": 1}) for name in "abcd"]
    human = [said("a", 1), said("b", 1), said("b", 0), said("c", 2), said("d", 1)]
    found = labels(decisions, human)
    assert ([False, True, True, False], 1) == (found.errors.tolist(), found.untold)


def test_several_humans_on_one_audit_are_one_label() -> None:
    """Most of them decide, a tie is counted as wrong, and an appeal is no word on an audit."""
    human = [
        *(said("most", outcome, reviewer=f"r{i}") for i, outcome in enumerate([1, 0, 0])),
        *(said("tie", outcome, reviewer=f"r{i}") for i, outcome in enumerate([1, 0])),
        said("appealed"),
        said("appealed", 1, channel="appeal"),
    ]
    found = labels([decision(one) for one in ("most", "tie", "appealed")], human)
    assert [("most", False), ("tie", True), ("appealed", False)] == [
        (about[0], wrong) for about, wrong in zip(found.ids, found.errors.tolist(), strict=True)
    ]
    alone = labels(
        [decision(f"{i}") for i in range(40)], [*(said(f"{i}") for i in range(39)), said("39", channel="report")]
    )
    assert (39, 1) == (len(alone), alone.undecided)


def test_audits_that_nobody_has_decided_must_be_few() -> None:
    """Which of them are decided may hang on how easy they are."""
    decisions = [decision(str(number)) for number in range(100)]
    human = [said(str(number)) for number in range(100)]
    assert 5 == labels(decisions, human[5:]).undecided
    with pytest.raises(ControlError, match="6 of 100 audits have no human decision"):
        labels(decisions, human[6:])
    with pytest.raises(ControlError, match="there is no audit of policy spam"):
        labels(decisions, human, Scope("spam"))


def test_nothing_is_known_above_the_lowest_threshold_that_was_in_force() -> None:
    """What lay above it was escalated where it held: the audits that others have there are no fair draw."""
    decisions = [decision("a", 0.1), decision("b", 0.35), decision("c", 0.2, threshold=0.3)]
    human = [said(name) for name in "abc"]
    found = labels(decisions, human)
    assert (0.3, [0.1, 0.2]) == (found.below, sorted(found.scores.tolist()))
    assert 0.15 == labels(decisions, human, when=Period(1, 0.15, 0.1)).below


def test_audits_drawn_at_different_rates_are_thinned_to_the_lowest() -> None:
    """Each decision then had the same chance to be a label, whatever the rate of its policy."""
    decisions = [decision(f"h{n}", audit_probability=0.5) for n in range(4000)]
    decisions += [decision(f"s{n}", policy="spam", audit_probability=0.1) for n in range(400)]
    human = [said(f"h{n}") for n in range(4000)] + [said(f"s{n}", policy="spam") for n in range(400)]
    found = labels(decisions, human)
    kept = sum(policy == "hate" for _, policy in found.ids)
    assert 400 == len(found) - kept
    assert abs(kept - 800) < 4 * np.sqrt(4000 * 0.2 * 0.8)
    assert 4000 - kept == found.thinned
    rare = labels(decisions, human, when=Period(1, None, 0.01))  # of a third policy that chance drew no audit of
    assert abs(len(rare) - 120) < 5 * np.sqrt(120)
    assert found.sha256 == labels(decisions[::-1], human).sha256
    assert found.sha256 != labels(decisions, [*human[:-1], said("s399", 1, "spam")]).sha256


def contents(*messages: dict[str, Any]) -> dict[int, Content]:
    """What was in force at each version."""
    log, found = ControlLog(), {0: NOTHING_SAID}
    for message in messages:
        taken = log.take(log.position, 0, json.dumps(message).encode())
        assert taken.refusal is None, taken.refusal
        found[log.version] = log.content
    return found


def rate(value: float, policy: str = "*", **more: Any) -> dict[str, Any]:
    return {"type": "set_audit_rate", "policy": policy, "rate": value, **more}


def threshold(value: float, policy: str = "*", **more: Any) -> dict[str, Any]:
    return {"type": "set_threshold", "policy": policy, "threshold": value, **more}


USE = {"type": "set_model", "sha256": MODEL}


def test_the_period_is_that_of_one_model_and_one_set_of_audit_rates() -> None:
    """Back to where any of them was another; the lowest threshold in it counts, and one that was not there ends it."""
    log = [USE, threshold(0.3), rate(0.2), threshold(0.2), threshold(0.5)]
    assert Period(3, 0.2, 0.2) == period(contents(*log), EVERYTHING, MODEL)
    assert Period(6, 0.5, 0.1) == period(contents(*log, rate(0.1)), EVERYTHING, MODEL)
    assert Period(3, 0.2, 0.2) == period(contents(*log, rate(0.1, "spam")), Scope("hate"), MODEL)
    assert Period(6, 0.5, 0.1) == period(contents(*log, rate(0.1, "hate")), Scope("hate"), MODEL)
    swapped = [*log, {"type": "set_model", "sha256": OTHER}, USE, threshold(0.4)]
    assert Period(8, 0.4, 0.2) == period(contents(*swapped), EVERYTHING, MODEL)
    assert Period(3, 0.05, 0.2) == period(contents(rate(0.2), *log[:3], threshold(0.05, "spam")), EVERYTHING, MODEL)


def test_a_rollback_does_not_hide_what_was_between() -> None:
    """The rates are those of before, but meanwhile they were others."""
    log = [rate(0.2), rate(0.0), {"type": "rollback", "to_version": 1}]
    assert 3 == period(contents(*log), EVERYTHING, MODEL).since


def test_settings_give_a_threshold_that_the_log_does_not_know() -> None:
    """Then it is the audits that say which one it was."""
    assert Period(1, None, 0.1) == period(contents(rate(0.1)), EVERYTHING, MODEL)


@pytest.mark.parametrize(
    ("messages", "scope", "named"),
    [
        ([], EVERYTHING, "every policy"),
        ([rate(0.1), rate(0.0, "spam")], EVERYTHING, "policy spam, outcome"),
        ([rate(0.1), rate(0.0, "spam", tenant="acme")], Scope("spam"), "policy spam, tenant acme"),
        ([rate(0.1, "hate")], EVERYTHING, "every policy"),
        ([rate(0.1, "*", outcome="remove")], Scope("hate"), "policy hate, outcome allow"),
        ([rate(0.1), rate(0.0, tenant="acme")], Scope("hate"), "policy hate, tenant acme"),
    ],
)
def test_what_is_not_audited_is_not_known(messages: list[dict[str, Any]], scope: Scope, named: str) -> None:
    """No part of a scope may be without audits: its errors would count as none."""
    with pytest.raises(ControlError, match=f"automated of {named}.* is audited"):
        period(contents(*messages), scope, MODEL)
    floored = [rate(0.1, "*", floor=0.01), *messages]
    if not any(one["policy"] == "*" for one in messages):
        assert period(contents(*floored), scope, MODEL).since


def test_a_part_that_is_closed_is_not_known() -> None:
    """Nothing of it is automated, so none of it is among the audits."""
    log = [USE, rate(0.1), threshold(0.4), threshold(0.0, "hate")]
    with pytest.raises(ControlError, match="nothing of every policy, or of a part of it, is automated"):
        period(contents(*log), EVERYTHING, MODEL)
    assert Period(3, 0.4, 0.1) == period(contents(*log), Scope("spam"), MODEL)
    with pytest.raises(ControlError, match="is automated"):
        period(contents(rate(0.1), USE), EVERYTHING, MODEL)


def test_a_part_that_another_scope_cuts_out_counts() -> None:
    """A tenant's setting for every policy lies neither inside of a policy nor around it, and holds in a part of it."""
    log = [USE, rate(0.1), threshold(0.4)]
    assert Period(3, 0.2, 0.1) == period(contents(*log, threshold(0.2, tenant="acme")), Scope("hate"), MODEL)
    with pytest.raises(ControlError, match="or of a part of it, is automated"):
        period(contents(*log, threshold(0.0, tenant="acme")), Scope("hate"), MODEL)
    changed = [*log, rate(0.2, tenant="acme")]
    assert 4 == period(contents(*changed), Scope("hate"), MODEL).since
    own = [USE, rate(0.1, "hate"), threshold(0.4, "hate"), rate(0.0, tenant="acme"), threshold(0.0, tenant="acme")]
    found = period(contents(*own), Scope("hate"), MODEL)
    assert (0.4, 0.1) == (found.below, found.rate)


def test_a_part_that_was_stopped_is_not_known() -> None:
    """None of it was automated while the rest was; a stop of all of it leaves no part out."""
    log = [USE, rate(0.1), threshold(0.4)]
    acme, every = ({"type": "stop_automation", "policy": "*", **more} for more in ({"tenant": "acme"}, {}))
    with pytest.raises(ControlError, match="or of a part of it, is automated"):
        period(contents(*log, acme), Scope("hate"), MODEL)
    resumed = contents(*log, acme, {**acme, "type": "resume_automation"})
    assert Period(5, 0.4, 0.1) == period(resumed, Scope("hate"), MODEL)
    assert Period(3, 0.4, 0.1) == period(resumed, Scope("hate", "other"), MODEL)
    assert Period(3, 0.4, 0.1) == period(contents(*log, every), Scope("hate"), MODEL)

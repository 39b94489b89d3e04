"""With what chance an answer came to a human, by its decision and the audit rate of its time."""

from typing import Any

import orjson
import pytest

from streams.pipeline.chances import draws, read_decisions, versions_needed
from streams.pipeline.control_content import NOTHING_SAID, Content
from streams.pipeline.control_messages import SetAuditRate


def rates(**by_policy: float) -> Content:
    content = NOTHING_SAID
    for policy, rate in by_policy.items():
        message = SetAuditRate(policy={"every": "*"}.get(policy, policy), rate=rate)
        content = message.apply(content, 1, lambda _: NOTHING_SAID)
    return content


AT = {3: rates(every=0.1), 4: rates(every=0.1, hate=0.5)}


def decision(reason: str, version: int = 3, **more: Any) -> bytes:
    route = "auto-action" if reason == "below_threshold" else "human-review"
    about = {"request_id": "a", "policy": "hate", "route": route, "reasons": [reason], "control_version": version}
    return orjson.dumps({**about, "request": {"any": "thing"}, **more})


@pytest.mark.parametrize(
    ("value", "came", "chance"),
    [
        (decision("below_threshold"), False, 0.1),
        (decision("audit"), True, 0.1),
        (decision("audit", 4), True, 0.5),
        (decision("audit", 4, policy="spam"), True, 0.1),
        (decision("audit", 9), True, None),
        (decision("above_threshold"), True, 1.0),
        (decision("no_threshold", 9), True, 1.0),
        (decision("audit", 9, audit_probability=0.3), True, 0.3),
        (decision("below_threshold", 3, audit_probability=0.3), False, 0.3),
        (decision("above_threshold", 3, audit_probability=0.3), True, 1.0),
    ],
)
def test_the_chance_is_that_of_its_decision(value: bytes, came: bool, chance: float | None) -> None:
    """What the decision states, else the rate in force for its policy at its version; what was escalated was certain."""
    ((_, found),) = draws(read_decisions([value]), AT.get).items()
    assert (came, chance) == found


def test_what_is_no_decision_is_passed_by() -> None:
    """And only the versions are asked for that something hangs on."""
    values = [b"", b"[]", b"\xff", b'{"request_id": 1}', decision("audit", 4), decision("above_threshold", 7)]
    found = read_decisions([*values, decision("below_threshold", 8, audit_probability=0.1)])
    assert 3 == len(found)
    assert {4} == versions_needed(found)

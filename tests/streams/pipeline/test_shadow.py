"""The shadow through the stages: it says what would be decided under it, and changes nothing of what is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurizers import PRESETS
from scoring import ModelError, Scores
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_content import AuditRate
from streams.pipeline.controls import Controls
from streams.pipeline.matching import Arrivals
from streams.pipeline.records import Record
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Outbox, Pipeline, Polled, Ticket
from tests.rig import BODY, NOW, Desk, request, response

POLICIES = ("hate", "spam", "unknown")


class Model:
    """Scores each answer of a batch by its place in it, and counts how often it is asked."""

    terms = ("outcome",)

    def __init__(self, sha256: str, error_probability: Callable[[int], Any], poison: str = "") -> None:
        self.name, self.sha256, self.policies = "stub", sha256, frozenset({"hate", "spam"})
        self._error_probability, self._poison = error_probability, poison
        self.asked = 0

    def score(self, values: Any, policies: Any, _languages: Any) -> Scores:
        self.asked += 1
        if self._poison in policies:
            raise ZeroDivisionError
        count = len(values)
        probability = self._error_probability(count)
        return Scores(probability, np.ones((count, 1), np.float32), np.arange(count) % 5 != 4)  # type: ignore[arg-type]

    def lacking(self, _vector: Any) -> list[str]:
        return ["entropy"]


def rising(count: int) -> Any:
    return np.linspace(0, 1, count, dtype=np.float32)


def falling(count: int) -> Any:
    return rising(count)[::-1].copy()


def under(model: Any, threshold: float | None, **more: Any) -> Controls:
    return Controls(model, {} if threshold is None else {EVERYTHING: threshold}, **more)


def records(count: int = 12) -> list[Record]:
    """Requests of several policies with answers of every outcome, one that cannot be read, and one that has none."""
    found = []
    for number in range(count):
        name = f"r{number}"
        asked = {"request_id": name, "policy": POLICIES[number % 3]}
        answer: Any = orjson.loads(orjson.dumps(BODY))
        answer["choices"][0]["message"]["content"] = orjson.dumps({"outcome": number % 4 % 3}).decode()
        body = {"choices": 1} if number == 1 else answer
        found.append(request(name, offset=number, value=orjson.dumps(asked), at=1 if number == 2 else NOW))
        if number != 2:
            found.append(response(name, offset=number, value=orjson.dumps({"request_id": name, "body": body})))
    return found


def decided(controls: Controls, count: int = 12) -> tuple[dict[str, dict[str, Any]], Outbox]:
    """The decision of each request, and all that the batch writes."""
    desk = Desk()
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, topic_names(load_topics()), lambda: NOW)
    read = {("requests", 0): 2**60, ("responses", 0): 2**60}
    polled = Polled(Ticket(1, desk.assignment, {}, 0.0), Arrivals(records(count), {}, read))
    outbox = pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled))))
    found = [orjson.loads(one.value or b"") for one in outbox.outputs if one.topic in ("auto_action", "human_review")]
    assert count == len(found)
    return {one["request_id"]: one for one in found}, outbox


def failing(_count: int) -> Any:
    raise ModelError("it failed")


FAULTS: dict[str, Callable[[int], Any]] = {
    "fails": failing,
    "raises": lambda count: count / 0,
    "another shape": lambda count: np.zeros((count, 1), np.float32),
    "nothing": lambda _count: None,
}
LIVE = [
    under(Model("0" * 64, rising), 0.5),
    under(Model("0" * 64, rising), 0.5, stopped=frozenset({EVERYTHING})),
    under(Model("0" * 64, failing), 0.5),
    under(Model("0" * 64, rising, poison="spam"), 0.5),
    under(None, None, problem="no model"),
]
SHADOWS: list[Controls] = [
    under(Model("a" * 64, falling), 0.5),
    under(Model("a" * 64, falling), None),
    under(Model("0" * 64, rising), 0.2),
    *(under(Model("a" * 64, fault), 0.5) for fault in FAULTS.values()),
]


@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize("shadow", SHADOWS)
def test_what_is_decided_is_the_same_to_the_byte(live: Controls, shadow: Controls) -> None:
    """With a shadow and without, whatever the shadow does: records, their order, counts and incidents."""
    without, alone = decided(live)
    beside, outbox = decided(replace(live, shadow=shadow))
    assert list(without) == list(beside)
    stripped = [orjson.dumps({name: v for name, v in one.items() if name != "shadow"}) for one in beside.values()]
    assert [orjson.dumps(one) for one in without.values()] == stripped
    assert all("shadow" in one for one in beside.values())
    assert [one for one in outbox.outputs if one.topic == "vectors"] == [
        one for one in alone.outputs if one.topic == "vectors"
    ]
    assert replace(outbox, outputs=[], ticket=alone.ticket, shadow=Counter(), shadow_problem=None) == replace(
        alone, outputs=[]
    )


@given(
    thresholds=st.tuples(*[st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])] * 2),
    rates=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 2),
    count=st.integers(1, 20),
)
def test_the_shadow_says_what_would_be_decided_under_it(
    thresholds: tuple[float | None, float | None], rates: tuple[float, float], count: int
) -> None:
    """By the very decisions that the same controls make when they are in force."""
    live, shadow = (
        under(model, threshold, audit_rates={EVERYTHING: AuditRate(rate)})
        for model, threshold, rate in zip(
            (Model("0" * 64, rising), Model("a" * 64, falling)), thresholds, rates, strict=True
        )
    )
    count = max(count, 3)
    in_force, _ = decided(shadow, count)
    beside, outbox = decided(replace(live, shadow=shadow), count)
    assert {
        name: {
            "model": "a" * 64,
            **{field: one[field] for field in ("error_probability", "threshold", "route", "reasons")},
        }
        for name, one in in_force.items()
    } == {name: one["shadow"] for name, one in beside.items()}
    flips = Counter((one["route"], one["shadow"]["route"], one["policy"]) for one in beside.values())
    assert (flips, None) == (outbox.shadow, outbox.shadow_problem)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_shadow_that_fails_says_so(fault: Callable[[int], Any]) -> None:
    """What would have gone to a human for it is stamped as a failed model's, and the batch is counted; nothing else."""
    live = under(Model("0" * 64, rising), 0.5, audit_rates={EVERYTHING: AuditRate(0.0)})
    found, outbox = decided(replace(live, shadow=under(Model("a" * 64, fault), 0.5)))
    scored = [one for one in found.values() if one["error_probability"] is not None]
    assert scored
    assert {("human-review", "model_failed", None)} == {
        (one["shadow"]["route"], one["shadow"]["reasons"][0], one["shadow"]["error_probability"]) for one in scored
    }
    assert (None, True) == (outbox.problem, outbox.shadow_problem is not None)


def test_a_shadow_of_the_live_model_costs_no_second_scoring() -> None:
    """Its thresholds are others; the scores are there."""
    model = Model("0" * 64, rising)
    found, _ = decided(replace(under(model, 0.5), shadow=under(Model("0" * 64, failing), 0.2)))
    assert 1 == model.asked
    both = [(one["error_probability"], one["shadow"]["error_probability"]) for one in found.values()]
    assert all(live == shadow for live, shadow in both)
    assert {0.2, None} == {one["shadow"]["threshold"] for one in found.values()}


def test_a_batch_that_is_done_again_is_the_same_bytes() -> None:
    """A restart or a rebalance redoes it: nobody may read two different words of the shadow."""
    controls = replace(under(Model("0" * 64, rising), 0.5), shadow=under(Model("a" * 64, falling), 0.5))
    assert decided(controls)[1].outputs == decided(controls)[1].outputs


def test_without_a_shadow_nothing_is_said_of_one() -> None:
    """Neither in decisions nor in the counts."""
    found, outbox = decided(under(Model("0" * 64, rising), 0.5))
    assert not any("shadow" in one for one in found.values())
    assert (Counter(), None) == (outbox.shadow, outbox.shadow_problem)

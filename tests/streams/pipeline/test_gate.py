"""The intake gate: nothing that it lets in can cause an output that is too large to be written."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers import PRESETS
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.controls import Controls
from streams.pipeline.gate import ENVELOPE, LETTER, MAX_NAME, Gate, Refused, shortened
from streams.pipeline.matching import Arrivals
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, RESPONSES, Output, Record, headers_size, size
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Outbox, Pipeline, Polled, Ticket
from tests.rig import NOW, Desk, request

MAX = 64 * 1024


class AbsentModel:
    """No score for anything: the decision is a review, which is the largest one."""

    name, sha256, policies = "absent", "0" * 64, frozenset[str]()

    def score(self, _values: Any, _policies: Any, _languages: Any) -> Any:
        from scoring import ModelError

        raise ModelError("absent")


def through(desk: Desk, *records: Record, now: int = NOW) -> Outbox:
    model: Any = AbsentModel()
    controls = Controls(model=model, thresholds={EVERYTHING: 0.5})
    names = topic_names(load_topics())
    pipeline = Pipeline(desk.matcher, PRESETS["lpp"], lambda: controls, names, lambda: now)
    places = [(role, 0) for role in (REQUESTS, RESPONSES)]
    arrivals = Arrivals(list(records), {}, dict.fromkeys(places, now))
    polled = Polled(Ticket(1, desk.assignment, {}, 0.0), arrivals)
    return pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(polled))))


def written(output: Output) -> int:
    """Bytes of a record as a producer counts them, its headers' framing at the most that it can be."""
    headers = headers_size(output.headers) if output.headers else 0
    return len(output.key or b"") + len(output.value or b"") + headers


HEADERS = st.lists(st.tuples(st.text(max_size=30), st.none() | st.binary(max_size=2000)), max_size=8)
COUNTS = st.integers(0, 4000)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_NAME)


@settings(max_examples=150)
@given(
    name=NAMES,
    policy=NAMES,
    tenant=NAMES,
    content=st.integers(0, MAX),
    headers=HEADERS,
    many=COUNTS,
    model=st.integers(0, MAX),
    pad=st.integers(0, MAX),
)
def test_what_is_let_in_can_be_written(
    name: str, policy: str, tenant: str, content: int, headers: Any, many: int, model: int, pad: int
) -> None:
    """Whatever names, headers and sizes come: decision, vector, dead letter and changelog stay below the limit."""
    key = name.encode()
    asked = {"request_id": name, "policy": policy, "tenant": tenant, "content": "x" * content}
    body = {
        "request_id": name,
        "body": {"model": "\x01" * model, "pad": "y" * pad, "choices": [{"message": {"content": '{"outcome": 2}'}}]},
    }
    ours = Record(REQUESTS, 0, 0, NOW, key, json.dumps(asked).encode(), [*headers, *[("", b"")] * many])
    theirs = Record(RESPONSES, 0, 0, NOW, key, json.dumps(body).encode(), [("h", None)] * many)
    for order in ((ours,), (theirs,), (ours, theirs), (ours, ours)):
        outbox = through(Desk(max_bytes=MAX), *order)
        for output in (*outbox.outputs, *outbox.changelog):
            assert written(output) <= MAX
        assert len(outbox.outputs) + len(outbox.changelog) >= 1


@pytest.mark.parametrize(
    ("weight", "carried"), [(MAX - ENVELOPE, None), (MAX - ENVELOPE + 1, True), (MAX - LETTER + 1, False)]
)
def test_a_record_is_carried_where_it_fits(weight: int, carried: bool | None) -> None:
    """Let in, set aside whole, or set aside with its reason alone."""
    record = request(value=b"x" * (weight - 1))
    assert weight == size(record)
    if carried is None:
        Gate(MAX).admit(record)
        return
    with pytest.raises(Refused) as caught:
        Gate(MAX).admit(record)
    assert (DeadLetter.TOO_LARGE, carried) == (caught.value.code, caught.value.carried)


def test_a_header_costs_its_framing() -> None:
    """A million empty headers are no empty record."""
    assert size(request(headers=[("", b"")] * 1000)) > 10_000


def test_a_model_name_is_cut() -> None:
    """An LLM's answer can call itself anything."""
    cut = shortened("m" * 1000)
    assert (MAX_NAME, "…") == (len(cut or ""), (cut or "")[-1])
    assert (None, "gpt") == (shortened(None), shortened("gpt"))

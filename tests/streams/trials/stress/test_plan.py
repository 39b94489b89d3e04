"""The stress test's plan: what is sent, in which order, and what goes wrong when."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.pipeline.records import Headers
from streams.trials.stress.chaos import Event, schedule
from streams.trials.stress.plan import (
    FURTHEST,
    Fault,
    Kind,
    Plan,
    Recorded,
    Shares,
    index_in_trace,
    index_of,
    key,
    stray_key,
    trace,
)

RECORDED = [Recorded.of({"request_id": "x", "content": 'quoted "@"'}, b"{}", "below_threshold")]


def plan(requests: int = 5000, seed: int = 1) -> Plan:
    shares = Shares(poison=0.03, duplicates=0.04, unanswered=0.02, late=0.01, hostile=0.045)
    return Plan(RECORDED, requests=requests, shares=shares, seed=seed)


def test_a_seed_gives_the_same_run_again_and_another_one_another() -> None:
    """A failure can be looked at twice."""
    once, again, other = plan(), plan(), plan(seed=2)
    assert np.array_equal(once.faults, again.faults)
    assert np.array_equal(once.kinds, again.kinds)
    assert np.array_equal(once.indices, again.indices)
    assert not np.array_equal(once.faults, other.faults)


def test_faults_come_in_the_shares_asked_for() -> None:
    """Poison is of three kinds, duplicates of two, hostile records of nine."""
    counts = np.bincount(plan(100_000).faults, minlength=len(Fault)) / 100_000
    asked = [0.855, 0.01, 0.01, 0.01, 0.02, 0.02, 0.02, 0.01] + 9 * [0.005]
    assert np.allclose(asked, counts, atol=0.003)


def test_every_record_is_sent_once_and_a_response_not_far_from_its_request() -> None:
    """The order holds all that the faults leave; only late responses are sent by the clock."""
    order = plan()
    for kind, missing in ((Kind.REQUEST, ()), (Kind.RESPONSE, (Fault.UNANSWERED, Fault.LATE_RESPONSE))):
        sent = np.sort(order.indices[order.kinds == kind])
        assert np.array_equal(np.flatnonzero(~np.isin(order.faults, missing)), sent)
    place = {
        (int(kind), int(index)): at for at, (kind, index) in enumerate(zip(order.kinds, order.indices, strict=True))
    }
    responses = order.indices[order.kinds == Kind.RESPONSE].tolist()
    gaps = [place[Kind.RESPONSE, index] - place[Kind.REQUEST, index] for index in responses]
    assert min(gaps) < 0 < max(gaps) < FURTHEST


@given(st.binary(max_size=20))
def test_only_keys_of_ours_have_an_index(name: bytes) -> None:
    """Whatever stands in the topics."""
    index = index_of(name)
    assert index is None or name[:8] in (key(index), stray_key(index))


@given(st.integers(0, 9_999_999), st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=60) | st.none())))
def test_a_record_without_a_key_is_known_by_its_trace(index: int, others: Headers) -> None:
    """Among whatever headers, and by nothing else."""
    assert index == index_in_trace(trace(index) + others)
    assert None is index_in_trace(others)
    assert None is index_in_trace([("traceparent", (trace(index)[0][1] or b"")[:-1])])


def test_hostile_records_are_what_they_are_called() -> None:
    """Each kind once: what is sent beside the request, or instead of its answer."""
    order = plan(20_000)
    found = {fault: int((order.faults == fault).argmax()) for fault in Fault}
    extra = {fault: order.send(Kind.EXTRA, index) for fault, index in found.items()}
    assert extra[Fault.TOMBSTONE_REQUEST].value is extra[Fault.TOMBSTONE_RESPONSE].value is None
    assert extra[Fault.KEYLESS_REQUEST].key is extra[Fault.KEYLESS_RESPONSE].key is None
    assert "pending" == extra[Fault.FOREIGN_RECORD].topic
    for fault, topic in ((Fault.ODD_NAME_REQUEST, "requests"), (Fault.ODD_NAME_RESPONSE, "responses")):
        assert topic == extra[fault].topic
        assert [True, False, False] == [name.isascii() for name in extra[fault].odd_names]
    assert len(order.send(Kind.RESPONSE, found[Fault.HUGE_NAME]).value or b"") > 500_000
    assert len(order.request(found[Fault.MANY_HEADERS]).headers or []) > 2000
    assert order.foreign == np.count_nonzero(order.faults == Fault.FOREIGN_RECORD) > 0


def test_events_are_all_in_the_schedule_and_a_worker_is_added_before_one_is_removed() -> None:
    """They are spread over the run; the guests never go below none."""
    dues = schedule(kills=22, rebalances=12, broker_restarts=1, seed=5)
    events = [due.event for due in dues]
    assert 22 == events.count(Event.KILL)
    assert 6 == events.count(Event.ADD) == events.count(Event.REMOVE)
    assert 1 == events.count(Event.BROKER)
    assert sorted(dues) == dues
    changes = [event for event in events if event in (Event.ADD, Event.REMOVE)]
    assert [Event.ADD, Event.REMOVE] * 6 == changes

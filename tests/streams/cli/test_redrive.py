"""`secondlook dead-letters redrive`, at least once on the embedded broker: what comes back, and how often."""

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from streams.contracts.headers import CYCLES
from streams.kafka.topics import load_topics
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, RESPONSES, Headers
from streams.trials.worker_process import WorkerProcess

TOPICS = load_topics()
NAMES = {role: topic.name for role, topic in TOPICS.items()}
OWN: Headers = [("traceparent", b"00-ab"), ("empty", b""), ("none", None), ("traceparent", b"\xff")]


def test_redrive_puts_back_byte_for_byte(desk: Any) -> None:
    """Key, value and own headers as they were, into the topic of each, and the count."""
    desk.set_aside(b"\x00\xff{", own=OWN, key=b"\xfe")
    desk.set_aside(None, own=[(CYCLES, b"1"), *OWN], key=None, source=RESPONSES, partition=2)
    assert "redriven 2: not_a_record 2\n" == desk.said("redrive", "0:0", "2:0", "0:0")
    (request,), (response,) = desk.arrived(REQUESTS), desk.arrived(RESPONSES)
    assert (b"\xfe", b"\x00\xff{", [*OWN, (CYCLES, b"1")]) == (request.key(), request.value(), request.headers())
    assert (None, None, [*OWN, (CYCLES, b"2")]) == (response.key(), response.value(), response.headers())


def test_the_key_chooses_the_partition_as_everywhere(desk: Any) -> None:
    """Java's partitioner, so that a request and its response meet."""
    keys = [f"request-{number}".encode() for number in range(20)]
    for key in keys:
        desk.set_aside(key, key=key)
    desk.said("redrive", "--all")
    java = Producer({"bootstrap.servers": desk.broker.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        java.produce(desk.prefix + NAMES[RESPONSES], key, key)
    java.flush(10)
    requests, responses = (
        {message.key(): message.partition() for message in desk.arrived(role)} for role in (REQUESTS, RESPONSES)
    )
    assert requests == responses
    assert set(keys) == set(requests)


def test_all_sends_each_letter_once(desk: Any) -> None:
    """A second call finds nothing, a letter that came since is sent alone, a dry run neither sends nor counts as done."""
    for number in range(7):
        desk.set_aside(b"%d" % number, partition=number % 3)
    assert "would redrive 7: not_a_record 7\n" == desk.said("redrive", "--all", "--dry-run")
    assert [] == desk.values()
    assert "redriven 7: not_a_record 7\n" == desk.said("redrive", "--all")
    assert "redriven 0\n" == desk.said("redrive", "--all")
    desk.set_aside(b"new")
    assert "redriven 1: not_a_record 1\n" == desk.said("redrive", "--all")
    assert [*(b"%d" % number for number in range(7)), b"new"] == desk.values()


def test_codes_are_done_one_by_one_in_any_order(desk: Any) -> None:
    """What one call left because of its code, another sends, and nothing is sent twice."""
    mixed = [DeadLetter.NOT_A_RECORD, DeadLetter.LATE_RESPONSE, DeadLetter.MISSING_KEY]
    for number in range(9):
        desk.set_aside(b"%d" % number, mixed[number % 3], partition=number % 2)
    assert "redriven 3: late_response 3\n" == desk.said("redrive", "--code", "late_response")
    assert "redriven 0\n" == desk.said("redrive", "--code", "late_response")
    assert "redriven 3: missing_key 3\n" == desk.said("redrive", "--code", "missing_key", "--code", "late_response")
    assert "redriven 3: not_a_record 3\n" == desk.said("redrive", "--all")
    assert "redriven 0\n" == desk.said("redrive", "--all")
    assert [b"%d" % number for number in range(9)] == desk.values()


def test_what_is_refused_is_counted_and_passed(desk: Any) -> None:
    """Each reason with its count and its meaning; a higher limit sends a letter that is named."""
    desk.set_aside(b"tired", own=[(CYCLES, b"3")])
    desk.set_aside(b"large", DeadLetter.TOO_LARGE)
    desk.put(b"stranger", [])
    desk.put(b"foreign", [("__connect.errors.topic", b"payroll"), ("secondlook.error.code", b"not_a_record")])
    desk.set_aside(b"fresh")
    said = desk.said("redrive", "--all")
    assert "redriven 1: not_a_record 1\n" in said
    assert all(f"refused 1, {why}: " in said for why in ("max_cycles", "too_large", "malformed", "foreign"))
    assert "redriven 0\n" == desk.said("redrive", "--all")
    assert "refused 1, max_cycles" in desk.said("redrive", "0:0")
    assert "redriven 1" in desk.said("redrive", "0:0", "--max-cycles", "4")
    assert [b"fresh", b"tired"] == desk.values()


def test_a_crash_before_the_commit_sends_the_batch_again(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: nothing is lost, the progress comes after the records."""

    class Dying(Consumer):
        def commit(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    desk.set_aside(b"twice")
    with monkeypatch.context() as patch:
        patch.setattr("streams.dead_letters.redrive.Consumer", Dying)
        assert 0 != desk.run("redrive", "--all").exit_code
    assert "redriven 1" in desk.said("redrive", "--all")
    assert "redriven 0" in desk.said("redrive", "--all")
    assert [b"twice", b"twice"] == desk.values()


def test_large_batches_are_cut(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes too, and every batch carries its progress."""
    monkeypatch.setattr("streams.dead_letters.redrive._BATCH_BYTES", 10)
    values = [b"%d" % number * 6 for number in range(9)]
    for value in values:
        desk.set_aside(value)
    assert "redriven 9" in desk.said("redrive", "--all")
    assert "redriven 0" in desk.said("redrive", "--all")
    assert values == desk.values()


def test_through_the_worker_and_back(desk: Any, models: Path) -> None:
    """A poison record becomes a letter again, with its own header, one reason and the count of its redrives."""
    settings = {"broker": desk.broker.bootstrap, "topic_prefix": desk.prefix, "model": models, "web_port": 0}
    with WorkerProcess({**settings, "delivery": "at_least_once"}) as worker:
        worker.wait_for("assigned")
        desk.producer.produce(desk.prefix + NAMES[REQUESTS], b"{poison", b"k", headers={"own": b"1"})
        assert 0 == desk.producer.flush(10)
        for cycles in range(3):
            desk.wait_for(cycles + 1)
            assert "redriven 1: not_a_record 1" in desk.said("redrive", "--all", "--max-cycles", "5")
        headers = [letter.headers() for letter in desk.wait_for(4)]
        assert 0 == worker.terminate()
    assert "refused 1, max_cycles" in desk.said("redrive", "--all")
    counted = [[(name, value) for name, value in one if name in ("own", CYCLES)] for one in headers]
    expected = [[("own", b"1")], *([("own", b"1"), (CYCLES, b"%d" % cycles)] for cycles in (1, 2, 3))]
    assert expected == sorted(counted, key=lambda one: one[1:])
    assert [8, 9, 9, 9] == sorted(len(one) for one in headers)

"""Redriving on a real Kafka: each letter once, through a kill, beside another redrive, code by code."""

import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from streams.cli.main import main
from streams.contracts.headers import CYCLES
from streams.dead_letters import redrive as redriving
from streams.dead_letters.reading import Spot, letters_at
from streams.dead_letters.redrive import redrive_codes, redrive_spots
from streams.errors import DeliveryError, LetterError
from streams.kafka.topics import Topic
from streams.pipeline.dead_letters import dead_letter, put_back
from streams.pipeline.matching import Dead
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, Record
from streams.settings import Settings
from streams.trials.worker_process import WorkerProcess
from tests.driving import everything


@pytest.fixture
def pipeline(kafka: str, prefix: str) -> Settings:
    """The settings of a pipeline of the test's own."""
    return Settings(broker=kafka, topic_prefix=prefix)


def set_aside(pipeline: Settings, topics: dict[str, Topic], *codes: DeadLetter) -> None:
    """Write dead letters as a worker does, in a transaction: its mark takes the offset after them."""
    names = {role: topic.name for role, topic in topics.items()}
    producer = Producer({"bootstrap.servers": pipeline.broker, "transactional.id": pipeline.topic_prefix + "worker"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for number, code in enumerate(codes):
        record = Record(REQUESTS, 0, number, 0, b"key", b"%d" % number, [("own", b"1")])
        letter = dead_letter(Dead(record, code, "because"), names)
        producer.produce(names["dead_letter"], letter.value, letter.key, number % 2, headers=[*(letter.headers or [])])
    producer.commit_transaction(30)


def read(pipeline: Settings, topic: Topic, isolation: str = "read_committed") -> list[Any]:
    return everything(pipeline.broker, topic, isolation=isolation)


def wait_for(pipeline: Settings, topic: Topic, *, records: int) -> list[Any]:
    """The records of a topic, once there are so many."""
    while len(found := read(pipeline, topic)) < records:
        time.sleep(0.1)
    return found


def redrive(pipeline: Settings, *codes: DeadLetter) -> dict[str, int]:
    """How many letters were sent, by code."""
    return dict(redrive_codes(pipeline, codes or frozenset(DeadLetter), max_cycles=3, dry_run=False).sent)


def test_poison_comes_back_once_with_its_count(pipeline: Settings, topics: dict[str, Topic], models: Path) -> None:
    """Poison, letter, redrive, letter, through a real worker and the real command; the record is the same throughout."""
    where = [f"--broker={pipeline.broker}", f"--topic-prefix={pipeline.topic_prefix}"]
    settings = {"broker": pipeline.broker, "topic_prefix": pipeline.topic_prefix, "model": models, "web_port": 0}
    with WorkerProcess(settings) as worker:
        worker.wait_for("assigned")
        producer = Producer({"bootstrap.servers": pipeline.broker})
        producer.produce(topics["requests"].name, b"{poison", b"key", headers={"own": b"1"})
        assert 0 == producer.flush(30)
        wait_for(pipeline, topics["dead_letter"], records=1)
        redriven = CliRunner().invoke(main, ["dead-letters", "redrive", *where, "--all"])
        assert ("redriven 1: not_a_record 1\n", 0) == (redriven.output, redriven.exit_code)
        letters = wait_for(pipeline, topics["dead_letter"], records=2)
        assert 0 == worker.terminate()
    first, second = sorted(letters, key=lambda letter: len(letter.headers()))
    assert {(b"key", b"{poison")} == {(one.key(), one.value()) for one in read(pipeline, topics["requests"])}
    assert 2 == len(read(pipeline, topics["requests"]))
    assert (b"key", b"{poison") == (first.key(), first.value()) == (second.key(), second.value())
    assert [("own", b"1"), (CYCLES, b"1")] == second.headers()[:2]
    assert len(first.headers()) + 1 == len(second.headers())
    listed = CliRunner().invoke(main, ["dead-letters", "list", *where])
    assert "2 dead letters: not_a_record 2" in listed.output


def test_a_kill_before_the_commit_leaves_nothing_visible(
    pipeline: Settings, topics: dict[str, Topic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of the killed redrive are in the log, but nobody sees them; the next one sends each letter once."""

    class Killed(Producer):
        def commit_transaction(self, *_: Any) -> None:
            self.flush()
            raise KeyboardInterrupt

    set_aside(pipeline, topics, *[DeadLetter.NOT_A_RECORD] * 5)
    with monkeypatch.context() as patch:
        patch.setattr("streams.kafka.delivery.Producer", Killed)
        with pytest.raises(KeyboardInterrupt):
            redrive(pipeline)
    assert 5 == len(read(pipeline, topics["requests"], "read_uncommitted"))
    assert [] == read(pipeline, topics["requests"])
    assert {"not_a_record": 5} == redrive(pipeline)
    assert {} == redrive(pipeline)
    assert [b"%d" % number for number in range(5)] == sorted(one.value() for one in read(pipeline, topics["requests"]))


def test_of_two_redrives_the_later_stops_the_earlier(pipeline: Settings, topics: dict[str, Topic]) -> None:
    """The earlier one's batch is not sent, and it says why it ended."""
    set_aside(pipeline, topics, DeadLetter.NOT_A_RECORD)
    with redriving._group_consumer(pipeline) as consumer, redriving._sending(pipeline, consumer) as send:
        assert {"not_a_record": 1} == redrive(pipeline)
        with pytest.raises(DeliveryError, match="took over"):
            send([put_back(REQUESTS, b"key", b"0", [])], [])
    assert 1 == len(read(pipeline, topics["requests"]))


def test_codes_are_done_one_by_one_in_any_order(pipeline: Settings, topics: dict[str, Topic]) -> None:
    """The progress of each code is committed with the records, and a dry run commits nothing."""
    poison, late = DeadLetter.NOT_A_RECORD, DeadLetter.LATE_RESPONSE
    set_aside(pipeline, topics, *[poison, late, late] * 3)
    redrive_codes(pipeline, [poison, late], max_cycles=3, dry_run=True)
    assert {"late_response": 6} == redrive(pipeline, late)
    set_aside(pipeline, topics, late)
    assert {"not_a_record": 3} == redrive(pipeline, poison)
    assert {"late_response": 1} == redrive(pipeline)
    assert {} == redrive(pipeline)
    assert 10 == len(read(pipeline, topics["requests"]))


def test_letters_by_position_are_all_sent_or_none(pipeline: Settings, topics: dict[str, Topic]) -> None:
    """As often as they are named; the offset of a transaction's mark is no letter."""
    set_aside(pipeline, topics, *[DeadLetter.NOT_A_RECORD] * 3)
    assert [b"2"] == [one.value() for one in letters_at(pipeline, [Spot(0, 1)])]
    with pytest.raises(LetterError, match=r"no dead letter 0:2 in .*mark"):
        redrive_spots(pipeline, [Spot(0, 0), Spot(0, 2)], max_cycles=3, dry_run=False)
    assert [] == read(pipeline, topics["requests"])
    for _ in range(2):
        redrive_spots(pipeline, [Spot(0, 0), Spot(1, 0)], max_cycles=3, dry_run=False)
    assert [b"0", b"0", b"1", b"1"] == sorted(one.value() for one in read(pipeline, topics["requests"]))

"""The prober: what it asks, of whom, and what becomes of the answers."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from streams.kafka.prober import Prober
from streams.pipeline.assignment import Assignment
from streams.pipeline.positions import Position
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.settings import Settings
from tests.rig import NOW, assignment

NAMES = {REQUESTS: "requests", RESPONSES: "responses", "pending": "pending"}


class Brokers:
    """Each partition is led by the broker of its number; those that are away answer nobody."""

    def __init__(self) -> None:
        self.away: set[int] = set()
        self.ends = {(topic, number): 10 for topic in NAMES.values() for number in (0, 1)}
        self.stable: dict[tuple[str, int], int] = {}
        self.ids = {topic: f"id of {topic}" for topic in NAMES.values()}
        self.asked: list[set[int]] = []
        self.deleted: list[tuple[str, int, int]] = []

    def consumer(self, config: dict[str, Any]) -> Any:
        stable = config["isolation.level"] == "read_committed"

        def offsets_for_times(partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
            assert timeout <= 1
            self.asked.append({one.partition for one in partitions})
            if {one.partition for one in partitions} & self.away:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return [TopicPartition(one.topic, one.partition, self._offset(one, stable=stable)) for one in partitions]

        def list_topics(topic: str, timeout: float) -> Any:  # noqa: ARG001 - as the client's
            if {0, 1} <= self.away:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            partitions = {number: SimpleNamespace(leader=number) for number in (0, 1)}
            return SimpleNamespace(topics={topic: SimpleNamespace(partitions=partitions)})

        return SimpleNamespace(offsets_for_times=offsets_for_times, list_topics=list_topics, close=lambda: None)

    def _offset(self, one: TopicPartition, *, stable: bool) -> int:
        place = (one.topic, one.partition)
        if one.offset == OFFSET_BEGINNING:
            return 4
        return self.stable.get(place, self.ends[place]) if stable else self.ends[place]


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Brokers]:
    brokers = Brokers()
    monkeypatch.setattr("streams.kafka.prober.Consumer", brokers.consumer)
    monkeypatch.setattr(
        "streams.kafka.prober.topic_ids", lambda _admin, names: {name: brokers.ids[name] for name in names}
    )

    def delete(_admin: Any, before: dict[TopicPartition, int]) -> None:
        brokers.deleted += [(one.topic, one.partition, offset) for one, offset in before.items()]

    monkeypatch.setattr("streams.kafka.prober.delete_records", delete)
    return brokers


def watching(read: int = 5) -> tuple[Prober, Assignment]:
    prober = Prober(Settings(), NAMES, lambda: NOW)
    held = assignment((0, 1))
    held.positions = {(role, number): Position(read) for role in (REQUESTS, RESPONSES) for number in (0, 1)}
    held.topic_ids = {topic: f"id of {topic}" for topic in NAMES.values()}
    prober.watch(held)
    return prober, held


def test_a_leader_that_is_away_holds_up_its_own_partitions_only(brokers: Brokers) -> None:
    """Each is asked by itself."""
    prober, held = watching()
    prober._round()
    prober.collect(held)
    brokers.away = {1}
    prober._round()
    ends, _ = prober.collect(held)
    assert {(REQUESTS, 0), (RESPONSES, 0)} == {end.place for end in ends}
    assert all(len(numbers) == 1 for numbers in brokers.asked)


def test_an_end_is_told_with_what_may_be_read_of_it_and_what_had_been_read(brokers: Brokers) -> None:
    """The rest stands behind an open transaction."""
    brokers.stable["responses", 1] = 7
    prober, held = watching(read=5)
    prober._round()
    ends, recreated = prober.collect(held)
    told = {end.place: (end.end, end.stable, end.asked_at, end.read) for end in ends}
    assert {(10, 10, NOW, 5), (10, 7, NOW, 5)} == set(told.values())
    assert (10, 7, NOW, 5) == told[RESPONSES, 1]
    assert (set(), ([], set())) == (recreated, prober.collect(held))


def test_the_changelogs_end_goes_to_its_store_and_its_length_is_measured(brokers: Brokers) -> None:
    """A restart reads from there."""
    brokers.ends["pending", 1] = 50
    prober, held = watching()
    prober._round()
    assert (10, 50, 6 + 46) == (held.stores[0].log_end, held.stores[1].log_end, prober.changelog_records)


def test_a_topic_made_anew_is_told(brokers: Brokers) -> None:
    """By its id, whatever its end."""
    prober, held = watching()
    brokers.ids["requests"] = "another id"
    prober._round()
    assert {"requests"} == prober.collect(held)[1]


def test_answers_for_an_assignment_that_is_over_are_nobodys(brokers: Brokers) -> None:  # noqa: ARG001 - it is there
    """They tell nothing of the next one."""
    prober, held = watching()
    prober._round()
    other = assignment((0,))
    prober.watch(other)
    assert (([], set()), ([], set())) == (prober.collect(held), prober.collect(other))


def test_what_the_changelog_needs_no_more_is_deleted_once(brokers: Brokers) -> None:
    """The latest offset of each partition."""
    prober, _ = watching()
    prober.delete_before({0: 3})
    prober.delete_before({0: 8, 1: 2})
    prober._round()
    prober._round()
    assert [("pending", 0, 8), ("pending", 1, 2)] == brokers.deleted


def test_silence_is_counted_from_the_last_answer(brokers: Brokers) -> None:
    """Of any broker; a worker without partitions asks too."""
    prober, _ = watching()
    prober._answered_at -= 100
    brokers.away = {0, 1}
    with pytest.raises(KafkaException):
        prober._round()
    assert prober.silent_for >= 100
    brokers.away = {1}
    prober.watch(None)
    prober._round()
    assert prober.silent_for < 100


def test_what_ends_the_prober_ends_the_worker(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it is there
    """Nothing would time out any more, and /live take the brokers to be away."""
    prober, held = watching()
    monkeypatch.setattr(prober, "_round", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        prober._run()
    with pytest.raises(ZeroDivisionError):
        prober.collect(held)

"""`secondlook control compact` on a real broker: what is deleted, and what whoever starts afterwards finds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.cli.main import main
from streams.kafka.admin import records_kept
from streams.kafka.clock import BrokerClock
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import StatusWriter, WorkerStatus, encode_status
from streams.kafka.publishing import publish_control
from streams.kafka.reading import watermarks
from streams.kafka.topics import Topic, topic_names
from streams.pipeline.control_messages import SetThreshold, StopAutomation
from streams.pipeline.controls import Baseline
from streams.pipeline.routing import rfc3339
from streams.pipeline.scope import Scope
from streams.settings import Settings, load_settings
from tests.driving import wait_until
from tests.streams.pipeline.test_controls import Model, Shelf

pytestmark = pytest.mark.usefixtures("_no_worker_to_hear")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    """The private key of ana, and the file of public keys with hers in it."""
    private, public = tmp_path / "ana.key", tmp_path / "keys"
    public.write_text(CliRunner().invoke(main, ["control", "keygen", str(private), "ana"]).output)
    return str(private), str(public)


@pytest.fixture
def settings(kafka: str, prefix: str, topics: dict[str, Topic], keys: tuple[str, str]) -> Settings:
    assert topics
    return load_settings({"broker": kafka, "topic_prefix": prefix, "control_keys": keys[1]}, environ={})


@pytest.fixture
def control(settings: Settings, keys: tuple[str, str]) -> Callable[..., Result]:
    def run(command: str, *arguments: str) -> Result:
        given = ["--broker", settings.broker, "--topic-prefix", settings.topic_prefix, "--control-keys", keys[1]]
        signing = [] if command in ("show", "history", "diff") else ["--sign-with", keys[0]]
        return CliRunner().invoke(main, ["control", command, *arguments, *given, *signing])

    return run


@contextmanager
def worker(settings: Settings, topics: dict[str, Topic], name: str) -> Iterator[ControlReader]:
    names, clock = topic_names(topics), BrokerClock()
    status = StatusWriter(settings, names, name, clock)
    reader = ControlReader(settings, names, Baseline(Model(), 0.4), Shelf(), status, clock)  # type: ignore[arg-type]
    reader.start()
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def speaking(settings: Settings, topics: dict[str, Topic], name: str) -> Iterator[None]:
    """A worker that has read it all, and knows no snapshots."""
    producer, done = Producer({"bootstrap.servers": settings.broker}), threading.Event()

    def say() -> None:
        at = rfc3339(int(time.time() * 1000))
        word = WorkerStatus(worker=name, event="alive", at=at, control_version=1, position=2)
        producer.produce(topics["control_status"].name, encode_status(word), name.encode())
        producer.flush()

    def speak() -> None:
        while not done.wait(0.5):
            say()

    say()
    thread = threading.Thread(target=speak)
    thread.start()
    yield
    done.set()
    thread.join()


def first_offset(settings: Settings, topics: dict[str, Topic]) -> int:
    return watermarks(settings, topics["control"].name, [0])[0][0]


def test_whoever_starts_after_it_finds_what_was_in_force(
    settings: Settings, topics: dict[str, Topic], control: Callable[..., Result]
) -> None:
    """With who set it and when, in the workers and in the commands; and what was refused counts for nothing still."""
    assert 5 == control("stop", "--policy", "hate", "--issued-by", "ana", "--reason", "wrong removals").exit_code
    assert 5 == control("set-threshold", "0.3", "--policy", "spam").exit_code
    publish_control(settings, SetThreshold(policy="*", threshold=1.0))
    with worker(settings, topics, "worker-1") as before:
        result = control("compact", "--yes")
        assert 0 == result.exit_code, result.output
        assert "deleted what stood before offset 3" in result.output
        wait_until(lambda: before.log.position >= 4)
        assert 3 == first_offset(settings, topics)
        with worker(settings, topics, "worker-2") as after:
            assert (before.log.version, before.log.content) == (after.log.version, after.log.content)
            assert before.current.problem is after.current.problem is None
            assert {Scope("hate")} == after.current.stopped
            assert 0 == control("resume", "--policy", "hate").exit_code
            assert before.log.versions == after.log.versions
            shown = orjson.loads(control("show", "--json").stdout)
    assert ("spam", 2, False) == (*_last(shown["thresholds"]), shown["split"])
    told = [orjson.loads(line) for line in control("history", "--json").stdout.splitlines()]
    assert [1, 2, 4, 5] == [one["version"] for one in told]
    assert ("ana", "ana", "wrong removals") == (told[0]["issued_by"], told[0]["signed_by"], told[0]["reason"])
    assert "stop of hate: in force -> none" in control("diff", "2", "5").output
    assert 5 == control("rollback", "1").exit_code


def _last(thresholds: dict[str, dict[str, int]]) -> tuple[str, int]:
    policy, one = list(thresholds.items())[-1]
    return policy, one["since"]


def test_nothing_is_deleted_before_every_live_worker_agrees(
    settings: Settings, topics: dict[str, Topic], control: Callable[..., Result]
) -> None:
    """One of a version that knows no snapshots would be without its controls after its next start."""
    control("stop", "--wait", "0")
    with worker(settings, topics, "worker-1"), speaking(settings, topics, "old"):
        result = control("compact", "--yes", "--wait", "3")
    assert (3, True) == (result.exit_code, "old: has not said that it agrees" in result.output)
    assert 0 == first_offset(settings, topics)


def test_a_worker_that_does_not_trust_the_snapshot_automates_nothing(
    settings: Settings, topics: dict[str, Topic], control: Callable[..., Result], tmp_path: Path
) -> None:
    """What it stands for is gone, so it cannot be looked up; it says why it does not count."""
    control("stop", "--wait", "0")
    assert 0 == control("compact", "--yes", "--wait", "0.1").exit_code
    other = tmp_path / "others"
    other.write_text(CliRunner().invoke(main, ["control", "keygen", str(tmp_path / "eve.key"), "eve"]).output)
    with worker(replace(settings, control_keys=other), topics, "worker-1") as started:
        assert "with a snapshot that does not count here (it is signed with a key" in str(started.current.problem)


def test_it_asks_before_it_writes(settings: Settings, topics: dict[str, Topic], control: Callable[..., Result]) -> None:
    """And says what cannot be rolled back to any more, how to keep the messages, and what is missing."""
    for _ in range(103):
        publish_control(settings, StopAutomation(policy="hate"))
    for value in ("0.1", "0.2"):
        control("set-threshold", value, "--policy", "hate", "--wait", "0")
    before = watermarks(settings, topics["control"].name, [0])
    result = control("compact")
    assert (4, True) == (result.exit_code, "say --yes" in result.output)
    assert "103 of 105 messages go for good" in result.output
    assert "none is lost that can be now" in result.output
    assert before == watermarks(settings, topics["control"].name, [0])


def test_a_log_that_was_cut_elsewhere_is_not_guessed_at(
    settings: Settings, topics: dict[str, Topic], control: Callable[..., Result]
) -> None:
    """Neither by a worker that starts, nor by a command that would write down what it takes for the whole."""
    for value in ("0.1", "0.2"):
        control("set-threshold", value, "--policy", "hate", "--wait", "0")
    admin = AdminClient({"bootstrap.servers": settings.broker})
    assert {} == records_kept(admin, {TopicPartition(topics["control"].name, 0): 1})
    with worker(settings, topics, "worker-1") as started:
        assert "begins at offset 1, and not with a snapshot" in str(started.current.problem)
    result = control("compact", "--yes")
    assert (4, True) == (result.exit_code, "nobody knows what a snapshot should say" in result.output)
    assert "NOT KNOWN" in control("show").output

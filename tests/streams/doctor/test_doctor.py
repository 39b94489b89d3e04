"""`secondlook doctor` as it is run: a dead broker is a diagnosis in seconds, and nothing that hangs holds it up."""

import json
import socket
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException

from streams.cli.main import main
from streams.doctor import questions
from streams.doctor.facts import Unknown
from streams.doctor.gathering import Asked, gather, half_made, in_sync, leaderless
from streams.doctor.questions import _trial
from streams.errors import TopicError
from streams.kafka.admin import metadata
from streams.kafka.clients import base_config
from streams.kafka.topics import load_topics, partition_counts
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker


def test_a_dead_broker_is_a_diagnosis_in_seconds(models: Path) -> None:
    """What is on this machine is looked at all the same; the exit code says that something is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    began = time.monotonic()
    result = CliRunner().invoke(main, ["doctor", "--broker", address, "--model", str(models)])
    assert time.monotonic() - began < 20
    assert 1 == result.exit_code
    assert f"{address}: nothing listens there" in result.stdout
    assert "ok              model" in result.stdout
    assert "" == result.stderr


def test_the_embedded_broker_tells_little_and_that_is_not_taken_for_well(models: Path) -> None:
    """It has no controller to ask: the exit code is that of what could not be looked at."""
    with EmbeddedBroker(load_topics().values()) as broker:
        arguments = ["--broker", broker.bootstrap, "--model", str(models), "--delivery", "at_least_once", "--json"]
        result = CliRunner().invoke(main, ["doctor", *arguments])
    document = json.loads(result.stdout)
    states = {one["check"]: one["state"] for one in document["checks"]}
    assert (3, []) == (result.exit_code, [one for one in document["checks"] if one["state"] == "wrong"])
    assert ("ok", "ok", "unknown", "unknown") == tuple(
        states[name] for name in ("broker", "topics", "topic settings", "access")
    )


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_no_topic_comes_to_be_by_being_asked_for(models: Path, delivery: str) -> None:
    """Brokers make a topic that is written to, with settings of their own: the pipeline's would be there then, and not as it must be."""
    given = {"topic_prefix": "mistyped.", "delivery": delivery, "model": str(models)}
    with EmbeddedBroker(load_topics().values()) as broker:
        settings = load_settings({"broker": broker.bootstrap, **given}, environ={})
        before = metadata(base_config(settings), 5).topics.keys()
        facts = gather(settings)
        assert before == metadata(base_config(settings), 5).topics.keys()
    assert isinstance(facts.skew, Unknown)


def test_an_option_that_the_client_refuses_is_a_finding() -> None:
    """As is everything else that somebody can get wrong."""
    result = CliRunner().invoke(main, ["doctor", "--broker", "127.0.0.1:1", "-X", "securty.protocol=SSL"])
    assert 1 == result.exit_code
    assert "securty.protocol" in result.stdout


def test_what_mends_needs_the_same_flags_and_that_is_said() -> None:
    """They say how to log in, and are not repeated in each command; where none was given nothing is said."""
    arguments = ["doctor", "--broker", "127.0.0.1:1"]
    with_login = CliRunner().invoke(main, [*arguments, "-X", "client.id=me"]).stdout
    assert "takes the same -X as this one" in with_login
    assert "as this one" not in CliRunner().invoke(main, arguments).stdout


def test_a_question_that_hangs_is_left_behind() -> None:
    """After its time it counts as not answered."""
    forever = threading.Event()
    asked = Asked(forever.wait, patience=0.05)
    assert Unknown("no answer within 0.05 s") == asked.answer()
    forever.set()


def test_questions_that_hang_are_waited_for_together() -> None:
    """Brokers that go away midway leave a dozen of them: each has its time from when it was asked, not from when the one before was given up."""
    forever, patience = threading.Event(), 0.3
    asked = [Asked(forever.wait, patience=patience) for _ in range(12)]
    time.sleep(patience)
    began = time.monotonic()
    assert 12 == sum(isinstance(one.answer(), Unknown) for one in asked)
    assert time.monotonic() - began < 12 * patience / 2
    forever.set()


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (KafkaException(KafkaError(KafkaError._TIMED_OUT)), "Local: Timed out"),
        (TopicError("missing"), "missing"),
        (TimeoutError(), "no answer"),
        (ZeroDivisionError("by nought"), "ZeroDivisionError: by nought"),
    ],
)
def test_whatever_comes_in_place_of_an_answer_is_why_it_is_not_known(problem: Exception, why: str) -> None:
    """No check falls over another one's trouble."""

    def fail() -> None:
        raise problem

    assert Unknown(why) == Asked(fail).answer()


class Admin:
    """Of a cluster with so many groups, of which the last one reads this pipeline's requests; and errors of brokers that did not list theirs."""

    def __init__(self, count: int, *errors: KafkaException) -> None:
        self._names = [f"group-{number}" for number in range(count)]
        self._errors = list(errors)

    def list_consumer_groups(self, **_: Any) -> Any:
        groups = [SimpleNamespace(group_id=name) for name in self._names]
        return answered(SimpleNamespace(valid=groups, errors=self._errors))

    def describe_consumer_groups(self, names: list[str], **_: Any) -> Any:
        place = SimpleNamespace(topic=load_topics()["requests"].name)
        reads = SimpleNamespace(assignment=SimpleNamespace(topic_partitions=[place]))
        return {name: answered(SimpleNamespace(members=[reads] if name == self._names[-1] else [])) for name in names}


def answered(value: Any) -> Any:
    future: Any = Future()
    future.set_result(value)
    return future


def test_every_group_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a cluster has: one that decides everything twice may be the last. Where a broker did not list its own, that is not known."""
    monkeypatch.setattr(questions, "_admin", lambda _: Admin(450))
    assert {"group-449": 1} == questions.others(Settings())
    away = KafkaException(KafkaError(KafkaError._TRANSPORT))
    monkeypatch.setattr(questions, "_admin", lambda _: Admin(3, away))
    assert isinstance(Asked(lambda: questions.others(Settings())).answer(), Unknown)


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN])
def test_a_transaction_that_nobody_answered_is_not_known_to_fail(code: int) -> None:
    """Brokers may have gone away, or the coordinator not be there yet: that is no reason to give up exactly once."""
    trial = _trial(KafkaError(code), "secondlook::doctor")
    assert isinstance(trial, Unknown)


def metadata_of(**topics: Any) -> Any:
    """Metadata of one broker, as the client has it: a topic is its leaders, or the error it has."""
    found = {
        name: SimpleNamespace(
            error=leaders if isinstance(leaders, KafkaError) else None,
            partitions={}
            if isinstance(leaders, KafkaError)
            else {
                number: SimpleNamespace(leader=leader, isrs=[1, 2][: 2 if leader == 1 else 1])
                for number, leader in enumerate(leaders)
            },
        )
        for name, leaders in topics.items()
    }
    return SimpleNamespace(brokers={1: None}, topics=found)


def test_what_metadata_says_of_topics() -> None:
    """How many partitions, which of them nobody leads, and how many replicas each has at least; and which topics are only half there."""
    cluster = metadata_of(whole=[1, -1, 1], made=KafkaError(KafkaError.LEADER_NOT_AVAILABLE), empty=[])
    assert {"whole": 3} == partition_counts(cluster)
    assert {"whole": (1,)} == leaderless(cluster)
    assert {"whole": 2} == in_sync(cluster)
    assert {"made", "empty"} == half_made(cluster).keys()

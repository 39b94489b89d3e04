"""`secondlook doctor` as it is run: a dead broker is a diagnosis in seconds, and nothing that hangs holds it up."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException

from streams.cli.main import main
from streams.doctor.facts import Unknown
from streams.doctor.gathering import Asked
from streams.errors import TopicError
from streams.kafka.topics import load_topics
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


def test_an_option_that_the_client_refuses_is_a_finding() -> None:
    """As is everything else that somebody can get wrong."""
    result = CliRunner().invoke(main, ["doctor", "--broker", "127.0.0.1:1", "-X", "securty.protocol=SSL"])
    assert 1 == result.exit_code
    assert "securty.protocol" in result.stdout


def test_a_question_that_hangs_is_left_behind() -> None:
    """After its time it counts as not answered."""
    forever = threading.Event()
    asked = Asked(forever.wait)
    assert Unknown("no answer within 0.05 s") == asked.answer(0.05)
    forever.set()


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (KafkaException(KafkaError(KafkaError._TIMED_OUT)), "Local: Timed out"),
        (TopicError("missing"), "missing"),
        (ZeroDivisionError("by nought"), "ZeroDivisionError: by nought"),
    ],
)
def test_whatever_comes_in_place_of_an_answer_is_why_it_is_not_known(problem: Exception, why: str) -> None:
    """No check falls over another one's trouble."""

    def fail() -> None:
        raise problem

    assert Unknown(why) == Asked(fail).answer(5)

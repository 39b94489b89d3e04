"""The worker as a process, on the embedded broker: the whole way of a record, and how it ends when something breaks."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.kafka.cut_off import CUT_OFF
from streams.trials.brokers import EmbeddedBroker
from streams.trials.worker_process import WorkerProcess
from tests.driving import IDS, ITEMS, TRACE, await_waiting, decisions, ids, read, send
from tests.fencing_proxy import FencingProxy

FAULTY = Path(__file__).parent / "faulty_worker.py"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker of the test's own, with all topics."""
    with EmbeddedBroker() as broker:
        yield broker


def worker(broker: EmbeddedBroker, models: Path, *, fault: str = "none", **settings: Any) -> WorkerProcess:
    base = {"broker": broker.bootstrap, "delivery": "at_least_once", "model": models, "web_port": 0}
    return WorkerProcess({**base, "response_timeout": 3, **settings}, program=[str(FAULTY), fault])


def test_every_request_is_decided_once_and_says_why(broker: EmbeddedBroker, models: Path) -> None:
    """Requests and bare provider bodies in; decisions with all contract fields, keys and headers out."""
    with worker(broker, models) as running:
        running.wait_for("assigned")
        send(broker.bootstrap)
        messages = read(broker.bootstrap, ("auto_action", "human_review"), count=len(ITEMS))
        vectors = read(broker.bootstrap, ("vectors",), count=len(ITEMS))
        assert 0 == running.terminate()
    by_id = {message.key().decode(): message for message in messages}
    assert IDS == sorted(message.key().decode() for message in messages)
    for item in ITEMS:
        message = by_id[item.request_id]
        decision = orjson.loads(message.value())
        assert TRACE == message.headers()
        assert item.request["policy"] == decision["policy"]
        assert decision["route"] in message.topic()
        assert 1 == len(decision["reasons"])
        if decision["route"] == "human-review":
            assert item.request == decision["request"]
            assert 0 <= decision["priority"] <= 1
        else:
            assert decision["error_probability"] < decision["threshold"]
            assert {0: "allow", 1: "remove"}[decision["llm"]["outcome"]] == decision["action"]
            assert 3 == len(decision["drivers"])
    assert IDS == ids([orjson.loads(vector.value()) for vector in vectors])


@pytest.mark.parametrize("stage", ["intake", "featurize", "score", "route"])
def test_a_stage_that_raises_stops_the_worker_and_a_restart_loses_nothing(
    broker: EmbeddedBroker, models: Path, stage: str
) -> None:
    """The process ends with a non-zero code, nothing is committed past the batch, and the next worker redoes it."""
    with worker(broker, models, fault=stage, batch_size=4) as failing:
        failing.wait_for("assigned")
        send(broker.bootstrap, every=0.01)
        assert 1 == failing.wait(30)
        assert "injected fault" in failing.log.read_text()
    with worker(broker, models) as healthy:
        healthy.wait_for("assigned")
        decided = {decision["request_id"] for decision in decisions(broker.bootstrap)}
        assert 0 == healthy.terminate()
    assert set(IDS) == decided


def test_a_batch_that_an_agent_swallows_cannot_be_committed_past(broker: EmbeddedBroker, models: Path) -> None:
    """The sink notices the gap, the worker ends with a non-zero code, and a restart redoes the lost batch."""
    with worker(broker, models, fault="swallow", batch_size=4) as losing:
        losing.wait_for("assigned")
        send(broker.bootstrap, every=0.01)
        assert 1 == losing.wait(30)
        assert "vanished between source and sink" in losing.log.read_text()
    with worker(broker, models) as healthy:
        healthy.wait_for("assigned")
        decided = {decision["request_id"] for decision in decisions(broker.bootstrap)}
    assert set(IDS) == decided


def test_a_client_that_never_comes_back_is_left_behind(broker: EmbeddedBroker, models: Path) -> None:
    """A call that hangs would hold up the whole group: another client takes over, redoes the batch, and the worker ends cleanly."""
    with worker(broker, models, fault="hang", batch_size=4) as hanging:
        hanging.wait_for("assigned")
        send(broker.bootstrap, every=0.01)
        decided = {decision["request_id"] for decision in decisions(broker.bootstrap)}
        assert 0 == hanging.terminate()
        assert "a call into the Kafka client has hung" in hanging.log.read_text()
    assert set(IDS) == decided


def test_clients_that_lost_their_brokers_for_good_are_replaced(broker: EmbeddedBroker, models: Path) -> None:
    """A node that was shut down made them forget it; it is there again, and only new clients find it."""
    with FencingProxy(int(broker.bootstrap.rsplit(":", 1)[1])) as proxy:
        broker.advertise("127.0.0.1", proxy.port)
        with worker(broker, models, fault="little patience") as running:
            running.wait_for("assigned")
            for sent, item in enumerate(ITEMS, start=1):  # whom it meets is chance: until it meets one that matters
                send(broker.bootstrap, [item])
                found = decisions(broker.bootstrap, sent, timeout=60)
                assert sorted(one.request_id for one in ITEMS[:sent]) == ids(found)
                if CUT_OFF in running.log.read_text():
                    break
                proxy.cut_off()
            assert CUT_OFF in running.log.read_text()
            assert 0 == running.terminate()


def test_pending_requests_survive_a_kill(broker: EmbeddedBroker, models: Path) -> None:
    """Requests that waited in a killed worker time out in the next one, by their record time."""
    with worker(broker, models) as killed:
        killed.wait_for("assigned")
        send(broker.bootstrap, responses=False)
        await_waiting(broker.bootstrap, len(ITEMS))
        killed.kill()
    # The embedded broker still counts the dead member in until its session ends.
    with worker(broker, models, response_timeout=1) as successor:
        successor.wait_for("restored", 60)
        found = decisions(broker.bootstrap)
    assert {"no_response"} == {decision["reasons"][0] for decision in found}
    assert IDS == ids(found)


def test_sigterm_ends_the_worker_also_when_the_broker_is_gone(models: Path) -> None:
    """Exit code 0 within the drain deadline and its margin."""
    with EmbeddedBroker() as broker:
        running = worker(broker, models, drain_timeout=2)
        running.wait_for("assigned")
        send(broker.bootstrap)
    with running:
        assert 0 == running.terminate(timeout=2 + 5 + 10)


def test_a_model_directory_that_is_missing_is_one_clear_line(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """No traceback: what is missing, and the command that makes it."""
    with worker(broker, tmp_path / "nowhere") as running:
        assert 1 == running.wait(30)
        (line,) = [line for line in running.log.read_text().splitlines() if line.startswith("secondlook:")]
        assert "nowhere" in line
        assert "secondlook train" in line


def test_the_pages_tell_health_readiness_and_metrics(broker: EmbeddedBroker, models: Path, free_port: int) -> None:
    """/ready, /live and /metrics answer while the worker runs."""
    with worker(broker, models, web_port=free_port) as running:
        running.wait_for("assigned")
        send(broker.bootstrap)
        assert len(ITEMS) == len(decisions(broker.bootstrap))
        pages = {page: get(free_port, page) for page in ("ready", "live", "metrics")}
    assert orjson.loads(pages["ready"])["partitions"] == [0, 1, 2, 3]
    assert orjson.loads(pages["live"])["ok"] is True
    counted = sum(
        float(line.rsplit(" ", 1)[1])
        for line in pages["metrics"].splitlines()
        if line.startswith("secondlook_decisions_total")
    )
    assert len(ITEMS) == counted


def get(port: int, page: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text

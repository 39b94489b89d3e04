"""Exactly once on a real Kafka: through kills, rebalances, zombies, and two workers under one name."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.trials.worker_process import WorkerProcess
from tests.driving import IDS, ITEMS, await_waiting, decisions, ids, read, send, wait_until

FAULTY = Path(__file__).parents[1] / "streams" / "worker" / "faulty_worker.py"
SESSION = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000"}
SECONDS = 90.0


@pytest.fixture
def worker(kafka: str, prefix: str, topics: object, models: Path) -> Callable[..., WorkerProcess]:  # noqa: ARG001 - they must be there
    """Give what starts a worker of this test's stream, exactly once."""

    def start(*, fault: str = "none", **settings: Any) -> WorkerProcess:
        base = {"broker": kafka, "topic_prefix": prefix, "model": models, "web_port": 0, "transaction_timeout": 5}
        return WorkerProcess({**base, **settings}, kafka=SESSION, program=[str(FAULTY), fault])

    return start


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_the_books_balance_after_kills_and_rebalances(kafka: str, models: Path, tmp_path: Path, delivery: str) -> None:
    """A small run of the command that a user has for it; poison, duplicates and missing answers among the records."""
    report = tmp_path / "stress.json"
    words = f"--requests 2000 --workers 2 --kills 2 --rebalances 1 --rate 300 --late 0.01 --delivery {delivery}"
    command = ["stress", "--broker", kafka, "--model", str(models), "--json", str(report), *words.split()]
    result = CliRunner().invoke(main, command)
    assert 0 == result.exit_code, result.output
    figures = json.loads(report.read_text())
    assert (2000, 2000, 0) == (figures["expected"], figures["decided"], figures["lost"])
    assert (2, 1) == (figures["kills"], figures["rebalances"])
    assert 0 == figures["wrong_reason"] == figures["damaged"] == figures["unknown"]
    assert delivery == "at_least_once" or 0 == figures["duplicated"]
    assert 3 <= len(figures["reasons"])
    assert {"duplicate_request", "duplicate_response", "late_response", "not_a_record"} <= set(
        figures["dead_letters"]["seen"]
    )


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_zombie_commits_nothing(worker: Callable[..., WorkerProcess], kafka: str, prefix: str, call: str) -> None:
    """A worker frozen in its transaction wakes up after another one took over and decided everything."""
    with worker(fault=f"freeze-{call}", batch_size=4) as zombie:
        zombie.wait_for("assigned")
        send(kafka, prefix=prefix, every=0.01)
        wait_until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_STOPPED)
        with worker() as successor:
            successor.wait_for("assigned")
            assert IDS == ids(decisions(kafka, prefix=prefix, timeout=SECONDS))
            os.kill(zombie.pid, signal.SIGCONT)
            # What it does is its own affair (it ends, or joins again); what it must not do is commit.
            left_behind = "the producer cannot go on, another one takes its place"
            wait_until(
                lambda: zombie.exit_code is not None or {"transaction aborted", "lost", left_behind} & told(zombie)
            )
            assert IDS == ids(decisions(kafka, prefix=prefix))
            assert 0 == successor.terminate()


def test_of_two_workers_under_one_name_the_first_ends_and_says_why(
    worker: Callable[..., WorkerProcess], kafka: str, prefix: str
) -> None:
    """Its successor goes on where it was; nothing is decided twice."""
    with worker(instance_id="pod-1") as first:
        first.wait_for("assigned")
        send(kafka, ITEMS[:20], prefix=prefix)
        read(kafka, ("auto_action", "human_review"), count=20, prefix=prefix)
        with worker(instance_id="pod-1") as second:
            second.wait_for("assigned")
            assert 1 == first.wait(SECONDS)
            assert "instance_id" in first.log.read_text()
            send(kafka, ITEMS[20:], prefix=prefix)
            assert IDS == ids(decisions(kafka, prefix=prefix))
            assert 0 == second.terminate()


def test_what_waited_in_a_killed_worker_is_answered_in_the_next_one(
    worker: Callable[..., WorkerProcess], kafka: str, prefix: str
) -> None:
    """The responses come while nobody runs: each finds its request in the changelog."""
    with worker(instance_id="pod-1") as killed:
        killed.wait_for("assigned")
        send(kafka, prefix=prefix, responses=False)
        await_waiting(kafka, len(ITEMS), prefix=prefix)
        killed.kill()
    send(kafka, prefix=prefix, requests=False)
    with worker(instance_id="pod-1") as successor:
        successor.wait_for("restored")
        found = decisions(kafka, prefix=prefix)
        assert 0 == successor.terminate()
    assert IDS == ids(found)
    assert {"no_response"}.isdisjoint(decision["reasons"][0] for decision in found)


def told(worker: WorkerProcess) -> set[str]:
    """What the lines of its log begin with, up to a colon."""
    return {str(line.get("message")).split(":", maxsplit=1)[0] for line in worker.lines()}

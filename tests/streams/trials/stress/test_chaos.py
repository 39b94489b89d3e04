"""The stress test's fleet: which ends of workers were asked for, and which were not."""

import logging
import signal
from collections.abc import Mapping
from typing import Any, Self

import pytest

from streams.kafka.restore import Restorer
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.ledger import Limits
from streams.pipeline.pending import PartitionStore
from streams.settings import Settings
from streams.trials.stress import chaos
from streams.trials.stress.chaos import Chaos, Due, Event, Fleet

ASSIGNED = {"level": "info", "message": "assigned"}
SHUT_OUT = {"level": "critical", "message": "give each worker an instance_id of its own"}
REFUSED = {"level": "critical", "message": "the broker refuses the batch"}


class StandIn:
    """A worker process that is none: it ends when a test says so."""

    made: list["StandIn"]

    def __init__(self, _settings: Mapping[str, Any], **_options: object) -> None:
        self.exit_code: int | None = None
        self.said: list[dict[str, Any]] = [ASSIGNED]
        StandIn.made.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ends(self, *said: dict[str, Any], exit_code: int = 1) -> None:
        """End by itself."""
        self.said += said
        self.exit_code = exit_code

    def wait_for(self, _message: str, _timeout: float) -> None: ...

    def lines(self) -> list[dict[str, Any]]:
        return self.said

    def last_words(self) -> str:
        return " | ".join(line["message"] for line in self.said)

    def kill(self) -> None:
        if self.exit_code is None:
            self.exit_code = -signal.SIGKILL

    def terminate(self) -> int:
        self.exit_code = 0
        return 0


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Two workers that have their partitions."""
    StandIn.made = []
    monkeypatch.setattr(chaos, "WorkerProcess", StandIn)
    fleet = Fleet({}, workers=2, kafka={}, seed=1)
    fleet.start()
    return fleet


def test_what_was_asked_for_is_no_end_by_itself(fleet: Fleet) -> None:
    """Killed, added, removed, stopped."""
    fleet.kill()
    fleet.add()
    fleet.remove()
    assert fleet.settled()
    fleet.stop()
    assert 0 == fleet.damage.ended_by_themselves
    assert (1, 2, 0) == (fleet.damage.kills, fleet.damage.rebalances, fleet.damage.unclean_stops)
    assert [] == fleet.damage.last_words


def test_a_worker_that_ends_by_itself_is_counted_with_its_critical_line_and_started_again(fleet: Fleet) -> None:
    """What it said after that line is no reason; exit code 0 is an end too."""
    fleet.add()
    first, second, guest = StandIn.made
    first.ends(REFUSED, {"level": "info", "message": "worker stopped"})
    second.ends(SHUT_OUT, {"level": "info", "message": "worker stopped"})
    guest.ends({"level": "info", "message": "bye"}, exit_code=0)
    fleet.settled()
    assert 3 == fleet.damage.ended_by_themselves
    assert [
        "w0 ended by itself with exit code 1: the broker refuses the batch",
        f"w1 ended by itself with exit code 1: {SHUT_OUT['message']}",
        "guest ended by itself with exit code 0: assigned | bye",
    ] == fleet.damage.last_words
    assert [None] * 3 == [worker.exit_code for worker in StandIn.made[3:]]
    assert fleet.settled()
    assert 3 == fleet.damage.ended_by_themselves


@pytest.mark.parametrize("ask", [Fleet.stop, Fleet.kill, Fleet.remove])
def test_an_end_just_before_it_was_asked_for_is_counted(fleet: Fleet, ask: Any) -> None:
    """Nobody looked in between."""
    fleet.add()
    for worker in StandIn.made:
        worker.ends(REFUSED)
    ask(fleet)
    assert fleet.damage.ended_by_themselves >= 1


def test_stopping_twice_counts_nobody_twice(fleet: Fleet) -> None:
    """Workers that are started once more after the run."""
    fleet.add()
    fleet.stop()
    fleet.start()
    fleet.stop()
    assert 0 == fleet.damage.ended_by_themselves
    assert all(worker.exit_code == 0 for worker in StandIn.made)


def test_what_a_worker_passes_by_is_found_in_its_log(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """As restoring itself says it."""
    settings = Settings(broker="127.0.0.1:1")
    restorer = Restorer(settings, topic_names(load_topics("a.")), Limits(1, 1, 1), lambda *_: None, lambda: 0)
    with caplog.at_level(logging.ERROR):
        restorer._apply(PartitionStore(3, dedup_window=1), 17, b"another's", b"")
    StandIn.made[0].said += [{"message": record.getMessage()} for record in caplog.records]
    assert {(3, 17)} == fleet.passed_by()


def test_nodes_are_restarted_one_after_the_other_and_workers_looked_after_between(fleet: Fleet) -> None:
    """A worker that ends while one node is away runs again before the next one goes."""
    done: list[tuple[str, int]] = []

    def restart(node: str) -> None:
        done.append((node, len(StandIn.made)))
        StandIn.made[-1].ends(SHUT_OUT)

    events = Chaos(fleet, [Due(0.0, Event.BROKER)], [lambda: restart("one"), lambda: restart("two")])
    events.run(lambda: 1.0, lambda: events.finished)
    assert [("one", 2), ("two", 3)] == done
    assert 1 == fleet.damage.broker_restarts
    assert 2 == fleet.damage.ended_by_themselves

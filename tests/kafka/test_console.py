"""The fleet seen from outside, on a real Kafka: transactions, a group's commits, and what stood there at a time."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from streams.cli.main import main
from streams.console.feed import Feed
from streams.console.item import find_item
from streams.console.state import State
from streams.kafka.topics import Topic
from streams.settings import load_settings
from streams.trials.worker_process import WorkerProcess
from tests.driving import IDS, ITEMS, decisions, send
from tests.streams.console.making import COSTS


def test_a_worker_seen_from_outside(kafka: str, prefix: str, topics: dict[str, Topic], models: Path) -> None:
    """What it decided exactly once, that all is read, how long it took, what became of an item, and what was decided since a time."""
    assert topics
    given = {"broker": kafka, "topic_prefix": prefix, "model": models, "web_port": 0, "instance_id": "one"}
    settings = load_settings({"broker": kafka, "topic_prefix": prefix}, environ={})
    feed = Feed(settings, COSTS)
    with WorkerProcess(given) as worker:
        worker.wait_for("assigned")
        feed.start()
        try:
            _once(feed, lambda state: [one.name for one in state.workers] == ["one"])
            send(kafka, ITEMS, prefix=prefix)
            decisions(kafka, prefix=prefix)
            _once(feed, lambda it: it.routes[0].decisions == len(ITEMS) and it.lag.records == 0)
            _once(feed, lambda it: {one.worker for one in it.partitions} == {"one"})
            _once(feed, lambda it: it.response_latency is not None and it.pending is not None)
        finally:
            feed.close()
    roles = [one.role for one in find_item(settings, IDS[0], content=False).events]
    assert {"requests", "responses", "vectors"} < set(roles)
    assert 4 == len(roles)
    command = ["tap", "--broker", kafka, "--topic-prefix", prefix, "--until-now", "--json"]
    since = CliRunner().invoke(main, [*command, "--since", "10m"], catch_exceptions=False)
    assert IDS == sorted(json.loads(line)["request_id"] for line in since.stdout.splitlines())
    assert "" == CliRunner().invoke(main, command, catch_exceptions=False).stdout


def _once(feed: Feed, holds: Callable[[State], bool], seconds: float = 40.0) -> State:
    deadline = time.monotonic() + seconds
    while not holds(state := feed.state()):
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    return state

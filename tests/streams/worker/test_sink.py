"""The sink: what it does when a batch is taken back, comes too late, or cannot be delivered at all."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streams.errors import DeliveryError, DeliveryStopped
from streams.kafka.delivery import BatchAborted
from streams.kafka.flow import Flow
from streams.pipeline.assignment import Assignment
from streams.pipeline.budget import ALWAYS, Fate, Seen
from streams.pipeline.incidents import Incident
from streams.pipeline.records import REQUESTS, Output
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import Outbox, Ticket
from streams.settings import Settings
from streams.worker.metrics import Metrics
from streams.worker.models import initial_controls
from streams.worker.sink import _MOST_ABORTS, Sink
from tests.rig import assignment

SETTINGS = Settings()


class FaultyDelivery:
    """Commits what it is told to, and fails where it is told to."""

    waiting = False
    replaced = 0

    def __init__(self, faults: Iterable[Exception | None] = ()) -> None:
        self._faults = iter(faults)
        self.committed: list[int] = []
        self.written: list[Output] = []
        self.closed = False

    def start(self) -> None:
        """Nothing to open."""

    def deliver(self, *batches: Outbox) -> None:
        fault = next(self._faults, None)
        if fault is not None:
            raise fault
        self.committed += [outbox.ticket.sequence for outbox in batches]

    def commit(self, outputs: Iterable[Output], offsets: list[TopicPartition], group: Any) -> None:  # noqa: ARG002
        fault = next(self._faults, None)
        if fault is not None:
            raise fault
        self.written = list(outputs)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A sink, what it stands on, and the changelog offsets that it was told may go."""

    def __init__(self, models: Path, faults: Iterable[Exception | None] = ()) -> None:
        self.flow = Flow()
        self.delivery = FaultyDelivery(faults)
        self.metrics = Metrics()
        self.assignment = assignment()
        self.deletable: dict[int, int] = {}
        self.seen: list[Mapping[Seen, int]] = []
        controls = initial_controls(Settings(model=models))
        self.ended: list[tuple[int, str]] = []
        self.sink = Sink(
            self.delivery,
            self.flow,
            self.metrics,
            lambda: controls,
            self.deletable.update,
            self.seen.append,
            lambda outbox, how: self.ended.append((outbox.ticket.sequence, how)),
        )

    def batch(self, held: Assignment | None = None, **changes: Any) -> Outbox:
        """The next batch."""
        offsets = changes.pop("offsets", {(REQUESTS, 0): 1})
        ticket = Ticket(self.flow.next_sequence(), held or self.assignment, offsets, 0.0)
        parts: dict[str, Any] = {"ticket": ticket, "outputs": [], "changelog": [], **changes}
        return Outbox(**parts)

    async def put(self, held: Assignment | None = None, **changes: Any) -> None:
        """The next batch goes through the sink."""
        await self.sink.deliver(self.batch(held, **changes))

    def settled(self, result: str) -> float:
        """What the metric counts under this result."""
        value = self.metrics.registry.get_sample_value("secondlook_batches_total", {"result": result})
        return value or 0.0


def test_a_batch_that_is_taken_back_ends_its_assignment_and_the_one_behind_it_is_not_committed(models: Path) -> None:
    """The batch behind stands on the first one's changes; both say which stores have run ahead of the changelog."""

    async def scenario(bench: Bench) -> None:
        await bench.put(touched=frozenset({0}))
        await bench.put(touched=frozenset({2}))
        await bench.put(assignment())

    bench = Bench(models, [BatchAborted("old generation")])
    asyncio.run(scenario(bench))
    assert [3] == bench.delivery.committed
    assert [(1, "aborted"), (2, "stale"), (3, "committed")] == bench.ended
    assert (True, {0, 2}) == (bench.assignment.over, bench.assignment.touched)
    assert 1 == bench.settled("aborted")
    assert 1 == bench.settled("stale")
    assert 0 == bench.flow.in_flight


def test_batches_that_have_gathered_are_taken_back_together(models: Path) -> None:
    """They were one transaction: each says which stores have run ahead, and both are read again."""

    async def scenario(bench: Bench) -> None:
        await bench.sink.deliver(bench.batch(touched=frozenset({0})), bench.batch(touched=frozenset({2})))

    bench = Bench(models, [BatchAborted("old generation")])
    asyncio.run(scenario(bench))
    assert (True, {0, 2}) == (bench.assignment.over, bench.assignment.touched)
    assert (2, 0) == (bench.settled("aborted"), bench.flow.in_flight)


def test_of_batches_that_have_gathered_only_those_of_the_assignment_that_stands_are_committed(models: Path) -> None:
    """The group may have taken the partitions while they waited for the commit before."""

    async def scenario(bench: Bench) -> None:
        old, new = bench.batch(), bench.batch(assignment())
        bench.assignment.end()
        await bench.sink.deliver(old, new)

    bench = Bench(models)
    asyncio.run(scenario(bench))
    assert [2] == bench.delivery.committed
    assert (1, 0) == (bench.settled("stale"), bench.flow.in_flight)


@pytest.mark.parametrize("stage", ["report", "commit"])
def test_nothing_is_committed_past_batches_that_could_not_be_delivered(models: Path, stage: str) -> None:
    """The agent may be started again before the worker has stopped: what comes next would pass them by, and they were lost."""
    incidents = [Incident("responses", 0, number, "route", "E") for number in range(20)] if stage == "report" else []
    bench = Bench(models, [DeliveryError("refused")] if stage == "commit" else [])

    async def scenario() -> None:
        with pytest.raises(DeliveryError):
            await bench.sink.deliver(bench.batch(), bench.batch(incidents=incidents))
        await bench.put()

    asyncio.run(scenario())
    assert [] == bench.delivery.committed
    assert 1 == bench.settled("stale")


def test_old_changelog_records_may_go_once_their_batch_is_committed(models: Path) -> None:
    """Not before: the live entries stand in that batch once more."""

    async def scenario(bench: Bench) -> None:
        await bench.put(deletable={0: 70})
        assert {} == bench.deletable
        await bench.put(assignment(), deletable={0: 80})

    bench = Bench(models, [BatchAborted("not now")])
    asyncio.run(scenario(bench))
    assert {0: 80} == bench.deletable


def test_a_shadow_that_fails_is_counted_and_told_once(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its batches are committed all the same, and are no failures of the model; the log is not flooded."""

    async def scenario(bench: Bench) -> None:
        for problem in ("no rows", "no rows", None, "no rows", "no columns"):
            await bench.put(shadow_problem=problem, shadow=Counter({("auto-action", "human-review", "hate"): 2}))
        await bench.put(shadow=Counter({("auto-action", "human-review", "hate"): 7}))

    bench = Bench(models, [None] * 5 + [BatchAborted("not now")])
    asyncio.run(scenario(bench))
    value = bench.metrics.registry.get_sample_value
    assert (4, 0) == (value("secondlook_shadow_failures_total"), value("secondlook_model_failures_total"))
    labels = {"live": "auto-action", "shadow": "human-review", "policy": "hate"}
    assert 10 == value("secondlook_shadow_decisions_total", labels)
    told = [message for message in caplog.messages if "shadow" in message]
    assert ["no rows", "no columns"] == [one.rsplit(": ", 1)[1] for one in told]


def test_what_a_budget_goes_by_is_what_was_committed(models: Path) -> None:
    """A batch that is taken back is decided anew, and would count twice."""
    seen = Counter([Seen("a", EVERYTHING, ALWAYS, Fate.HUMAN)])

    async def scenario(bench: Bench) -> None:
        await bench.put(seen=seen)
        assert [] == bench.seen
        await bench.put(assignment(), seen=seen)

    bench = Bench(models, [BatchAborted("not now")])
    asyncio.run(scenario(bench))
    assert [seen] == bench.seen


def test_ten_records_in_a_minute_that_make_a_stage_fail_stop_the_worker(models: Path) -> None:
    """One is set aside and counted; so many are no matter of records, and the batch is not committed."""
    failed = Incident("requests", 0, 7, "score", "builtins.ValueError")

    async def scenario(bench: Bench) -> None:
        for _ in range(9):
            await bench.put(incidents=[failed])
        with pytest.raises(DeliveryError, match="10 records within 60 s"):
            await bench.put(incidents=[failed])

    bench = Bench(models)
    asyncio.run(scenario(bench))
    assert 9 == len(bench.delivery.committed)
    assert 10 == bench.metrics.registry.get_sample_value("secondlook_incidents_total", {"stage": "score"})


def test_what_is_written_beside_the_batches_says_when_it_was_taken_back(models: Path) -> None:
    """Whoever claims partitions knows whether they are still dealt to this worker; the sink doesn't."""
    bench = Bench(models, [BatchAborted("not now")])
    with pytest.raises(BatchAborted):
        bench.sink.write([Output("pending", None, b"claim")], [], "the group")
    bench.sink.write([Output("pending", None, b"claim")], [], "the group")
    assert [b"claim"] == [output.value for output in bench.delivery.written]


def test_redoing_ends_when_it_does_not_help(models: Path) -> None:
    """After so many times in a row the worker stops, and says for what the last one was taken back."""

    async def scenario(bench: Bench) -> None:
        for _ in range(_MOST_ABORTS):
            await bench.put(assignment())
        with pytest.raises(DeliveryError, match=r"11 times in a row.*no quorum"):
            await bench.put(assignment())

    bench = Bench(models, [BatchAborted("no quorum")] * (_MOST_ABORTS + 1))
    asyncio.run(scenario(bench))
    assert [] == bench.delivery.committed


def test_only_those_in_a_row_count(models: Path) -> None:
    """A batch that was committed in between shows that redoing helps."""

    async def scenario(bench: Bench) -> None:
        for _ in range(3 * _MOST_ABORTS):
            await bench.put(assignment())

    half = [BatchAborted("now and then")] * (_MOST_ABORTS - 1)
    bench = Bench(models, [*half, None, *half, None, *half])
    asyncio.run(scenario(bench))
    assert 3 == len(bench.delivery.committed)


def test_an_error_that_stops_the_worker_settles_nothing(models: Path) -> None:
    """Whoever waits for the batch (a rebalance) must not believe it committed."""

    async def scenario(bench: Bench) -> None:
        with pytest.raises(DeliveryError, match="fenced"):
            await bench.put()

    bench = Bench(models, [DeliveryError("fenced")])
    asyncio.run(scenario(bench))
    assert 1 == bench.flow.in_flight


def test_a_stop_while_the_broker_is_away_is_no_failure(models: Path) -> None:
    """The batch is let go, and so is the one behind it: a worker that was told to stop ends with exit code 0."""

    async def scenario(bench: Bench) -> None:
        await bench.flow.give_up()
        await bench.put()
        await bench.put()

    bench = Bench(models, [DeliveryStopped("the broker was away")])
    asyncio.run(scenario(bench))
    assert [] == bench.delivery.committed
    assert 2 == bench.settled("stale")
    assert 0 == bench.flow.in_flight


def test_a_batch_with_nothing_to_write_costs_no_transaction(models: Path) -> None:
    """A look for timeouts that found none."""

    async def scenario(bench: Bench) -> None:
        await bench.put(offsets={})

    bench = Bench(models)
    asyncio.run(scenario(bench))
    assert [] == bench.delivery.committed
    assert 0 == bench.flow.in_flight


def test_closing_lets_go_of_the_broker(models: Path) -> None:
    """So that a wait for it ends."""
    bench = Bench(models)
    asyncio.run(bench.sink.close())
    assert bench.delivery.closed

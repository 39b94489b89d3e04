"""Workers on a simulated Kafka: whatever happens between any two steps, each request is decided exactly once."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaException
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from streams.kafka.delivery import ExactlyOnce
from streams.kafka.flow import Flow
from streams.kafka.prober import Prober
from streams.kafka.restore import Restorer
from streams.kafka.source import Source
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Matcher
from streams.pipeline.reasons import Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Output
from streams.pipeline.stages import Outbox, Pipeline, Polled
from streams.settings import Settings
from streams.worker.sink import Sink
from tests.rig import TIMEOUT, request, response
from tests.simulated import Entry, SimulatedKafka

PARTITIONS = 2
TOPICS = load_topics()
NAMES = topic_names(TOPICS)
ROOM = 3
"""Batches that a worker may have in flight."""
IDS = [f"{letter}{number}" for letter in "abcdef" for number in range(PARTITIONS)]

_NAMES = st.lists(st.sampled_from(IDS), max_size=3, unique=True)


class Turns:
    """Runs one restore after the other on a thread that moves only when it is its turn, so that the order of events is ours."""

    _current = threading.local()

    def __init__(self) -> None:
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._jobs: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1)

    def submit(self, work: Callable[..., None], *given: Any) -> Future[None]:
        """As an executor does."""
        self._jobs.append((Future(), lambda: work(*given)))
        return self._jobs[-1][0]

    def take(self) -> None:
        """The next piece: until the restore is done, or would wait."""
        if self._busy:
            self._go.release()
        elif self._jobs:
            self._busy = True
            self._thread.submit(self._run, *self._jobs.popleft())
        else:
            return
        assert self._back.acquire(timeout=20), "a restore does not come back"

    def _run(self, future: Future[None], work: Callable[[], None]) -> None:
        Turns._current.turns = self
        try:
            future.set_result(work())
        except Exception as problem:  # noqa: BLE001 - for the source to raise
            future.set_exception(problem)
        self._busy = False
        self._back.release()

    @classmethod
    def sleep(cls, _seconds: float) -> None:
        """What `time.sleep` is to the restorer: its turn is over."""
        turns = cls._current.turns
        turns._back.release()
        turns._go.acquire()

    def shutdown(self, wait: bool) -> None:  # noqa: ARG002 - as an executor's
        """Let go of what still runs: its assignment is over."""
        while self._busy:
            self.take()
        self._thread.shutdown(wait=False)


class Worker:
    """Everything between the clients and the stages that score: one step at a time."""

    def __init__(self, kafka: SimulatedKafka, name: str) -> None:
        self.kafka = kafka
        self.name = name
        settings = Settings(instance_id=name, batch_size=2, drain_timeout=0.01, restore_timeout=30)
        limits = Limits(1_000_000, 2**30, 1_000_000)
        self.flow = Flow()
        restorer = Restorer(settings, NAMES, limits, self._write, lambda: kafka.now)
        self.prober = Prober(settings, NAMES, lambda: kafka.now)
        self.consumers: list[Any] = []
        self.source = Source(settings, NAMES, self.flow, restorer, self.prober, self._make)
        self.restores = Turns()
        self.source._restore_thread = self.restores  # type: ignore[assignment]
        delivery = ExactlyOnce(settings, NAMES)
        self.sink = Sink(delivery, self.flow, MagicMock(), MagicMock(), self.prober.delete_before, MagicMock())
        matcher = Matcher(response_timeout=TIMEOUT, limits=limits)
        self.pipeline = Pipeline(matcher, MagicMock(), MagicMock(), NAMES, lambda: kafka.now)
        self.held: deque[Outbox] = deque()

    def _make(self, config: dict[str, Any]) -> Any:
        self.consumers.append(self.kafka.consumer(config))
        return self.consumers[-1]

    def _write(self, outputs: list[Output], offsets: Any, group: object) -> None:
        self.sink.write(outputs, offsets, group)

    async def start(self) -> None:
        await self.sink.start()
        await self.source.start()

    async def step(self) -> bool:
        """One poll, if there is room for another batch; whether anything is left to do soon."""
        if self.flow.in_flight >= ROOM:
            return True
        polled = await self.source.poll()
        self.probe()
        if polled is None:
            return self.source.assignment is None or not self.source.assignment.ready
        outbox = self._decide(polled)
        self.held.append(outbox)
        return bool(outbox.outputs or outbox.ticket.offsets)

    def probe(self) -> None:
        """One round of the prober, by hand, so that the order of events is ours."""
        if self.source.assignment is not None and self.source.assignment.ready:
            with suppress(KafkaException):
                self.prober._round()

    async def deliver(self, count: int = 1) -> None:
        """The oldest batches in flight are committed, taken back, or let go, together."""
        gathered = [self.held.popleft() for _ in range(min(count, len(self.held)))]
        if gathered:
            await self.sink.deliver(*gathered)

    def _decide(self, polled: Polled) -> Outbox:
        matched = self.pipeline.intake(polled).matched
        outputs = [
            Output("human_review", case.request.key, (case.reason or "answered").encode()) for case in matched.cases
        ]
        outputs += [Output("dead_letter", dead.record.key, dead.code.encode()) for dead in matched.dead]
        return Outbox(polled.ticket, outputs, matched.changes, touched=matched.touched, deletable=matched.deletable)

    def kill(self) -> None:
        """The process is gone: nothing is closed, its transaction stays open until its successor comes."""
        for consumer in self.consumers:
            self.kafka.leave(consumer)
        if self.source.assignment is not None:
            self.source.assignment.end()
        for executor in (self.source._thread, self.source._restore_thread):
            executor.shutdown(wait=False)
        self.sink._line.close()


class Stream(RuleBasedStateMachine):
    """Two workers of one group, on two partitions."""

    def __init__(self) -> None:
        super().__init__()
        self.patcher = pytest.MonkeyPatch()
        self.loop = asyncio.new_event_loop()
        self.kafka = SimulatedKafka(TOPICS, PARTITIONS)
        self.kafka.patch(self.patcher)
        for name, value in {"_REWRITE_SLACK": 4, "_REWRITE_ENTRIES": 2}.items():
            self.patcher.setattr(f"streams.pipeline.pending.{name}", value)
        self.patcher.setattr("streams.kafka.source._MOST_SHUT_OUT", 1000)
        self.patcher.setattr("streams.pipeline.positions._MOST_MARKERS", 0)
        clock = SimpleNamespace(sleep=Turns.sleep, monotonic=time.monotonic)
        self.patcher.setattr("streams.kafka.restore.time", clock)
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.asked_at: dict[str, int] = {}
        self.answered_at: dict[str, int] = {}
        self.workers = [self.started("one"), self.started("two")]
        self.run_on(4)

    def started(self, name: str) -> Worker:
        worker = Worker(self.kafka, name)
        self.loop.run_until_complete(worker.start())
        return worker

    @rule(name=st.sampled_from(IDS))
    def ask(self, name: str) -> None:
        """A request is written, perhaps once more."""
        self.asked_at.setdefault(name, self.kafka.now)
        self.asked[name] += 1
        self.write(REQUESTS, name)

    @rule(name=st.sampled_from(IDS))
    def answer(self, name: str) -> None:
        """An answer is written, perhaps once more."""
        self.answered_at.setdefault(name, self.kafka.now)
        self.answered[name] += 1
        self.write(RESPONSES, name)

    def write(self, role: str, name: str) -> None:
        record = (request if role == REQUESTS else response)(name)
        self.kafka.append((NAMES[role], int(name[1])), Entry(record.key, record.value))

    @rule(step=st.integers(1, TIMEOUT))
    def wait(self, step: int) -> None:
        """Time passes."""
        self.kafka.now += step

    @rule(index=st.integers(0, 1))
    def poll(self, index: int) -> None:
        """A worker polls, and does not deliver yet."""
        self.loop.run_until_complete(self.workers[index].step())

    @rule(
        index=st.integers(0, 1),
        asked=_NAMES,
        answered=_NAMES,
        disturbed=st.sampled_from(
            ["rebalance", "expel", "shut out", "cut off", "kill", "skip", "abort", "fatal", "lost answer"]
        ),
    )
    def be_disturbed(self, index: int, asked: list[str], answered: list[str], disturbed: str) -> None:
        """Something comes, a worker has it in flight, and then it happens."""
        for name in asked:
            self.ask(name)
        for name in answered:
            self.answer(name)
        self.poll(index)
        if disturbed == "rebalance":
            self.rebalance()
        elif disturbed == "expel":
            self.expel(index)
        elif disturbed == "shut out":
            self.shut_out(index)
        elif disturbed == "cut off":
            self.cut_off(index)
        elif disturbed == "kill":
            self.kill(index)
        elif disturbed == "skip":
            self.skip(index)
        else:
            self.fail(disturbed)
            self.deliver(index)
        self.poll(index)

    @rule(index=st.integers(0, 1))
    def probe(self, index: int) -> None:
        """A worker's prober asks, while its consumer is busy elsewhere."""
        self.workers[index].probe()

    @rule(index=st.integers(0, 1))
    def restore(self, index: int) -> None:
        """A worker's restore goes on."""
        self.workers[index].restores.take()

    @rule(index=st.integers(0, 1), count=st.integers(1, ROOM))
    def deliver(self, index: int, count: int = 1) -> None:
        """A worker's oldest batches reach its sink."""
        self.loop.run_until_complete(self.workers[index].deliver(count))

    @rule(steps=st.integers(1, 8))
    def run_on(self, steps: int) -> None:
        """Both work undisturbed."""
        for _ in range(steps):
            for worker in self.workers:
                self.loop.run_until_complete(worker.step())
                worker.restores.take()
                self.loop.run_until_complete(worker.deliver())

    @rule()
    def rebalance(self) -> None:
        """The group deals its partitions anew."""
        self.kafka.rebalance()

    @rule(index=st.integers(0, 1))
    def expel(self, index: int) -> None:
        """The group thinks a worker dead."""
        self.kafka.expel(self.workers[index].consumers[-1])

    @rule(index=st.integers(0, 1))
    def shut_out(self, index: int) -> None:
        """The group refuses a worker's client for good."""
        self.kafka.shut_out(self.workers[index].consumers[-1])

    @rule(index=st.integers(0, 1))
    def cut_off(self, index: int) -> None:
        """A worker's client reaches no broker any more, and says nothing."""
        self.kafka.cut_off(self.workers[index].consumers[-1])

    @rule(index=st.integers(0, 1))
    def kill(self, index: int) -> None:
        """A worker dies and comes back."""
        self.workers[index].kill()
        self.workers[index] = self.started(self.workers[index].name)

    @rule(index=st.integers(0, 1))
    def skip(self, index: int) -> None:
        """A worker's client passes records by."""
        self.workers[index].consumers[-1].skip()

    @rule(fault=st.sampled_from(["abort", "fatal", "lost answer"]))
    def fail(self, fault: str) -> None:
        """The next commit meets trouble."""
        if not self.kafka.faults:
            self.kafka.faults.append(fault)

    @rule(questions=st.integers(1, 3))
    def brokers_away(self, questions: int) -> None:
        """The next questions to a broker get no answer."""
        self.kafka.away = questions

    def teardown(self) -> None:
        """Everything comes to its end: each request has one decision, and every record is accounted for."""
        try:
            self.kafka.faults.clear()
            for _ in range(4):
                self.settle()
                self.kafka.now += TIMEOUT + 1
            self.settle()
            self.check()
        finally:
            for worker in self.workers:
                worker.kill()
            self.loop.close()
            self.patcher.undo()

    def settle(self) -> None:
        """Work until nothing has happened for a while."""
        quiet = 0
        while quiet < 5:
            busy = False
            for worker in self.workers:
                busy |= self.loop.run_until_complete(worker.step()) or len(worker.held) > 1
                worker.restores.take()
                self.loop.run_until_complete(worker.deliver())
            quiet = 0 if busy else quiet + 1

    def check(self) -> None:
        """What a consumer downstream sees."""
        decisions = self.kafka.committed_records(NAMES["human_review"])
        dead = self.kafka.committed_records(NAMES["dead_letter"])
        by_id = {(one.key or b"").decode(): (one.value or b"").decode() for one in decisions}
        assert Counter((one.key or b"").decode() for one in decisions) == Counter(dict.fromkeys(self.asked, 1))
        answered = [name for name, how in by_id.items() if how == "answered"]
        for name in self.asked:
            if name in self.answered and abs(self.asked_at[name] - self.answered_at[name]) < TIMEOUT:
                assert name in answered, "timed out although its answer was in Kafka"
        for name, how in by_id.items():
            assert how in ("answered", Reason.NO_RESPONSE), name
        letters = Counter((one.value or b"").decode().split("_")[1] for one in dead)
        assert letters["request"] == self.asked.total() - len(self.asked)
        assert letters["response"] == self.answered.total() - len(answered)


Stream.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=50)
TestStream = Stream.TestCase

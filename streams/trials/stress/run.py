"""One stress run: topics of its own, workers, a sender, a reader and chaos, each in its thread; then the books are closed."""

import contextlib
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live

from scoring import RECORDING, read_recording
from streams.errors import StreamError
from streams.settings import Settings
from streams.trials.brokers import LocalKafka
from streams.trials.outputs import OutputReader
from streams.trials.stress.books import Books
from streams.trials.stress.chaos import Chaos, Fleet, schedule
from streams.trials.stress.oracle import recorded
from streams.trials.stress.plan import Plan, Shares
from streams.trials.stress.report import Progress, Result, progress_panel
from streams.trials.stress.traffic import Sender, answers_stored, changelog_keys, into, stored_apart
from streams.trials.topics import own_topics

if TYPE_CHECKING:
    from collections.abc import Callable

RESPONSE_TIMEOUT = 20.0
_LATE_AFTER = RESPONSE_TIMEOUT + 5
_QUIET = RESPONSE_TIMEOUT + 60
_SETTLE = 2.0
_CATCH_UP = 60.0
_ABORTED_WITHIN = 10.0
"""How often a broker looks for transactions that have stood too long (transaction.abort.timed.out.transaction.cleanup.interval.ms)."""
_REDRAW = 0.25


@dataclass(frozen=True, slots=True)
class Options:
    """What is done to the stream. `nodes` are those of the local Kafka, `rate` is in requests/s, `window` the most requests sent and not yet decided."""

    requests: int
    workers: int = 2
    kills: int = 0
    rebalances: int = 0
    broker_restarts: int = 0
    nodes: int = 1
    shares: Shares = field(default_factory=Shares)
    rate: float = 5000.0
    window: int = 20_000
    seed: int = 1


def run_stress(settings: Settings, options: Options, *, local_kafka: bool, console: Console) -> Result:
    """Run it, on a local Kafka started for it or on the settings' broker. Raises StreamError when it can't be finished."""
    with ExitStack() as stack:
        restarts: list[Callable[[], None]] = [_no_restart]
        if local_kafka:
            kafka = stack.enter_context(LocalKafka(nodes=options.nodes))
            settings = replace(settings, broker=kafka.bootstrap)
            restarts = [partial(kafka.restart, node) for node in kafka.pids]
        settings = replace(settings, topic_prefix=f"stress-{uuid.uuid4().hex[:8]}.", web_port=0)
        stack.enter_context(own_topics(settings))
        plan = Plan(
            recorded(read_recording(RECORDING), settings),
            requests=options.requests,
            shares=options.shares,
            seed=options.seed,
        )
        fleet = Fleet(_worker_settings(settings), workers=options.workers, kafka=settings.kafka, seed=options.seed)
        stack.callback(fleet.close)
        console.print(f"{options.requests} requests through {options.workers} workers on {settings.broker} ...")
        fleet.start()
        dues = schedule(
            kills=options.kills,
            rebalances=options.rebalances,
            broker_restarts=options.broker_restarts,
            seed=options.seed,
        )
        return _Run(settings, options, plan, fleet, Chaos(fleet, dues, restarts)).run(console)


def _no_restart() -> None:
    raise StreamError("only a local Kafka can be restarted: --broker-restarts goes with --local-kafka")


def _worker_settings(settings: Settings) -> dict[str, Any]:
    names = ("broker", "delivery", "topic_prefix", "model", "web_port", "batch_size", "batch_linger")
    return {**{name: getattr(settings, name) for name in names}, "response_timeout": RESPONSE_TIMEOUT}


class _Run:
    """The calling thread sends and draws; one thread reads, another makes chaos."""

    def __init__(self, settings: Settings, options: Options, plan: Plan, fleet: Fleet, chaos: Chaos) -> None:
        self._options = options
        self._fleet = fleet
        self._chaos = chaos
        self._settings = settings
        self._plan = plan
        self._books = Books(plan)
        self._reader = OutputReader(settings, into(self._books))
        self._sender = Sender(
            settings, plan, self._books, rate=options.rate, window=options.window, late_after=_LATE_AFTER
        )
        self._chaos_over = threading.Event()
        self._threads: list[Future[None]] = []
        self._started = self._drawn = 0.0

    def run(self, console: Console) -> Result:
        """Send everything, wait for everything, stop the workers, and close the books."""
        self._started = time.monotonic()
        with ThreadPoolExecutor(2) as pool, Live(console=console, refresh_per_second=4, transient=True) as live:
            try:
                self._threads = [
                    pool.submit(self._reader.run),
                    pool.submit(self._chaos.run, self._share_sent, self._chaos_over.is_set),
                ]
                self._sender.run(lambda: self._chaos.allowed, lambda: self._draw(live))
                self._await_outcome(live)
                seconds = self._reader.last_read - self._started
                self._chaos_over.set()
                self._threads[1].result()
                time.sleep(_SETTLE)  # what would be decided twice shows itself now
                self._fleet.stop()
                if self._plan.foreign:
                    self._restore_again()
                self._await_end(live)
                if self._books.unanswered:
                    self._books.stored_apart(stored_apart(self._settings, RESPONSE_TIMEOUT))
                    self._books.stored(answers_stored(self._settings))
            finally:
                self._chaos_over.set()
                self._reader.stop()
        return Result(self._options, self._books.findings(), self._fleet.damage, seconds)

    def _restore_again(self) -> None:
        """Let workers read the whole changelog once more: what is not theirs must be passed by, and nothing else."""
        with contextlib.suppress(StreamError):  # whoever ended is counted by stopping
            self._fleet.start()
        self._fleet.stop()
        self._books.changelog(changelog_keys(self._settings), self._fleet.passed_by())

    def _share_sent(self) -> float:
        return self._sender.requests / self._options.requests

    def _await_outcome(self, live: Live) -> None:
        """Until the books are complete, or nothing more has come for so long that nothing more will."""
        while not (self._books.complete and self._chaos.finished):
            if self._chaos.finished and time.monotonic() - self._reader.last_read > _QUIET:
                return
            self._draw(live)
            time.sleep(_REDRAW)

    def _await_end(self, live: Live) -> None:
        """Until everything is read that the outputs hold. Raises StreamError when nothing more moves.

        The transaction of a worker that was killed hides what follows it for as long as the broker lets it stand.
        """
        patience = self._settings.transaction_timeout + _ABORTED_WITHIN + _CATCH_UP
        before, moved = None, time.monotonic()
        while unread := self._reader.unread():
            if unread != before:
                before, moved = unread, time.monotonic()
            elif time.monotonic() - moved > patience:
                where = "; ".join(map(str, unread))
                raise StreamError(
                    f"the outputs could not be read to their end, nothing moved for {patience:g} s: {where}"
                )
            self._draw(live)
            time.sleep(_REDRAW)

    def _draw(self, live: Live) -> None:
        now = time.monotonic()
        if now - self._drawn < _REDRAW:
            return
        self._drawn = now
        for thread in self._threads:
            if thread.done():
                thread.result()
        books = self._books
        requests, sent = self._options.requests, self._sender.requests
        progress = Progress(now - self._started, requests, sent, books.decided, books.duplicated, books.dead)
        live.update(progress_panel(progress, self._fleet.damage))

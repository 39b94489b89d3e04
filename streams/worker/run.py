"""A worker: source, agents, sink, controls and web pages put together, started and stopped in the right order."""

import asyncio
import gc
import logging
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterable, Mapping
from typing import Any

import faust
import mode
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from mode.types import ServiceT

from featurizers import OutcomeSpec, SpecBook, load_spec, load_specs, readers
from streams.errors import DeniedError, SettingsError, TopicError
from streams.kafka.admin import allowed_operations, metadata
from streams.kafka.budget_keeper import BudgetKeeper
from streams.kafka.clients import admin_config, base_config
from streams.kafka.clock import BrokerClock
from streams.kafka.control_reader import ControlReader
from streams.kafka.control_status import NO_WORK, PendingStatus, StatusWriter, Work
from streams.kafka.delivery import AtLeastOnce, Delivery, ExactlyOnce
from streams.kafka.flow import Flow
from streams.kafka.model_fetcher import ModelFetcher
from streams.kafka.prober import Prober
from streams.kafka.quality import HumanDecisions, agreement
from streams.kafka.quality_keeper import QualityKeeper
from streams.kafka.restore import Restorer
from streams.kafka.rights import WHEN, WORSE, lacking
from streams.kafka.source import Source
from streams.kafka.topics import Topic, check_configs, load_topics, topic_names
from streams.kafka.troubles import DOCTOR
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Limits, Stores, first_due, holdings
from streams.pipeline.matching import Matcher
from streams.pipeline.records import Output
from streams.pipeline.stages import Pipeline
from streams.settings import Settings
from streams.worker.agents import App, connect_agents, make_app
from streams.worker.logs import LIBRARY_LOG, set_up_logging
from streams.worker.metrics import Metrics
from streams.worker.models import ModelShelf, baseline
from streams.worker.sink import Sink
from streams.worker.spans import MOST_LINKS, make_spans, nobody
from streams.worker.state import State
from streams.worker.web import add_pages

log = logging.getLogger(__name__)

_PORT_ADVICE = "give each worker of a machine a port of its own (--web-port) or none (0), and an address of this machine (--web-host)"
_CONTACT = 10.0
"""Seconds for a broker to answer at the start."""
_LOOK_EVERY = 0.5
"""Seconds between two looks at whether a call into the client hangs."""
_COLLECT_AT = (100_000, 50, 100)
"""New objects, and collections of the younger generations, before the garbage collector goes through each generation."""
_MOST_EXPIRED = 500
"""Requests that time out in one batch, unless more came in it: nothing else bounds their bytes, and each is written whole into its decision."""
_EXIT_MARGIN = 5.0
"""Seconds beyond the drain timeout after which the process ends whatever still hangs."""


class Stream(mode.Service):
    """The part of the worker that reads: started with the app, drained when the app stops."""

    logger = LIBRARY_LOG

    def __init__(self, app: App, settings: Settings) -> None:
        super().__init__()
        self._app = app
        self.settings = settings
        topics = load_topics(settings.topic_prefix)
        check_for_worker(settings, topics)
        names = topic_names(topics)
        self.name = settings.instance_id or f"worker-{uuid.uuid4().hex[:8]}"
        self.flow = Flow(settings.commit_linger)
        self.clock = BrokerClock()
        self.metrics = Metrics(self.clock.now)
        limits = Limits(settings.max_pending, settings.max_pending_bytes, settings.max_remembered)
        given = baseline(settings)
        shelf = ModelShelf(settings.model, given.model, ModelFetcher(settings, settings.model))
        status = StatusWriter(settings, names, self.name, self.clock)
        self.controls = ControlReader(settings, names, given, shelf, status, self.clock)
        self.budgets = BudgetKeeper(
            settings, self.name, self._controls, lambda: self.controls.log.position, self._leads, self.clock.now
        )
        self.controls.budgets = self.budgets.told
        self.quality = QualityKeeper(settings, self.name, self.controls, self._leads, self.clock.now, self._is_behind)
        self.controls.quality = lambda: self.quality.judgement
        self._work = NO_WORK
        self.controls.work = lambda: self._work
        self.prober = Prober(settings, names, self.clock.now)
        self.restorer = Restorer(settings, names, limits, self._write, self.clock.now)
        self.source = Source(settings, names, self.flow, self.restorer, self.prober)
        delivery = _delivery(settings, names, self.source)
        self._spans = make_spans(settings, self.name)
        self.sink = Sink(
            delivery,
            self.flow,
            self.metrics,
            self._controls,
            self.prober.delete_before,
            self.budgets.count,
            self._spans.ended if self._spans else nobody,
        )
        matcher = _matcher(settings, limits)
        most_traces = MOST_LINKS if self._spans else 0
        pipeline = Pipeline(matcher, outcome_specs(settings), self._controls, names, self.clock.now, most_traces)
        self._human_decisions = HumanDecisions(settings, names)
        self._quality: Any = app.channel(maxsize=1)  # typed, it would take nothing but events
        app.agent(self._quality, name="quality")(self._count_agreement)
        self._put = connect_agents(app, pipeline, self.metrics, self.flow, self.sink.deliver)

    def _write(self, outputs: list[Output], offsets: list[TopicPartition], group: object) -> None:
        self.sink.write(outputs, offsets, group)

    def _controls(self) -> Controls:
        return self.controls.current

    def _leads(self) -> bool:
        """Whether it is this worker that moves review budgets and keeps live quality: one of a group has the first partition."""
        mine = self.source.assignment
        return mine is not None and mine.ready and not mine.over and 0 in mine.partitions

    def _is_behind(self) -> bool:
        """Whether more than a batch waits to be read."""
        mine = self.source.assignment
        positions = [] if mine is None else list(mine.positions.values())
        return sum(position.lag for position in positions) > self.settings.batch_size

    async def on_start(self) -> None:
        """Controls first, then the broker's word that we may write, then partitions."""
        loop = asyncio.get_running_loop()
        self.add_future(self._watch_calls())
        try:
            await loop.run_in_executor(None, self.controls.start)
            await self.sink.start()
        except Exception as problem:
            log.critical("%s", problem, exc_info=problem)
            raise
        self.prober.start()
        self.budgets.start()
        self.quality.start()
        self._app.flow_control.resume()  # Faust holds channels back until its own (absent) consumer is ready
        await self.source.start()
        log.info(
            "worker started",
            extra={"worker": self.name, "reader": str(readers.reader), "settings": self.settings.masked()},
        )

    @mode.Service.task
    async def _read(self) -> None:
        """Poll and hand on. Any failure ends the worker: what is not committed is read again after the restart."""
        try:
            while not self.should_stop:
                await self.flow.room()
                polled = await self.source.poll()
                self.controls.check()
                if polled is not None:
                    self.metrics.consumed(Counter(record.source for record in polled.arrivals.records).items())
                    await self._put(polled)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is said, and the worker ends
            await self._end(problem)

    async def _watch_calls(self) -> None:
        while not self.should_stop:
            await self.sleep(_LOOK_EVERY)
            self.sink.leave_behind()
            self._work = self._working_on()

    def _working_on(self) -> Work:
        """What control-status says of it; looked up here, where nothing changes it meanwhile."""
        assignment = self.source.assignment
        stores = {} if assignment is None else assignment.stores
        held = holdings(stores)
        waited = max(self._oldest(stores).values(), default=None)
        pending = PendingStatus(held.requests, held.responses, None if waited is None else round(waited, 1))
        numbers = sorted({partition for _, partition in self.source.positions})
        busy = self.metrics.busy.shares()
        return Work(numbers, self.source.restoring, None if self.source.restoring else pending, busy)

    def _oldest(self, stores: Stores) -> dict[str, float]:
        """By source, the seconds that the record has waited that times out first; nothing where none waits."""
        now, timeout = self.clock.now(), self.settings.response_timeout
        return {source: max(0.0, timeout - (due - now) / 1000) for source, due in first_due(stores).items()}

    async def _end(self, problem: BaseException) -> None:
        """End the worker, in one line: what fails while it ends anyway is not why."""
        if not self._app.crashed:
            log.critical("%s", problem, exc_info=problem)
            await self._app.crash(problem)

    @mode.Service.task
    async def _read_human_decisions(self) -> None:
        while not self.should_stop:
            values = await self._human_decisions.poll()
            if values:
                await self._quality.put(values)

    async def _count_agreement(self, batches: AsyncIterable[list[bytes]]) -> None:
        async for values in batches:
            self.metrics.humans_said(agreement(values), self.controls.current)

    async def on_stop(self) -> None:
        """Drain and commit, within the deadline; then leave the group."""
        started = time.monotonic()
        crashed = self._app.crashed
        _end_process_after(self.settings.drain_timeout + _EXIT_MARGIN, exit_code=int(crashed))
        if not crashed:
            try:
                await asyncio.wait_for(self.flow.drained(), self.settings.drain_timeout)
            except TimeoutError:
                log.warning("%d batches were not committed in time; they are read again", self.flow.in_flight)
        await self.flow.give_up()
        await self.sink.close()
        await self.source.close()
        self.prober.close()
        self.budgets.close()
        self.quality.close()
        await self._human_decisions.close()
        self.controls.close()
        if self._spans is not None:
            self._spans.close()
        log.info("worker stopped", extra={"seconds": round(time.monotonic() - started, 3)})

    def snapshot(self) -> State:
        """What the metrics show now."""
        assignment = self.source.assignment
        stores = {} if assignment is None else assignment.stores
        now = self.clock.now()
        window = int(self.settings.dedup_window * 1000)
        reach = min((store.decided.reach(now) for store in stores.values()), default=window)
        return State(
            controls=self.controls.current,
            controls_hash=self.controls.log.content.hash,
            settings_hash=self.controls.baseline.hash,
            controls_age=self.controls.age,
            refused=self.controls.refused,
            budgets=self.budgets.findings,
            holdings=holdings(stores),
            oldest=self._oldest(stores),
            response_timeout=self.settings.response_timeout,
            positions=self.source.positions,
            held=self.source.held,
            now=now,
            rebalances=self.source.rebalances,
            restoring=self.source.restoring,
            restore_seconds=self.restorer.progress.seconds,
            foreign=self.restorer.progress.foreign,
            skipped=dict(self.restorer.skipped),
            broker_silent=self.prober.silent_for,
            clock_skew=self.clock.skew,
            changelog_records=self.prober.changelog_records,
            remembered_reach=reach / 1000,
            producers_replaced=self.sink.replaced,
            human_decision_errors=self._human_decisions.errors,
            quality=self.quality.judgement,
            quality_lag=self.quality.lag,
        )


def _matcher(settings: Settings, limits: Limits) -> Matcher:
    return Matcher(
        response_timeout=int(settings.response_timeout * 1000),
        limits=limits,
        max_expired=min(settings.batch_size, _MOST_EXPIRED),
        max_bytes=settings.max_record_bytes,
    )


def _delivery(settings: Settings, names: Mapping[str, str], source: Source) -> Delivery:
    if settings.delivery == "exactly_once":
        return ExactlyOnce(settings, names)
    return AtLeastOnce(settings, names, source.commit_offsets)


def check_for_worker(settings: Settings, topics: Mapping[str, Topic]) -> None:
    """Refuse topics on which the guarantees can't hold. Raises TopicError, DeniedError, BrokerError."""
    config = base_config(settings)
    metadata(config, _CONTACT)
    _check_rights(settings, topics)
    try:
        found = check_configs(config, topics, max_record_bytes=settings.max_record_bytes)
    except TopicError as problem:
        log.warning("not checked: %s", problem)
        return
    for warning in found.warnings:
        log.warning("%s", warning)
    if found.errors:
        raise TopicError("\n".join(found.errors))


def _check_rights(settings: Settings, topics: Mapping[str, Topic]) -> None:
    """At the start, rather than at the first record that cannot be written."""
    admin = AdminClient(admin_config(base_config(settings)))
    lacks = lacking(settings, allowed_operations(admin, [topic.name for topic in topics.values()]))
    for right, need in lacks.items():
        if need.when in WORSE:
            log.warning("this user lacks the right to %s (%s, %s)", right.text, need.why, WHEN[need.when])
    refused = [right.text for right, need in lacks.items() if need.when == "always"]
    if refused:
        raise DeniedError(f"this user lacks the right to {'; '.join(refused)} {DOCTOR}")


def outcome_specs(settings: Settings) -> OutcomeSpec | SpecBook:
    """How outcomes stand in answers: by one spec, or by a directory of them. Raises SpecError."""
    return load_spec(settings.outcome_spec) if settings.specs is None else load_specs(settings.specs)


def check_port(settings: Settings) -> None:
    """Raise SettingsError when the pages' port is taken, or the address is not this machine's."""
    if not settings.web_port:
        return
    try:
        with socket.create_server((settings.web_host, settings.web_port)):
            pass
    except OSError as problem:
        # The text of a name that no address is known for is not among the system's errors.
        why = problem.strerror if isinstance(problem, socket.gaierror) else os.strerror(problem.errno or 0)
        raise SettingsError(
            f"web_port {settings.web_port} on web_host {settings.web_host}: {why}; {_PORT_ADVICE}"
        ) from None


def _end_process_after(seconds: float, *, exit_code: int) -> None:
    """A client may hang in a call while the broker is gone; nothing that is still open by then can be lost."""
    timer = threading.Timer(seconds, os._exit, (exit_code,))
    timer.daemon = True
    timer.start()


def _collect_seldom() -> None:
    """Have the garbage collector leave alone what is there for good, and look at the rest less often.

    What waits and what is remembered are hundreds of thousands of objects without cycles: going through them again and again
    cost a tenth of the throughput.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AT)


def run_worker(settings: Settings) -> None:
    """Run until stopped by a signal (exit code 0) or by a failure (exit code 1). Does not return."""
    set_up_logging(settings.log_level)
    check_port(settings)
    app = make_app(settings)
    stream = Stream(app, settings)
    add_pages(app, stream)

    @app.service
    class _Stream(faust.Service):
        logger = LIBRARY_LOG

        def on_init_dependencies(self) -> list[ServiceT]:
            return [stream]

    worker = faust.Worker(app, loglevel=None, redirect_stdouts=False, override_logging=False, quiet=True)
    _collect_seldom()
    worker.spinner = None  # it would write terminal codes between the log's lines
    worker.execute_from_commandline()

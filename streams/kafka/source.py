"""The source: hands on batches of the current assignment, and begins a new one whenever the old one ends.

Every call to the group consumer runs on one thread of its own. An assignment ends when the group takes its partitions, when
a batch of it is taken back, or when a partition turns out not to be what it was; the next one is restored on another
thread, while the consumer holds its partitions back. What the old one left clean is kept.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from confluent_kafka import Consumer, TopicPartition

from streams.errors import BrokerError, MembershipError, TopicError
from streams.kafka.clients import ClientConfig
from streams.kafka.consumer import Fetched, GroupConsumer
from streams.kafka.cut_off import CUT_OFF
from streams.kafka.flow import Flow
from streams.kafka.prober import Prober
from streams.kafka.reading import holds_records
from streams.kafka.restore import Restorer
from streams.pipeline.assignment import Assignment, Place
from streams.pipeline.matching import Arrivals
from streams.pipeline.pending import PartitionStore
from streams.pipeline.positions import Position
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.stages import Polled, Ticket
from streams.settings import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Read = tuple[Assignment, list[Record], frozenset[Place], bool]
_MOST_SHUT_OUT = 3
_LOOKED_FOR = (10.0, 160.0)
"""Seconds to look for records that the client may have passed by: at first, and at most, far below max.poll.interval.ms."""
_SHUT_OUT_WITHIN = 60.0
"""Seconds within which so many clients may be shut out of the group: another one is not going to help then."""

_AHEAD_FOR = 5.0
"""Seconds that positions may be ahead of what was committed while no record comes to carry them."""


class Source:
    """Reads requests and responses, co-partitioned, as one batch after the other."""

    def __init__(
        self,
        settings: Settings,
        names: Mapping[str, str],
        flow: Flow,
        restorer: Restorer,
        prober: Prober,
        make_client: Callable[[ClientConfig], Consumer] = Consumer,
    ) -> None:
        self._settings = settings
        self._flow = flow
        self._restorer = restorer
        self._prober = prober
        roles = {names[REQUESTS]: REQUESTS, names[RESPONSES]: RESPONSES}
        self._names = {role: name for name, role in roles.items()}
        self._make_consumer = partial(GroupConsumer, settings, roles, self, make_client)
        self._consumer = self._make_consumer()
        self._shut_out: list[float] = []
        self._thread = ThreadPoolExecutor(1, "source")
        self._restore_thread = ThreadPoolExecutor(1, "restore")
        self._restoring: Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._uncommitted: deque[list[TopicPartition]] = deque()
        self._kept: dict[int, PartitionStore] = {}
        self._held: frozenset[Place] = frozenset()
        self._epoch = 0
        self._lag_since: float | None = None
        self._patience = _LOOKED_FOR[0]
        self._ahead_since: float | None = None
        self._polling_since: float | None = None
        self.assignment: Assignment | None = None
        self.rebalances = 0

    @property
    def positions(self) -> dict[Place, Position]:
        """How far each partition has been read."""
        return {} if self.assignment is None else self.assignment.positions

    @property
    def restoring(self) -> bool:
        """Whether the worker is taking its partitions over."""
        return self.assignment is not None and not self.assignment.ready

    @property
    def held(self) -> frozenset[Place]:
        """The input partitions held back because memory is full."""
        return self._held

    @property
    def joined(self) -> bool:
        """Whether the group has dealt this worker its share (which is empty where workers outnumber partitions)."""
        return self._epoch > 0

    @property
    def behind_for(self) -> float:
        """Seconds since there last was nothing left that may be read; 0 when there is nothing."""
        since = self._lag_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def polling_for(self) -> float:
        """Seconds that the poll in progress has taken: it hardly ever takes one. 0 between two polls."""
        since = self._polling_since
        return 0.0 if since is None else time.monotonic() - since

    async def start(self) -> None:
        """Join the group; partitions arrive with a later poll."""
        self._loop = asyncio.get_running_loop()
        await self._call(self._consumer.join)

    async def poll(self) -> Polled | None:
        """The next batch, or None when there is nothing to do. Raises what ends the worker (see `streams.errors`)."""
        polled = await self._call(self._poll)
        if polled is None:
            return None
        assignment, records, caught_up, is_full = polled
        offsets = {}
        for place, position in assignment.positions.items():
            if position.next_offset != position.carried:
                offsets[place] = position.carried = position.next_offset
        standing = {place: position.carried for place, position in islice(assignment.positions.items(), 1)}
        ticket = Ticket(self._flow.next_sequence(), assignment, offsets, time.monotonic(), standing, is_full)
        frontiers = {place: position.frontier for place, position in assignment.positions.items()}
        return Polled(ticket, Arrivals(records, offsets, frontiers, caught_up))

    def commit_offsets(self, offsets: list[TopicPartition]) -> None:
        """Have the consumer's thread commit these offsets; from any thread, and without waiting.

        Another thread's call would wait for the consumer's own, which may itself wait for the batch in a rebalance.
        """
        self._uncommitted.append(offsets)

    async def close(self) -> None:
        """Leave the group, so that others take over at once."""
        if self.assignment is not None:
            self.assignment.end()
        await self._call(self._close)
        self._thread.shutdown(wait=False)
        self._restore_thread.shutdown(wait=False)

    async def _call(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _on_loop(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        """Run a coroutine on the event loop, from the consumer's thread."""
        if self._loop is None:
            raise RuntimeError("the source has not been started")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(timeout)
        finally:
            running.cancel()

    # -- on the consumer's thread -------------------------------------------------------------------------------------

    def _poll(self) -> _Read | None:
        self._polling_since = time.monotonic()
        try:
            return self._read_on()
        except MembershipError as problem:
            self._join_anew(problem)
            return None
        finally:
            self._polling_since = None

    def _join_anew(self, problem: MembershipError) -> None:
        """Take another client: when a broker restarts, one may be cut off, or a named member shut out by its own joining again.

        Two workers of one name shut each other out, until one of them has met it too often and ends.
        """
        now = time.monotonic()
        self._shut_out = [at for at in self._shut_out if now - at < _SHUT_OUT_WITHIN] + [now]
        if len(self._shut_out) > _MOST_SHUT_OUT:
            raise problem
        log.warning("this client can be no member of the group any more, another one joins: %s", problem)
        self.lost()
        self._consumer.discard()
        self._consumer = self._make_consumer()
        self._consumer.join()

    def _read_on(self) -> _Read | None:
        self._commit()
        self._renew()
        self._follow_restore()
        before = self.assignment
        if before is not None and before.ready:
            self._hold_back(before)
        fetched = self._consumer.fetch()
        assignment = self.assignment
        if assignment is None or not assignment.ready:
            self._refuse_cut_off()
        if assignment is None or assignment is not before or not assignment.ready or assignment.over:
            return None  # the group ended the assignment meanwhile, and what was fetched is read again by its successor
        caught_up = frozenset(place for place, position in assignment.positions.items() if position.caught_up)
        records = self._take(assignment, fetched)
        self._follow_probes(assignment)
        if self._lag_since is not None and not records:
            self._refuse_cut_off()
        waiting = any(store.requests or store.responses for store in assignment.stores.values())
        due = waiting or self._has_been_ahead(assignment)
        if not records and (self._flow.in_flight or not due):
            return None
        return assignment, records, caught_up, fetched.is_full and self._lag_since is not None

    def _refuse_cut_off(self) -> None:
        """Nothing comes although something should. Raises MembershipError when that is this client's affair."""
        if self._consumer.is_cut_off():
            raise MembershipError(CUT_OFF)

    def _has_been_ahead(self, assignment: Assignment) -> bool:
        """Whether reading has been ahead of all batches for a while: of the last record there were markers to pass.

        They go into a commit too. Once retention has taken them, a restart would miss them as records that nobody read.
        """
        if all(position.next_offset == position.carried for position in assignment.positions.values()):
            self._ahead_since = None
            return False
        self._ahead_since = self._ahead_since or time.monotonic()
        return time.monotonic() - self._ahead_since >= _AHEAD_FOR

    def _take(self, assignment: Assignment, fetched: Fetched) -> list[Record]:
        for record in fetched.records:
            assignment.positions[record.source, record.partition].read(record)
        for place, offset in fetched.ends:
            assignment.positions[place].ended(offset)
        passed = {place: gaps for place, position in assignment.positions.items() if (gaps := position.taken_gaps())}
        unread = [place for place, gaps in passed.items() if self._holds_records(place, gaps)]
        if unread:
            self._suspect(
                assignment, f"the client has passed records by: {', '.join(f'{one} {passed[one]}' for one in unread)}"
            )
            return []
        if fetched.out_of_range:
            # What was read in this fetch is read again: restoring finds out what became of the log.
            self._suspect(assignment, f"the logs of {sorted(fetched.out_of_range)} do not hold what comes next")
            return []
        return fetched.records

    def _holds_records(self, place: Place, gaps: list[tuple[int, int]]) -> bool:
        """Whether records stand where the client went from one offset to another; if nobody can say, they may."""
        role, partition = place
        try:
            held = holds_records(self._settings, self._names[role], partition, gaps, patience=self._patience)
        except BrokerError as problem:
            # What an aborted transaction left may take long to go through: the next try has more time.
            self._patience = min(2 * self._patience, _LOOKED_FOR[1])
            log.warning("%s", problem)
            return True
        self._patience = _LOOKED_FOR[0]
        return held

    def _follow_probes(self, assignment: Assignment) -> None:
        ends, recreated = self._prober.collect(assignment)
        for end in ends:
            assignment.positions[end.place].probed(end.end, end.asked_at, end.stable)
            if end.end < end.read:
                self._suspect(assignment, f"{end.place} ends at {end.end}, and had been read up to {end.read}")
        if recreated:
            self._suspect(assignment, f"made anew: {', '.join(sorted(recreated))}")
        for position in assignment.positions.values():
            position.advance()
        if not any(position.lag - position.hidden_lag for position in assignment.positions.values()):
            self._lag_since = None
        elif self._lag_since is None:
            self._lag_since = time.monotonic()

    def _suspect(self, assignment: Assignment, why: str) -> None:
        """A partition is not what it was: take the assignment over anew, which says what happened and what becomes of it."""
        log.warning("taking the partitions over anew: %s", why)
        assignment.end()

    def _hold_back(self, assignment: Assignment) -> None:
        """Pause what only fills a memory that is full; Kafka keeps its records until there is room."""
        closed = assignment.closed
        if closed != self._held:
            self._consumer.release(self._held - closed)
            self._consumer.hold(closed - self._held)
            self._held = closed

    def _renew(self) -> None:
        """Begin anew when the assignment ended without the group's doing, once its batches in flight are settled."""
        old = self.assignment
        if old is None or not old.over or self._flow.in_flight:
            return
        self._consumer.read_nothing()
        self._begin(old.partitions, old.clean_stores())

    def _begin(self, partitions: frozenset[int], kept: dict[int, PartitionStore]) -> None:
        self._epoch += 1
        assignment = self.assignment = Assignment(self._epoch, partitions, self._consumer.membership())
        self._lag_since = None
        self._prober.watch(assignment)
        # An earlier restore notices that its assignment is over, and makes way.
        self._restoring = self._restore_thread.submit(self._restorer.restore, assignment, kept)

    def _follow_restore(self) -> None:
        """Read on once the stores are there. Raises what restoring met."""
        assignment, restoring = self.assignment, self._restoring
        if assignment is None or restoring is None or not restoring.done():
            return
        self._restoring = None
        restoring.result()
        if assignment.over:
            return
        self._consumer.read_from({place: position.next_offset for place, position in assignment.positions.items()})
        self._held = frozenset()  # what the restored stores leave no room for is held back before the next fetch
        assignment.ready = True
        log.info("assigned", extra={"partitions": sorted(assignment.partitions), "epoch": assignment.epoch})

    def _commit(self) -> None:
        """Commit what has been handed over; a commit that fails repeats records, no more."""
        latest: dict[tuple[str, int], TopicPartition] = {}
        while self._uncommitted:
            latest |= {(one.topic, one.partition): one for one in self._uncommitted.popleft()}
        if latest:
            self._consumer.commit(list(latest.values()))

    def _close(self) -> None:
        self._commit()
        self._consumer.close()

    # -- what the group decides, from within a fetch ------------------------------------------------------------------

    def assigned(self, partitions: Mapping[str, frozenset[int]]) -> None:
        """See `streams.kafka.consumer.Members`."""
        self.rebalances += 1
        if partitions[REQUESTS] != partitions[RESPONSES]:
            raise TopicError(
                f"partitions {sorted(partitions[REQUESTS])} of {self._names[REQUESTS]} came with partitions "
                f"{sorted(partitions[RESPONSES])} of {self._names[RESPONSES]}: both topics need the same number of "
                "partitions, and every member of the group must be a secondlook worker"
            )
        self._begin(partitions[REQUESTS], self._kept)
        self._kept = {}

    def revoked(self) -> None:
        """See `streams.kafka.consumer.Members`."""
        if self.assignment is None:
            return
        try:
            self._on_loop(self._flow.drained(), self._settings.drain_timeout)
        except TimeoutError:
            log.warning("batches in flight were not committed in time: whoever gets the partitions redoes them")
        self._commit()
        self._let_go("revoked")

    def lost(self) -> None:
        """See `streams.kafka.consumer.Members`."""
        self._uncommitted.clear()
        self._let_go("lost")
        self._kept = {}  # others may have written since: how far the changelog was ours is not known

    def _let_go(self, how: str) -> None:
        assignment = self.assignment
        if assignment is None:
            return
        assignment.end()
        # A batch in flight has changed stores, and may never be committed.
        self._kept = {} if self._flow.in_flight else assignment.clean_stores()
        self.assignment = None
        self._prober.watch(None)
        log.info(how, extra={"partitions": sorted(assignment.partitions)})

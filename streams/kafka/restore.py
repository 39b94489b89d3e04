"""Taking over an assignment's partitions: read the changelog, and decide where each one goes on.

It runs on a thread of its own while the consumer holds the partitions back, outside the group's callbacks: however long it
takes, the worker stays a member, and can be stopped. Stores that a rebalance left with this worker are read on from where
they stand, not anew.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError, ChangelogError, DataLossError, DeniedError, OwnerError
from streams.kafka.admin import group_members, topic_ids
from streams.kafka.clients import admin_config, base_config, group_name, kafka_error, reader_config
from streams.kafka.delivery import BatchAborted
from streams.kafka.reading import read_to_end, watermarks
from streams.kafka.troubles import DENIED, failed, told
from streams.pipeline.assignment import Assignment, Place
from streams.pipeline.continuity import Found, Input, Note, Plan, plan, read_note, write_note
from streams.pipeline.ledger import Limits, closed_sides, forget_surplus
from streams.pipeline.pending import CHANGELOG, PartitionStore
from streams.pipeline.positions import Position
from streams.pipeline.records import REQUESTS, RESPONSES, Output
from streams.settings import Settings

log = logging.getLogger(__name__)

Write = Callable[[list[Output], list[TopicPartition], object], None]
"""Writes records and commits offsets of a group with them, whole; raises BatchAborted when it was taken back."""

_INPUTS = (REQUESTS, RESPONSES)
_DECISIONS = ("auto_action", "human_review")
_ASK_TIMEOUT = 5.0
_AGAIN_AFTER = 0.5
"""Seconds after which a takeover that a broker's absence broke off begins again."""


@dataclass(slots=True)
class Progress:
    """What restoring is at, and what it met: for metrics."""

    restoring: bool = False
    seconds: float = 0.0
    entries: int = 0
    foreign: int = 0


class Restorer:
    """Fills assignments. `write` makes claims durable; `now` is the time in ms by the broker's clock."""

    def __init__(
        self, settings: Settings, names: Mapping[str, str], limits: Limits, write: Write, now: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._names = names
        self._limits = limits
        self._write = write
        self._now = now
        self._admin = self._new_admin()
        self._group = group_name(settings)
        self._quiet_since = 0.0
        self._furthest: dict[int, int] = {}
        self.skipped: Counter[str] = Counter()
        self.progress = Progress()

    def restore(self, assignment: Assignment, kept: Mapping[int, PartitionStore]) -> None:
        """Give the assignment its stores and positions; unfinished when it is over before that.

        Raises OwnerError when the topics are another group's, DataLossError when something is gone and `on_data_loss` is
        "stop", ChangelogError on a record that this version cannot read, BrokerError when Kafka does not answer.
        """
        began, read_before = time.monotonic(), self.progress.entries
        self.progress.restoring = True
        try:
            self._patiently(assignment, kept)
        finally:
            self.progress.restoring = False
            self.progress.seconds = time.monotonic() - began
        if not assignment.over:
            waiting = sum(len(store.requests) + len(store.responses) for store in assignment.stores.values())
            log.info(
                "restored",
                extra={
                    "partitions": sorted(assignment.partitions),
                    "kept": sorted(set(kept) & assignment.partitions),
                    "waiting": waiting,
                    "entries": self.progress.entries - read_before,
                    "seconds": round(self.progress.seconds, 3),
                },
            )

    def _patiently(self, assignment: Assignment, kept: Mapping[int, PartitionStore]) -> None:
        """Begin again while a broker is away, or takes no claim because the group is about to deal its partitions anew.

        What is read twice does no harm. What ends it is that nothing new has come for `restore_timeout`, however long it takes.
        """
        self._quiet_since, self._furthest = time.monotonic(), {}
        while not assignment.over:
            self._admin = self._new_admin()  # the last one's may have been cut off since
            try:
                self._restore(assignment, kept)
            except DeniedError:
                raise  # waiting does not mend that
            except (KafkaException, BrokerError, BatchAborted) as problem:
                text = told(kafka_error(problem)) if isinstance(problem, KafkaException) else str(problem)
                if time.monotonic() - self._quiet_since > self._settings.restore_timeout:
                    raise BrokerError(f"the partitions cannot be taken over: {text}") from problem
                log.warning("taking over is begun again: %s", text)
                time.sleep(_AGAIN_AFTER)
            else:
                return

    def _new_admin(self) -> AdminClient:
        return AdminClient(admin_config(base_config(self._settings)))

    def _restore(self, assignment: Assignment, kept: Mapping[int, PartitionStore]) -> None:
        partitions = sorted(assignment.partitions)
        offsets = self._committed(assignment)
        stores = self._begin(partitions, kept)
        changelog = self._read(stores, assignment)
        ids = topic_ids(self._admin, [self._names[role] for role in (*_INPUTS, CHANGELOG)])
        logs = {role: watermarks(self._settings, self._names[role], partitions) for role in _INPUTS}
        if assignment.over:
            return
        decided_before = self._decided_before(stores, offsets)
        plans: dict[int, Plan] = {}
        for number, store in stores.items():
            inputs = {
                role: Input(*offsets[role, number], *logs[role][number], ids.get(self._names[role], ""))
                for role in _INPUTS
            }
            found = Found(store, inputs, changelog[number], ids.get(self._names[CHANGELOG], ""), decided_before)
            plans[number] = plan(found, group=self._group, new_group_from=self._settings.new_group_from)
        self._judge(plans)
        for number in stores:
            note = Note(ids.get(self._names[CHANGELOG], ""), changelog[number])
            assignment.notes[number] = write_note(note)
        self._claim(assignment, stores, plans)
        # Only now: a kept store that an attempt broken off here had moved past a loss would hide it from the next one.
        for number, store in stores.items():
            store.requests_position = plans[number].positions[REQUESTS, number]
            store.responses_position = plans[number].positions[RESPONSES, number]
        self._count(plans)
        assignment.closed = closed_sides(stores, self._limits, frozenset())
        assignment.topic_ids = {name: ids.get(name, "") for name in self._names.values()}
        assignment.stores = stores
        assignment.positions = {
            place: Position(offset) for one in plans.values() for place, offset in one.positions.items()
        }

    def _begin(self, partitions: list[int], kept: Mapping[int, PartitionStore]) -> dict[int, PartitionStore]:
        """A store for each partition: the kept one, unless what follows it in the changelog has been deleted by another."""
        window = int(self._settings.dedup_window * 1000)
        marks = watermarks(self._settings, self._names[CHANGELOG], sorted(set(kept) & set(partitions)))
        return {
            number: kept[number]
            if number in marks and marks[number][0] <= kept[number].log_end <= marks[number][1]
            else PartitionStore(number, dedup_window=window)
            for number in partitions
        }

    def _committed(self, assignment: Assignment) -> dict[Place, tuple[int | None, Note | None]]:
        """What the group committed. Waits while a transaction that a dead worker left open may still move these offsets."""
        wanted = [
            TopicPartition(self._names[role], number) for role in _INPUTS for number in sorted(assignment.partitions)
        ]
        roles = {self._names[role]: role for role in _INPUTS}
        deadline = time.monotonic() + self._settings.restore_timeout
        # It never subscribes, so it is no member of the group: it only asks for the group's offsets.
        with closing(Consumer({**reader_config(self._settings), "group.id": self._group})) as client:
            while True:
                try:
                    found = client.committed(wanted, timeout=5)
                    problem = next((one.error for one in found if one.error is not None), None)
                except KafkaException as exception:
                    found, problem = [], kafka_error(exception)
                if problem is None or assignment.over:
                    break
                if time.monotonic() > deadline or problem.code() in DENIED:
                    raise failed(
                        f"cannot read the offsets of group {self._group}", problem, f"Read the group {self._group}"
                    )
                time.sleep(0.2)
        committed: dict[Place, tuple[int | None, Note | None]] = {}
        for one in found:
            offset = one.offset if one.offset >= 0 else None
            committed[roles[one.topic], one.partition] = offset, read_note(one.metadata)
        return committed

    def _read(self, stores: Mapping[int, PartitionStore], assignment: Assignment) -> dict[int, int]:
        """Read the stores' changelog from where each stands to its end; returns the ends."""
        topic = self._names[CHANGELOG]
        marks = watermarks(self._settings, topic, stores)
        start = {number: max(store.log_end, marks[number][0]) for number, store in stores.items()}
        until = {number: high for number, (_, high) in marks.items()}
        patience = self._settings.restore_timeout
        with closing(Consumer(reader_config(self._settings))) as client:
            found = read_to_end(client, topic, until, start, patience=patience, stopping=lambda: assignment.over)
            for message in found:
                self._apply(stores[message.partition()], message.offset(), message.key(), message.value())
                self._came(message.partition(), message.offset())
                forget_surplus(stores, self._limits)  # the log may hold more ids than there is memory for
        for number, store in stores.items():
            store.restored(self._now(), until[number])
        return until

    def _came(self, partition: int, offset: int) -> None:
        """A record came: patience begins anew, unless an attempt that was broken off had read it already."""
        if offset > self._furthest.get(partition, -1):
            self._furthest[partition] = offset
            self._quiet_since = time.monotonic()

    def _apply(self, store: PartitionStore, offset: int, key: bytes | None, value: bytes | None) -> None:
        where = f"{self._names[CHANGELOG]}, partition {store.partition}, offset {offset}"
        self.progress.entries += 1
        try:
            if store.apply(key, value):
                return
        except ChangelogError as problem:
            raise ChangelogError(
                f"a record of the changelog cannot be read ({where}): {problem}. Run the version that wrote it, or delete "
                "the records up to it (kafka-delete-records.sh) and start with --on-data-loss continue"
            ) from None
        self.progress.foreign += 1
        log.error("a record that is not secondlook's stands in the changelog and is passed by: %s", where)

    def _decided_before(
        self, stores: Mapping[int, PartitionStore], offsets: Mapping[Place, tuple[int | None, Note | None]]
    ) -> bool:
        """Whether there are decisions, although no partition of the changelog was ever written.

        Of workers that begin together one may decide before another has claimed its partitions: but it has claimed its own.
        """
        if any(store.claim for store in stores.values()) or any(offset is not None for offset, _ in offsets.values()):
            return False
        return not self._was_written(CHANGELOG) and any(self._was_written(role) for role in _DECISIONS)

    def _was_written(self, role: str) -> bool:
        topic = self._names[role]
        partitions = self._admin.list_topics(topic, timeout=_ASK_TIMEOUT).topics[topic].partitions
        return any(high > 0 for _, high in watermarks(self._settings, topic, partitions).values())

    def _judge(self, plans: Mapping[int, Plan]) -> None:
        """Say what is new; stop at what is lost, unless the operator has said to go on."""
        for one in plans.values():
            for news in one.news:
                log.warning("%s", news)
        losses = [loss for one in plans.values() for loss in one.losses]
        if losses and self._settings.on_data_loss == "stop":
            more = f" (and {len(losses) - 1} more like it)" if len(losses) > 1 else ""
            raise DataLossError(
                f"{losses[0].text}{more}. Nothing was read or written. To accept it, count it and go on: "
                "secondlook worker --on-data-loss continue"
            )

    def _count(self, plans: Mapping[int, Plan]) -> None:
        """What was lost is counted once it is written down that the operator accepts it."""
        for loss in (loss for one in plans.values() for loss in one.losses):
            self.skipped[loss.cause] += loss.count or 1
            log.error(
                "%s; going on, as on_data_loss says", loss.text, extra={"cause": loss.cause, "records": loss.count}
            )

    def _claim(self, assignment: Assignment, stores: Mapping[int, PartitionStore], plans: Mapping[int, Plan]) -> None:
        """Make partitions ours that are not yet, positions committed with it; of two groups at once the log's first one wins."""
        claims = {number: one.claim for number, one in plans.items() if one.claim is not None}
        if not claims or assignment.over:
            return
        for other in {claim.replaces for claim in claims.values()} - {"", self._group}:
            if running := group_members(self._admin, other):
                raise OwnerError(
                    f"group {other!r} has {running} running workers: stop them before their topics are taken over"
                )
        outputs = [
            stores[number].claimed(claim, *(plans[number].positions[role, number] for role in _INPUTS))
            for number, claim in claims.items()
        ]
        offsets = [
            TopicPartition(self._names[role], number, offset, assignment.notes[number])
            for number in claims
            for (role, _), offset in plans[number].positions.items()
        ]
        began = time.monotonic()
        try:
            self._write(outputs, offsets, assignment.group)
        finally:  # whoever writes has a patience of its own, which a broker that is away does not wear out
            self._quiet_since += time.monotonic() - began
        self._read({number: stores[number] for number in claims}, assignment)
        for number in claims:
            claim = stores[number].claim
            if claim is not None and claim.group != self._group and not assignment.over:
                raise OwnerError(f"group {claim.group!r} has just taken these topics: use another topic_prefix")

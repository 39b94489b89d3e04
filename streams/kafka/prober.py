"""The prober: asks the brokers where the partitions end, on a thread and a connection of its own.

So a leader that is away holds up nothing but the answers about its own partitions. It also notices topics that were made
anew, and deletes what the changelog needs no more.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import delete_records, topic_ids
from streams.kafka.clients import admin_config, base_config, reader_config
from streams.kafka.cut_off import discard
from streams.pipeline.assignment import Assignment, Place
from streams.pipeline.pending import CHANGELOG
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.settings import Settings

log = logging.getLogger(__name__)

_EVERY = 0.5
"""Seconds between two questions where the partitions end."""
_TOPICS_EVERY = 5.0
"""Seconds between two looks at the topics themselves: their leaders, and whether they are the same ones."""
_TIMEOUT = 1.0
_RENEWED_AFTER = 20.0
"""Seconds of failures after which other clients ask."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a partition ended (high watermark) when the broker was asked, at `asked_at` (ms of the broker's clock).

    `read` is how far it had been read by then: an end before that means that the log was cut. Up to `stable` it may be read;
    what follows is behind an open transaction.
    """

    place: Place
    end: int
    stable: int
    asked_at: int
    read: int


class Prober:
    """Watches the current assignment's partitions. `now` is the time in ms by the broker's clock."""

    def __init__(self, settings: Settings, names: Mapping[str, str], now: Callable[[], int]) -> None:
        self._names = names
        self._roles = {name: role for role, name in names.items()}
        self._now = now
        self._settings = settings
        self._client, self._stable_client, self._admin = self._clients()
        self._failing_since: float | None = None
        self._all_well = True
        self._lock = threading.Lock()
        self._watched: Assignment | None = None
        self._ends: list[End] = []
        self._recreated: set[str] = set()
        self._deletable: dict[int, int] = {}
        self._leaders: dict[Place, int] = {}
        self._looked_at = 0.0
        self._answered_at = time.monotonic()
        self._wake = threading.Event()
        self._stopping = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self.changelog_records = 0

    def _clients(self) -> tuple[Consumer, Consumer, AdminClient]:
        return (
            Consumer(reader_config(self._settings, isolation="read_uncommitted")),
            Consumer(reader_config(self._settings)),
            AdminClient(admin_config(base_config(self._settings))),
        )

    @property
    def silent_for(self) -> float:
        """Seconds since a broker last answered."""
        return time.monotonic() - self._answered_at

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Stop; never waits long."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2 * _TIMEOUT)

    def watch(self, assignment: Assignment | None) -> None:
        """Ask about these partitions from now on, the first time at once."""
        with self._lock:
            self._watched, self._ends, self._recreated = assignment, [], set()
        self._wake.set()

    def collect(self, assignment: Assignment) -> tuple[list[End], set[str]]:
        """The answers since the last call, and the topics that are not the ones that this assignment began with.

        Raises what ended the prober, if anything did: without it nothing would ever time out.
        """
        if self._failure is not None:
            raise self._failure
        with self._lock:
            if assignment is not self._watched:
                return [], set()
            ends, self._ends = self._ends, []
            return ends, self._recreated

    def delete_before(self, offsets: Mapping[int, int]) -> None:
        """Delete the changelog's records before these offsets, by partition, when there is time."""
        with self._lock:
            self._deletable.update(offsets)

    def _run(self) -> None:
        try:
            while not self._stopping:
                began = time.monotonic()
                try:
                    self._round()
                except KafkaException as problem:
                    log.debug("prober: %s", problem)  # the clients' own log says that the broker is away
                    self._failed()
                self._renew()
                self._wake.wait(max(0.0, _EVERY - (time.monotonic() - began)))
                self._wake.clear()
        except Exception as problem:  # the thread's last act: the worker looks here and stops
            self._failure = problem
            raise
        finally:
            self._client.close()
            self._stable_client.close()

    def _failed(self) -> None:
        self._failing_since = self._failing_since or time.monotonic()
        self._all_well = False

    def _renew(self) -> None:
        """Have other clients ask when these have failed for a while: they may be cut off (see `streams.kafka.cut_off`)."""
        if self._failing_since is None or time.monotonic() - self._failing_since < _RENEWED_AFTER:
            return
        self._failing_since = None
        for one in (self._client, self._stable_client):
            discard(one.close)
        self._client, self._stable_client, self._admin = self._clients()

    def _round(self) -> None:
        self._all_well = True
        with self._lock:
            assignment, deletable, self._deletable = self._watched, self._deletable, {}
        if deletable:
            topic = self._names[CHANGELOG]
            delete_records(self._admin, {TopicPartition(topic, number): offset for number, offset in deletable.items()})
        looking = time.monotonic() - self._looked_at > _TOPICS_EVERY or assignment is None
        if looking:
            self._look(assignment)
        if assignment is not None and assignment.ready:
            for partitions in self._by_leader(assignment, (REQUESTS, RESPONSES, CHANGELOG), OFFSET_END):
                self._ask(assignment, partitions)
            if looking:
                self._measure_changelog(assignment)
        if looking and self._all_well:  # only then was every client heard
            self._failing_since = None

    def _look(self, assignment: Assignment | None) -> None:
        """Learn the leaders, and whether the topics are still the same ones."""
        leaders: dict[Place, int] = {}
        for role in (REQUESTS, RESPONSES, CHANGELOG):
            name = self._names[role]
            found = self._client.list_topics(name, timeout=_TIMEOUT).topics[name].partitions
            leaders |= {(role, number): one.leader for number, one in found.items()}
        self._answered()
        self._leaders, self._looked_at = leaders, time.monotonic()
        if assignment is None or not any(assignment.topic_ids.values()):
            return
        now = topic_ids(self._admin, list(assignment.topic_ids))
        anew = {name for name, known in assignment.topic_ids.items() if known and now.get(name, known) != known}
        with self._lock:
            if assignment is self._watched:
                self._recreated = anew

    def _by_leader(self, assignment: Assignment, roles: Iterable[str], which: int) -> list[list[TopicPartition]]:
        groups: dict[int, list[TopicPartition]] = defaultdict(list)
        for role in roles:
            for number in assignment.partitions:
                leader = self._leaders.get((role, number), -1)
                groups[leader].append(TopicPartition(self._names[role], number, which))
        return list(groups.values())

    def _measure_changelog(self, assignment: Assignment) -> None:
        """How long the changelog is, which is what a restart reads."""
        length = 0
        for partitions in self._by_leader(assignment, (CHANGELOG,), OFFSET_BEGINNING):
            for (_, number), first in self._offsets(self._client, partitions).items():
                length += max(assignment.stores[number].log_end - first, 0)
        self.changelog_records = length

    def _ask(self, assignment: Assignment, partitions: list[TopicPartition]) -> None:
        asked_at = self._now()
        read = {place: position.next_offset for place, position in assignment.positions.items()}
        ends = self._offsets(self._client, partitions)
        behind = [
            TopicPartition(self._names[role], number, OFFSET_END)
            for (role, number), end in ends.items()
            if end > read.get((role, number), end)
        ]
        stable = self._offsets(self._stable_client, behind) if behind else {}
        with self._lock:
            if assignment is not self._watched:
                return
            for (role, number), end in ends.items():
                if role == CHANGELOG:
                    assignment.stores[number].log_end = end
                else:
                    place = (role, number)
                    self._ends.append(End(place, end, stable.get(place, end), asked_at, read[place]))

    def _offsets(self, client: Consumer, partitions: list[TopicPartition]) -> dict[Place, int]:
        """The first or last offsets that their leader tells; nothing when it is away, or another one by now."""
        try:
            answers = client.offsets_for_times(partitions, timeout=_TIMEOUT)
        except KafkaException:
            self._looked_at = 0.0
            self._failed()
            return {}
        told = {(self._roles[one.topic], one.partition): one.offset for one in answers if one.error is None}
        if told:
            self._answered()
        if len(told) < len(answers):
            self._looked_at = 0.0
        return told

    def _answered(self) -> None:
        self._answered_at = time.monotonic()

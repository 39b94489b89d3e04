"""Kafka in memory, as far as the stream stands on it: logs with transactions, groups with generations, offsets, fencing.

It does at once what a broker does at some time, and the worst of what the client may do: a poll that a rebalance falls into
hands on the records it had fetched before, and a commit may be made whose answer is lost. `SimulatedKafka.patch` puts its clients in
the place of confluent_kafka's; nothing below `streams` is replaced.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    ConsumerGroupState,
    KafkaError,
    TopicPartition,
)

from streams.kafka.topics import Topic
from tests.rig import NOW
from tests.simulated_log import Entry, Log, Message, Spot, Transaction, raises


class SimulatedKafka:
    """Topics, one consumer group, and a clock (ms) that stands until it is moved."""

    def __init__(self, topics: dict[str, Topic], partitions: int) -> None:
        self.now = NOW
        self.topics = {topic.name: partitions for topic in topics.values()}
        self.logs = {(name, number): Log() for name in self.topics for number in range(partitions)}
        self.offsets: dict[tuple[str, str, int], tuple[int, str | None]] = {}
        self.generation = 0
        self.members: list[SimulatedConsumer] = []
        self.owners: dict[str, SimulatedProducer] = {}
        self.faults: deque[str] = deque()
        self.away = 0
        """So many questions that no broker answers."""

    def patch(self, patcher: pytest.MonkeyPatch) -> None:
        """Have the stream's modules make these clients."""
        for module in ("restore", "reading", "prober"):
            patcher.setattr(f"streams.kafka.{module}.Consumer", self.consumer)
        for module in ("restore", "prober"):
            patcher.setattr(f"streams.kafka.{module}.AdminClient", lambda _config: SimulatedAdmin(self))
        patcher.setattr("streams.kafka.consumer.discard", lambda close: close())
        patcher.setattr("streams.kafka.cut_off.CutOff.look", lambda _self, client: getattr(client, "cut_off", False))
        patcher.setattr("streams.kafka.delivery.Producer", lambda config: SimulatedProducer(self, config))

    def consumer(self, config: dict[str, Any]) -> "SimulatedConsumer":
        """A client; one that subscribes joins the group."""
        return SimulatedConsumer(self, config)

    def append(self, spot: Spot, entry: Entry) -> int:
        """Write one record, stamped now; its offset."""
        entry.timestamp = self.now
        self.logs[spot].entries.append(entry)
        return self.logs[spot].high - 1

    def end(self, transaction: Transaction, state: str) -> None:
        """Commit or abort."""
        transaction.state = state
        for spot in transaction.spots:
            self.append(spot, Entry(transaction=transaction, marker=True))
        if state == "committed":
            for (topic, partition), offset in transaction.offsets.items():
                self.offsets[transaction.group, topic, partition] = offset

    def committed_records(self, topic: str) -> list[Entry]:
        """What a reader of this topic sees."""
        return [one for (name, _), log in self.logs.items() if name == topic for one in log.entries if one.visible]

    def ask(self) -> None:
        """A question to a broker, which may be away."""
        if self.away:
            self.away -= 1
            raise raises(KafkaError._TRANSPORT, retriable=True)

    # -- the group ----------------------------------------------------------------------------------------------------

    def rebalance(self) -> None:
        """Every member gives up its partitions, and is dealt new ones once all have."""
        for member in self.members:
            if not member.expelled:
                member.due = "revoke" if member.assigned else "assign"

    def leave(self, member: "SimulatedConsumer") -> None:
        """A member is gone, by its own will or not."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def expel(self, member: "SimulatedConsumer") -> None:
        """A member is thought dead: it learns of it in a later poll, when others have its partitions."""
        self.rebalance()
        if member.assigned:
            member.due, member.expelled = "lost", True

    def shut_out(self, member: "SimulatedConsumer") -> None:
        """A member is refused for good, and no callback tells it."""
        member.dead = True
        self.leave(member)

    def cut_off(self, member: "SimulatedConsumer") -> None:
        """A member's client has lost all brokers, and is missed by the group; it does not know."""
        member.cut_off = True
        self.leave(member)

    def deal(self) -> bool:
        """Begin the next generation, unless somebody has still to give up partitions."""
        if any(member.due == "revoke" for member in self.members):
            return False
        self.generation += 1
        members = [member for member in self.members if not member.expelled]
        numbers = range(max(self.topics.values()))
        for index, member in enumerate(members):
            share = [number for number in numbers if number * len(members) // len(numbers) == index]
            member.share, member.due, member.generation = share, "assign now", self.generation
        return True


class SimulatedConsumer:
    """`confluent_kafka.Consumer`."""

    def __init__(self, kafka: SimulatedKafka, config: dict[str, Any]) -> None:
        self.kafka, self.config = kafka, config
        self.positions: dict[Spot, int] = {}
        self.paused: set[Spot] = set()
        self.said_end: set[tuple[Spot, int]] = set()
        self.topics: list[str] = []
        self.callbacks: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}
        self.due = ""
        self.share: list[int] = []
        self.assigned = False
        self.expelled = False
        self.dead = False
        self.cut_off = False
        self.generation = -1

    def subscribe(self, topics: list[str], **callbacks: Callable[[Any, list[TopicPartition]], None]) -> None:
        self.topics, self.callbacks = topics, callbacks
        self.kafka.members.append(self)
        self.kafka.rebalance()

    def consumer_group_metadata(self) -> tuple["SimulatedConsumer", int]:
        return self, self.generation

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.positions = {(one.topic, one.partition): self._resolve(one) for one in partitions}
        self.paused.clear()
        self.said_end.clear()

    def skip(self) -> None:
        """The client goes to the end of what it reads, for a reason of its own: what it should have read it passes by."""
        self.positions = {spot: self._end(self.kafka.logs[spot]) for spot in self.positions}
        self.said_end.clear()

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {(one.topic, one.partition) for one in partitions} & self.positions.keys()

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {(one.topic, one.partition) for one in partitions}

    def consume(self, count: int, timeout: float) -> list[Message]:  # noqa: ARG002 - nothing is waited for
        if self.cut_off:
            return []
        if self.dead:
            return [Message(("", 0), -1, error=KafkaError._FATAL)]
        found = self._fetch(count)
        self._follow_group()
        return found

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002 - as above
        self.kafka.ask()
        found = []
        for one in partitions:
            offset, note = self.kafka.offsets.get((self.config["group.id"], one.topic, one.partition), (-1001, None))
            found.append(TopicPartition(one.topic, one.partition, offset, note or ""))
        return found

    def offsets_for_times(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002 - as above
        self.kafka.ask()
        return [TopicPartition(one.topic, one.partition, self._resolve(one)) for one in partitions]

    def get_watermark_offsets(self, one: TopicPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002 - as above
        self.kafka.ask()
        log = self.kafka.logs[one.topic, one.partition]
        return log.low, self._end(log)

    def list_topics(self, topic: str, timeout: float) -> Any:  # noqa: ARG002 - as above
        self.kafka.ask()
        leaders = {number: SimpleNamespace(leader=1) for number in range(self.kafka.topics[topic])}
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=leaders)}, brokers={1: None})

    def close(self) -> None:
        self.kafka.leave(self)

    def _end(self, log: Log) -> int:
        return log.stable if self.config["isolation.level"] == "read_committed" else log.high

    def _resolve(self, one: TopicPartition) -> int:
        log = self.kafka.logs[one.topic, one.partition]
        return {OFFSET_BEGINNING: log.low, OFFSET_END: self._end(log)}.get(one.offset, one.offset)

    def _fetch(self, count: int) -> list[Message]:
        found: list[Message] = []
        for spot in self.positions.keys() - self.paused:
            log, at = self.kafka.logs[spot], self.positions[spot]
            if not log.low <= at <= log.high:
                found.append(Message(spot, at, error=KafkaError._AUTO_OFFSET_RESET))
                self.paused.add(spot)
                continue
            while at < self._end(log) and len(found) < count:
                if log.entries[at].visible:
                    found.append(Message(spot, at, log.entries[at]))
                at += 1
            self.positions[spot] = at
            if at == self._end(log) and (spot, at) not in self.said_end:
                self.said_end.add((spot, at))
                found.append(Message(spot, at, error=KafkaError._PARTITION_EOF))
        return found

    def _follow_group(self) -> None:
        mine = [TopicPartition(topic, number) for topic, number in self.positions]
        if self.due in ("revoke", "lost"):
            self.callbacks["on_revoke" if self.due == "revoke" else "on_lost"](self, mine)
            self.assign([])
            self.assigned, self.due = False, "assign"
            if self.expelled:
                self.expelled = False
                self.kafka.rebalance()
        elif (self.due == "assign" and self.kafka.deal()) or self.due == "assign now":
            self.due, self.assigned = "", True
            dealt = [TopicPartition(topic, number) for topic in self.topics for number in self.share]
            self.callbacks["on_assign"](self, dealt)


class SimulatedProducer:
    """`confluent_kafka.Producer`, with transactions. A fault is taken from the broker's list at each commit."""

    def __init__(self, kafka: SimulatedKafka, config: dict[str, Any]) -> None:
        self.kafka, self.id = kafka, config["transactional.id"]
        self.transaction: Transaction | None = None
        self.answered = True
        self.dead = False

    def init_transactions(self, _timeout: float) -> None:
        before = self.kafka.owners.get(self.id)
        if before is not None and before.transaction is not None and before.transaction.state == "open":
            self.kafka.end(before.transaction, "aborted")
        self.kafka.owners[self.id] = self

    def begin_transaction(self) -> None:
        self._check()
        self.transaction = Transaction()

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, *, headers: Any = None
    ) -> None:
        assert self.transaction is not None
        self._check()
        number = partition if partition >= 0 else hash(key) % self.kafka.topics[topic]
        self.transaction.spots.add((topic, number))
        self.kafka.append((topic, number), Entry(key, value, headers, transaction=self.transaction))

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], group: Any, _timeout: float) -> None:
        assert self.transaction is not None
        self._check()
        member, generation = group
        if generation != self.kafka.generation or member not in self.kafka.members or member.expelled:
            raise raises(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)
        self.transaction.group = member.config["group.id"]
        self.transaction.offsets |= {(one.topic, one.partition): (one.offset, one.metadata) for one in offsets}

    def commit_transaction(self, _timeout: float) -> None:
        assert self.transaction is not None
        self._check()
        fault = self.kafka.faults.popleft() if self.kafka.faults and self.transaction.state == "open" else ""
        if fault == "abort":
            raise raises(KafkaError.INVALID_TXN_STATE, txn_requires_abort=True)
        if fault == "fatal":
            self.dead = True
            self._check()
        if self.transaction.state == "open":
            self.kafka.end(self.transaction, "committed")
        if fault == "lost answer":
            raise raises(KafkaError._TIMED_OUT, retriable=True)

    def abort_transaction(self, _timeout: float) -> None:
        self._check()
        if self.transaction is not None and self.transaction.state == "open":
            self.kafka.end(self.transaction, "aborted")

    def flush(self, _timeout: float) -> int:
        return 0

    def poll(self, _timeout: float) -> int:
        return 0

    def _check(self) -> None:
        if self.dead or self.kafka.owners.get(self.id) is not self:
            raise raises(KafkaError._FENCED, fatal=True)


class SimulatedAdmin:
    """`confluent_kafka.admin.AdminClient`."""

    def __init__(self, kafka: SimulatedKafka) -> None:
        self.kafka = kafka

    def list_topics(self, topic: str = "", timeout: float = 0) -> Any:  # noqa: ARG002 - nothing is waited for
        self.kafka.ask()
        topics = {topic: SimpleNamespace(partitions=range(self.kafka.topics.get(topic, 0)))}
        return SimpleNamespace(controller_id=1, brokers={1: None}, topics=topics)

    def describe_topics(self, topics: Any, **_options: Any) -> dict[str, Future[Any]]:
        return {name: _done(SimpleNamespace(topic_id=f"id of {name}")) for name in topics.topic_names}

    def describe_consumer_groups(self, groups: list[str], **_options: Any) -> dict[str, Future[Any]]:
        return {name: _done(SimpleNamespace(state=ConsumerGroupState.DEAD, members=[])) for name in groups}

    def delete_records(self, before: list[TopicPartition], **_options: Any) -> dict[TopicPartition, Future[Any]]:
        for one in before:
            log = self.kafka.logs[one.topic, one.partition]
            assert one.offset <= log.high
            log.low = max(log.low, one.offset)
        return {one: _done(None) for one in before}


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future

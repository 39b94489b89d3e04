"""The wrapper around the Kafka client's consumer: what it makes of records, events, and errors."""

from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, KafkaError, TopicPartition

from streams.errors import BrokerError, DeniedError, TopicError
from streams.kafka.consumer import _AT_ONCE, Fetched, GroupConsumer
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.settings import Settings

ROLES = {"in.requests": REQUESTS, "in.responses": RESPONSES}


class Message:
    """A record, or an event when it has an error."""

    def __init__(
        self,
        error: KafkaError | None = None,
        *,
        kind: int = TIMESTAMP_CREATE_TIME,
        unreadable: bool = False,
        value: bytes = b"value",
    ) -> None:
        self._error, self._kind, self._unreadable, self._value = error, kind, unreadable, value

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return "in.requests"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return self._kind, 1000

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def headers(self) -> list[tuple[str, bytes]]:
        if self._unreadable:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return [("a", b"b")]


class Client:
    """Notes what is asked of it, and gives what it was told to."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.calls: list[tuple[str, list[tuple[str, int, int]]]] = []
        self.messages: list[Message] = []
        self.callbacks: dict[str, Any] = {}

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def consume(self, count: int, timeout: float) -> list[Message]:
        assert timeout < 1
        given, self.messages = self.messages[:count], self.messages[count:]
        return given

    def __getattr__(self, name: str) -> Any:
        def call(partitions: list[TopicPartition]) -> None:
            self.calls.append((name, [(one.topic, one.partition, one.offset) for one in partitions]))

        return call


class Members:
    """Who is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def assigned(self, partitions: Any) -> None:
        self.told.append(partitions)

    def revoked(self) -> None:
        self.told.append("revoked")

    def lost(self) -> None:
        self.told.append("lost")


def consumer(*messages: Message) -> tuple[GroupConsumer, Client, Members]:
    clients: list[Client] = []
    members = Members()

    def make(config: dict[str, Any]) -> Any:
        clients.append(Client(config))
        return clients[0]

    group_consumer = GroupConsumer(Settings(), ROLES, members, make)
    group_consumer.join()
    clients[0].messages = list(messages)
    return group_consumer, clients[0], members


def fetched(*messages: Message) -> Fetched:
    return consumer(*messages)[0].fetch()


def event(code: int, text: str = "said") -> Message:
    return Message(KafkaError(code, text))


def test_a_record_knows_whose_clock_stamped_it() -> None:
    """Role instead of topic, and everything else as it came."""
    by_producer, by_broker = fetched(Message(), Message(kind=TIMESTAMP_LOG_APPEND_TIME)).records
    assert (REQUESTS, 3, 7, 1000, b"key", b"value", [("a", b"b")], False) == (
        by_producer.source,
        by_producer.partition,
        by_producer.offset,
        by_producer.timestamp,
        by_producer.key,
        by_producer.value,
        by_producer.headers,
        by_producer.appended,
    )
    assert by_broker.appended


def test_a_batch_is_full_at_its_records_or_at_its_bytes() -> None:
    """However large records are, two batches of them fit into memory. What is left comes with the next."""
    small, _, _ = consumer(*[Message()] * 5000)
    assert [Settings().batch_size] * 2 == [len(small.fetch().records) for _ in range(2)]
    large, _, _ = consumer(*[Message(value=bytes(10_000))] * 1000)
    found = [len(large.fetch().records) for _ in range(3)]
    assert 1000 == sum(found)
    assert 420 <= max(found) < 420 + _AT_ONCE, "4 MiB, and what came with the last of them"


def test_whether_a_batch_is_full_is_told() -> None:
    """There may be more at once then; one that ended because nothing came for a while has nothing behind it."""
    client, _, _ = consumer(*[Message()] * 2001)
    assert [True, False] == [client.fetch().is_full for _ in range(2)]


def test_headers_that_the_client_cannot_give_end_no_worker() -> None:
    """The gate makes a dead letter of it."""
    (record,) = fetched(Message(unreadable=True)).records
    assert (None, True) == (record.headers, record.headers_unreadable)


def test_events_are_told_apart() -> None:
    """The end of a partition, and a position that its log does not have."""
    found = fetched(event(KafkaError._PARTITION_EOF), event(KafkaError._AUTO_OFFSET_RESET))
    assert ([((REQUESTS, 3), 7)], [(REQUESTS, 3)], []) == (found.ends, found.out_of_range, found.records)


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicError, "secondlook topics create --broker"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, DeniedError, "lacks the right to Read in.requests "),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, DeniedError, "lacks the right to Read the group secondlook "),
        (KafkaError._FATAL, BrokerError, "cannot consume any more: said"),
    ],
)
def test_what_waiting_does_not_mend_ends_the_worker_with_a_hint(code: int, error: type[Exception], said: str) -> None:
    """One line."""
    with pytest.raises(error, match=said):
        fetched(event(code))


def test_two_workers_of_one_name_are_told_what_to_do() -> None:
    """The client calls it fatal."""
    with pytest.raises(BrokerError, match="give each worker an instance_id of its own"):
        fetched(event(KafkaError._FATAL, "fenced: group.instance.id=a"))


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError.REQUEST_TIMED_OUT])
def test_what_waiting_mends_is_waited_for(code: int) -> None:
    """It is logged, once a minute."""
    assert Fetched() == fetched(event(code))


def test_a_new_assignment_has_no_place_before_it_is_told() -> None:
    """Nothing is read before the stores are there. A logical offset asked for until then may come back and overrule the real one."""
    group_consumer, client, members = consumer()
    dealt = [TopicPartition(topic, number) for topic in ROLES for number in (0, 2)]
    client.callbacks["on_assign"](client, dealt)
    assert [("assign", [])] == client.calls
    assert [{REQUESTS: {0, 2}, RESPONSES: {0, 2}}] == members.told
    client.calls.clear()
    group_consumer.read_from({(REQUESTS, 0): 5, (RESPONSES, 0): 6})
    assert ("assign", [("in.requests", 0, 5), ("in.responses", 0, 6)]) == client.calls[0]
    assert "resume" == client.calls[1][0]


def test_what_the_group_takes_is_told() -> None:
    """Given up in good order, or lost."""
    _, client, members = consumer()
    client.callbacks["on_revoke"](client, [])
    client.callbacks["on_lost"](client, [])
    assert ["revoked", "lost"] == members.told


def test_holding_nothing_asks_nothing() -> None:
    """Every poll asks it."""
    group_consumer, client, _ = consumer()
    group_consumer.hold([])
    group_consumer.release([])
    assert [] == client.calls
    group_consumer.hold([(REQUESTS, 1)])
    group_consumer.release([(REQUESTS, 1)])
    assert ["pause", "resume"] == [name for name, _ in client.calls]


def test_a_member_that_is_discarded_is_told_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.consumer.discard", lambda close: close())
    members, clients = Members(), []

    class Leaving(Client):
        def close(self) -> None:
            self.callbacks["on_revoke"](self, [])
            self.callbacks["on_lost"](self, [])
            self.callbacks["on_assign"](self, [TopicPartition("in.requests", 3)])

    def make(config: dict[str, Any]) -> Any:
        clients.append(Leaving(config))
        return clients[-1]

    consumer = GroupConsumer(Settings(), ROLES, members, make)
    consumer.join()
    consumer.discard()
    assert members.told == []
    assert clients[0].calls == [("assign", [])]

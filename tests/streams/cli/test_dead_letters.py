"""`secondlook dead-letters`, on the embedded broker: what an operator sees, and what comes back."""

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.brokers.embedded import EmbeddedBroker
from streams.cli.main import main
from streams.kafka.topics import load_topics
from streams.pipeline.dead_letters import CYCLES, dead_letter
from streams.pipeline.matching import Dead
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, RESPONSES, Headers, Record
from streams.worker.processes import WorkerProcess

TOPICS = load_topics()
NAMES = {role: topic.name for role, topic in TOPICS.items()}
LETTERS = NAMES["dead_letter"]
OWN: Headers = [("traceparent", b"00-ab"), ("empty", b""), ("none", None), ("traceparent", b"\xff")]
FAULTY = Path(__file__).parents[1] / "worker" / "faulty_worker.py"


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedBroker]:
    """A broker for all tests: each has topics of its own by a prefix of its own."""
    with EmbeddedBroker([]) as broker:
        yield broker


class Desk:
    """The operator's desk: topics under one prefix, and the command."""

    def __init__(self, broker: EmbeddedBroker, prefix: str) -> None:
        self.broker, self.prefix = broker, prefix
        for topic in load_topics(prefix).values():
            broker.create_topic(topic.name, topic.partitions)
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
        self._times = count(int(time.time() * 1000) - 60_000)

    def run(self, command: str, *arguments: str) -> Result:
        """What a command came to."""
        where = [f"--broker={self.broker.bootstrap}", f"--topic-prefix={self.prefix}"]
        if command == "redrive":
            where.append("--delivery=at_least_once")
        return CliRunner().invoke(main, ["dead-letters", command, *where, *arguments])

    def said(self, command: str, *arguments: str) -> str:
        """What a command said that must succeed."""
        result = self.run(command, *arguments)
        assert 0 == result.exit_code, result.output
        return result.output

    def put(self, value: bytes | None, headers: Headers, *, partition: int = 0, key: bytes | None = b"k") -> None:
        """A record in the dead-letter topic, each a ms younger than the one before."""
        at = next(self._times)
        self.producer.produce(self.prefix + LETTERS, value, key, partition, timestamp=at, headers=headers)  # type: ignore[arg-type]
        assert 0 == self.producer.flush(10)

    def set_aside(
        self,
        value: bytes | None,
        code: DeadLetter = DeadLetter.NOT_A_RECORD,
        *,
        source: str = REQUESTS,
        key: bytes | None = b"k",
        own: Headers | None = None,
        partition: int = 0,
    ) -> None:
        """A dead letter as a worker writes it."""
        record = Record(source, 1, 7, 0, key, value, own)
        names = {role: self.prefix + name for role, name in NAMES.items()}
        letter = dead_letter(Dead(record, code, "because"), names)
        self.put(letter.value, letter.headers or [], partition=partition, key=letter.key)

    def arrived(self, role: str) -> list[Any]:
        """Every record of a topic."""
        config = {"bootstrap.servers": self.broker.bootstrap, "group.id": "test", "enable.partition.eof": True}
        consumer = Consumer({**config, "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(self.prefix + NAMES[role], one, 0) for one in range(TOPICS[role].partitions)])
        records, open_partitions = [], TOPICS[role].partitions
        while open_partitions:
            message = consumer.poll(10)
            assert message is not None
            if message.error() is None:
                records.append(message)
            else:
                open_partitions -= 1
        consumer.close()
        return records

    def wait_for(self, letters: int) -> list[Any]:
        """The dead letters, once there are so many."""
        while len(found := self.arrived("dead_letter")) < letters:
            time.sleep(0.05)
        return found

    def values(self, role: str = REQUESTS) -> list[bytes | None]:
        """The values in a topic, sorted."""
        return sorted((message.value() for message in self.arrived(role)), key=lambda value: value or b"")


@pytest.fixture
def desk(cluster: EmbeddedBroker, request: pytest.FixtureRequest) -> Desk:
    return Desk(cluster, f"{abs(hash(request.node.name))}.")


def test_list_is_a_table_with_the_latest_last(desk: Desk) -> None:
    """Position, code, source, cycles and key of each, and how many there are of each code."""
    desk.set_aside(b"{", key=b"first")
    desk.set_aside(b"{", DeadLetter.LATE_RESPONSE, source=RESPONSES, key=b"second", own=[(CYCLES, b"2")], partition=3)
    head, first, second, total = desk.said("list").splitlines()
    assert ["position", "time", "code", "source", "cycles", "key"] == head.split()
    assert ["0:0", "not_a_record", f"{desk.prefix}moderation.requests:1:7", "0", "first"] == without_time(first)
    assert ["3:0", "late_response", f"{desk.prefix}llm.responses:1:7", "2", "second"] == without_time(second)
    assert "2 dead letters: late_response 1, not_a_record 1" == total


def without_time(line: str) -> list[str]:
    cells = line.split()
    assert cells[1].endswith("Z")
    return [cells[0], *cells[2:]]


def test_an_empty_topic(desk: Desk) -> None:
    """Nothing to list, nothing to redrive, and no error."""
    assert desk.said("list").endswith("0 dead letters\n")
    assert "redriven 0\n" == desk.said("redrive", "--all")


def test_list_filters_and_limits(desk: Desk) -> None:
    """By code, by age, to the latest; what is left out is counted."""
    for number in range(5):
        desk.set_aside(b"{", key=f"n{number}".encode(), partition=number % 2)
    desk.set_aside(b"{", DeadLetter.MISSING_KEY, key=None)
    limited = desk.said("list", "--code", "not_a_record", "--limit", "2")
    assert ["n3", "n4"] == [line.split()[-1] for line in limited.splitlines()[1:3]]
    assert "3 more before these: --limit 5 shows all" in limited
    assert "5 dead letters: not_a_record 5" in limited
    assert "6 dead letters" in desk.said("list", "--code", "not_a_record", "--code", "missing_key", "--since", "1h")
    assert "0 dead letters" in desk.said("list", "--since", "2999-01-01T00:00:00Z")


def test_list_as_json(desk: Desk) -> None:
    """One object a line, in ASCII, and nothing else on standard output."""
    desk.set_aside(b"{", key="\x1b[2J\u202eк".encode())
    desk.set_aside(None, key=None)
    result = desk.run("list", "--json", "--limit", "1")
    assert result.stdout.isascii()
    (line,) = result.stdout.splitlines()
    assert "1 more before these" in result.stderr
    letter = json.loads(line)
    assert ("0:1", "not_a_record", "because", 0, None) == (
        letter["position"], letter["code"], letter["message"], letter["cycles"], letter["key"],
    )  # fmt: skip
    assert {"topic": f"{desk.prefix}moderation.requests", "partition": "1", "offset": "7"} == letter["source"]
    assert "\x1b[2J\u202eк" == json.loads(desk.said("list", "--json").splitlines()[0])["key"]


def test_nothing_that_was_written_drives_the_terminal(desk: Desk) -> None:
    """Not by key, header name, header, reason, code or value, neither in the list nor in the letter."""
    hostile = "\x1b]0;x\x07\x9b2J\u202e\x7f\r"
    forged: Headers = [
        (name, hostile.encode()) for name in ("__connect.errors.topic", "secondlook.error.code", hostile)
    ]
    desk.put(json.dumps({"a": hostile}, ensure_ascii=False).encode(), forged, key=hostile.encode())
    desk.put(hostile.encode() + b"\xff", forged, key=b"\xff\x1b")
    for shown in (desk.said("list"), desk.said("show", "0:0"), desk.said("show", "0:1")):
        assert all(line.isprintable() for line in shown.split("\n"))


def test_show(desk: Desk) -> None:
    """The reason with its meaning, every header, the value indented; `--raw` the bytes alone."""
    value = b'{"request_id":"a",  "n":1.50}'
    desk.set_aside(value, DeadLetter.INVALID_REQUEST, own=OWN)
    shown = desk.said("show", "0:0")
    for part in (
        "code      invalid_request  A request without a usable",
        "reason    because",
        f"source    {desk.prefix}moderation.requests:1:7",
        "  traceparent: 00-ab\n",
        "  traceparent: \\xff\n",
        "  none: (none)\n",
        "  __connect.errors.stage: intake\n",
        f'value     {len(value)} bytes\n{{\n  "request_id": "a",\n  "n": 1.50\n}}\n',
    ):
        assert part in shown
    assert value == desk.run("show", "0:0", "--raw").stdout_bytes


def test_show_raw_of_a_letter_without_value_says_where_it_is(desk: Desk) -> None:
    """A record too large stands in its own topic."""
    desk.set_aside(b"x", DeadLetter.TOO_LARGE)
    result = desk.run("show", "0:0", "--raw")
    assert 1 == result.exit_code
    assert f"has no value: {desk.prefix}moderation.requests:1:7 is its source" in result.stderr
    assert "value     (none)" in desk.said("show", "0:0")


@pytest.mark.parametrize(
    ("position", "why"), [("0:1", "partition 0 of"), ("9:0", "has the partitions 0 to 3"), ("1:0", "ends at 0")]
)
@pytest.mark.parametrize("command", ["show", "redrive"])
def test_a_letter_that_is_not_there(desk: Desk, command: str, position: str, why: str) -> None:
    """One line that says what there is instead; of several letters none is sent."""
    desk.set_aside(b"{")
    result = desk.run(command, *(["0:0"] if command == "redrive" else []), position)
    assert 1 == result.exit_code
    assert f"no dead letter {position}" in result.stderr
    assert why in result.stderr
    assert [] == desk.values()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["redrive"], "either PARTITION:OFFSET"),
        (["redrive", "--all", "--code", "not_a_record"], "either PARTITION:OFFSET"),
        (["redrive", "--all", "0:1"], "either PARTITION:OFFSET"),
        (["redrive", "0-1"], "is not PARTITION:OFFSET"),
        (["show", "-1:0"], ""),
        (["list", "--code", "no_such"], "not_a_record"),
        (["list", "--since", "yesterday"], "neither an age"),
        (["list", "--since", "2026-01-01T00:00:00"], "with its zone"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage(arguments: list[str], why: str) -> None:
    """Refused before any broker is asked, with what would be right."""
    result = CliRunner().invoke(main, ["dead-letters", *arguments])
    assert 2 == result.exit_code
    assert why in result.stderr


def test_a_topic_that_is_missing(cluster: EmbeddedBroker) -> None:
    """The error gives the command that creates it."""
    result = CliRunner().invoke(
        main, ["dead-letters", "list", f"--broker={cluster.bootstrap}", "--topic-prefix=nowhere."]
    )
    assert 1 == result.exit_code
    assert "nowhere.moderation.dead-letter. Mend it: secondlook topics create" in result.stderr


def test_redrive_puts_back_byte_for_byte(desk: Desk) -> None:
    """Key, value and own headers as they were, into the topic of each, and the count."""
    desk.set_aside(b"\x00\xff{", own=OWN, key=b"\xfe")
    desk.set_aside(None, own=[(CYCLES, b"1"), *OWN], key=None, source=RESPONSES, partition=2)
    assert "redriven 2: not_a_record 2\n" == desk.said("redrive", "0:0", "2:0", "0:0")
    (request,), (response,) = desk.arrived(REQUESTS), desk.arrived(RESPONSES)
    assert (b"\xfe", b"\x00\xff{", [*OWN, (CYCLES, b"1")]) == (request.key(), request.value(), request.headers())
    assert (None, None, [*OWN, (CYCLES, b"2")]) == (response.key(), response.value(), response.headers())


def test_the_key_chooses_the_partition_as_everywhere(desk: Desk) -> None:
    """Java's partitioner, so that a request and its response meet."""
    keys = [f"request-{number}".encode() for number in range(20)]
    for key in keys:
        desk.set_aside(key, key=key)
    desk.said("redrive", "--all")
    java = Producer({"bootstrap.servers": desk.broker.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        java.produce(desk.prefix + NAMES[RESPONSES], key, key)
    java.flush(10)
    requests, responses = (
        {message.key(): message.partition() for message in desk.arrived(role)} for role in (REQUESTS, RESPONSES)
    )
    assert requests == responses
    assert set(keys) == set(requests)


def test_all_sends_each_letter_once(desk: Desk) -> None:
    """A second call finds nothing, a letter that came since is sent alone, a dry run neither sends nor counts as done."""
    for number in range(7):
        desk.set_aside(b"%d" % number, partition=number % 3)
    assert "would redrive 7: not_a_record 7\n" == desk.said("redrive", "--all", "--dry-run")
    assert [] == desk.values()
    assert "redriven 7: not_a_record 7\n" == desk.said("redrive", "--all")
    assert "redriven 0\n" == desk.said("redrive", "--all")
    desk.set_aside(b"new")
    assert "redriven 1: not_a_record 1\n" == desk.said("redrive", "--all")
    assert [*(b"%d" % number for number in range(7)), b"new"] == desk.values()


def test_codes_are_done_one_by_one_in_any_order(desk: Desk) -> None:
    """What one call left because of its code, another sends, and nothing is sent twice."""
    mixed = [DeadLetter.NOT_A_RECORD, DeadLetter.LATE_RESPONSE, DeadLetter.MISSING_KEY]
    for number in range(9):
        desk.set_aside(b"%d" % number, mixed[number % 3], partition=number % 2)
    assert "redriven 3: late_response 3\n" == desk.said("redrive", "--code", "late_response")
    assert "redriven 0\n" == desk.said("redrive", "--code", "late_response")
    assert "redriven 3: missing_key 3\n" == desk.said("redrive", "--code", "missing_key", "--code", "late_response")
    assert "redriven 3: not_a_record 3\n" == desk.said("redrive", "--all")
    assert "redriven 0\n" == desk.said("redrive", "--all")
    assert [b"%d" % number for number in range(9)] == desk.values()


def test_what_is_refused_is_counted_and_passed(desk: Desk) -> None:
    """Each reason with its count and its meaning; a higher limit sends a letter that is named."""
    desk.set_aside(b"tired", own=[(CYCLES, b"3")])
    desk.set_aside(b"large", DeadLetter.TOO_LARGE)
    desk.put(b"stranger", [])
    desk.put(b"foreign", [("__connect.errors.topic", b"payroll"), ("secondlook.error.code", b"not_a_record")])
    desk.set_aside(b"fresh")
    said = desk.said("redrive", "--all")
    assert "redriven 1: not_a_record 1\n" in said
    assert all(f"refused 1, {why}: " in said for why in ("max_cycles", "too_large", "malformed", "foreign"))
    assert "redriven 0\n" == desk.said("redrive", "--all")
    assert "refused 1, max_cycles" in desk.said("redrive", "0:0")
    assert "redriven 1" in desk.said("redrive", "0:0", "--max-cycles", "4")
    assert [b"fresh", b"tired"] == desk.values()


def test_a_crash_before_the_commit_sends_the_batch_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: nothing is lost, the progress comes after the records."""

    class Dying(Consumer):
        def commit(self, *_: Any, **__: Any) -> Any:  # type: ignore[override] # it never returns
            raise KeyboardInterrupt

    desk.set_aside(b"twice")
    with monkeypatch.context() as patch:
        patch.setattr("streams.kafka.redrive.Consumer", Dying)
        assert 0 != desk.run("redrive", "--all").exit_code
    assert "redriven 1" in desk.said("redrive", "--all")
    assert "redriven 0" in desk.said("redrive", "--all")
    assert [b"twice", b"twice"] == desk.values()


def test_large_batches_are_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by bytes too, and every batch carries its progress."""
    monkeypatch.setattr("streams.kafka.redrive._BATCH_BYTES", 10)
    values = [b"%d" % number * 6 for number in range(9)]
    for value in values:
        desk.set_aside(value)
    assert "redriven 9" in desk.said("redrive", "--all")
    assert "redriven 0" in desk.said("redrive", "--all")
    assert values == desk.values()


def test_through_the_worker_and_back(models: Path) -> None:
    """A poison record becomes a letter again, with its first header, one reason and the count of its redrives."""
    with EmbeddedBroker([]) as broker:
        desk = Desk(broker, "")
        settings = {"broker": broker.bootstrap, "delivery": "at_least_once", "model": models, "web_port": 0}
        with WorkerProcess(settings, program=[str(FAULTY), "none"]) as worker:
            worker.wait_for("assigned")
            desk.producer.produce(NAMES[REQUESTS], b"{poison", b"k", headers={"own": b"1"})
            assert 0 == desk.producer.flush(10)
            for cycles in range(3):
                desk.wait_for(cycles + 1)
                assert "redriven 1: not_a_record 1" in desk.said("redrive", "--all", "--max-cycles", "5")
            headers = [letter.headers() for letter in desk.wait_for(4)]
            assert 0 == worker.terminate()
        assert "refused 1, max_cycles" in desk.said("redrive", "--all")
    counted = [[(name, value) for name, value in one if name in ("own", CYCLES)] for one in headers]
    expected = [[("own", b"1")], *([("own", b"1"), (CYCLES, b"%d" % cycles)] for cycles in (1, 2, 3))]
    assert expected == sorted(counted, key=lambda one: one[1:])
    assert [8, 9, 9, 9] == sorted(len(one) for one in headers)

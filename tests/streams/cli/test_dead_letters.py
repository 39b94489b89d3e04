"""`secondlook dead-letters list` and `show`, on the embedded broker: what an operator sees, and what is refused."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.contracts.headers import CYCLES
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import RESPONSES, Headers
from streams.trials.brokers import EmbeddedBroker

OWN: Headers = [("traceparent", b"00-ab"), ("empty", b""), ("none", None), ("traceparent", b"\xff")]


def test_list_is_a_table_with_the_latest_last(desk: Any) -> None:
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


def test_an_empty_topic(desk: Any) -> None:
    """Nothing to list, nothing to redrive, and no error."""
    assert desk.said("list").endswith("0 dead letters\n")
    assert "redriven 0\n" == desk.said("redrive", "--all")


def test_list_filters_and_limits(desk: Any) -> None:
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


def test_list_as_json(desk: Any) -> None:
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


def test_nothing_that_was_written_drives_the_terminal(desk: Any) -> None:
    """Not by key, header name, header, reason, code or value, neither in the list nor in the letter."""
    hostile = "\x1b]0;x\x07\x9b2J\u202e\x7f\r"
    forged: Headers = [
        (name, hostile.encode()) for name in ("__connect.errors.topic", "secondlook.error.code", hostile)
    ]
    desk.put(json.dumps({"a": hostile}, ensure_ascii=False).encode(), forged, key=hostile.encode())
    desk.put(hostile.encode() + b"\xff", forged, key=b"\xff\x1b")
    for shown in (desk.said("list"), desk.said("show", "0:0"), desk.said("show", "0:1")):
        assert all(line.isprintable() for line in shown.split("\n"))


def test_show(desk: Any) -> None:
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


def test_show_raw_of_a_letter_without_value_says_where_it_is(desk: Any) -> None:
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
def test_a_letter_that_is_not_there(desk: Any, command: str, position: str, why: str) -> None:
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


def test_options_that_do_not_go_together(desk: Any) -> None:
    """What the Kafka client says of them only once a consumer is made is one line as well."""
    result = desk.run("list", "-X", "fetch.max.bytes=10")
    assert (1, 1) == (result.exit_code, result.output.count("\n")), result.output
    assert (
        "`fetch.max.bytes` must be >= `message.max.bytes`; look at what is given to the Kafka client" in result.output
    )


def test_a_topic_that_is_missing(cluster: EmbeddedBroker) -> None:
    """The error gives the command that creates it."""
    result = CliRunner().invoke(
        main, ["dead-letters", "list", f"--broker={cluster.bootstrap}", "--topic-prefix=nowhere."]
    )
    assert 1 == result.exit_code
    assert "nowhere.moderation.dead-letter. Mend it: secondlook topics create" in result.stderr

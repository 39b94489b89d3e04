"""Requests that not every JSON parser reads: humans are given them so that each does, with nothing lost."""

import json
import math
import sys
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.pipeline.controls import Controls
from streams.pipeline.gate import ENVELOPE
from streams.pipeline.matching import Case
from streams.pipeline.portable import CUT_BELOW, MOST_LEVELS, made_portable
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.routing import AUTO_ACTION, HUMAN_REVIEW, Verdict, decide
from streams.pipeline.scope import EVERYTHING
from tests.rig import NOW, Desk
from tests.rig import request as record
from tests.streams.pipeline.test_controls import Model
from tests.streams.pipeline.test_gate import MAX, through

ORDINARY = [
    b"{}",
    b'{"a":-9223372036854775808,"b":18446744073709551615,"c":0.1234567890123456789,"d":-0,"e":1e308,"f":0e999,"g":0.000}',
    b'{"uuid":"6e000000-e000-4e00-ae00-123456789012345678901234567890","text":"1e400 [[[[ {{ \\\\ud800 \\" 99999999999999999999"}',
    b'{"pair":"\\ud83d\\uDE00 \\\\\\ud83d\\ude00","99999999999999999999":null}',
    b"[" * MOST_LEVELS + b"]" * MOST_LEVELS,
    b"[" + b"[]," * 200 + b"[]]",
    b'{"a":"' + b'[{\\"' * 200 + b'","b":[' + b"{}," * 200 + b"[]]}",
]
ODD = {
    b"9223372036854775808": None,
    b"18446744073709551616": "18446744073709551616",
    b"-9223372036854775809": "-9223372036854775809",
    b"1e400": "1e400",
    b"-1E+309": "-1E+309",
    b"1e-400": "1e-400",
    b"0." + b"0" * 400 + b"1": "0." + "0" * 400 + "1",
    b"1." + b"0" * 62: None,
    b"1." + b"0" * 63: "1." + "0" * 63,
    b"9" * 5000: "9" * 5000,
    b'"\\ud83d"': "\\ud83d",
    b'"\\\\\\uDE00\\ud83d\\ud83d\\ude00"': "\\\\uDE00\\ud83d\U0001f600",
    b"[" * 28 + b"[" * 32 + b"1" + b"]" * 32 + b"]" * 28: "[" * 32 + "1" + "]" * 32,
    b"[" * 28 + b"[[0]," + b"[" * 31 + b"]" * 31 + b"]" + b",[2]" + b"]" * 28: "[[0]," + "[" * 31 + "]" * 32,
}


@pytest.mark.parametrize("value", ORDINARY)
def test_what_every_parser_reads_stays_as_it_came(value: bytes) -> None:
    """At the very limits, too, and whatever stands in strings."""
    assert made_portable(value) is None
    orjson.loads(value)


@pytest.mark.parametrize(("value", "told"), ODD.items(), ids=lambda one: repr(one)[:30])
def test_what_not_every_parser_reads_is_told_as_text(value: bytes, told: Any) -> None:
    """In its place; what stands around it is untouched, blanks included."""
    before, after = b'{ "a" : [1.50, ', b' , "\\u00e9"] }'
    found = made_portable(before + value + after)
    if told is None:
        assert found is None
        return
    assert found is not None
    assert (before, after) == (found[: len(before)], found[-len(after) :])
    new = orjson.loads(found)["a"][1]
    while isinstance(new, list):
        new, *beside = new
        assert beside in ([], [[2]])
    assert told == new


@pytest.mark.parametrize("blank", [b"", b" ", b"\t", b"\n", b"\r", b"\r\n  "])
@pytest.mark.parametrize(
    "number", [b"1e400", b"-1E+400", b"9" * 30, b"-0." + b"1" * 70], ids=lambda one: repr(one)[:12]
)
def test_such_a_number_is_found_wherever_it_may_stand(blank: bytes, number: bytes) -> None:
    """A blank that nobody thought of would hide it."""
    for before, after in ((b'{"a":', b"}"), (b'{"a":[', b",0]}"), (b'{"a":[0,', b"]}")):
        told = before + blank + b'"' + number + b'"' + blank + after
        assert told == made_portable(before + blank + number + blank + after)


HOSTILE = {
    "brackets side by side": b"[" + b"[]," * 9999 + b"0]",
    "brackets in one another": b"[" * 9999 + b"]" * 9999,
    "brackets side by side, deep down": b"[" * 60 + b"[]," * 9999 + b"0" + b"]" * 60,
    "strings": b"[" + b'"\\u0041",' * 9999 + b"1e999]",
    "a long word of halves": b'"' + b"\\ud800" * 9999 + b'"',
    "words of halves": b"[" + b'"\\ud800",' * 9999 + b"0]",
    "numbers that fit": b"[" + b"0.12345678901234567890," * 9999 + b"1e999]",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_python_runs_for_what_is_odd_alone(value: bytes) -> None:
    """Not for each bracket, string or number: a request that somebody made odd on purpose would hold up its partition."""
    calls = []
    sys.setprofile(lambda _frame, event, _argument: calls.append(event))
    try:
        made_portable(b'{"x":' + value + b"}")
    finally:
        sys.setprofile(None)
    assert len(calls) < 200


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,70})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
TEXTS = st.text(st.characters() | st.sampled_from('\ud83d\ude00\udfff\ud800\\"e0[{')) | st.sampled_from(
    ["e000", "0" * 30]
)
STRINGS = st.one_of(
    TEXTS.map(json.dumps),
    TEXTS.map(lambda text: json.dumps(text.encode(errors="ignore").decode(), ensure_ascii=False)),
)
BLANKS = st.sampled_from(["", " ", "\n\t"])


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.lists(inner, max_size=4), BLANKS).map(lambda one: f"[{one[1]}{','.join(one[0])}]")


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(STRINGS, BLANKS, inner), max_size=4, unique_by=lambda one: json.loads(one[0]))
    return pairs.map(lambda given: "{" + ",".join(f"{key}{blank}:{value}" for key, blank, value in given) + "}")


def deep(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    levels = st.integers(MOST_LEVELS - 3, MOST_LEVELS + 3)
    return st.tuples(inner, levels).map(lambda one: "[" * one[1] + one[0] + "]" * one[1])


VALUES = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["true", "null"]),
    lambda inner: st.one_of(arrays(inner), objects(inner), deep(inner)),
    max_leaves=12,
)


def whole(text: str) -> str:
    assert -(2**63) <= int(text) < 2**64
    return text


def real(text: str) -> str:
    assert math.isfinite(float(text))
    return text


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


def strictly(value: bytes) -> Any:
    """As a careful parser reads it; numbers as their characters."""
    read = json.loads(value, parse_int=whole, parse_float=real)
    orjson.loads(value)
    msgspec.json.decode(value)
    return read


def seen(text: str) -> str:
    """Halves of surrogate pairs as their escapes."""
    return "".join(f"\\u{ord(one):04x}" if 0xD800 <= ord(one) < 0xE000 else one for one in text)


def same(came: Any, told: Any, level: int = 1) -> bool:
    """Whether nothing of what came is lost."""
    if isinstance(came, dict | list) and isinstance(told, str):
        assert level == CUT_BELOW + 1
        assert CUT_BELOW + levels(came) > MOST_LEVELS
        return bool(json.loads(told, parse_int=str, parse_float=str) == came)
    if isinstance(came, dict):
        keys = [seen(key) for key in came]
        return keys == [*told] and all(map(same, came.values(), told.values(), [level + 1] * len(came)))
    if isinstance(came, list):
        return len(came) == len(told) and all(map(same, came, told, [level + 1] * len(came)))
    return bool((seen(came) if isinstance(came, str) else came) == told)


@settings(max_examples=300)
@given(VALUES)
@example('["\\ud83d\\ud83d\\ude00"]')
def test_every_decision_can_be_read_with_64_bits(value: str) -> None:
    """Whatever a request holds: its decision is read by careful parsers, the request in it says the same, and a human decides if it was odd."""
    request = b'{"request_id":"a","policy":"hate","x":' + value.encode() + b"}"
    answer = b'{"choices":[{"message":{"content":"{\\"outcome\\": 0}"}}]}'
    outbox = through(
        Desk(max_bytes=MAX),
        Record(REQUESTS, 0, 0, NOW, b"a", request, None),
        Record(RESPONSES, 0, 0, NOW, b"a", answer, None),
    )
    (decision,) = [one for one in outbox.outputs if one.topic == "human_review"]
    read = strictly(decision.value or b"")
    assert levels(read) <= MOST_LEVELS + 1
    assert same(json.loads(request, parse_int=str, parse_float=str), read["request"])
    assert (made_portable(request) is not None) == (read["reasons"] == ["request_not_portable"])


def test_it_leaves_room_for_the_decision_around_it() -> None:
    """A request that would only be too large with its quotation marks is set aside, as one is that is too large as it is."""
    fill = MAX - ENVELOPE - 100
    request = b'{"request_id":"a","policy":"hate","x":[' + b"1e999," * (fill // 6) + b"0]}"
    outbox = through(Desk(max_bytes=MAX), Record(REQUESTS, 0, 0, NOW, b"a", request, None))
    (letter,) = outbox.outputs
    assert ("dead_letter", request) == (letter.topic, letter.value)


def test_what_is_no_json_does_not_become_some_that_is_much_longer() -> None:
    """A control character takes six bytes in a string, so that a decision of a request of a third would not fit."""
    deep = b"[" * 61 + b"\x01" * (MAX // 3) + b"]" * 61
    request = b'{"request_id":"a","policy":"hate","x":' + deep + b"}"
    outbox = through(Desk(max_bytes=MAX), Record(REQUESTS, 0, 0, NOW, b"a", request, None))
    (letter,) = outbox.outputs
    assert ("dead_letter", request) == (letter.topic, letter.value)


def test_nothing_odd_is_automated() -> None:
    """However sure the model is that the LLM is right."""
    model: Any = Model()
    controls, verdict = Controls(model, {EVERYTHING: 0.5}), Verdict(outcome=0, error_probability=0.01)
    ordinary = Case("a", "hate", record(), None, None)
    odd = Case("a", "hate", record(), None, None, portable=b"{}")
    assert [AUTO_ACTION, HUMAN_REVIEW] == [decide(case, verdict, controls).route for case in (ordinary, odd)]

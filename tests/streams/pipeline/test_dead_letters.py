"""Dead letters: what sets a record aside and what puts it back are each other's inverse, cycles apart."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contracts.headers import CYCLES, DEAD_LETTER_HEADERS, ERROR_CODE, SOURCE_TOPIC
from streams.pipeline.dead_letters import (
    REFUSALS,
    Letter,
    Refusal,
    dead_letter,
    put_back,
    read_letter,
    read_progress,
    refusal,
    write_progress,
)
from streams.pipeline.matching import Dead
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, RESPONSES, Headers, Output, Record

NAMES = {REQUESTS: "moderation.requests", RESPONSES: "llm.responses"}
BYTES = st.none() | st.binary(max_size=20)
OWN = st.lists(st.tuples(st.text(max_size=10), BYTES), max_size=5)
CODES = st.sampled_from(sorted(set(DeadLetter) - {DeadLetter.TOO_LARGE}))


def set_aside(key: bytes | None, value: bytes | None, headers: Headers | None, code: DeadLetter) -> Output:
    return dead_letter(Dead(Record(REQUESTS, 2, 7, 0, key, value, headers), code, "because"), NAMES)


@given(BYTES, BYTES, st.none() | OWN, CODES)
def test_putting_back_undoes_setting_aside(
    key: bytes | None, value: bytes | None, headers: Headers | None, code: DeadLetter
) -> None:
    """Key, value and the record's own headers come back as they were, in their order, with the count at the end."""
    letter = set_aside(key, value, headers, code)
    back = put_back(REQUESTS, letter.key, letter.value, letter.headers)
    assert Output(REQUESTS, key, value, [*(headers or []), (CYCLES, b"1")]) == back


def test_the_headers_are_those_of_the_contract() -> None:
    """All of them on a letter that comes back after a redrive; a new one would be missing in the documents."""
    once = set_aside(b"k", b"v", None, DeadLetter.KEY_MISMATCH)
    again = set_aside(b"k", b"v", put_back(REQUESTS, b"k", b"v", once.headers).headers, DeadLetter.KEY_MISMATCH)
    assert {*DEAD_LETTER_HEADERS} == {name for name, _ in again.headers or ()}


@given(OWN, CODES, st.integers(1, 5))
def test_every_round_counts_and_leaves_one_reason(headers: Headers, code: DeadLetter, rounds: int) -> None:
    """However often a record comes back, it has its own headers, one count and one reason."""
    letter = set_aside(b"k", b"v", headers, code)
    for _ in range(rounds):
        letter = set_aside(b"k", b"v", put_back(REQUESTS, b"k", b"v", letter.headers).headers, code)
    assert Letter(code, NAMES[REQUESTS], "2", "7", "because", rounds) == read_letter(letter.headers)
    names = [name for name, _ in letter.headers or ()]
    assert [name for name, _ in headers] == names[: len(headers)]
    assert len(names) == len(set(names[len(headers) :])) + len(headers)


def test_a_producers_forged_reason_is_neither_believed_nor_passed_on() -> None:
    """Of two headers of one name the worker's counts: a producer cannot send a record into another topic."""
    forged: Headers = [(SOURCE_TOPIC, b"payroll"), (ERROR_CODE, b"late_response"), ("own", b"1")]
    letter = set_aside(b"k", b"v", forged, DeadLetter.KEY_MISMATCH)
    read = read_letter(letter.headers)
    assert (NAMES[REQUESTS], DeadLetter.KEY_MISMATCH) == (read.topic, read.code)
    assert [("own", b"1"), (CYCLES, b"1")] == put_back(REQUESTS, b"k", b"v", letter.headers).headers


@pytest.mark.parametrize("count", [None, b"", b"-3", b"many", b"\xff", b"9" * 5000, "³".encode()])
def test_a_count_that_no_redrive_wrote_is_none(count: bytes | None) -> None:
    """A header that is no count counts for nothing, and cannot put a record back for ever."""
    headers: Headers = [(CYCLES, count)]
    assert 0 == read_letter(headers).cycles
    assert [(CYCLES, b"1")] == put_back(REQUESTS, None, None, headers).headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Refusal.MALFORMED),
        ([(ERROR_CODE, b"not_a_record")], Refusal.MALFORMED),
        ([(ERROR_CODE, b"of_tomorrow"), (SOURCE_TOPIC, b"llm.responses")], Refusal.MALFORMED),
        ([(ERROR_CODE, None), (SOURCE_TOPIC, None)], Refusal.MALFORMED),
        ([(ERROR_CODE, b"not_a_record"), (SOURCE_TOPIC, b"payroll")], Refusal.FOREIGN),
        ([(ERROR_CODE, b"too_large"), (SOURCE_TOPIC, b"llm.responses")], Refusal.TOO_LARGE),
        ([(ERROR_CODE, b"not_a_record"), (SOURCE_TOPIC, b"llm.responses"), (CYCLES, b"3")], Refusal.MAX_CYCLES),
        ([(ERROR_CODE, b"not_a_record"), (SOURCE_TOPIC, b"llm.responses"), (CYCLES, b"2")], None),
    ],
)
def test_refusals(headers: Any, expected: Refusal | None) -> None:
    """What cannot go back where it came from, and what has gone often enough, is refused."""
    assert expected == refusal(read_letter(headers), set(NAMES.values()), 3)


def test_every_refusal_has_its_meaning() -> None:
    """An operator is told what each means."""
    assert set(Refusal) == set(REFUSALS)


@given(st.fixed_dictionaries({code.value: st.integers(0, 2**62) for code in DeadLetter}))
def test_progress_survives_the_commit(progress: dict[str, int]) -> None:
    """An offset and its note say how far each code is, and the offset alone never claims too much."""
    offset, note = write_progress(progress)
    assert progress == read_progress(offset, note)
    assert min(progress.values()) == offset


@pytest.mark.parametrize("note", [None, "", "somebody's", "[]", '{"late_response": "x"}', '{"of_tomorrow": 9}'])
def test_a_note_that_says_nothing(note: str | None) -> None:
    """Another tool may set the group's offset: then that holds for every code."""
    assert {code.value: 5 for code in DeadLetter} == read_progress(5, note)

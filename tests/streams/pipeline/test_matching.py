"""Matching: every request ends in exactly one case, every unusable record in exactly one dead letter."""

import json
from collections import Counter
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.pipeline.dead_letters import CONNECT, dead_letter
from streams.pipeline.matching import Matched, Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Record

TIMEOUT = 10_000
NOW = 1_700_000_000_000
CAUGHT_UP = {(REQUESTS, 0): 2**60, (RESPONSES, 0): 2**60}
BODY = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": '{"outcome": 1, "confidence": 90}'}, "logprobs": None}],
}
_BATCHES = count()


def request(
    request_id: str = "a", *, offset: int = 0, at: int = NOW, value: bytes | None = None, key: Any = ...
) -> Record:
    body = json.dumps({"request_id": request_id, "policy": "hate"}).encode() if value is None else value
    return Record(REQUESTS, 0, offset, at, request_id.encode() if key is ... else key, body, None)


def response(
    request_id: str = "a", *, offset: int = 0, at: int = NOW, value: bytes | None = None, key: Any = ...
) -> Record:
    body = json.dumps({"request_id": request_id, "body": BODY}).encode() if value is None else value
    return Record(RESPONSES, 0, offset, at, request_id.encode() if key is ... else key, body, None)


def matcher(**options: Any) -> Matcher:
    made = Matcher(response_timeout=TIMEOUT, dedup_window=60_000, **options)
    made.stores = {0: PartitionStore(0, dedup_window=60_000)}
    return made


def match(subject: Matcher, *records: Record, now: int = NOW, frontiers: Any = CAUGHT_UP) -> Matched:
    return subject.match(records, frontiers, now=now, unique=str(next(_BATCHES)))


@pytest.mark.parametrize("records", [(request(), response()), (response(), request())])
def test_request_and_response_meet_in_either_order(records: tuple[Record, Record]) -> None:
    """Whichever comes first waits for the other, also across batches."""
    together, apart = matcher(), matcher()
    assert ["a"] == [case.request_id for case in match(together, *records).cases]
    assert [] == match(apart, records[0]).cases
    (case,) = match(apart, records[1]).cases
    assert ("a", "hate", None) == (case.request_id, case.policy, case.reason)
    assert case.response is not None


def test_a_request_without_a_response_times_out() -> None:
    """After the response timeout the request becomes a case with its reason, once."""
    subject = matcher()
    match(subject, request())
    assert [] == match(subject, now=NOW + TIMEOUT - 1).cases
    (case,) = match(subject, now=NOW + TIMEOUT).cases
    assert (Reason.NO_RESPONSE, None) == (case.reason, case.response)
    assert [] == match(subject, now=NOW + 2 * TIMEOUT).cases


def test_a_request_does_not_time_out_while_older_responses_are_unread() -> None:
    """A worker that catches up finds the answer that is already in Kafka instead of escalating its request."""
    subject = matcher()
    behind = {(REQUESTS, 0): 2**60, (RESPONSES, 0): NOW + TIMEOUT - 1}
    match(subject, request(), frontiers=behind)
    assert [] == match(subject, now=NOW + 100 * TIMEOUT, frontiers=behind).cases
    (case,) = match(subject, response(), now=NOW + 100 * TIMEOUT, frontiers=behind).cases
    assert case.reason is None


def test_a_record_time_ahead_of_ours_counts_as_now() -> None:
    """A request stamped in the far future still times out."""
    subject = matcher()
    match(subject, request(at=NOW * 1000))
    assert [Reason.NO_RESPONSE] == [case.reason for case in match(subject, now=NOW + TIMEOUT).cases]


def test_a_mass_timeout_is_spread_over_batches() -> None:
    """One batch times out no more requests than its bound."""
    subject = matcher(max_expired=10)
    match(subject, *(request(f"r{number}") for number in range(25)))
    sizes = [len(match(subject, now=NOW + 2 * TIMEOUT).cases) for _ in range(4)]
    assert [10, 10, 5, 0] == sizes


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (request(value=b'{"request_id": "a", "poli'), DeadLetter.NOT_A_RECORD),
        (request(value=b""), DeadLetter.NOT_A_RECORD),
        (request(value=b"[1]"), DeadLetter.NOT_A_RECORD),
        (request(value=b"\x00\xff\xfe"), DeadLetter.NOT_A_RECORD),
        (request(value=b'{"request_id": "a", "policy": "p", "content": "\xff"}'), DeadLetter.NOT_A_RECORD),
        (request(value=b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"), DeadLetter.NOT_A_RECORD),
        (request(value=b'{"policy": "p"}'), DeadLetter.INVALID_REQUEST),
        (request(value=b'{"request_id": "a"}'), DeadLetter.INVALID_REQUEST),
        (request(value=b'{"request_id": "a", "policy": ""}'), DeadLetter.INVALID_REQUEST),
        (request(value=b'{"request_id": 7, "policy": "p"}'), DeadLetter.INVALID_REQUEST),
        (request("x" * 256), DeadLetter.INVALID_REQUEST),
        (request(key=None), DeadLetter.MISSING_KEY),
        (request(key=b"b"), DeadLetter.KEY_MISMATCH),
        (request(key=b"\xff"), DeadLetter.KEY_MISMATCH),
        (response(value=b'{"body": {"choi'), DeadLetter.NOT_A_RECORD),
        (response(value=b""), DeadLetter.NOT_A_RECORD),
        (response(key=None), DeadLetter.MISSING_KEY),
        (response(key=b"b"), DeadLetter.KEY_MISMATCH),
        (response("x" * 256), DeadLetter.KEY_MISMATCH),
    ],
)
def test_a_record_that_breaks_the_contract_is_a_dead_letter(record: Record, code: DeadLetter) -> None:
    """Each breach has its code; the record itself is kept and nothing waits for it."""
    subject = matcher()
    matched = match(subject, record)
    assert [(record, code)] == [(dead.record, dead.code) for dead in matched.dead]
    assert ([], [], 0, 0) == (matched.cases, matched.changes, subject.waiting_requests, subject.waiting_responses)


def test_a_record_too_large_to_be_written_anywhere_is_set_aside_without_its_value() -> None:
    """Let in, it would stop its partition for good: neither the changelog nor a review could hold it."""
    large = request(value=b'{"request_id": "a", "policy": "p", "content": "' + b"x" * 2**20 + b'"}')
    (dead,) = match(matcher(), large).dead
    letter = dead_letter(dead, {"requests": "moderation.requests"})
    assert (DeadLetter.TOO_LARGE, None) == (dead.code, letter.value)
    assert (CONNECT + "offset", b"0") in (letter.headers or [])


def test_an_unreadable_answer_reaches_its_request() -> None:
    """A response whose body is no answer escalates its request instead of letting it time out."""
    subject = matcher()
    broken = response(value=b'{"request_id": "a", "body": {"choices": "upstream timeout"}}')
    (case,) = match(subject, request(), broken).cases
    assert (Reason.UNREADABLE_ANSWER, None) == (case.reason, case.response)


def test_a_bare_provider_body_is_matched_by_its_key() -> None:
    """An LLM gateway that writes the provider's body needs no envelope."""
    (case,) = match(matcher(), request(), response(value=json.dumps(BODY).encode())).cases
    assert case.response is not None


def test_duplicates_and_late_comers_have_their_codes() -> None:
    """First come, first served; the rest is set aside with the reason."""
    subject = matcher()
    matched = match(subject, request(), request(offset=1), response(), response(offset=1), request(offset=2))
    assert 1 == len(matched.cases)
    expected = [DeadLetter.DUPLICATE_REQUEST, DeadLetter.DUPLICATE_RESPONSE, DeadLetter.DUPLICATE_REQUEST]
    assert expected == [dead.code for dead in matched.dead]
    match(subject, request("b"))
    match(subject, now=NOW + TIMEOUT)
    assert [DeadLetter.LATE_RESPONSE] == [dead.code for dead in match(subject, response("b"), now=NOW + TIMEOUT).dead]


def test_the_same_record_read_again_is_not_a_duplicate() -> None:
    """At least once, a restart may read a waiting record a second time."""
    subject = matcher()
    match(subject, request(offset=4), response("b", offset=9))
    matched = match(subject, request(offset=4), response("b", offset=9))
    assert ([], 1, 1) == (matched.dead, subject.waiting_requests, subject.waiting_responses)


def test_an_orphan_response_is_set_aside_after_the_timeout() -> None:
    """A response whose request never comes becomes a dead letter."""
    subject = matcher()
    match(subject, response())
    assert [DeadLetter.ORPHAN_RESPONSE] == [dead.code for dead in match(subject, now=NOW + TIMEOUT).dead]


def test_a_pair_within_one_batch_leaves_only_its_decision_in_the_changelog() -> None:
    """What came and went within a batch needs no changelog record."""
    changes = match(matcher(), request(), response()).changes
    assert [b"d:"] == [change.key[:2] for change in changes if change.key]


def rebuilt(log: dict[bytes, bytes]) -> Matcher:
    made = Matcher(response_timeout=TIMEOUT, dedup_window=60_000)
    made.stores = {0: made.restore(0, log)}
    return made


def absorb(log: dict[bytes, bytes], matched: Matched) -> None:
    for change in matched.changes:
        assert change.key is not None
        if change.value is None:
            log.pop(change.key, None)
        else:
            log[change.key] = change.value


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["request", "response", "garbage", "unreadable", "wait", "restart"]),
        st.sampled_from("abcdef"),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(events=EVENTS, size=st.integers(1, 7))
def test_every_record_ends_in_exactly_one_place(events: list[tuple[str, str]], size: int) -> None:
    """Any order, duplicates, garbage, pauses and restarts from the changelog: one case an id, nothing vanishes."""
    subject, log, now = matcher(), {}, NOW
    cases: Counter[str] = Counter()
    ends = sent = 0
    batch: list[Record] = []

    def flush() -> None:
        nonlocal ends
        matched = match(subject, *batch, now=now)
        batch.clear()
        absorb(log, matched)
        for case in matched.cases:
            cases[case.request_id] += 1
            ends += 1 if case.reason is Reason.NO_RESPONSE else 2
        ends += len(matched.dead)

    for offset, (kind, name) in enumerate(events):
        if kind == "wait":
            now += TIMEOUT // 3
        elif kind == "restart":
            flush()
            subject = rebuilt(log)
        else:
            sent += 1
            bad = {"garbage": b"{", "unreadable": b'{"choices": 1}'}.get(kind)
            make = request if kind == "request" else response
            batch.append(make(name, offset=offset, at=now, value=bad))
        if len(batch) >= size:
            flush()
    flush()
    now += 2 * TIMEOUT
    flush()
    assert sent == ends
    assert (0, 0) == (subject.waiting_requests, subject.waiting_responses)
    requested = {name for kind, name in events if kind == "request"}
    assert requested == set(cases)
    assert {1} >= set(cases.values())

"""Matching: every request ends in exactly one case, every unusable record in exactly one dead letter."""

import json

import pytest
from msgspec.structs import replace

from featurizers import decode
from streams.contracts.headers import CONNECT
from streams.pipeline import matching
from streams.pipeline.dead_letters import dead_letter
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.requests import Request
from tests.rig import BODY, NOW, TIMEOUT, Desk, request, response


@pytest.mark.parametrize("records", [(request(), response()), (response(), request())])
def test_request_and_response_meet_in_either_order(records: tuple[Record, Record]) -> None:
    """Whichever comes first waits for the other, also across batches."""
    together, apart = Desk(), Desk()
    assert ["a"] == [case.request_id for case in together.match(*records).cases]
    assert [] == apart.match(records[0]).cases
    (case,) = apart.match(records[1]).cases
    assert ("a", "hate", None) == (case.request_id, case.policy, case.reason)
    assert case.response is not None


@pytest.mark.parametrize("known", [True, False])
def test_an_answer_that_was_read_on_the_way_is_not_read_again(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be read there is read here."""
    records = [request(), response()]
    read = decode(records[1].value or b"")
    monkeypatch.setattr(matching, "decode", lambda _: read_here)
    read_here = replace(read, llm="read here")
    desk = Desk()
    arrivals = Arrivals(records, {}, {}, answers=[None, read if known else None])
    (case,) = desk.matcher.match(desk.assignment.stores, arrivals, now=NOW).cases
    assert case.response is (read if known else read_here)


def test_a_request_without_a_response_times_out() -> None:
    """After the response timeout the request becomes a case with its reason, once."""
    desk = Desk()
    desk.match(request())
    assert [] == desk.match(now=NOW + TIMEOUT - 1).cases
    (case,) = desk.match(now=NOW + TIMEOUT).cases
    assert (Reason.NO_RESPONSE, None) == (case.reason, case.response)
    assert [] == desk.match(now=NOW + 2 * TIMEOUT).cases


def test_a_request_does_not_time_out_while_older_responses_are_unread() -> None:
    """A worker that catches up finds the answer that is already in Kafka instead of escalating its request."""
    desk = Desk()
    behind = {(REQUESTS, 0): NOW + TIMEOUT, (RESPONSES, 0): NOW + TIMEOUT - 1}
    desk.match(request(), frontiers=behind)
    assert [] == desk.match(now=NOW + 100 * TIMEOUT, frontiers=behind).cases
    (case,) = desk.match(response(), now=NOW + 100 * TIMEOUT, frontiers=behind).cases
    assert case.reason is None


def test_a_record_time_ahead_of_ours_counts_as_now() -> None:
    """A request stamped in the far future still times out."""
    desk = Desk()
    desk.match(request(at=NOW * 1000))
    assert [Reason.NO_RESPONSE] == [case.reason for case in desk.match(now=NOW + TIMEOUT).cases]


def test_a_mass_timeout_is_spread_over_batches() -> None:
    """One batch times out no more requests than its bound."""
    desk = Desk(max_expired=10)
    desk.match(*(request(f"r{number}") for number in range(25)))
    sizes = [len(desk.match(now=NOW + 2 * TIMEOUT).cases) for _ in range(4)]
    assert [10, 10, 5, 0] == sizes


def test_as_many_may_time_out_as_come() -> None:
    """Else what waits would grow for as long as nothing is answered, and later partitions would never have their turn."""
    desk, names = Desk((0, 1), max_expired=10), (f"r{number}" for number in range(10_000))
    waiting = []
    for round_ in range(1, 9):
        now = NOW + round_ * TIMEOUT // 2
        desk.match(*(request(next(names), at=now, partition=number % 2) for number in range(30)), now=now)
        waiting.append([len(store.requests) for store in desk.assignment.stores.values()])
    assert [[15, 15]] + [[30, 30]] * 7 == waiting


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (request(value=b'{"request_id": "a", "poli'), DeadLetter.NOT_A_RECORD),
        (request(value=b""), DeadLetter.NOT_A_RECORD),
        (request(value=b"[1]"), DeadLetter.NOT_A_RECORD),
        (request(value=b"\x00\xff\xfe"), DeadLetter.NOT_A_RECORD),
        (request(value=b'{"request_id": "a", "policy": "p", "content": "\xff"}'), DeadLetter.NOT_A_RECORD),
        (request(value=b'{"x":' + b"[" * 100_000 + b"]" * 99_999 + b"}"), DeadLetter.NOT_A_RECORD),
        (request(value=b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), DeadLetter.INVALID_REQUEST),
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
    desk = Desk()
    matched = desk.match(record)
    assert [(record, code)] == [(dead.record, dead.code) for dead in matched.dead]
    assert ([], 0, 0) == (matched.cases, len(desk.store.requests), len(desk.store.responses))


def test_a_record_too_large_to_be_written_anywhere_is_set_aside_without_its_value() -> None:
    """Let in, it would stop its partition for good: neither the changelog nor a review could hold it."""
    large = request(value=b'{"request_id": "a", "policy": "p", "content": "' + b"x" * 2**21 + b'"}')
    (dead,) = Desk().match(large).dead
    letter = dead_letter(dead, {"requests": "moderation.requests"})
    assert (DeadLetter.TOO_LARGE, None) == (dead.code, letter.value)
    assert (CONNECT + "offset", b"0") in (letter.headers or [])


def test_an_unreadable_answer_reaches_its_request() -> None:
    """A response whose body is no answer escalates its request instead of letting it time out."""
    desk = Desk()
    broken = response(value=b'{"request_id": "a", "body": {"choices": "upstream timeout"}}')
    (case,) = desk.match(request(), broken).cases
    assert (Reason.UNREADABLE_ANSWER, None) == (case.reason, case.response)


def test_a_bare_provider_body_is_matched_by_its_key() -> None:
    """An LLM gateway that writes the provider's body needs no envelope."""
    (case,) = Desk().match(request(), response(value=json.dumps(BODY).encode())).cases
    assert case.response is not None


def test_duplicates_and_late_comers_have_their_codes() -> None:
    """First come, first served; the rest is set aside with the reason."""
    desk = Desk()
    matched = desk.match(request(), request(offset=1), response(), response(offset=1), request(offset=2))
    assert 1 == len(matched.cases)
    expected = [DeadLetter.DUPLICATE_REQUEST, DeadLetter.DUPLICATE_RESPONSE, DeadLetter.DUPLICATE_REQUEST]
    assert expected == [dead.code for dead in matched.dead]
    desk.match(request("b"))
    desk.match(now=NOW + TIMEOUT)
    assert [DeadLetter.LATE_RESPONSE] == [dead.code for dead in desk.match(response("b"), now=NOW + TIMEOUT).dead]


def test_the_same_record_read_again_is_not_a_duplicate() -> None:
    """At least once, a restart may read a waiting record a second time."""
    desk = Desk()
    desk.match(request(offset=4), response("b", offset=9))
    matched = desk.match(request(offset=4), response("b", offset=9))
    assert ([], 1, 1) == (matched.dead, len(desk.store.requests), len(desk.store.responses))


def test_an_orphan_response_is_set_aside_after_the_timeout() -> None:
    """A response whose request never comes becomes a dead letter."""
    desk = Desk()
    desk.match(response())
    assert [DeadLetter.ORPHAN_RESPONSE] == [dead.code for dead in desk.match(now=NOW + TIMEOUT).dead]


def test_a_pair_within_one_batch_leaves_only_its_decision_in_the_changelog() -> None:
    """What came and went within a batch is in no delta: a restart finds it decided, and nothing waiting."""
    desk = Desk()
    desk.match(request(), response())
    assert 1 == len(desk.log)
    desk.restart()
    assert (0, 0, 1) == (len(desk.store.requests), len(desk.store.responses), len(desk.store.decided))


def test_a_producer_whose_clock_is_slow_does_not_time_its_requests_out() -> None:
    """Where everything before it had been read, a record came just now, whatever its producer's stamp says."""
    desk = Desk()
    old = NOW - 100 * TIMEOUT
    assert [] == desk.match(request(at=old), caught_up=True).cases
    matched = desk.match(response(at=old), caught_up=True, now=NOW + 1)
    assert [None] == [case.reason for case in matched.cases]
    assert {RESPONSES: 1} == matched.old


def test_in_a_backlog_the_stamp_holds() -> None:
    """A worker that catches up does not wait anew for answers that would be there."""
    (case,) = Desk().match(request(at=NOW - TIMEOUT)).cases
    assert Reason.NO_RESPONSE == case.reason


def test_the_stamp_of_the_broker_holds_always() -> None:
    """It survives restarts, and nobody's clock can be wrong about it."""
    (case,) = Desk().match(request(at=NOW - TIMEOUT, appended=True), caught_up=True).cases
    assert Reason.NO_RESPONSE == case.reason


def test_a_header_name_that_is_not_utf_8_sets_its_record_aside() -> None:
    """Its headers could not be passed on; key and value are kept."""
    (dead,) = Desk().match(request(headers_unreadable=True)).dead
    letter = dead_letter(dead, {"requests": "moderation.requests"})
    assert DeadLetter.UNREADABLE_HEADERS == dead.code
    assert (b"a", dead.record.value) == (letter.key, letter.value)


def test_above_the_hard_limit_the_oldest_record_is_decided_without_its_other_half() -> None:
    """Memory is bounded whatever comes; a request goes to a human, a response to the dead letters."""
    desk = Desk(limits=Limits(100, 3_500, 100))
    matched = desk.match(*(request(f"r{number}", offset=number, at=NOW + 1000 * number) for number in range(6)))
    assert [("r0", Reason.STORE_FULL), ("r1", Reason.STORE_FULL)] == [
        (case.request_id, case.reason) for case in matched.cases
    ]
    assert [DeadLetter.LATE_RESPONSE] == [dead.code for dead in desk.match(response("r0")).dead]
    desk = Desk(limits=Limits(100, 3_500, 100))
    matched = desk.match(*(response(f"r{number}", offset=number, at=NOW + 1000 * number) for number in range(6)))
    assert {DeadLetter.STORE_FULL} == {dead.code for dead in matched.dead}


@pytest.mark.parametrize("waits", [True, False])
def test_an_answer_that_secondlook_fails_on_sends_its_request_to_a_human(
    monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Whichever of the two came first; the log gets the place and the frames, and no word of the content."""

    def failing(value: bytes) -> None:
        raise ValueError(value.decode())

    monkeypatch.setattr(matching, "decode", failing)
    records = (request(), response(offset=7)) if waits else (response(offset=7), request())
    matched = Desk().match(*records, request("b"))
    assert [("a", Reason.INTERNAL_ERROR)] == [(case.request_id, case.reason) for case in matched.cases]
    told = matched.incidents[0]
    assert (RESPONSES, 0, 7, "intake") == (told.source, told.partition, told.offset, told.stage)
    assert "builtins.ValueError" in told.traceback
    assert "outcome" not in told.traceback


def test_a_record_that_secondlook_fails_on_is_set_aside_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its batch go on, and a restart finds no trace of it."""
    real = matching.read_request

    def failing(record: Record) -> Request:
        if record.key == b"bad":
            raise ZeroDivisionError
        return real(record)

    monkeypatch.setattr(matching, "read_request", failing)
    desk = Desk()
    matched = desk.match(request("bad"), request("good"))
    assert [DeadLetter.INTERNAL_ERROR] == [dead.code for dead in matched.dead]
    assert ["good"] == list(desk.store.requests)


def test_a_waiting_request_that_secondlook_fails_on_still_waits_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores change last: a failure half-way through a record loses nobody's counterpart."""
    desk = Desk()
    desk.match(request(value=b'{"request_id": "a", "policy": "hate", "n": 1e999}'))  # one that is read again

    def failing(_record: Record) -> Request:
        raise ZeroDivisionError

    monkeypatch.setattr(matching, "read_request", failing)
    desk.match(response())
    assert ["a"] == list(desk.store.requests)


@pytest.mark.parametrize(
    ("given", "language"),
    [("pt-BR", "pt-BR"), (None, None), (7, None), ("", None), ("x" * 36, None), ({"deep": ["er"]}, None)],
)
@pytest.mark.parametrize("tenant", ["acme", 7])
def test_a_language_that_cannot_be_read_stops_nothing(given: object, language: str | None, tenant: object) -> None:
    """Its text is kept as it is; anything else is an unknown language, whatever else the request says."""
    value = json.dumps({"request_id": "a", "policy": "hate", "language": given, "tenant": tenant}).encode()
    (case,) = Desk().match(request(value=value), response()).cases
    assert (None, language) == (case.reason, case.language)


def test_requests_that_wait_share_what_they_have_in_common() -> None:
    """So a million of them take no more memory for it."""
    desk = Desk()
    desk.match(request("a"), request("b"))
    one, other = desk.store.requests.get("a"), desk.store.requests.get("b")
    assert one is not None
    assert other is not None
    assert one.kind is not None
    assert one.kind is other.kind
    assert one.deadline is other.deadline


def test_requests_of_more_kinds_than_are_kept_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from outside, so what waits for them is bounded; a response timeout later, the kinds of then are kept."""
    monkeypatch.setattr(matching, "_KINDS", 2)
    desk = Desk()

    def asked(name: str, **more: int) -> Record:
        value = json.dumps({"request_id": name, "policy": name[:4], "language": name[:2]}).encode()
        return request(name, value=value, **more)

    def kept(*names: str) -> list[bool]:
        return [waiting is not None and waiting.kind is not None for waiting in map(desk.store.requests.get, names)]

    names = [f"{policy}-{number}" for number in range(3) for policy in ("hate", "spam", "nude", "gore")]
    desk.match(*map(asked, names))
    assert [True, True, False, False] * 3 == kept(*names)
    cases = desk.match(*map(response, names)).cases
    assert [(name, name[:4], name[:2]) for name in names] == [(c.request_id, c.policy, c.language) for c in cases]
    desk.match(asked("nude-early", at=NOW + TIMEOUT - 1), now=NOW + TIMEOUT - 1)
    desk.match(asked("nude-later", at=NOW + TIMEOUT), now=NOW + TIMEOUT)
    assert [False, True] == kept("nude-early", "nude-later")

"""The stress test's books must balance when all is well, and must not when anything at all is wrong."""

import re
from collections.abc import Callable
from io import StringIO

import orjson
import pytest
from rich.console import Console

from streams.contracts.headers import ERROR_CODE, SOURCE_TOPIC
from streams.pipeline.records import Headers
from streams.trials.stress.books import Books, Findings
from streams.trials.stress.chaos import Damage
from streams.trials.stress.plan import Fault, Kind, Plan, Recorded, Shares, key
from streams.trials.stress.report import Limits, Result, breaches, closing_tables, figures
from streams.trials.stress.run import Options

REQUESTS = 400
RECORDED = [
    Recorded.of({"request_id": "x", "policy": "p", "content": "one"}, b'{"choices":[]}', "below_threshold"),
    Recorded.of({"request_id": "y", "policy": "p", "content": "two"}, b'{"choices":[]}', "above_threshold"),
]
SHARES = Shares(poison=0.2, duplicates=0.2, unanswered=0.1, late=0.1, hostile=0.2)
PLAN = Plan(RECORDED, requests=REQUESTS, shares=SHARES, seed=3)


def first(fault: Fault) -> int:
    """The first request with this fault."""
    return int((PLAN.faults == fault).argmax())


class Stream:
    """Writes into the books what a stream without a fault would, unless a test bends it."""

    def __init__(self) -> None:
        self.books = Books(PLAN)
        self.decisions = {index: self.decision(index) for index in range(REQUESTS)}
        self.letters = {index: PLAN.expects(index).dead for index in range(REQUESTS) if PLAN.expects(index).dead}

    def decision(self, index: int, reason: str | None = None) -> tuple[str, bytes, bytes, Headers]:
        """What must be decided of a request."""
        reason = reason or PLAN.expects(index).reasons[0]
        topic = "auto_action" if reason == "below_threshold" else "human_review"
        sent = PLAN.request(index)
        request = sent.value or b"" if topic == "human_review" else b"{}"
        head = orjson.dumps({"request_id": key(index).decode(), "reasons": [reason]})
        return topic, key(index), head[:-1] + b',"request":' + request + b"}", sent.headers or []

    def letter(self, index: int, code: str) -> tuple[bytes | None, bytes | None, Headers]:
        """What must be set aside of a request."""
        sent = PLAN.set_aside(index)
        return sent.key, sent.value, [*(sent.headers or []), (SOURCE_TOPIC, b"t"), (ERROR_CODE, code.encode())]

    def play(self) -> Findings:
        """Everything into the books, and close them."""
        for index in range(REQUESTS):
            self.books.sent(index, at=float(index))
        for index, decision in self.decisions.items():
            self.books.decision(*decision, at=index + 0.5)
        for index, code in self.letters.items():
            self.books.dead_letter(*self.letter(index, code or ""))
        return self.books.findings()


def told(found: Findings, **limits: float) -> str:
    """The breaches of a run that came to this."""
    result = figures(Result(Options(REQUESTS), found, Damage(recoveries=[2.0]), 1.0), delivery="exactly_once")
    return " | ".join(breaches(result, Limits(**limits)))  # type: ignore[arg-type] # all fields are numbers


def test_a_stream_without_a_fault_balances() -> None:
    """All that must come has come, and every kind of fault was among it."""
    stream = Stream()
    found = stream.play()
    assert set(Fault) == set(PLAN.faults.tolist())
    assert stream.books.complete
    assert "" == told(found)
    assert REQUESTS == found.decided == found.expected
    assert found.dead_expected == found.dead_seen
    assert [] == found.examples
    assert {0.5} == set(found.latencies.tolist())


def drop_decision(stream: Stream) -> None:
    del stream.decisions[first(Fault.NONE)]


def decide_twice(stream: Stream) -> None:
    stream.books.decision(*stream.decision(first(Fault.NONE)), at=0.0)


def wrong_reason(stream: Stream) -> None:
    index = first(Fault.NONE)
    stream.decisions[index] = stream.decision(index, "no_response")


def wrong_topic(stream: Stream) -> None:
    index = first(Fault.NONE)
    topic, *rest = stream.decisions[index]
    other = {"auto_action": "human_review", "human_review": "auto_action"}[topic]
    stream.decisions[index] = (other, *rest)  # type: ignore[assignment] # the rest is as it was


def late_response_used_and_set_aside(stream: Stream) -> None:
    index = first(Fault.LATE_RESPONSE)
    stream.decisions[index] = stream.decision(index, PLAN.expects(index).reasons[1])


def request_damaged(stream: Stream) -> None:
    index = first(Fault.UNANSWERED)
    topic, name, value, headers = stream.decisions[index]
    stream.decisions[index] = (topic, name, value.replace(b"one", b"1").replace(b"two", b"2"), headers)


def headers_lost(stream: Stream) -> None:
    index = first(Fault.NONE)
    topic, name, value, _ = stream.decisions[index]
    stream.decisions[index] = (topic, name, value, [])


def one_of_many_headers_lost(stream: Stream) -> None:
    index = first(Fault.MANY_HEADERS)
    topic, name, value, headers = stream.decisions[index]
    stream.decisions[index] = (topic, name, value, headers[:-1])


def huge_name_passed_on(stream: Stream) -> None:
    index = first(Fault.HUGE_NAME)
    topic, name, value, headers = stream.decisions[index]
    stream.decisions[index] = (topic, name, value + b" " * 500_000, headers)


def tombstone_taken_for_an_empty_value(stream: Stream) -> None:
    index = first(Fault.TOMBSTONE_REQUEST)
    name, _, headers = stream.letter(index, stream.letters.pop(index) or "")
    stream.books.dead_letter(name, b"", headers)


def keyless_given_a_key(stream: Stream) -> None:
    index = first(Fault.KEYLESS_RESPONSE)
    _, value, headers = stream.letter(index, stream.letters.pop(index) or "")
    stream.books.dead_letter(key(index), value, headers)


def keyless_without_a_trace(stream: Stream) -> None:
    stream.books.dead_letter(None, b"{}", [(ERROR_CODE, b"missing_key")])


def keyless_missing(stream: Stream) -> None:
    del stream.letters[first(Fault.KEYLESS_REQUEST)]


def foreign_decision(stream: Stream) -> None:
    stream.books.decision("auto_action", b"who", b"{}", None, at=0.0)


def beyond_the_plan(stream: Stream) -> None:
    stream.books.decision("auto_action", key(REQUESTS), b"{}", None, at=0.0)


def letter_missing(stream: Stream) -> None:
    del stream.letters[first(Fault.TRUNCATED_RESPONSE)]


def letter_twice(stream: Stream) -> None:
    index = first(Fault.DUPLICATE_RESPONSE)
    stream.books.dead_letter(*stream.letter(index, PLAN.expects(index).dead or ""))


def letter_of_a_good_record(stream: Stream) -> None:
    stream.letters[first(Fault.NONE)] = "orphan_response"


def letter_with_a_wrong_code(stream: Stream) -> None:
    stream.letters[first(Fault.DUPLICATE_REQUEST)] = "duplicate_response"


def letter_damaged(stream: Stream) -> None:
    index = first(Fault.GARBAGE_REQUEST)
    name, value, headers = stream.letter(index, stream.letters.pop(index) or "")
    stream.books.dead_letter(name, (value or b"") + b" ", headers)


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (drop_decision, "1 requests were never decided"),
        (decide_twice, "1 decisions came again"),
        (wrong_reason, "1 requests were decided for a wrong reason"),
        (wrong_topic, "1 requests were decided for a wrong reason"),
        (late_response_used_and_set_aside, "1 requests were decided for a wrong reason"),
        (request_damaged, "1 records are not what was sent"),
        (headers_lost, "1 records are not what was sent"),
        (one_of_many_headers_lost, "1 records are not what was sent"),
        (huge_name_passed_on, "1 records are not what was sent"),
        (tombstone_taken_for_an_empty_value, "1 records are not what was sent"),
        (keyless_given_a_key, "1 records are not what was sent"),
        (keyless_without_a_trace, "1 records belong to no request"),
        (keyless_missing, "dead letters never came: {'missing_key': 1}"),
        (foreign_decision, "1 records belong to no request"),
        (beyond_the_plan, "1 records belong to no request"),
        (letter_missing, "dead letters never came: {'not_a_record': 1}"),
        (letter_twice, "dead letters came that should not: {'duplicate_response': 1}"),
        (letter_of_a_good_record, "dead letters came that should not: {'orphan_response': 1}"),
        (letter_with_a_wrong_code, "dead letters never came: {'duplicate_request': 1}"),
        (letter_damaged, "1 records are not what was sent"),
    ],
)
def test_each_thing_that_goes_wrong_is_told(bend: Callable[[Stream], None], says: str) -> None:
    """One fault of the stream, one sentence that names it, and an example."""
    stream = Stream()
    bend(stream)
    found = stream.play()
    assert says in told(found)
    assert found.examples


def test_a_late_response_that_was_read_in_time_is_an_answer() -> None:
    """A worker that was down meanwhile finds it: decided by it, and nothing set aside."""
    stream = Stream()
    index = first(Fault.LATE_RESPONSE)
    stream.decisions[index] = stream.decision(index, PLAN.expects(index).reasons[1])
    del stream.letters[index]
    assert "" == told(stream.play())


def answer_kept_away(stream: Stream, fault: Fault) -> int:
    """The broker has a request's response so late that it timed out; returns its index."""
    index = first(fault)
    stream.decisions[index] = stream.decision(index, "no_response")
    stream.letters.pop(index, None)
    return index


def response_letter(stream: Stream, index: int, code: str) -> None:
    sent = PLAN.send(Kind.RESPONSE, index)
    headers: Headers = [(SOURCE_TOPIC, b"t"), (ERROR_CODE, code.encode())]
    stream.books.dead_letter(sent.key, sent.value, headers)


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Fault.NONE, ["late_response"]),
        (Fault.NONE, ["orphan_response"]),
        (Fault.DUPLICATE_RESPONSE, ["late_response", "late_response"]),
        (Fault.HUGE_NAME, ["late_response"]),
    ],
)
def test_a_request_whose_answer_the_broker_stored_too_late_may_time_out(fault: Fault, codes: list[str]) -> None:
    """Only if the broker did; and each of its responses must have been set aside."""
    for apart, letters, passes in ((True, codes, True), (False, codes, False), (True, codes[1:], False)):
        stream = Stream()
        index = answer_kept_away(stream, fault)
        for code in letters:
            response_letter(stream, index, code)
        stream.play()
        assert {index} == stream.books.unanswered
        stream.books.stored_apart({index, *range(20)} if apart else {index + 1})
        found = stream.books.findings()
        assert passes == ("" == told(found)) == ([] == found.examples)
        assert int(passes) == found.stored_apart


def test_an_answer_that_never_reached_kafka_is_told_apart() -> None:
    """It is wrong all the same, but no worker lost it."""
    stream = Stream()
    index = answer_kept_away(stream, Fault.NONE)
    stream.play()
    for answers, absent in (({index}, 0), (set[int](), 1)):
        stream.books.stored(answers)
        found = stream.books.findings()
        assert (absent, 1) == (found.never_stored, found.wrong_reason)


def test_an_answer_that_was_used_and_set_aside_is_told_even_if_stored_late() -> None:
    """One response comes to one end."""
    stream = Stream()
    index = first(Fault.NONE)
    response_letter(stream, index, "late_response")
    stream.play()
    stream.books.stored_apart({index})
    assert "dead letters came that should not: {'late_response': 1}" in told(stream.books.findings())


CHANGELOG_KEYS = {(0, 4): b"g0000003", (0, 3): b"secondlook.delta.1", (1, 3): b"secondlook.delta.1"}


@pytest.mark.parametrize(
    ("passed_by", "says"),
    [
        ({(0, 4)}, ""),
        ({(0, 4), (0, 1)}, ""),  # what stood there has been deleted since
        (set(), "1 foreign records in the changelog were not passed by"),
        ({(0, 4), (0, 3)}, "1 of the changelog's own records were passed by"),
    ],
)
def test_the_changelog_read_anew_must_pass_by_what_is_foreign_and_nothing_else(
    passed_by: set[tuple[int, int]], says: str
) -> None:
    """One foreign record stands in it."""
    stream = Stream()
    stream.books.changelog(CHANGELOG_KEYS, passed_by)
    found = stream.play()
    assert says in told(found)
    assert bool(says) == bool(told(found)) == bool(found.examples)
    assert {"sent": PLAN.foreign, "standing": 1} == {name: found.foreign[name] for name in ("sent", "standing")}


def test_a_worker_that_ends_by_itself_is_a_breach() -> None:
    """And is shown."""
    damage = Damage(ended_by_themselves=1)
    result = figures(Result(Options(REQUESTS), Stream().play(), damage, 1.0), delivery="exactly_once")
    assert ["1 workers ended by themselves"] == breaches(result, Limits())
    assert [] == breaches({**result, "ended_by_themselves": 0}, Limits())
    console = Console(file=StringIO(), width=200)
    console.print(closing_tables(result, []))
    shown = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO
    assert re.search(r"ended by themselves\W+1\b", shown)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"recovery": 1.0}, "longest recovery"),
        ({"p99": 100.0}, "p99 latency"),
        ({"throughput": 1e9}, "wanted"),
        ({"recovery": 3.0, "p99": 1000.0, "throughput": 0.1}, ""),
    ],
)
def test_limits_of_the_user_are_held(limits: dict[str, float], says: str) -> None:
    """Recovery took 2 s, each decision half a second."""
    text = told(Stream().play(), **limits)
    assert says in text
    assert bool(says) == bool(text)


def test_at_least_once_may_set_repeated_records_aside() -> None:
    """A batch read again finds its requests decided; a repeated decision is counted against the limit all the same."""
    stream = Stream()
    letter_twice(stream)
    decide_twice(stream)
    result = figures(Result(Options(REQUESTS), stream.play(), Damage(), 1.0), delivery="at_least_once")
    assert ["1 decisions came again (0 allowed)"] == breaches(result, Limits())
    assert [] == breaches(result, Limits(duplicated=None))

"""The read model: records in, a state out."""

import msgspec

from streams.console.decisions import Asked
from streams.console.read_model import MOST_POLICIES, OTHER, ReadModel, moment
from streams.console.state import State, encode_state
from streams.kafka.control_status import PendingStatus
from tests.streams.console.making import COSTS, NOW, decision, letter, watched, word


def test_unknown_is_never_zero() -> None:
    """Of a fleet that nothing was seen of, no figure is a number."""
    state = ReadModel("broker:9092", COSTS).state(NOW)
    assert (None, None, None) == (state.rates.decisions, state.lag.records, state.pending)
    assert (None, None) == (state.request_latency, state.response_latency)
    assert (None, None, None) == (state.routes[0].share, state.contact.silent, state.controls)
    assert "connecting" == state.word.word


def test_rates_are_of_what_was_watched() -> None:
    """What stood in the topics before says nothing of them, and counts in shares."""
    fleet = watched(decided=60)
    for number in range(600):
        fleet.decided(decision(f"old-{number}", p=0.9), int((NOW - 300) * 1000), NOW, live=False)
    state = fleet.state(NOW)
    assert 1.0 == state.rates.decisions
    assert 0.0 == state.rates.escalated
    assert (660, 600) == (state.routes[0].decisions, state.routes[0].escalated)


def test_requests_a_second_are_their_ends() -> None:
    """Nothing of them is read for that: ten records a second in each of two partitions."""
    assert 20.0 == watched().state(NOW).rates.requests


def test_policies_from_outside_are_bounded() -> None:
    """Further ones are counted together; one that is called as all are does not count as all."""
    fleet = ReadModel("broker:9092", COSTS)
    for number in range(3 * MOST_POLICIES):
        fleet.decided(decision(policy=f"p{number}"), int(NOW * 1000), NOW, live=True)
    fleet.decided(decision(policy="*"), int(NOW * 1000), NOW, live=True)
    state = fleet.state(NOW)
    assert 3 * MOST_POLICIES + 1 == state.routes[0].decisions
    others = next(one for one in state.routes if one.policy == OTHER)
    assert 2 * MOST_POLICIES + 1 == others.decisions
    assert MOST_POLICIES + 1 >= len(state.spreads)


def test_codes_of_dead_letters_are_bounded() -> None:
    """Anybody may write such a header."""
    fleet = watched()
    for number in range(1_000):
        fleet.set_aside(letter(f"code-{number}"), NOW, live=True)
    letters = fleet.state(NOW).letters
    assert (1_000, True, 200) == (letters.counted, len(letters.by_code) <= 65, len(letters.latest))


def test_pending_is_unknown_if_one_worker_does_not_say() -> None:
    """A sum without it would say too little."""
    fleet = watched()
    fleet.heard({"one": word(), "old": word("old", pending=None)}, {}, {})
    assert None is fleet.state(NOW).pending
    fleet.heard({"one": word(), "two": word("two", pending=PendingStatus(3, 1, 9.0))}, {}, {})
    pending = fleet.state(NOW).pending
    assert pending is not None
    assert (5, 1, 9.0) == (pending.requests, pending.responses, pending.oldest)


def test_a_partition_is_whose_worker_names_it() -> None:
    """Of an older worker it is not known."""
    fleet = watched()
    fleet.heard({"one": word(partitions=[1]), "old": word("old", partitions=None)}, {}, {})
    owners = {(one.role, one.number): one.worker for one in fleet.state(NOW).partitions}
    assert (None, "one") == (owners["requests", 0], owners["requests", 1])


def test_the_latest_decisions_that_are_asked_for() -> None:
    """The latest first, no more than asked for."""
    fleet = watched(decided=10)
    found = fleet.latest(Asked(request_id="id-"), 3)
    assert ["id-9", "id-8", "id-7"] == [one.decision.request_id for one in found]
    assert [] == fleet.latest(Asked(policy="none"), 3)


def test_memory_is_bounded() -> None:
    """Whatever comes."""
    fleet = watched()
    for number in range(10_000):
        fleet.decided(decision(f"{number}"), int((NOW + number) * 1000), NOW + number, live=True)
    assert 2_000 == len(fleet._seen)
    assert len(fleet._routes._slots) <= 122


def test_what_is_passed_by_counts_in_rates_alone() -> None:
    """So that a rate is not that of the console."""
    fleet = watched(decided=0)
    fleet.unread(7, {"auto_action": 600, "human_review": 60, "dead_letter": 6}, NOW)
    state = fleet.state(NOW)
    assert (11.0, 1.0, 0.1) == (state.rates.decisions, state.rates.escalated, state.rates.dead_letters)
    assert (7, 666, 0) == (state.contact.unread, state.contact.skipped, state.routes[0].decisions)
    assert 0 == fleet.state(NOW + 700).contact.skipped


def test_a_state_is_json_as_it_stands() -> None:
    """It can be read back as the same."""
    state = watched().state(NOW)
    assert state == msgspec.json.decode(encode_state(state), type=State)


def test_a_time_that_no_calendar_has() -> None:
    """A producer may stamp what it likes."""
    assert str(2**62) == moment(2**62)

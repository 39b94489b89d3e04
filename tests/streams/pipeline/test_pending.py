"""The pending store's log: it gives the store back, stays as short as what waits, and says what is not its own."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import ChangelogError
from streams.pipeline import pending
from streams.pipeline.decided import Decided
from streams.pipeline.pending import Claim, PartitionStore
from streams.pipeline.records import Output
from streams.pipeline.waiting import Waiting
from tests.rig import NOW, WINDOW, request, response


def store() -> PartitionStore:
    return PartitionStore(0, dedup_window=WINDOW)


def rebuilt(log: list[Output], now: int = NOW) -> PartitionStore:
    made = store()
    for output in log:
        assert made.apply(output.key, output.value)
    made.restored(now, len(log))
    return made


def content(subject: PartitionStore) -> object:
    rooms = [{name: room.get(name) for name in sorted(room)} for room in (subject.requests, subject.responses)]
    decided = {name: subject.decided.get(name) for name in sorted(subject.decided._ids)}
    owner = None if subject.claim is None else subject.claim.group
    return rooms, decided, subject.requests_position, subject.responses_position, owner


STEPS = st.lists(
    st.lists(st.tuples(st.sampled_from("qad"), st.sampled_from("abcdefgh")), max_size=6), min_size=1, max_size=40
)


@settings(max_examples=150)
@given(steps=STEPS, slack=st.integers(0, 5), entries=st.integers(1, 3), lag=st.integers(0, 2))
def test_the_log_gives_the_store_back_also_after_its_beginning_was_deleted(
    steps: list[list[tuple[str, str]]], slack: int, entries: int, lag: int
) -> None:
    """Whatever came and went, however small the rounds of the rewrite and however late the broker tells the log's end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending, "_REWRITE_SLACK", slack)
        patch.setattr(pending, "_REWRITE_ENTRIES", entries)
        subject, log, first = store(), [], 0
        log.append(subject.claimed(Claim("mine"), 0, 0))
        subject.claim, subject.requests_position, subject.responses_position = Claim("mine"), 0, 0
        for number, step in enumerate(steps):
            now = NOW + 1000 * number
            for kind, name in step:
                change(subject, kind, name, number, now)
            log += subject.changes(now, number, None)
            if subject.deletable is not None:
                first = max(first, subject.deletable)
            subject.log_end = max(len(log) - lag, 0)
            assert content(subject) == content(rebuilt(log[first:], now))


def change(subject: PartitionStore, kind: str, name: str, offset: int, now: int) -> None:
    """Something comes, or what waits under that name goes."""
    if kind == "d":
        if subject.decided.get(name) is None:
            subject.decided.add(name, Decided(offset % 2))
        return
    room, make = (subject.requests, request) if kind == "q" else (subject.responses, response)
    if room.pop(name) is None:
        room.add(name, Waiting(now + 5000, make(name, offset=offset)))


def test_a_long_log_of_a_small_store_may_be_deleted() -> None:
    """Ten thousand requests come and go beside a few that stay: the log is never longer than some thousand entries."""
    subject, log, first = store(), [], 0
    for place in range(5):
        subject.requests.add(f"stays{place}", Waiting(NOW, request(f"stays{place}")))
    longest = 0
    for batch in range(400):
        now = NOW + batch * 1000
        for place in range(100):
            subject.requests.add(f"{batch}-{place}", Waiting(now, request(f"{batch}-{place}")))
        log += subject.changes(now, batch, None)
        for place in range(100):
            subject.requests.pop(f"{batch}-{place}")
        log += subject.changes(now, batch, None)
        subject.log_end = len(log)
        first = max(first, subject.deletable or 0)
        longest = max(longest, len(log) - first)
    assert 0 < first
    assert longest < 300
    assert 5 == len(rebuilt(log[first:]).requests)


def test_large_records_are_spread_over_several_changelog_records() -> None:
    """A delta with all of them would be refused by the broker; the position stands only in the last one."""
    subject = store()
    for place in range(5):
        value = b'{"request_id": "%d", "pad": "%s"}' % (place, b"x" * 400_000)
        subject.requests.add(str(place), Waiting(NOW, request(str(place), value=value)))
    log = subject.changes(NOW, 5, 0)
    assert 5 == len(log)
    assert max(len(output.value or b"") for output in log) < 500_000
    assert (5, None) == (len(rebuilt(log).requests), rebuilt(log[:-1]).requests_position)
    assert 5 == rebuilt(log).requests_position


def test_a_suffix_of_the_log_changes_nothing_in_a_store_that_has_it() -> None:
    """A store that a rebalance left with its worker reads on from an end that the broker told some time ago."""
    subject = store()
    subject.requests.add("a", Waiting(NOW, request("a")))
    log = subject.changes(NOW, 1, 1)
    subject.requests.pop("a")
    subject.decided.add("a", Decided.ANSWERED)
    log += subject.changes(NOW, 2, 2)
    before = content(subject)
    for output in log:
        subject.apply(output.key, output.value)
    subject.restored(NOW, 2)
    assert before == content(subject)


def test_of_two_claims_the_first_one_in_the_log_counts() -> None:
    """Two groups that start at once come to the same answer."""
    one, other = store(), store()
    log = [one.claimed(Claim("one"), 0, 0), other.claimed(Claim("other"), 0, 0)]
    assert Claim("one") == rebuilt(log).claim
    takeover = Claim("other", replaces="one")
    assert takeover == rebuilt([*log, other.claimed(takeover, 0, 0)]).claim


@pytest.mark.parametrize("key", [None, b"", b"q:a", b"zz", b"\xff"])
def test_a_record_of_somebody_else_is_told_from_ours(key: bytes | None) -> None:
    """It is passed by, whatever it holds."""
    assert not store().apply(key, b"\x00")


@pytest.mark.parametrize("value", [None, b"", b"\x00", b"\x91", msgspec.msgpack.encode(["x"]), b'{"a": 1}'])
def test_a_record_of_ours_that_is_damaged_is_an_error(value: bytes | None) -> None:
    """It may have held requests that wait."""
    with pytest.raises(ChangelogError, match="damaged"):
        store().apply(pending._KEY, value)


def test_a_record_of_another_version_is_an_error_that_says_so() -> None:
    """An older program must not pass a newer one's state by."""
    with pytest.raises(ChangelogError, match=r"format b'2' is another version's"):
        store().apply(pending._FORMAT + b"2", b"")


def test_ids_are_forgotten_after_their_window_also_by_a_restart() -> None:
    """A restart neither prolongs nor shortens it."""
    subject = store()
    subject.decided.add("a", Decided.TIMED_OUT)
    log = subject.changes(NOW, None, None)
    assert Decided.TIMED_OUT is rebuilt(log, NOW + WINDOW - 1).decided.get("a")
    assert None is rebuilt(log, NOW + WINDOW).decided.get("a")
    assert [] == subject.changes(NOW + WINDOW, None, None)
    assert None is subject.decided.get("a")


def test_when_the_next_record_comes_due() -> None:
    """The earliest of what still waits, to the second; nothing where nothing does."""
    room = store().requests
    assert None is room.due
    for name, deadline in (("late", NOW + 9_000), ("soon", NOW + 2_000)):
        room.add(name, Waiting(deadline, request(name)))
    assert (NOW + 2_000) // 1000 * 1000 == room.due
    room.pop("soon")
    assert (NOW + 9_000) // 1000 * 1000 == room.due

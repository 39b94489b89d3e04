"""Positions: nothing counts as read that the broker has not said is all there is."""

from hypothesis import given
from hypothesis import strategies as st

from streams.pipeline.positions import Position
from tests.rig import response

ASKED = 1_700_000_000_000


def test_the_frontier_stands_until_the_broker_has_been_asked() -> None:
    """A partition just assigned may hold answers that nobody has read, whatever the client remembers of its end."""
    position = Position(next_offset=100)
    position.advance()
    assert (0, 0) == (position.frontier, position.lag)


def test_what_was_there_when_asked_must_have_been_read() -> None:
    """The frontier is the moment of the question, once everything from before it is read."""
    position = Position(next_offset=100)
    position.probed(102, ASKED, 102)
    assert (0, 2) == (position.frontier, position.lag)
    position.next_offset = 101
    position.advance()
    assert position.frontier == 0
    position.next_offset = 102
    position.advance()
    assert (ASKED, 0) == (position.frontier, position.lag)


def test_a_question_without_an_answer_moves_nothing() -> None:
    """While the broker is away the frontier stands still, and with it the timeouts."""
    position = Position(next_offset=5)
    position.probed(5, ASKED, 5)
    position.advance()
    assert position.frontier == ASKED


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_the_frontier_never_passes_an_unread_record(steps: list[tuple[int, int]]) -> None:
    """Records arrive, are read, and the broker is asked, in any order: all from before the frontier has been read."""
    position, arrivals, now = Position(next_offset=0), [], ASKED
    for arriving, read in steps:
        now += 1
        arrivals += [now] * arriving
        now += 1
        position.probed(len(arrivals), now, len(arrivals))
        position.next_offset = min(position.next_offset + read, len(arrivals))
        position.advance()
        assert all(at > position.frontier for at in arrivals[position.next_offset :])


def test_a_stamp_of_the_broker_is_a_frontier_of_its_own() -> None:
    """A broker stamps records as they come, so nothing older than the last one read can follow it."""
    position = Position(next_offset=0)
    position.read(response(offset=0, at=ASKED, appended=True))
    assert (1, ASKED - 1) == (position.next_offset, position.frontier)


def test_a_stamp_of_a_producer_is_none() -> None:
    """Producers stamp with their own clocks, and in any order."""
    position = Position(next_offset=0)
    position.read(response(offset=0, at=ASKED))
    assert position.frontier == 0


def test_what_an_open_transaction_hides_is_lag_and_no_frontier() -> None:
    """An answer may stand behind it: nothing times out before it can be read."""
    position = Position(next_offset=0)
    position.ended(7)
    position.probed(10, ASKED, 7)
    assert (3, 3, 0) == (position.lag, position.hidden_lag, position.frontier)
    position.ended(10)
    position.advance()
    assert (0, 0, ASKED) == (position.lag, position.hidden_lag, position.frontier)


def test_offsets_passed_by_are_noticed_once() -> None:
    """By a record or by the end; some are transaction markers, which nobody could read."""
    position = Position(next_offset=100)
    position.read(response(offset=108))
    assert [] == position.taken_gaps()
    position.read(response(offset=150))
    position.read(response(offset=300))
    assert ([(109, 150), (151, 300)], []) == (position.taken_gaps(), position.taken_gaps())
    position.ended(400)
    assert [(301, 400)] == position.taken_gaps()

"""How reading goes, from how commits move."""

import pytest

from streams.console.lag import UNKNOWN, Course, Look, Pace, together


def course(*looks: tuple[float, int | None, int]) -> Course:
    made = Course()
    for look in looks:
        made.add(Look(*look))
    return made


def moving(working: float, arriving: float, *, lag: int = 1000, seconds: int = 40) -> Course:
    return course(*((at, int(working * at), int(lag + arriving * at)) for at in range(0, seconds + 1, 2)))


def test_what_was_never_looked_at_is_unknown() -> None:
    """Nothing of it is zero."""
    assert UNKNOWN == Course().lag(0)


def test_without_a_commit_lag_is_unknown_and_arrivals_are_not() -> None:
    """A group that never committed may have everything to read, or nothing."""
    lag = course((0, None, 10), (10, None, 60)).lag(10)
    assert (None, None, Pace.UNKNOWN, 5.0) == (lag.records, lag.seconds, lag.pace, lag.arriving)


def test_all_read_is_well_at_once() -> None:
    """It needs no window."""
    lag = course((0, 10, 10)).lag(0)
    assert (0, 0.0, 0.0, Pace.WELL) == (lag.records, lag.seconds, lag.catch_up, lag.pace)


@pytest.mark.parametrize(
    ("working", "arriving", "pace"),
    [(0, 0, Pace.STALLED), (0, 20, Pace.STALLED), (10, 20, Pace.FALLING_BEHIND), (20, 10, Pace.BEHIND)],
)
def test_pace_is_how_commits_move(working: float, arriving: float, pace: Pace) -> None:
    """Standing still is stalled, whatever comes; falling back at every look is falling behind."""
    assert pace == moving(working, arriving).lag(40).pace


def test_who_reached_the_end_within_the_window_is_well() -> None:
    """Whatever is unread at this moment."""
    assert Pace.WELL == course((0, 0, 50), (20, 90, 90), (40, 90, 200)).lag(40).pace


def test_a_short_watch_is_not_judged() -> None:
    """A commit may come a moment later."""
    assert Pace.UNKNOWN == moving(0, 10, seconds=10).lag(10).pace


def test_how_long_the_first_unread_record_has_been_there() -> None:
    """Between the looks before and after it came."""
    lag = course((0, 0, 100), (10, 150, 200), (20, 150, 300)).lag(20)
    assert (150, 15.0, False) == (lag.records, lag.seconds, lag.at_least)


def test_what_was_unread_before_the_first_look_is_older_than_that() -> None:
    """It is said that it is more."""
    lag = course((0, 0, 100), (30, 50, 100)).lag(30)
    assert (30.0, True) == (lag.seconds, lag.at_least)


def test_the_time_to_catch_up() -> None:
    """If both go on; never, where as much comes as is worked off."""
    assert 700 / 10 == moving(20, 10).lag(40).catch_up or 600 / 10 == moving(20, 10).lag(40).catch_up
    growing = moving(10, 10).lag(40)
    assert (None, True) == (growing.catch_up, growing.growing)


def test_a_topic_made_anew_begins_anew() -> None:
    """Its offsets have nothing to do with the old ones."""
    lag = course((0, 900, 1000), (2, 0, 5)).lag(2)
    assert (5, None) == (lag.records, lag.working)


def test_together_is_unknown_if_one_is() -> None:
    """A sum without it would say too little."""
    well = course((0, 10, 10)).lag(0)
    assert UNKNOWN == together([well, UNKNOWN])
    assert UNKNOWN == together([])
    assert Pace.STALLED == together([well, moving(0, 5).lag(40)]).pace

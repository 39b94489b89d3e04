"""How a partition's reading goes, from how its commits move beside its end over a minute: no limit of lag says that. Pure.

As Burrow judges: a group that reached the end within the window is well, however much comes; one whose commits stand still is stalled; one that
falls back at every look is falling behind. Less than the window's half known is not judged.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

WINDOW: Final = 60.0
"""Seconds over which rates are taken and commits are judged."""
LATE: Final = 10.0
"""Seconds that a record may be unread before it is said."""
_JUDGED_AFTER: Final = 20.0
_RATED_AFTER: Final = 4.0
_KEPT: Final = 400
"""Looks that are kept: of an hour, if they come every ten seconds."""


class Pace(StrEnum):
    """How it goes."""

    WELL = "well"
    BEHIND = "behind"
    FALLING_BEHIND = "falling behind"
    STALLED = "stalled"
    UNKNOWN = "unknown"


_WORST_FIRST: Final = (Pace.STALLED, Pace.FALLING_BEHIND, Pace.UNKNOWN, Pace.BEHIND, Pace.WELL)


class Look(NamedTuple):
    """Committed offset (None: none yet) and end of a partition, at a time in seconds."""

    at: float
    committed: int | None
    end: int


class Lag(msgspec.Struct, frozen=True):
    """What is unread; None: not known.

    `seconds` is how long the first unread record has been there, `at_least` that it is longer than was watched. `arriving` and `working` are
    records a second. `catch_up` are the seconds until all is read if both go on; None also where they never end: `growing`.
    """

    records: int | None
    seconds: float | None
    at_least: bool
    arriving: float | None
    working: float | None
    catch_up: float | None
    growing: bool
    pace: Pace

    @property
    def keeps_up(self) -> bool:
        """Whether nothing is unread, or nothing for long, and the end was reached within the last minute."""
        return self.pace == Pace.WELL and (self.seconds or 0) <= LATE


UNKNOWN: Final = Lag(None, None, False, None, None, None, False, Pace.UNKNOWN)


class Course:
    """The looks at one partition."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=_KEPT)

    def add(self, look: Look) -> None:
        """Keep a look; an end before the last one is another topic of the same name: what was seen of the old one is void."""
        if self._looks and look.end < self._looks[-1].end:
            self._looks.clear()
        self._looks.append(look)

    def lag(self, now: float) -> Lag:
        """As it stands."""
        if not self._looks:
            return UNKNOWN
        last = self._looks[-1]
        recent = [one for one in self._looks if now - one.at <= WINDOW]
        arriving, working = _rates(recent)
        if last.committed is None:
            return Lag(None, None, False, arriving, None, None, False, Pace.UNKNOWN)
        records = max(0, last.end - last.committed)
        seconds, at_least = _unread_for(self._looks, last.committed, now) if records else (0.0, False)
        pace = _pace(recent) if records else Pace.WELL
        return _told(records, seconds, arriving, working, pace, at_least=at_least)


def together(lags: Sequence[Lag]) -> Lag:
    """Those of several partitions as one: counts and rates added, the longest wait, the worst pace. Unknown if one of them is."""
    if not lags or any(one.records is None for one in lags):
        return UNKNOWN
    records = sum(one.records or 0 for one in lags)
    seconds = max(one.seconds or 0.0 for one in lags)
    at_least = any(one.at_least and one.seconds == seconds for one in lags)
    pace = min((one.pace for one in lags), key=_WORST_FIRST.index)
    return _told(
        records,
        seconds,
        added(one.arriving for one in lags),
        added(one.working for one in lags),
        pace,
        at_least=at_least,
    )


def _told(
    records: int, seconds: float, arriving: float | None, working: float | None, pace: Pace, *, at_least: bool
) -> Lag:
    catch_up: float | None = 0.0 if not records else None
    growing = False
    if records and arriving is not None and working is not None:
        growing = working <= arriving and pace not in (Pace.WELL, Pace.UNKNOWN)
        catch_up = records / (working - arriving) if working > arriving else None
    return Lag(records, seconds, at_least, arriving, working, catch_up, growing, pace)


def _rates(looks: Sequence[Look]) -> tuple[float | None, float | None]:
    if len(looks) < 2 or looks[-1].at - looks[0].at < _RATED_AFTER:  # noqa: PLR2004 - it takes two
        return None, None
    first, last = looks[0], looks[-1]
    seconds = last.at - first.at
    working = None
    if first.committed is not None and last.committed is not None:
        working = max(0, last.committed - first.committed) / seconds
    return (last.end - first.end) / seconds, working


def _unread_for(looks: Sequence[Look], committed: int, now: float) -> tuple[float, bool]:
    """For how long the record at `committed` has been there, between the looks before and after it came."""
    before = None
    for one in looks:
        if one.end > committed:
            if before is None:
                return now - one.at, True
            share = (committed - before.end) / (one.end - before.end)
            return now - (before.at + share * (one.at - before.at)), False
        before = one
    return 0.0, False


def _pace(looks: Sequence[Look]) -> Pace:
    known = [(one.end - one.committed, one.committed) for one in looks if one.committed is not None]
    if not known or looks[-1].at - looks[0].at < _JUDGED_AFTER:
        return Pace.UNKNOWN
    lags = [lag for lag, _ in known]
    if min(lags) <= 0:
        return Pace.WELL
    if known[0][1] == known[-1][1]:
        return Pace.STALLED
    falling = all(after >= before for before, after in pairwise(lags)) and lags[-1] > lags[0]
    return Pace.FALLING_BEHIND if falling else Pace.BEHIND


def added(rates: Iterable[float | None]) -> float | None:
    """The sum of rates; unknown if one of them is."""
    total = 0.0
    for one in rates:
        if one is None:
            return None
        total += one
    return total

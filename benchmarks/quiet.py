"""Which laps count: those in which the machine was left to the benchmark, and when a contender has warmed up."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Self

from contenders import cpu_seconds

MOST_OTHERS = 0.10
MOST_STEAL = 0.02
SLICES = 20
_NEARLY = 0.95
_STEAL = 7
_BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq


@dataclass(frozen=True)
class Limits:
    """Shares of all cores' time beyond which a lap is thrown away."""

    others: float = MOST_OTHERS
    steal: float = MOST_STEAL

    def __str__(self) -> str:
        return f"other processes took more than {self.others:.0%} of all cores, or the host more than {self.steal:.0%}"


@dataclass(frozen=True)
class Load:
    """Shares of all cores' time during a lap: what other processes took, and what the machine's host took away (steal)."""

    others: float
    steal: float

    def is_quiet(self, limits: Limits) -> bool:
        return self.others <= limits.others and self.steal <= limits.steal


@dataclass(frozen=True)
class Clock:
    """A moment: wall clock, the processor time (s) of the whole machine, stolen from it, and of the benchmark's lasting processes."""

    at: float
    busy: float
    stolen: float
    own: float

    @classmethod
    def read(cls, lasting: Sequence[int]) -> Self:
        """Now; `lasting` are the broker's processes. The harness itself counts as well."""
        busy, stolen = processor_times(Path("/proc/stat").read_text().partition("\n")[0])
        return cls(time.perf_counter(), busy, stolen, time.process_time() + sum(map(cpu_seconds, lasting)))

    def until(self, end: "Clock", contender: float, cores: int) -> Load:
        """The load from here to `end`, in which the contender took so many seconds of processor time."""
        whole = (end.at - self.at) * cores
        own = end.own - self.own + contender
        return Load(max(end.busy - self.busy - own, 0.0) / whole, (end.stolen - self.stolen) / whole)


def processor_times(line: str) -> tuple[float, float]:
    """Busy and stolen seconds of all cores, of the first line of /proc/stat."""
    ticks = [int(word) for word in line.split()[1:]]
    second = os.sysconf("SC_CLK_TCK")
    return sum(ticks[column] for column in _BUSY) / second, ticks[_STEAL] / second


def slice_rates(course: Sequence[tuple[float, float]], count: int) -> list[float]:
    """Decisions per second of each twentieth of `count`; `course` is (time, decisions so far), readable ones."""
    marks = [
        next((when, seen) for when, seen in course if seen >= min(count * part / SLICES, course[-1][1]))
        for part in range(SLICES + 1)
    ]
    return [
        (after - before) / (end - begin) if end > begin else 0.0 for (begin, before), (end, after) in pairwise(marks)
    ]


def flat_from(rates: Sequence[float]) -> int | None:
    """The first slice as fast as the last half is (95 % of its median): warm from there on. None if only the last half is so."""
    steady = median(rates[len(rates) // 2 :])
    early = rates[: len(rates) // 2]
    return next((place for place, rate in enumerate(early) if rate >= _NEARLY * steady), None)

"""What came of the trial of the controls, from what stands in the topics: is every decision right, and how soon was what in force. Pure."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from control_check import AUTO, Answer, Facts, wrongs
from control_traffic import Log, Said, Seen


@dataclass
class Notes:
    """What was done and when: offsets and versions of the control log, times in ms since the epoch."""

    mix: tuple[float, float] = (0.0, 0.0)
    stops: list[int] = field(default_factory=list)
    """Offsets."""
    newcomer: str = ""
    """A model that one worker lacked, with the version that put it in force, until when it surely did, and since when it had it."""
    newcomer_version: int = -1
    pushed: float = 0.0
    recovered: float = 0.0
    lacking: frozenset[int] = frozenset()
    """The partitions of that worker."""

    def lacks(self, one: Seen) -> bool:
        """Whether a decision is one of that worker under that version."""
        return one.decided.control_version == self.newcomer_version and one.partition in self.lacking

    def facts_for(self, one: Seen, facts: Facts) -> list[Facts]:
        """What its worker had; while the model is on its way, either."""
        without = facts.without(self.newcomer)
        if not self.lacks(one) or one.decided_at > self.recovered:
            return [facts]
        return [without] if one.decided_at < self.pushed else [without, facts]


def number_of(request_id: str) -> int:
    """Which of the pairs sent a decision is about."""
    return int(request_id.partition("-")[2])


def mistakes(seen: Sequence[Seen], known: Sequence[Answer], log: Log, facts: Facts, notes: Notes) -> Iterator[str]:
    """A line for each decision that is not as its version says."""
    for one in seen:
        answer = known[number_of(one.decided.request_id) % len(known)]
        found = [wrongs(one.decided, answer, log.fold.states, those) for those in notes.facts_for(one, facts)]
        if all(found):
            yield f"{one.decided.request_id} under version {one.decided.control_version}: {'; '.join(found[0])}"


def counts(seen: Sequence[Seen], sent: int) -> dict[str, float]:
    """Decisions in all, missing, repeated; and how often a partition went back to an older version."""
    times = Counter(one.decided.request_id for one in seen)
    last: dict[tuple[str, int], int] = {}
    back = 0
    for one in seen:
        place = one.decided.route, one.partition
        back += one.decided.control_version < last.get(place, 0)
        last[place] = one.decided.control_version
    return {
        "decisions": len(seen),
        "decisions_missing": sent - len(times),
        "decisions_repeated": len(seen) - len(times),
        "versions_that_went_back": back,
        "versions_decided_under": len({one.decided.control_version for one in seen}),
    }


def rate(seen: Sequence[Seen], begin: float, end: float) -> float:
    """Records per second, requests and responses, whose decision could be read between these times (ms)."""
    return 2 * sum(begin <= one.at < end for one in seen) / (end - begin) * 1000


def in_force(log: Log, said: Sequence[Said]) -> list[float]:
    """For each version: ms from when the broker had its message until it had the last worker's word that it is in force."""
    by_worker: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        by_worker[one.worker].append(one)
    versions = {name: [one.control_version for one in words] for name, words in by_worker.items()}
    took = []
    for version in log.fold.states:
        if version:
            first = [words[bisect_left(versions[name], version)].stored_at for name, words in by_worker.items()]
            took.append(float(max(first) - log.stamps[version - 1]))
    return took


def under_the_old(seen: Sequence[Seen], log: Log) -> list[float]:
    """For each version: ms from when the broker had its message until the last decision was made under the one before, if any was."""
    versions = list(log.fold.states)
    following = dict(pairwise(versions))
    latest: dict[int, float] = {}
    for one in seen:
        after = following.get(one.decided.control_version)
        if after is not None:
            latest[after] = max(latest.get(after, 0.0), one.decided_at - log.stamps[after - 1])
    return [late for late in latest.values() if late > 0]


def after_stops(seen: Sequence[Seen], log: Log, stops: Sequence[int]) -> tuple[list[float], list[float]]:
    """For each stop: ms from when the broker had it until the last automated decision was made, and until the last could be read."""
    automated = [one for one in seen if one.decided.route == AUTO]
    made, readable = [], []
    for offset in stops:
        before = [one for one in automated if one.decided.control_version <= offset]
        stamp = log.stamps[offset]
        made.append(max([0.0, *(one.decided_at - stamp for one in before)]))
        readable.append(max([0.0, *(one.at - stamp for one in before)]))
    return made, readable


def disagreements(log: Log, said: Sequence[Said]) -> dict[str, float]:
    """Workers that refused other messages than the checker, and versions of which workers hold different contents."""
    refused, hashes = defaultdict(set), defaultdict(set)
    for one in said:
        hashes[one.control_version].add(one.hash)
        refused[one.worker] |= {one.offset} if one.event == "refused" else set()
    return {
        "workers_that_refused_otherwise": sum(mine != log.fold.refused.keys() for mine in refused.values()),
        "versions_of_two_contents": sum(len(one) > 1 for one in hashes.values()),
    }


def spread_ms(name: str, values: Sequence[float]) -> Mapping[str, float]:
    """Median, p99 and the most, as figures of this name."""
    p50, p99, most = (round(float(value)) for value in np.percentile(values or [0.0], (50, 99, 100)))
    return {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_max_ms": most}

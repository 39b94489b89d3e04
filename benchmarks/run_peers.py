"""secondlook beside the best that Java and the machine can do: Kafka Streams, as documented and tuned, and a Rust program.

    python benchmarks/run_peers.py [--quick] [--rounds N] [--count N] [--only NAME ...] [--before CHECKOUT] [--json PATH]

Needs Java 17 (a JDK) and Maven for the local Kafka and Kafka Streams, cargo for the Rust program, and a trained model. What can't
be built is said to be missing. First each peer decides everything once, and every field is compared with what the worker
decided: a peer that differs is not timed. That lap also tells from where on it is warm, and which of its ways is the fastest.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agreement import DifferentError, Outputs, check, outputs_of
from compiled import COMPILED, NotBuiltError
from contenders import CONTENDERS, Contender, Lap, RunFailedError, cpu_seconds, run, worker
from figures import spread
from job import JOINED
from quiet import SLICES, Clock, Limits, Load, flat_from, slice_rates
from track import INPUTS, Track

from featurizers import SecondlookError, readers
from streams.trials.brokers import LocalKafka

_ROOT = Path(__file__).parents[1]
_OURS = ("exactly_once", "at_least_once", "floor")
REFERENCE = "exactly_once"
_BEFORE = "exactly_once_before"
_NAMES = (*_OURS, *COMPILED)
_DEFAULT = (REFERENCE, *COMPILED)
_MOST = Limits()
_WARM_UPS = 8
"""Laps at most before anything is timed, for the broker: who came first would pay for its compiling."""
_STILL_WARMING = 0.9
_SLOWEST = 500  # decisions/s below which a lap is given up


@dataclass(frozen=True)
class Timed:
    """One lap, what else the machine did meanwhile, and the broker's processor time (s)."""

    lap: Lap
    load: Load
    broker: float


@dataclass
class Entry:
    """What is timed under one name: the way to run it, after how many decisions it is warm, and its laps by round."""

    contender: Contender
    warm: int
    rates: list[float]
    laps: dict[int, Timed] = field(default_factory=dict)

    def quiet(self, limits: Limits) -> dict[int, Lap]:
        return {number: timed.lap for number, timed in self.laps.items() if timed.load.is_quiet(limits)}


class Bench:
    """Runs contenders over the filled topics of one broker."""

    def __init__(self, kafka: LocalKafka, track: Track, model: Path, count: int) -> None:
        self._kafka = kafka
        self.track = track
        self._model = model
        self._count = count

    def lap(self, contender: Contender, warm: int) -> Timed:
        """Raises RunFailedError unless everything was decided, and once."""
        lasting = list(self._kafka.pids.values())
        began, broker = Clock.read(lasting), sum(map(cpu_seconds, lasting))
        seconds = 60 + self._count / _SLOWEST
        lap = run(contender, self.track, self._model, count=self._count, seconds=seconds, warm=warm)
        load = began.until(Clock.read(lasting), lap.cpu, os.cpu_count() or 1)
        if lap.decided != self._count or lap.repeated:
            raise RunFailedError(
                f"{contender.name}: {lap.decided} of {self._count} decided, {lap.repeated} of them twice"
            )
        return Timed(lap, load, sum(map(cpu_seconds, lasting)) - broker)

    def warm_broker(self) -> None:
        """Run the reference until the broker needs no less of a decision than in the lap before."""
        before = math.inf
        for _ in range(_WARM_UPS):
            spent = self.lap(CONTENDERS[REFERENCE], 0).broker
            say(f"the broker warms up: {1e6 * spent / self._count:.0f} us a decision")
            if spent > _STILL_WARMING * before:
                return
            before = spent

    def try_out(self, ways: Sequence[Contender], reference: Outputs | None) -> tuple[Entry, Outputs]:
        """Decide everything once by each way, compare, and keep the fastest. Raises DifferentError, RunFailedError."""
        best: tuple[float, Entry] | None = None
        for way in ways:
            tried = self.lap(way, self._count // 2)
            half = tried.lap
            outputs = outputs_of(self.track)
            if reference is None:
                reference = outputs
            records = check(reference, outputs)
            rates = slice_rates(half.course, self._count)
            flat = flat_from(rates)
            # One that is not warm by the half is timed from there on, and the table says so.
            warm = self._count * (SLICES // 2 if flat is None else max(flat, 1)) // SLICES
            say(
                f"{way.name}: {records:,} records {'are the reference' if reference is outputs else 'agree'}; "
                f"{half.throughput:,.0f}/s; warm after {'more than half' if flat is None else f'{warm:,}'}; "
                f"others {tried.load.others:.1%}, steal {tried.load.steal:.1%}"
            )
            if best is None or half.throughput > best[0]:
                best = half.throughput, Entry(way, warm, rates)
        if best is None or reference is None:
            raise RunFailedError("it has no way to run")
        return best[1], reference


def build(names: Sequence[str]) -> dict[str, str]:
    """Build what is asked for; name -> why it can't be."""
    why: dict[str, str] = {}
    for name in names:
        if name not in COMPILED:
            continue
        try:
            COMPILED[name][0].build()
        except NotBuiltError as problem:
            why[name] = str(problem)
    return why


def entries_of(bench: Bench, names: Sequence[str], why: dict[str, str]) -> dict[str, Entry]:
    """Name -> what is timed, the reference's first; `why` gets those that are not."""
    entries: dict[str, Entry] = {}
    reference: Outputs | None = None
    for name in sorted(set(names) - why.keys() | {REFERENCE}, key=_NAMES.index):
        ways = COMPILED[name][1] if name in COMPILED else (CONTENDERS[name],)
        try:
            entries[name], reference = bench.try_out(ways, reference)
        except (DifferentError, RunFailedError) as problem:
            if name == REFERENCE:
                raise
            why[name] = f"NOT TIMED: {problem}"
    return entries


def entry_of_before(bench: Bench, tree: Path) -> Entry:
    """A worker of another checkout. What it decides is not compared: its model may be another, and its fields."""
    way = Contender(_BEFORE, True, "exactly once", worker("exactly_once", tree))
    return bench.try_out((way,), None)[0]


def time_all(bench: Bench, entries: Mapping[str, Entry], why: dict[str, str], rounds: int, limits: Limits) -> None:
    """In turn, until each has `rounds` quiet laps, in at most twice as many rounds."""
    for number in range(2 * rounds):
        if all(len(entry.quiet(limits)) >= rounds for name, entry in entries.items() if name not in why):
            return
        for name, entry in entries.items():
            if name in why:
                continue
            try:
                timed = entry.laps[number] = bench.lap(entry.contender, entry.warm)
            except RunFailedError as problem:
                why[name] = str(problem)
                continue
            kept = "" if timed.load.is_quiet(limits) else "  thrown away"
            load = f"others {timed.load.others:.1%}, steal {timed.load.steal:.1%}"
            say(f"round {number + 1}  {name:26} {timed.lap.throughput:9,.0f} decisions/s  {load}{kept}")


def figures_of(entries: Mapping[str, Entry], why: Mapping[str, str], limits: Limits, count: int) -> dict[str, Any]:
    """The JSON's part per name. Ratios are of quiet laps in the same round."""
    ours = entries[REFERENCE].quiet(limits)
    figures: dict[str, Any] = {name: {"missing": reason} for name, reason in why.items()}
    for name, entry in entries.items():
        if name in why:
            continue
        quiet = entry.quiet(limits)
        one: dict[str, Any] = {
            "way": entry.contender.name,
            "matching": entry.contender.matching,
            "guarantee": entry.contender.guarantee,
            "warm": entry.warm,
            "slices": [round(rate) for rate in entry.rates],
            "quiet": len(quiet),
            "thrown_away": len(entry.laps) - len(quiet),
            "loads": [vars(timed.load) for timed in entry.laps.values()],
        }
        if quiet:
            one["throughput"] = spread([lap.throughput for lap in quiet.values()])
            one["cpu_us"] = spread([1e6 * lap.cpu / count for lap in quiet.values()])
            one["broker_us"] = spread([1e6 * entry.laps[number].broker / count for number in quiet])
            one["peak_mib"] = spread([lap.peak_mib for lap in quiet.values()])
        if both := sorted(ours.keys() & quiet.keys()):
            one["exactly_once_is"] = spread([ours[number].throughput / quiet[number].throughput for number in both])
        figures[name] = one
    return figures


def report(figures: Mapping[str, Any], rounds: int, limits: Limits) -> None:
    columns = f"{'':26} {'median/s':>9} {'least':>8} {'most':>8}  {'exactly_once is':>20} {'CPU us':>7} {'broker':>7} {'MiB':>5}"
    print(f"{columns} {'laps':>4}  matching  guarantee, way")
    for name, one in figures.items():
        if "missing" in one:
            print(f"{name:26} left out: {one['missing']}")
        elif not one["quiet"]:
            print(f"{name:26} no quiet lap of {one['thrown_away']}")
        else:
            rate = one["throughput"]
            cpu, broker, memory = (one[name]["median"] for name in ("cpu_us", "broker_us", "peak_mib"))
            ratio = one.get("exactly_once_is")
            times = f"{ratio['median']:.2f} x ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "no common lap"
            row = f"{rate['median']:9,.0f} {rate['min']:8,.0f} {rate['max']:8,.0f}  {times:>20} {cpu:7.1f} {broker:7.1f} {memory:5.0f}"
            matching = "yes" if one["matching"] else "no"
            print(f"{name:26} {row} {one['quiet']:4}  {matching:8}  {one['guarantee']}, {one['way']}")
    thrown = sum(one.get("thrown_away", 0) for one in figures.values())
    print(f"\nA lap is thrown away when {limits}: {thrown} were. Asked for {rounds} quiet laps each.")
    print(
        "CPU is the contender's own processor time a decision, its start and warm-up included; beside it the broker's."
    )


def machine() -> str:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load}, the worker has the {readers.reader}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two rounds of 60,000 answers: to see that it works")
    parser.add_argument("--rounds", type=int, help="quiet laps of each: 5, or 2 with --quick")
    parser.add_argument("--count", type=int, help="answers in the topics: 200,000, or 60,000 with --quick")
    parser.add_argument("--only", nargs="+", choices=_NAMES, default=_DEFAULT, metavar="NAME")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="an older one's worker and its `models` as well"
    )
    parser.add_argument("--most-others", type=float, default=_MOST.others, help="a lap's limit, a share of all cores")
    parser.add_argument("--most-steal", type=float, default=_MOST.steal, help="likewise")
    parser.add_argument("--model", type=Path, default=_ROOT / "models/linear")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 5)
    count = given.count or (60_000 if given.quick else 200_000)
    limits = Limits(given.most_others, given.most_steal)
    before = machine()
    try:
        why = build(given.only)
        unbuilt = set(why)
        for name, reason in why.items():
            say(f"{name} is left out: {reason}")
        names = [name for name in given.only if name not in why]
        with LocalKafka() as kafka:
            bench = Bench(kafka, Track(kafka.bootstrap), given.model, count)
            bench.track.build()
            bench.track.fill(count, roles=roles_for(names))
            bench.warm_broker()
            entries = entries_of(bench, names, why)
            if given.before is not None:
                entries[_BEFORE] = entry_of_before(bench, given.before)
            time_all(bench, entries, why, rounds, limits)
    except (SecondlookError, DifferentError, RunFailedError) as problem:
        say(f"benchmark: {problem}")
        return 1
    figures = figures_of(entries, why, limits, count)
    report(figures, rounds, limits)
    print(f"Before: {before}. After: {machine()}.")
    if given.json is not None:
        whole = figures | {"rounds": rounds, "count": count, "limits": vars(limits), "machine": [before, machine()]}
        given.json.write_text(json.dumps(whole, indent=2) + "\n")
    return int(why.keys() > unbuilt or any(one.get("quiet", rounds) < rounds for one in figures.values()))


def roles_for(names: Sequence[str]) -> tuple[str, ...]:
    """The topics to fill: joined ones only where somebody does not match."""
    ways = [CONTENDERS[name] if name in CONTENDERS else COMPILED[name][1][0] for name in names]
    return INPUTS if all(way.matching for way in ways) else (*INPUTS, JOINED)


if __name__ == "__main__":
    sys.exit(main())

"""Latency under load: from when a response is due to be sent until its decision can be read (read_committed).

    python benchmarks/latency.py [--quick] [--rounds N] [--seconds S] [--capacity DECISIONS_PER_S] [--json PATH]

One worker on a local Kafka (needs Java and Maven), exactly once and at least once, at 10, 50 and 80 % of its capacity,
which a throughput lap finds first. Requests and responses are sent by the clock: a worker that falls behind finds them
waiting, and the wait counts, as the latency is counted from the moment that the schedule names.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from contenders import CONTENDERS, RunFailedError, run, worker
from figures import percentiles, spreads
from pacing import Reader, Sender, parts
from prometheus_client.parser import text_string_to_metric_families
from scaling import draw
from track import INPUTS, Track

from featurizers import SecondlookError
from streams.trials.brokers import LocalKafka, free_ports

_HERE = Path(__file__).parent
DELIVERIES = ("exactly_once", "at_least_once")
LOADS = (10, 50, 80)
_WARM_UP = 2.0
_STRAGGLERS = 15.0
_READY = 60.0
Pages = Mapping[tuple[str, str], float]
"""(sample, stage) -> value."""


class Bench:
    """Laps of one worker after another, on topics of their own. The group is the same for all: each goes on where the last ended."""

    def __init__(self, broker: str, model: Path) -> None:
        self._track = Track(broker, prefix="bench-latency.")
        self._track.build()
        self._model = model
        self._sender = Sender(self._track, parts())
        self.reader = Reader(self._track)
        self._lap = 0

    def round(self, delivery: str, capacity: float, seconds: float) -> dict[int, dict[str, float]]:
        """A worker's figures at every load."""
        port = free_ports(1)
        running = worker(delivery, group="bench-latency", web_port=port)(self._track, self._model)
        page = partial(_page, port)
        try:
            await_ready(port)
            self._measure(capacity / 2, _WARM_UP, page)
            return {load: self._measure(capacity * load / 100, seconds, page) for load in LOADS}
        except OSError as problem:
            raise RunFailedError(f"the worker's pages do not answer ({problem}): {running.last_words()}") from problem
        finally:
            running.kill()

    def _measure(self, rate: float, seconds: float, page: Any) -> dict[str, float]:
        self._lap += 1
        count = int(rate * seconds)
        before = stage_samples(page())
        self.reader.begin(self._lap, count)
        due = time.monotonic() + 0.5 + np.arange(count) / rate
        late = self._sender.run(self._lap, due)
        seen = self.reader.finish(_STRAGGLERS)
        figures = lap_figures(due, seen, late) | breakdown(before, stage_samples(page()))
        return {**figures, "outside_worker": figures["mean"] - figures["batch"]}


def lap_figures(due: Any, seen: Any, late: float) -> dict[str, float]:
    """A lap's percentiles (ms). Raises RunFailedError when decisions are missing: the worker could not keep up."""
    missing = int(np.isnan(seen).sum())
    if missing:
        raise RunFailedError(
            f"{missing} of {len(due)} decisions did not come within {_STRAGGLERS:g} s of the last response"
        )
    took = (seen - due) * 1000
    return {**percentiles(took), "mean": float(took.mean()), "sender_late_max": late * 1000}


def stage_samples(text: str) -> Pages:
    """The sums and counts of a worker's stages, and of the batch as a whole (stage `batch`), from its /metrics page."""
    wanted = {"secondlook_stage_seconds", "secondlook_batch_seconds"}
    return {
        (sample.name.rpartition("_")[2], sample.labels.get("stage", "batch")): sample.value
        for family in text_string_to_metric_families(text)
        if family.name in wanted
        for sample in family.samples
        if sample.name.endswith(("_sum", "_count"))
    }


def breakdown(before: Pages, after: Pages) -> dict[str, float]:
    """Mean ms that a batch spent in each stage between two readings, in all, and waiting between stages."""
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    means = {
        stage: 1000 * grown["sum", stage] / count for (what, stage), count in grown.items() if what == "count" and count
    }
    whole = means.pop("batch", 0.0)
    stages = {f"stage_{stage}": value for stage, value in means.items()}
    return {**stages, "between_stages": whole - sum(means.values()), "batch": whole, "batches": grown["count", "batch"]}


def capacities(broker: str, model: Path, *, count: int) -> dict[str, float]:
    """Decisions per second of each delivery when nothing paces it."""
    track = Track(broker)
    track.build()
    track.fill(count, roles=INPUTS)
    laps = {name: run(CONTENDERS[name], track, model, count=count, seconds=10.0) for name in DELIVERIES}
    return {name: lap.throughput for name, lap in laps.items()}


def curve_of(rounds: Iterable[Mapping[int, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """The JSON of a delivery: at every load, the spread of each figure over the rounds."""
    mine = list(rounds)
    return [{"at": load, **spreads([one[load] for one in mine])} for load in LOADS]


def report(name: str, capacity: float, points: Iterable[Mapping[str, Any]]) -> None:
    """Print the medians, and where a batch's time goes."""
    print(f"{name}: capacity {capacity:,.0f} decisions/s")
    for point in points:
        rows = {key: one["median"] for key, one in point.items() if key != "at"}
        shown = "  ".join(f"{key} {rows[key]:7.1f}" for key in ("p50", "p95", "p99"))
        print(f"  {point['at']:3d} %  {shown} ms  (p99 {point['p99']['min']:.1f} to {point['p99']['max']:.1f})")
        stages = "  ".join(f"{key.removeprefix('stage_')} {rows[key]:.1f}" for key in rows if key.startswith("stage_"))
        print(f"         a batch: {stages}  between {rows['between_stages']:.1f}  in all {rows['batch']:.1f} ms")
        print(f"         in Kafka and its clients, before and after: {rows['outside_worker']:.1f} ms")


def _page(port: int, name: str = "metrics") -> str:
    with urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def await_ready(port: int) -> None:
    """Wait until a worker's /ready says so. Raises OSError when it takes too long."""
    deadline = time.monotonic() + _READY
    while True:
        try:
            _page(port, "ready")
        except OSError:  # not listening yet, or not ready
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def measure(given: argparse.Namespace, *, rounds: int, seconds: float) -> dict[str, Any]:
    """All rounds on a local Kafka, the deliveries in turn."""
    with ExitStack() as stack:
        kafka = stack.enter_context(LocalKafka())
        capacity = (
            dict.fromkeys(DELIVERIES, given.capacity)
            if given.capacity
            else capacities(kafka.bootstrap, given.model, count=20_000 if given.quick else 60_000)
        )
        bench = Bench(kafka.bootstrap, given.model)
        stack.callback(bench.reader.close)
        for (
            name
        ) in DELIVERIES:  # the broker's own compiler is busy at first, and would be charged to whoever comes first
            bench.round(name, capacity[name], seconds)
        laps: dict[str, list[dict[int, dict[str, float]]]] = {name: [] for name in DELIVERIES}
        for number in range(rounds):
            for name, mine in laps.items():
                mine.append(bench.round(name, capacity[name], seconds))
                p99 = "  ".join(f"{load} %: {figures['p99']:.1f} ms" for load, figures in mine[-1].items())
                print(f"round {number + 1}  {name:14} p99 at {p99}", file=sys.stderr, flush=True)
    curves = {name: curve_of(mine) for name, mine in laps.items()}
    return {**curves, "capacity": capacity, "rounds": rounds, "seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two rounds of five seconds a load")
    parser.add_argument("--rounds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--seconds", type=float, help="of each load in each round: 15, or 5 with --quick")
    parser.add_argument("--capacity", type=float, metavar="DECISIONS_PER_S", help="take this as 100 %%, for both")
    parser.add_argument("--model", type=Path, default=_HERE.parent / "models")
    parser.add_argument("--json", type=Path, default=_HERE.parent / "out" / "latency.json", metavar="PATH")
    parser.add_argument("--plots", type=Path, default=_HERE / "plots", metavar="FOLDER")
    given = parser.parse_args()
    rounds, seconds = given.rounds or (2 if given.quick else 5), given.seconds or (5.0 if given.quick else 15.0)
    try:
        figures = measure(given, rounds=rounds, seconds=seconds)
    except (SecondlookError, RunFailedError) as problem:
        print(f"latency: {problem}", file=sys.stderr)
        return 1
    for name in DELIVERIES:
        report(name, figures["capacity"][name], figures[name])
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(figures, indent=2) + "\n")
    draw(given.json, given.plots)
    return 0


if __name__ == "__main__":
    sys.exit(main())

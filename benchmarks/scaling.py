"""How throughput, memory and start-up grow: with the batch, the answers, the pending requests, partitions, workers.

    python benchmarks/scaling.py [--quick] [--part in-process|kafka] [--only CURVE ...] [--pending-on-kafka] [--json PATH] [--plots FOLDER]

`in-process` puts records through the worker's stages without Kafka; `kafka` runs real workers on a local Kafka (which needs
Java and Maven). Every point is measured once a round, in an order that interleaves them; figures are medians over the rounds.
The number of predictors is not varied: the table of predictors is fixed (lpp/1), and a pipeline with fewer of them would
be another program.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from contenders import PEERS_PYTHON, RunFailedError
from figures import curve, interleave
from in_process import BATCH, pairs, standing_apart, throughput
from on_kafka import Course

from featurizers import SecondlookError
from streams.trials.brokers import LocalKafka

_HERE = Path(__file__).parent
_TOKENS = (8, 32, 128, 500, 1000, 2000)
_BATCHES = (1, 5, 20, 100, 500, 1000, 5000)
_PENDING = (1_000, 10_000, 100_000, 1_000_000)
_BATCH_SIZES = (50, 100, 200, 500, 1000, 2000)
_PARTITIONS = (1, 2, 4, 8, 16, 32)
_WARM_UPS = 3
_WORKERS = (1, 2)
_RESTORED = (0, 1_000, 10_000, 100_000)
_IN_PROCESS = ("answer_length", "batch", "pending")
_ON_KAFKA = ("kafka_batch_size", "kafka_partitions", "kafka_workers", "kafka_pending")
_TOKENS_A_LAP = 40_000
"""Tokens that a lap of the answer-length curve goes through, so that long answers take no more memory than short ones."""
_TOKENS_OF_AN_ANSWER = 15


_Points = tuple[Sequence[int], Callable[[int], dict[str, float]], str]
"""Of a curve: where it is measured, how, and what varies."""


def in_process(model: Path, *, rounds: int, quick: bool, only: Collection[str]) -> dict[str, Any]:
    """The curves without Kafka."""
    tokens, pending = (_TOKENS[::2], _PENDING[:3]) if quick else (_TOKENS, _PENDING)
    lengths = {length: pairs(max(20, _TOKENS_A_LAP // max(length, _TOKENS_OF_AN_ANSWER)), length) for length in tokens}
    recorded = pairs(2000 if quick else 5000)
    few = recorded[: len(recorded) // 5]

    def by_length(length: int) -> dict[str, float]:
        figures = throughput(lengths[length], BATCH, model)
        return {**figures, "tokens_per_second": figures["throughput"] * length}

    def by_batch(records: int) -> dict[str, float]:
        return throughput(few if records < 20 else recorded, records, model)  # batches of one are slow

    standing = partial(standing_apart, count=2000 if quick else 5000, model=model)
    points: Sequence[_Points] = (
        (tokens, by_length, "tokens an answer"),
        (_BATCHES, by_batch, "records a batch"),
        (pending, standing, "pending"),
    )
    return _curves(dict(zip(_IN_PROCESS, points, strict=True)), rounds, only)


def on_kafka(model: Path, *, rounds: int, quick: bool, pending: bool, only: Collection[str]) -> dict[str, Any]:
    """The curves of real workers; `pending` adds a million restored requests."""
    sizes, partitions = (_BATCH_SIZES[::2], _PARTITIONS[::2]) if quick else (_BATCH_SIZES, _PARTITIONS)
    restored = (*_RESTORED, _PENDING[-1]) if pending else _RESTORED
    with LocalKafka() as kafka:
        course = Course(kafka.bootstrap, model, count=60_000, seconds=60.0)
        points: Sequence[_Points] = (
            (sizes, course.batch_size, "batch_size"),
            (partitions, course.partitions, "partitions"),
            (_WORKERS, course.workers, "workers"),
            (restored, course.pending, "restored"),
        )
        for _ in range(_WARM_UPS):  # the broker compiles itself meanwhile, which who came first would pay for
            course.partitions(partitions[0])
        return _curves(dict(zip(_ON_KAFKA, points, strict=True)), rounds, only)


def _curves(points: dict[str, _Points], rounds: int, only: Collection[str]) -> dict[str, Any]:
    return {
        name: curve(interleave(at, work, rounds=rounds, what=what))
        for name, (at, work, what) in points.items()
        if name in only
    }


def report(curves: dict[str, Any]) -> None:
    """Print the medians."""
    for name, points in curves.items():
        print(name)
        for point in points:
            figures = "  ".join(f"{key} {one['median']:,.6g}" for key, one in point.items() if key != "at")
            print(f"  {point['at']:>9,}  {figures}")


def draw(figures: Path, folder: Path) -> None:
    """The plots, by the peers' environment, which has matplotlib."""
    if not PEERS_PYTHON.exists():
        print(f"no plots: {PEERS_PYTHON.parents[1]} is missing (`make bench` installs it)", file=sys.stderr)
        return
    subprocess.run([PEERS_PYTHON, _HERE / "plots.py", figures, folder], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer points and rounds")
    parser.add_argument("--rounds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--part", choices=("in-process", "kafka"), help="only this part")
    parser.add_argument("--only", nargs="+", choices=(*_IN_PROCESS, *_ON_KAFKA), metavar="CURVE", help="only these")
    parser.add_argument("--pending-on-kafka", action="store_true", help="also restore a million requests on Kafka")
    parser.add_argument("--model", type=Path, default=_HERE.parent / "models")
    parser.add_argument("--json", type=Path, default=_HERE.parent / "out" / "scaling.json", metavar="PATH")
    parser.add_argument("--plots", type=Path, default=_HERE / "plots", metavar="FOLDER")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 5)
    only = {*(given.only or (*_IN_PROCESS, *_ON_KAFKA))}
    curves: dict[str, Any] = {}
    try:
        if given.part != "kafka" and only & {*_IN_PROCESS}:
            curves |= in_process(given.model, rounds=rounds, quick=given.quick, only=only)
        if given.part != "in-process" and only & {*_ON_KAFKA}:
            pending = given.pending_on_kafka
            curves |= on_kafka(given.model, rounds=rounds, quick=given.quick, pending=pending, only=only)
    except (SecondlookError, RunFailedError) as problem:
        print(f"scaling: {problem}", file=sys.stderr)
        return 1
    report(curves)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(curves | {"rounds": rounds}, indent=2) + "\n")
    draw(given.json, given.plots)
    return 0


if __name__ == "__main__":
    sys.exit(main())

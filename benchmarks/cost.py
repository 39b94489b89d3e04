"""What a decision costs: processor time of worker and broker, and bytes in Kafka by topic, for short and long answers.

    python benchmarks/cost.py [--quick] [--rounds N] [--model PATH] [--json PATH]

Each figure is the difference between a run over many answers and one over few, divided by how many more they were: what starting takes
falls away. Bytes are those of the topics' log files, compressed as they lie there. The broker's time has the reading of the
results in it, by which decisions are counted.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders import Contender, cpu_seconds, run, worker
from figures import interleave, spreads
from track import INPUTS, Track

from streams.trials.brokers import LocalKafka

_OUTPUTS = ("auto_action", "human_review", "vectors", "pending")
_FEW = 5_000


@dataclass(frozen=True)
class _Case:
    """How the worker delivers, and how many tokens its answers have (None: as recorded, 14 on average)."""

    delivery: str
    tokens: int | None

    def __str__(self) -> str:
        return f"{self.delivery}, {self.tokens or 'recorded'} tokens"


def _spent(kafka: LocalKafka, data: Path, track: Track, case: _Case, model: Path, count: int) -> dict[str, float]:
    """Seconds and bytes of one run over so many answers."""
    track.build()
    track.fill(count, tokens=case.tokens, roles=INPUTS)
    broker = kafka.pids[1]
    before = cpu_seconds(broker)
    contender = Contender(case.delivery, matching=True, guarantee="", start=worker(case.delivery))
    lap = run(contender, track, model, count=count, seconds=300)
    if (lap.decided, lap.repeated) != (count, 0):
        sys.exit(f"{case}: {lap.decided} of {count} decided, {lap.repeated} again")
    spent = {"worker_us": lap.cpu * 1e6, "broker_us": (cpu_seconds(broker) - before) * 1e6}
    return spent | {f"{role}_bytes": _bytes(data, track.names[role]) for role in (*INPUTS, *_OUTPUTS)}


def _bytes(data: Path, topic: str) -> float:
    # The broker renames what is deleted, and keeps it for a minute: that is of an earlier run.
    logs = (log for log in data.glob(f"**/{topic}-[0-9]*/*.log") if not log.parent.name.endswith("-delete"))
    return sum(log.stat().st_size for log in logs)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, a third of the answers")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "models")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else 3)
    many = _FEW + (15_000 if given.quick else 45_000)
    cases = [_Case("exactly_once", None), _Case("at_least_once", None), _Case("exactly_once", 150)]
    with tempfile.TemporaryDirectory(prefix="secondlook-cost-") as folder, LocalKafka(Path(folder)) as kafka:
        track = Track(kafka.bootstrap)
        _spent(kafka, Path(folder), track, cases[0], given.model, many)  # the broker compiles itself meanwhile

        def a_decision(case: _Case) -> dict[str, float]:
            scale = 10 if case.tokens else 1
            few, all_ = _FEW // scale, many // scale
            less, more = (_spent(kafka, Path(folder), track, case, given.model, count) for count in (few, all_))
            return {name: round((more[name] - less[name]) / (all_ - few), 1) for name in more}

        laps = interleave(cases, a_decision, rounds=rounds, what="a decision,")
    figures: dict[str, Any] = {str(case): spreads(of) for case, of in laps.items()}
    for case, figure in figures.items():
        print(case)
        for name, one in figure.items():
            print(f"  {name:22} {one['median']:10,.1f}  ({one['min']:,.1f} to {one['max']:,.1f})")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

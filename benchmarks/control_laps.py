"""What changing controls costs: throughput of two workers through a backlog, with control messages of every kind and without."""

import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from contenders import Contender, Running, run
from control_models import Models
from control_traffic import Operator
from course import Figures
from on_kafka import contender
from track import INPUTS, Track

_WORKERS = 2


class Laps:
    """Throughput of two workers through a backlog, with control messages of every kind and without."""

    def __init__(self, broker: str, directory: Path, models: Models, *, count: int, pause: float, seed: int) -> None:
        self._directory, self._count, self._pause = directory, count, pause
        self._track = Track(broker, prefix="bench-controls-laps.")
        self._track.build()
        self._track.fill(count, roles=INPUTS)
        self._operator = Operator(self._track, models, seed)
        self._operator.plain()

    def lap(self, busy: bool) -> dict[str, float]:
        """Decisions per second, from a third of the way on (by then the group has dealt out its partitions), and processor time."""
        two, teams = contender(_WORKERS), []
        with ExitStack() as stack:

            def start(track: Track, model: Path) -> Running:
                teams.append(two.start(track, model))
                if busy:
                    stack.enter_context(self._operator.busy(self._pause))
                return teams[0]

            one = Contender(f"{two.name}, {'busy' if busy else 'quiet'}", two.matching, two.guarantee, start)
            lap = run(one, self._track, self._directory, count=self._count, seconds=120, warm=self._count // 3)
        return {"decisions_per_s": lap.throughput, "worker_cpu_s": teams[0].cpu_seconds}


def throughput(laps: Laps, rounds: int) -> Figures:
    """Laps in turn, and the median of their ratios."""
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for number in range(rounds):
        for busy, mine in sorted(found.items(), reverse=bool(number % 2)):  # what comes second finds a warmer machine
            mine.append(laps.lap(busy))
            shown = "  ".join(f"{name} {value:,.1f}" for name, value in mine[-1].items())
            print(f"round {number + 1}  {'with' if busy else 'without'} control messages: {shown}", file=sys.stderr)
    ratios = [
        busy["decisions_per_s"] / quiet["decisions_per_s"]
        for quiet, busy in zip(found[False], found[True], strict=True)
    ]
    medians = {
        f"{name}_{'with' if busy else 'without'}": round(median(lap[name] for lap in mine), 1)
        for name in ("decisions_per_s", "worker_cpu_s")
        for busy, mine in found.items()
    }
    return {
        **medians,
        "ratio": round(median(ratios), 3),
        "ratio_least": round(min(ratios), 3),
        "ratio_most": round(max(ratios), 3),
        "throughput_lost": round(1 - median(ratios), 3),
    }

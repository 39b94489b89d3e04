"""secondlook beside what one would use instead, on a real Kafka, and beside the floor: decisions per second.

    python benchmarks/run.py [--quick] [--rounds N] [--count N] [--only NAME ...] [--json PATH]

Needs Java and Maven for the local Kafka, a trained model (`make model`), and the peers' own environment
(`benchmarks/.venv`, from `benchmarks/requirements.lock`); a peer that is not installed is said to be missing.
Every contender is one process; rounds are interleaved, so that a slow minute of the machine meets all of them.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contenders import CONTENDERS, Lap, RunFailedError, missing, run
from figures import spread
from track import Track

from featurizers import PRESETS, SecondlookError, decode, featurize
from scoring import RECORDING, load_model, read_recording
from streams.trials.brokers import LocalKafka

_ROOT = Path(__file__).parents[1]
_OURS = ("exactly_once", "at_least_once")
_RATIOS = {"floor": _OURS} | {peer: _OURS[:1] for peer in CONTENDERS if peer not in ("floor", *_OURS)}


def throughput(track: Track, model: Path, names: Sequence[str], *, rounds: int, count: int, seconds: float) -> Any:
    """Contender -> its laps; and contender -> why it has none."""
    laps: dict[str, list[Lap]] = {}
    why = {name: reason for name in names if (reason := missing(CONTENDERS[name]))}
    for number in range(rounds):
        for name in names:
            if name in why:
                continue
            try:
                lap = run(CONTENDERS[name], track, model, count=count, seconds=seconds)
            except RunFailedError as problem:
                why[name] = str(problem)
                continue
            laps.setdefault(name, []).append(lap)
            print(f"round {number + 1}  {name:22} {lap.throughput:9,.0f} decisions/s", file=sys.stderr, flush=True)
    return laps, why


def figures_of(laps: Mapping[str, Sequence[Lap]], why: Mapping[str, str]) -> dict[str, Any]:
    """The JSON's part per contender."""
    figures: dict[str, Any] = {}
    for name, contender in CONTENDERS.items():
        about = {"matching": contender.matching, "guarantee": contender.guarantee}
        if name in laps:
            figures[name] = about | {
                "throughput": spread([lap.throughput for lap in laps[name]]),
                "peak_mib": spread([lap.peak_mib for lap in laps[name]]),
                "decided_twice": sum(lap.repeated for lap in laps[name]),
            }
        elif name in why:
            figures[name] = about | {"missing": why[name]}
    return figures


def ratios_of(laps: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """`ours/other`: the ratio of each round, both measured within it, then the median over the rounds."""
    return {
        f"{mine}/{other}": spread([a / b for a, b in zip(laps[mine], laps[other], strict=False)])
        for other, ours in _RATIOS.items()
        for mine in ours
        if mine in laps and other in laps
    }


def onnx(model_path: Path, *, rounds: int) -> dict[str, float]:
    """Scoring alone: one record at a time (p50), and 512 at once, per record; µs."""
    items = read_recording(RECORDING)[:512]
    model = load_model(model_path)
    values = featurize([decode(bytes(item.response)) for item in items], PRESETS["lpp"]).values
    policies, languages = [item.policy for item in items], [item.language for item in items]
    single, whole = [], []
    for _ in range(rounds):
        for row in range(len(items)):
            began = time.perf_counter()
            model.score(values[row : row + 1], policies[row : row + 1], languages[row : row + 1])
            single.append(time.perf_counter() - began)
        began = time.perf_counter()
        model.score(values, policies, languages)
        whole.append((time.perf_counter() - began) / len(items))
    return {"one_record_p50_us": float(np.median(single)) * 1e6, "of_512_us": float(np.median(whole)) * 1e6}


def report(figures: Mapping[str, Any], ratios: Mapping[str, Any], scoring: Mapping[str, float]) -> None:
    print(f"{'':22} {'median/s':>9} {'min':>9} {'max':>9} {'MiB':>6}  matching  guarantee")
    for name, one in figures.items():
        if "missing" in one:
            print(f"{name:22} missing: {one['missing'].splitlines()[-1]}")
            continue
        rate, memory = one["throughput"], one["peak_mib"]["median"]
        matching = "yes" if one["matching"] else "no"
        row = f"{rate['median']:9,.0f} {rate['min']:9,.0f} {rate['max']:9,.0f} {memory:6.0f}"
        print(f"{name:22} {row}  {matching:8}  {one['guarantee']}")
    print()
    for name, one in ratios.items():
        print(f"{name:40} {one['median']:6.2f}  ({one['min']:.2f} to {one['max']:.2f})")
    print(
        f"\nONNX: one record {scoring['one_record_p50_us']:.1f} us p50, {scoring['of_512_us']:.2f} us a record of 512"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two rounds, under five minutes")
    parser.add_argument("--rounds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--count", type=int, default=30_000, help="answers in the topics")
    parser.add_argument("--only", nargs="+", choices=tuple(CONTENDERS), default=tuple(CONTENDERS), metavar="NAME")
    parser.add_argument("--model", type=Path, default=_ROOT / "models")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 5)
    try:
        scoring = onnx(given.model, rounds=20)
        with LocalKafka() as kafka:
            track = Track(kafka.bootstrap)
            track.build()
            track.fill(given.count)
            seconds = 4.0 if given.quick else 10.0
            laps, why = throughput(track, given.model, given.only, rounds=rounds, count=given.count, seconds=seconds)
    except SecondlookError as problem:
        print(f"benchmark: {problem}", file=sys.stderr)
        return 1
    figures = figures_of(laps, why)
    ratios = ratios_of({name: [lap.throughput for lap in mine] for name, mine in laps.items()})
    report(figures, ratios, scoring)
    if given.json is not None:
        whole = figures | {"ratios": ratios, "onnx": scoring, "rounds": rounds, "count": given.count}
        given.json.write_text(json.dumps(whole, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

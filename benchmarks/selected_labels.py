"""How often what is said of the traffic is wrong when humans see escalated answers and a few audits: weighted, and as if they saw all alike.

Each draw is a period of traffic under a model with a threshold: what lies above is escalated and judged, of what lies below a few audits are.
Two policies are audited at unequal rates, the worse one less. With drift, the LLM gets worse halfway, and the audit rates are halved then.
Told are 90 % intervals of the error rate, and thresholds certified for an error of 10 % at 90 %: how often each is broken by the truth.

    python benchmarks/selected_labels.py            # 1,000 draws, four audit rates, drift on and off: 5 minutes
    python benchmarks/selected_labels.py --quick    # 100 draws
"""

import argparse
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scoring import ThresholdError
from scoring.evaluation import clopper_pearson, risk_bound_threshold
from scoring.sampled_error import interval

RATES = (0.01, 0.02, 0.05, 0.10)
VERDICTS = 20_000
THRESHOLD, MAX_RISK, MISSED = 0.3, 0.1, 0.1
SEED = 20261126

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Traffic:
    """Verdicts: the model's score, whether the LLM is wrong and with what chance, and the chance that a human sees it; all [n]."""

    scores: Floats
    wrong: Bools
    risk: Floats
    chance: Floats


@dataclass(frozen=True)
class Broken:
    """Of one setting: how often the interval missed, how often a certified threshold broke its word, how often there was one; shares of draws."""

    way: str
    audit_rate: float
    drift: bool
    draws: int
    labels: float
    interval_missed: float
    interval_width: float
    bound_broken: float
    certified: float
    automated: float


def traffic(rng: np.random.Generator, rate: float, *, drift: bool) -> Traffic:
    """A period. The score is what the model says; where the LLM gets worse it says too little."""
    scores = rng.beta(0.8, 2.0, VERDICTS)
    worse_policy = rng.random(VERDICTS) < 0.3
    later = np.arange(VERDICTS) >= VERDICTS // 2
    risk = np.where(worse_policy, 2.0, 0.2) * scores
    audits = np.where(worse_policy, 0.5, 1.2) * rate
    if drift:
        risk = np.where(later, 1.5 * risk, risk)
        audits = np.where(later, audits / 2, audits)
    risk = np.clip(risk, 0.0, 1.0)
    chance = np.where(scores >= THRESHOLD, 1.0, audits)
    return Traffic(scores, rng.random(VERDICTS) < risk, risk, chance)


def _certified(period: Traffic, seen: Bools, weights: Floats | None, most: float) -> tuple[bool, bool, float]:
    """Whether a threshold was certified, whether more than promised is wrong below it, and the share that lies there."""
    try:
        found = risk_bound_threshold(
            period.scores[seen], period.wrong[seen], max_risk=MAX_RISK, delta=MISSED, weights=weights, most=most
        )
    except ThresholdError:
        return False, False, 0.0
    below = period.scores < found.threshold
    return True, bool(period.risk[below].mean() > MAX_RISK), float(below.mean())


def run(rate: float, draws: int, *, drift: bool) -> list[Broken]:
    """Both ways on the same draws."""
    rng = np.random.default_rng(SEED)
    sums: dict[str, Counter[str]] = {"weighted": Counter(), "unweighted": Counter()}
    for _ in range(draws):
        period = traffic(rng, rate, drift=drift)
        seen = rng.random(VERDICTS) < period.chance
        weights, most = 1 / period.chance[seen], float(1 / period.chance.min())
        wrong = period.wrong[seen]
        told = {
            "weighted": (interval(wrong, weights / most, MISSED), _certified(period, seen, weights, most)),
            "unweighted": (
                clopper_pearson(int(wrong.sum()), len(wrong), 1 - MISSED),
                _certified(period, seen, None, 0.0),
            ),
        }
        for way, ((low, high), (certified, broken, automated)) in told.items():
            sums[way].update(
                {
                    "labels": len(wrong),
                    "interval_missed": not low <= period.wrong.mean() <= high,
                    "interval_width": high - low,
                    "bound_broken": broken,
                    "certified": certified,
                    "automated": automated,
                }
            )
    names = ("labels", "interval_missed", "interval_width", "bound_broken", "certified", "automated")
    return [Broken(way, rate, drift, draws, *(sums[way][name] / draws for name in names)) for way in sums]


def main() -> None:
    """Run, print, and exit with 1 where the weighted way is broken more often than it says, by more than chance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="100 draws")
    parser.add_argument("--json", type=Path, metavar="PATH")
    options = parser.parse_args()
    draws = 100 if options.quick else options.draws
    print(
        f"{draws} draws of {VERDICTS:,} verdicts; 90 % intervals of the error rate, and a risk of {MAX_RISK:.0%} certified at 90 %"
    )
    print(
        f"{'audits':>7} {'drift':>6} {'way':>11} {'labels':>8} {'missed':>8} {'width':>7} {'broken':>8} {'certified':>10} {'automated':>10}"
    )
    rows = []
    for rate in RATES:
        for drift in (False, True):
            for row in run(rate, draws, drift=drift):
                rows.append(row)
                print(
                    f"{row.audit_rate:>7.0%} {'on' if drift else 'off':>6} {row.way:>11} {row.labels:>8.0f} {row.interval_missed:>8.1%} "
                    f"{row.interval_width:>7.3f} {row.bound_broken:>8.1%} {row.certified:>10.1%} {row.automated:>10.1%}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    allowed = MISSED + 3 * math.sqrt(MISSED * (1 - MISSED) / draws)
    kept = all(max(row.interval_missed, row.bound_broken) <= allowed for row in rows if row.way == "weighted")
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()

"""`secondlook control plan-audits`: how to spread the audits that humans have time for, by what audits have found so far."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

import click
from rich.console import Console

from scoring.data import NO_LABEL, Dataset, join_decisions
from scoring.data.window import moment
from streams.cli.control_options import FILE, Moment, Number, reading
from streams.cli.main import settings_from
from streams.cli.scoring import lines_of
from streams.cli.screen import echo_json, row, say, table
from streams.errors import ControlError
from streams.kafka.reading import places_of, read_values
from streams.kafka.recent import read_recent
from streams.pipeline.audit_plan import FLOOR, Part, Plan, plan_audits
from streams.printable import printable
from streams.settings import Settings

_DAY = 86_400.0
_SHORTEST = 60.0
"""Seconds that answers must span, for a day to be told from them."""


@click.command("plan-audits")
@click.argument("budget", type=Number("number of audits a day", zero=False))
@click.option(
    "--floor",
    type=Number("share", 1.0),
    default=FLOOR,
    show_default=True,
    help="Least rate of any policy, as a share of the rate that all would have.",
)
@click.option("--last", type=click.IntRange(1), default=100_000, show_default=True, help="By the last so many answers.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only answers from this time on.")
@click.option("--vectors", type=FILE, metavar="FILE", help="JSONL of vectors (.xz, .gz), in place of their topic.")
@click.option("--decisions", type=FILE, metavar="FILE", help="With --vectors: JSONL of human decisions.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@reading
def plan(
    budget: float,
    floor: float,
    last: int,
    since: datetime | None,
    vectors: Path | None,
    decisions: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Spread BUDGET audits a day over the policies. So that the error rate of what is automated is known best, whatever is wrong where.

    A policy whose audits are often wrong gets more. Nothing is issued: it shows the commands. Escalated answers are reviewed besides, and take
    none of the budget.
    """
    if (vectors is None) != (decisions is None):
        raise click.UsageError("--vectors and --decisions go together")
    records = (
        _topics(settings_from(options), last, since)
        if vectors is None or decisions is None
        else _files(vectors, decisions)
    )
    data = join_decisions(*records, keep_unlabelled=True).data
    parts, days = _parts(data, since)
    planned = plan_audits(parts, budget, floor)
    if as_json:
        echo_json(_document(parts, planned, days))
    else:
        _render(parts, planned, days, Console())


def _topics(settings: Settings, last: int, since: datetime | None) -> tuple[Iterable[bytes], Iterable[bytes]]:
    places = places_of(settings, "vectors", "human_decisions")
    stamp = None if since is None else int(since.timestamp() * 1000)
    recent = read_recent(settings, *places["vectors"], last=last, since=stamp)
    return [value for _, value in recent], read_values(settings, *places["human_decisions"])


def _files(vectors: Path, decisions: Path) -> tuple[Iterable[bytes], Iterable[bytes]]:
    return lines_of(vectors), lines_of(decisions)


def _parts(data: Dataset, since: datetime | None) -> tuple[list[Part], float]:
    """What is automated of each policy, audited or not, and the days that it came in. Raises ControlError where that is not told."""
    verdicts: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    times = []
    labelled = (data.labels != NO_LABEL) & data.decided
    for origin, has_label, wrong in zip(data.origins, labelled.tolist(), data.errors.tolist(), strict=True):
        at = moment(origin.decided_at)
        if origin.stratum not in ("automated", "audited") or at is None or (since is not None and at < since):
            continue
        times.append(at.timestamp())
        verdicts[origin.policy] += 1
        if has_label and origin.stratum == "audited":
            judged[origin.policy] += 1
            errors[origin.policy] += wrong
    if not times or max(times) - min(times) < _SHORTEST:
        raise ControlError(
            f"{len(times)} answers that were automated, with the time of it, are too few to tell a day from: they must span a minute. Vectors of "
            "older versions do not say what became of their answers"
        )
    days = (max(times) - min(times)) / _DAY
    return [Part(one, count / days, judged[one], errors[one]) for one, count in sorted(verdicts.items())], days


def _document(parts: list[Part], planned: Plan, days: float) -> dict[str, Any]:
    return {
        "days": days,
        "policies": [
            {
                "policy": part.name,
                "automated_a_day": part.verdicts,
                "audits_judged": part.judged,
                "found_wrong": part.errors,
                "rate": rate,
                "audits_a_day": rate * part.verdicts,
            }
            for part, rate in zip(parts, planned.rates, strict=True)
        ],
        "standard_error": planned.error,
        "standard_error_of_one_rate": planned.error_of_equal_rates,
    }


def _render(parts: list[Part], planned: Plan, days: float, console: Console) -> None:
    shown = table("policy", "automated a day", "audits judged", "found wrong", "rate", "audits a day")
    for part, rate in zip(parts, planned.rates, strict=True):
        counts = (
            f"{part.verdicts:,.0f}",
            f"{part.judged}",
            f"{part.errors}",
            f"{rate:.3%}",
            f"{rate * part.verdicts:,.1f}",
        )
        row(shown, part.name, *counts)
    console.print(shown)
    say(
        console,
        f"a day's error rate would be known to a standard error of {planned.error:.2%}; with one rate for all, and as many audits, of "
        f"{planned.error_of_equal_rates:.2%} (by what audits of {days:.1f} days say)",
        "dim",
    )
    for part, rate in zip(parts, planned.rates, strict=True):
        click.echo(f"secondlook control set-audit-rate --policy {quote(printable(part.name))} {rate:.5f}")

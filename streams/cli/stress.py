"""`secondlook stress`: prove the guarantee against a real cluster, through kills, rebalances and poison."""

from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from streams.cli.main import ResultFile, setting_options, settings_from

_SHARE = click.FloatRange(0, 0.3)


@click.command()
@click.option("--local-kafka", is_flag=True, help="Run on a Kafka started for this (Java and Maven), not on --broker.")
@click.option(
    "--nodes", type=click.Choice(["1", "3"]), default="1", show_default=True, help="Of the local Kafka's cluster."
)
@click.option("--requests", type=click.IntRange(1, 9_999_999), default=10_000, show_default=True, help="How many.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Worker processes.")
@click.option(
    "--kills", type=click.IntRange(0), default=3, show_default=True, help="SIGKILLs, each followed by a restart."
)
@click.option("--rebalances", type=click.IntRange(0), default=2, show_default=True, help="Workers added and removed.")
@click.option(
    "--broker-restarts",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="With --local-kafka only; of three nodes one after the other.",
)
@click.option(
    "--poison", type=_SHARE, default=0.01, show_default=True, help="Share with truncated or unreadable records."
)
@click.option("--duplicates", type=_SHARE, default=0.02, show_default=True, help="Share with a record sent twice.")
@click.option("--unanswered", type=_SHARE, default=0.01, show_default=True, help="Share without a response.")
@click.option("--late", type=_SHARE, default=0.0, show_default=True, help="Share with a response after its time.")
@click.option(
    "--hostile",
    type=_SHARE,
    default=0.0,
    show_default=True,
    help="Share with a tombstone, no key, foreign bytes in the changelog, a huge name, thousands of headers or names that are not UTF-8.",
)
@click.option(
    "--rate", type=click.FloatRange(1), default=5000.0, show_default=True, help="Most requests sent a second."
)
@click.option(
    "--window",
    type=click.IntRange(1000),
    default=20_000,
    show_default=True,
    help="Most requests sent and not yet decided.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Draws the faults and the order of events.")
@click.option("--json", "json_path", type=ResultFile(), help="Write the figures here too.")
@click.option("--max-duplicated", type=click.IntRange(0), help="Default: 0 exactly once, any at least once.")
@click.option(
    "--max-recovery", type=click.FloatRange(0), metavar="SECONDS", help="Longest from a kill to reading again."
)
@click.option("--max-p99", type=click.FloatRange(0), metavar="MS", help="Largest p99 latency, outages included.")
@click.option(
    "--min-throughput", type=click.FloatRange(0), metavar="PER_SECOND", help="Least requests decided a second."
)
@setting_options("broker", "delivery", "model", "batch_size", "batch_linger", broker="")
def stress(
    *,
    local_kafka: bool,
    nodes: str,
    json_path: Path | None,
    poison: float,
    duplicates: float,
    unanswered: float,
    late: float,
    hostile: float,
    max_duplicated: int | None,
    max_recovery: float | None,
    max_p99: float | None,
    min_throughput: float | None,
    **options: Any,
) -> None:
    """Break things, and count what is lost. Requests and answers are sent meanwhile, and each must be decided once and rightly.

    It makes topics of its own and removes them. Exit code 1 when anything was lost, damaged or decided for a wrong reason,
    when a dead letter never came, when anything was decided twice exactly once, when a worker ended by itself, or beyond the
    limits given.
    """
    from streams.trials.stress import Limits, Options, Shares, breaches, closing_tables, figures, run_stress

    if local_kafka == (options["broker"] is not None):
        raise click.UsageError("Say where: either --broker HOST:PORT or --local-kafka.")
    if options["broker_restarts"] and not local_kafka:
        raise click.UsageError("--broker-restarts goes with --local-kafka: it restarts the broker.")
    if nodes != "1" and not local_kafka:
        raise click.UsageError("--nodes goes with --local-kafka: it says how many to start.")
    settings = settings_from(options)
    console = Console()
    wanted = Options(shares=Shares(poison, duplicates, unanswered, late, hostile), nodes=int(nodes), **options)
    result = figures(run_stress(settings, wanted, local_kafka=local_kafka, console=console), delivery=settings.delivery)
    if max_duplicated is None and settings.delivery == "exactly_once":
        max_duplicated = 0
    broken = breaches(result, Limits(max_duplicated, max_recovery, max_p99, min_throughput))
    if json_path is not None:
        json_path.write_bytes(orjson.dumps({**result, "breaches": broken}, option=orjson.OPT_INDENT_2))
    console.print(closing_tables(result, broken))
    if broken:
        raise SystemExit(1)

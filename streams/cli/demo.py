"""`secondlook demo`: see the whole thing work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from streams.cli.main import ResultFile, setting_options, settings_from


@click.command()
@click.option("--json", "json_path", type=ResultFile(), help="Write the figures here too.")
@click.option("--rate", type=click.FloatRange(1, 2000), default=25.0, show_default=True, help="Requests a second.")
@click.option("--limit", type=click.IntRange(30), help="Only this many of the held-out items.")
@setting_options(
    "broker", "delivery", "model", broker="the embedded one", delivery="at_least_once on the embedded broker"
)
def demo(json_path: Path | None, rate: float, limit: int | None, **options: Any) -> None:
    """Replay recorded LLM answers through a real worker. The threshold is swapped half-way.

    Without --broker it starts the embedded broker, and needs nothing but a trained model.
    """
    from streams.trials.demo import run_demo
    from streams.trials.demo.run import write_figures

    embedded = options["broker"] is None
    if embedded and options["delivery"] == "exactly_once":
        raise click.UsageError("--delivery exactly_once goes with --broker: the embedded broker has no transactions.")
    settings = replace(settings_from(options), web_port=0)
    figures = run_demo(settings, embedded=embedded, rate=rate, limit=limit, console=Console())
    if json_path is not None:
        write_figures(figures, json_path)
    if figures["lost"] or figures["duplicated"]:
        raise SystemExit(1)

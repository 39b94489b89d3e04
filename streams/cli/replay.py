"""`secondlook replay`: a file of labelled answers through the stream that runs."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from streams.cli.main import setting_options, settings_from
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.routing import AUTO_ACTION
from streams.trials.replay import Replayed
from streams.trials.replay import replay as replayed


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--held-out", is_flag=True, help="Only the items that no training has seen.")
@click.option(
    "--first", type=click.IntRange(0), default=0, metavar="N", help="Begin with the item of this number, from 0 on."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Send so many items.  [default: all]")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=200.0, show_default=True, help="Items a second."
)
@click.option("--judge", is_flag=True, help="Play the reviewers: answer what goes to humans with the file's labels.")
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=20.0,
    show_default=True,
    help="Seconds without a decision that end it.",
)
@setting_options("broker", "topic_prefix", "outcome_spec")
def replay(
    file: Path,
    *,
    held_out: bool,
    first: int,
    limit: int | None,
    rate: float,
    judge: bool,
    patience: float,
    **options: Any,
) -> None:
    """Send a file of labelled answers through the workers that run. What became of them is told at the end.

    FILE is JSONL (.xz, .gz) of {"request", "response", "label"}, as `train --data` reads it. Each item's request and response go to their
    topics, under its request_id; decisions and dead letters are waited for. An id that was decided within the workers' dedup_window is set aside
    as a duplicate. To the workers these are requests as any: keep them away from a pipeline whose decisions are acted on. Exit code 1 if an item
    got no decision.
    """
    from featurizers import load_spec
    from scoring import is_held_out, read_recording

    settings = settings_from(options)
    found = read_recording(file, load_spec(settings.outcome_spec))
    kept = [one for one in found if is_held_out(one.request_id)] if held_out else found
    items = kept[first : None if limit is None else first + limit]
    if not items:
        raise click.ClickException(
            f"{file}: no item is left of {len(found)}" + (f", {len(kept)} of them held out" if held_out else "")
        )
    console = Console()
    with console.status("") as status:
        for books in replayed(settings, items, rate=rate, judge=judge, patience=patience):
            status.update(f"{len(books.decisions)} of {len(books.labels)} decided")
    click.echo("\n".join(_told(books)))
    if books.undecided:
        raise click.ClickException(f"{books.undecided} of {len(books.labels)} got no decision: {_why(books)}")


def _why(books: Replayed) -> str:
    if books.set_aside[DeadLetter.DUPLICATE_REQUEST]:
        return "what was set aside as duplicate_request was decided before, within the workers' dedup_window (--first N sends others)"
    return "does a worker run (secondlook top --once, secondlook doctor)?"


def _told(books: Replayed) -> list[str]:
    lines = [f"decided       {len(books.decisions)} of {len(books.labels)}"]
    for route, reasons in books.routes().items():
        why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        lines.append(f"{route:14}{reasons.total()}: {why}")
    if books.set_aside:
        lines.append("set aside     " + ", ".join(f"{code} {count}" for code, count in books.set_aside.most_common()))
    if books.judged:
        lines.append(f"judged        {books.judged}, with the file's labels")
    for what, (wrong, verdicts) in (
        ("of all verdicts", books.wrong()),
        ("of what was automated", books.wrong(AUTO_ACTION)),
    ):
        if verdicts:
            lines.append(f"wrong         {wrong / verdicts:.1%} {what} ({wrong} of {verdicts}), by the file's labels")
    return lines

"""`secondlook top`: the fleet in a terminal, live; once, in a pipe."""

import logging
import sys
import time
from contextlib import suppress
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streams.cli.console import COSTS, READING, costs_of
from streams.cli.main import setting_options, settings_from
from streams.cli.screen import row, table
from streams.console.feed import Feed
from streams.console.lag import Lag, Pace
from streams.console.state import Finding, Latency, State, encode_state
from streams.kafka.client_log import client_log
from streams.pipeline.scope import EVERY
from streams.printable import printable

_STYLES: Final = {"good": "bold green", "warn": "bold yellow", "bad": "bold red"}
_UNKNOWN: Final = "unknown"
_WATCH: Final = 8.0
"""Seconds that are watched before a single picture is taken: a rate takes some, and a live worker speaks within three."""
_MOST_POLICIES: Final = 8
_MOST_LETTERS: Final = 5


@click.command()
@click.option("--once", is_flag=True, help=f"Print one picture after {_WATCH:g} seconds. In a pipe it is always so.")
@click.option("--json", "as_json", is_flag=True, help="The picture as JSON; live, one a line.")
@click.option(
    "--every", type=click.FloatRange(0.5), default=2.0, show_default=True, help="Seconds between two pictures."
)
@setting_options(*READING, *COSTS)
def top(every: float, *, once: bool, as_json: bool, **options: Any) -> None:
    """Show what flows, why and how well. Rates, routes, lag, latency, what waits, workers; Ctrl-C ends it.

    Exit code with --once: 0 where all is well or quiet, 2 where something should be looked at, 3 where something is bad.
    """
    settings = settings_from(options)
    client_log.addHandler(logging.NullHandler())  # the picture says what the client would
    feed = Feed(settings, costs_of(settings))
    feed.start()
    level = "good"
    try:
        with suppress(KeyboardInterrupt):
            if once or not (as_json or sys.stdout.isatty()):
                level = _once(feed, as_json=as_json)
            elif as_json:
                _lines(feed, every)
            else:
                _live(feed, every)
    finally:
        feed.close()
    sys.exit({"good": 0, "warn": 2, "bad": 3}[level])


def _once(feed: Feed, *, as_json: bool) -> str:
    time.sleep(_WATCH)
    state = feed.state()
    if as_json:
        click.echo(encode_state(state))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(picture(state))
    return state.word.level


def _lines(feed: Feed, every: float) -> None:
    while True:
        time.sleep(every)
        click.echo(encode_state(feed.state()))


def _live(feed: Feed, every: float) -> None:
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(feed.state()), refresh=True)
            time.sleep(every)


def picture(state: State) -> Group:
    """A state, to look at."""
    parts: list[RenderableType] = [
        _head(state),
        *map(_finding, state.findings),
        Text(),
        _figures(state),
        Text(),
        _routes(state),
    ]
    parts += [Text(), _workers(state)]
    if state.letters.by_code:
        codes = list(state.letters.by_code.items())[:_MOST_LETTERS]
        parts += [Text(), Text("set aside: " + ", ".join(f"{printable(code)} {count:,}" for code, count in codes))]
    return Group(*parts)


def _head(state: State) -> Text:
    word = state.word
    return Text.assemble(
        (f" {word.word.upper()} ", f"{_STYLES[word.level]} reverse"),
        f"  {printable(state.contact.broker)}  {state.at[11:19]} UTC",
    )


def _finding(one: Finding) -> Text:
    found = Text.assemble((one.word, _STYLES[one.level]), f": {printable(one.why)}")
    if one.do:
        found.append(f"  [{printable(one.do)}]", style="dim")
    return found


def _figures(state: State) -> Table:
    rates = state.rates
    shown = Table.grid(padding=(0, 3))
    every = state.routes[0]
    waiting = _UNKNOWN
    if state.pending is not None:
        oldest = "" if state.pending.oldest is None else f", the oldest for {state.pending.oldest:.0f} s"
        waiting = f"{state.pending.requests:,} requests, {state.pending.responses:,} answers{oldest}"
    cells = [
        ("requests/s", _rate(rates.requests), "unread", lag_in_words(state.lag)),
        ("answers/s", _rate(rates.responses), "request to decision", _latency(state.request_latency)),
        ("decisions/s", _rate(rates.decisions), "answer to decision", _latency(state.response_latency)),
        ("to humans", _UNKNOWN if every.share is None else f"{every.share:.1%}", "waiting", waiting),
    ]
    for left, figure, right, words in cells:
        shown.add_row(Text(left, "dim"), Text(figure, "bold"), Text(right, "dim"), Text(words))
    return shown


def lag_in_words(lag: Lag) -> str:
    """What is unread, for how long, and when all will be read."""
    if lag.records is None:
        return _UNKNOWN
    if not lag.records:
        return "0"
    if lag.keeps_up or lag.pace == Pace.UNKNOWN:
        return f"{lag.records:,}" + (", it keeps up" if lag.keeps_up else "")
    until = "never all at this pace" if lag.growing else "" if lag.catch_up is None else f"all in {lag.catch_up:.0f} s"
    more = "more than " if lag.at_least else ""
    pace = Pace.BEHIND if lag.pace == Pace.WELL else lag.pace  # it was well a minute ago
    return f"{lag.records:,} for {more}{lag.seconds or 0:.0f} s, {pace.value}" + (f", {until}" if until else "")


def _routes(state: State) -> Table:
    shown = table("policy", "decisions", "to humans", "as")
    for one in state.routes[: _MOST_POLICIES + 1]:
        share = _UNKNOWN if one.share is None else f"{one.share:.1%}"
        reasons = ", ".join(f"{reason} {count / one.decisions:.1%}" for reason, count in list(one.reasons.items())[:5])
        row(shown, "every policy" if one.policy == EVERY else one.policy, f"{one.decisions:,}", share, reasons)
    more = len(state.routes) - _MOST_POLICIES - 1
    if more > 0:
        row(shown, f"and {more} more", "", "", "")
    return shown


def _workers(state: State) -> Table:
    shown = table("worker", "state", "partitions", "unread", "waiting", "controls", "model", "heard")
    for one in state.workers:
        mine = [partition.lag.records for partition in state.partitions if partition.worker == one.name]
        known = one.partitions is not None and None not in mine and (bool(mine) or not one.partitions)
        unread = f"{sum(count or 0 for count in mine):,}" if known else _UNKNOWN
        waiting = _UNKNOWN if one.pending is None else f"{one.pending.requests + one.pending.responses:,}"
        numbers = _UNKNOWN if one.partitions is None else ",".join(map(str, one.partitions)) or "none"
        how = f"all to humans: {one.problem}" if one.problem else "taking over" if one.restoring else "at work"
        row(
            shown,
            one.name,
            how,
            numbers,
            unread,
            waiting,
            str(one.version),
            (one.model or "none")[:12],
            f"{one.silent:.0f} s ago",
        )
    for name, at in state.gone.items():
        row(shown, name, "GONE", "", "", "", "", "", at)
    return shown


def _rate(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f}"


def _latency(one: Latency | None) -> str:
    return (
        _UNKNOWN if one is None else f"p50 {one.p50:,.0f} ms, p95 {one.p95:,.0f}, p99 {one.p99:,.0f} (of {one.count:,})"
    )

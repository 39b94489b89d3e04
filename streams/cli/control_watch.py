"""`secondlook control show --watch`: what is in force and what each worker makes of it, as it changes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from io import StringIO
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.live import Live
from rich.text import Text

from streams.cli.control_show import render_controls, render_workers
from streams.console.in_force import in_force
from streams.errors import BrokerError, StreamError
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import Fleet
from streams.settings import Settings

Seen = tuple[Mapping[str, Any], str | None]
"""What `control show` says; and why the log cannot be read, while it can't: then it is as it was."""
_EVERY: Final = 1.0
"""Seconds between two looks at the control log."""


def watch_in_force(settings: Settings, *, as_json: bool) -> None:
    """Show it until Ctrl-C: on the screen, or a line of JSON at each change. Raises BrokerError if it can't be read at all."""
    console = Console()
    if not as_json and not console.is_terminal:
        raise click.UsageError("--watch needs a terminal to draw on; for a program: --watch --json")
    with suppress(KeyboardInterrupt):
        if as_json:
            _print_changes(_seen(settings))
        else:
            with Live(console=console, auto_refresh=False) as live:
                for document, problem in _seen(settings):
                    live.update(_screen(document, problem, console), refresh=True)


def _seen(settings: Settings) -> Iterator[Seen]:
    """What a thread sees, so that Ctrl-C need not wait for a broker that does not answer."""
    queue: SimpleQueue[Seen | StreamError] = SimpleQueue()

    def watch() -> None:
        try:
            with Fleet(settings) as fleet:
                for one in _documents(settings, fleet):
                    queue.put(one)
        except StreamError as error:
            queue.put(error)

    Thread(target=watch, name="watch", daemon=True).start()
    while True:
        one = queue.get()
        if isinstance(one, StreamError):
            raise one
        yield one


def _documents(settings: Settings, fleet: Fleet) -> Iterator[Seen]:
    history: History = read_history(settings)
    problem: str | None = None
    while True:
        yield in_force(history, fleet), problem
        fleet.listen(_EVERY)
        try:
            history, problem = read_history(settings, on=history), None
        except BrokerError as error:
            problem = str(error)


def _print_changes(seen: Iterator[Seen]) -> None:
    before: object = None
    for document, problem in seen:
        if _what_counts(document, problem) != before:
            before = _what_counts(document, problem)
            click.echo(orjson.dumps({**document, "problem": problem}))


def _what_counts(document: Mapping[str, Any], problem: str | None) -> object:
    """All but how long ago each worker spoke: that changes without anything having changed."""
    workers = {
        name: {key: value for key, value in one.items() if key != "silent_for"}
        for name, one in document["workers"].items()
    }
    return {**document, "workers": workers}, problem


def _screen(document: Mapping[str, Any], problem: str | None, console: Console) -> Text:
    """The whole picture, cut to the screen: the workers always, of the policies as many as there is room for."""
    workers, controls = (_lines(partial(render, document), console) for render in (render_workers, render_controls))
    last = Text(f"not up to date: {problem}", style="bold red") if problem else Text("Ctrl-C ends it", style="dim")
    room = max(console.height - len(workers) - 2, 1)
    if len(controls) > room:
        more = Text(f"{len(controls) - room + 1} lines more: secondlook control show", style="dim")
        controls = [*controls[: room - 1], more]
    last.truncate(console.width)
    return Text("\n").join([*controls, *workers, last])


def _lines(render: Callable[[Console], None], console: Console) -> list[Text]:
    """What is printed, line by line; on a paper of its own, because the live console would draw it at once."""
    paper = Console(file=StringIO(), width=console.width, force_terminal=True)
    with paper.capture() as captured:
        render(paper)
    return list(Text.from_ansi(captured.get()).split("\n"))

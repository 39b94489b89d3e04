"""`secondlook console`: the fleet in a browser."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import Any, Final

import click

from streams.cli.main import setting_options, settings_from
from streams.errors import SettingsError
from streams.kafka.client_log import client_log
from streams.settings import Settings

READING: Final = ("broker", "topic_prefix", "group", "control_keys", "control_signed_from")
COSTS: Final = ("cost_review", "cost_mistake", "cost_accounting")
_SEARCHED_FOR: Final = 20.0
"""Seconds for which an item is looked for, for a browser that waits."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=6067, show_default=True, help="Port; 0 for any.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host name that it may be called by, beside addresses and localhost.",
)
@click.option(
    "--show-content", is_flag=True, help="Let a looked-up item show what was moderated, and what the LLM answered."
)
@setting_options(*READING, *COSTS)
def console(host: str, port: int, names: tuple[str, ...], *, show_content: bool, **options: Any) -> None:
    """Show the fleet in a browser. What flows, why and how well; nothing can be changed from there.

    It reads topics and keeps nothing: start as many as you like, wherever the broker can be reached. There is no login: whoever
    may connect may read, so listen on this machine alone, or behind a proxy that asks who it is.
    """
    from streams.console.feed import Feed
    from streams.console.item import find_item
    from streams.console.web import Console, serve

    settings = settings_from(options)
    feed = Feed(settings, costs_of(settings))
    client_log.addHandler(logging.NullHandler())  # the page says what the client would
    find = partial(find_item, settings, content=show_content, within=_SEARCHED_FOR)
    feed.start()
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(Console(feed, find, names), host, port, lambda at: click.echo(f"{at}  (Ctrl-C ends it)")))
    except OSError as problem:
        raise SettingsError(f"--host {host} --port {port}: {problem.strerror}; give a port that is free") from None
    finally:
        feed.close()


def costs_of(settings: Settings) -> Any:
    """The costs by which thresholds are judged. Raises ThresholdError where no threshold pays."""
    from scoring import cost_threshold
    from streams.console.scores import Costs

    cost_threshold(settings.cost_accounting, review=settings.cost_review, mistake=settings.cost_mistake)
    return Costs(settings.cost_review, settings.cost_mistake, settings.cost_accounting)  # type: ignore[arg-type] # checked

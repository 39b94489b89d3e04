"""`secondlook console`: the fleet in a browser."""

import asyncio
import logging
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from streams.cli.control_options import FILE
from streams.cli.main import setting_options, settings_from
from streams.errors import SettingsError
from streams.kafka.client_log import client_log
from streams.settings import PREFIX, Settings

if TYPE_CHECKING:
    from streams.console.desk import Desk, Token

READING: Final = ("broker", "topic_prefix", "group", "control_keys", "control_signed_from")
COSTS: Final = ("cost_review", "cost_mistake", "cost_accounting")
TOKEN: Final = f"{PREFIX}CONSOLE_TOKEN"
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
@click.option(
    "--allow-controls",
    is_flag=True,
    help="Let who has the token stop and resume automation, set a threshold, and undo the last change.",
)
@click.option(
    "--token-file",
    type=FILE,
    envvar=f"{TOKEN}_FILE",
    metavar="FILE",
    help=f"With --allow-controls: the file with the token, 32 characters or more.  [default: ${TOKEN}_FILE, else the token itself in ${TOKEN}]",
)
@click.option(
    "--sign-with",
    type=FILE,
    envvar="SECONDLOOK_SIGN_WITH",
    metavar="FILE",
    help="With --allow-controls: sign with the private key of this file.  [default: $SECONDLOOK_SIGN_WITH]",
)
@setting_options(*READING, *COSTS)
def console(
    host: str,
    port: int,
    names: tuple[str, ...],
    *,
    show_content: bool,
    allow_controls: bool,
    token_file: Path | None,
    sign_with: Path | None,
    **options: Any,
) -> None:
    """Show the fleet in a browser. What flows, why and how well; nothing can be changed from there, unless --allow-controls is given.

    It reads topics and keeps nothing: start as many as you like, wherever the broker can be reached. There is no login: whoever
    may connect may read, so listen on this machine alone, or behind a proxy that asks who it is.
    """
    from streams.console.feed import Feed
    from streams.console.item import find_item
    from streams.console.web import Console, serve

    settings = settings_from(options)
    desk = _desk(settings, token_file, sign_with) if allow_controls else None
    feed = Feed(settings, costs_of(settings))
    client_log.addHandler(logging.NullHandler())  # the page says what the client would
    find = partial(find_item, settings, content=show_content, within=_SEARCHED_FOR)
    feed.start()
    pages = Console(feed, find, names, desk)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(pages, host, port, lambda at: click.echo(f"{at}  (Ctrl-C ends it)")))
    except OSError as problem:
        raise SettingsError(f"--host {host} --port {port}: {problem.strerror}; give a port that is free") from None
    finally:
        feed.close()


def _desk(settings: Settings, token_file: Path | None, sign_with: Path | None) -> "tuple[Desk, Token]":
    """Where controls are changed, and the token that it takes. Raises SettingsError."""
    from streams.console.desk import Desk, Token

    token = os.environ.get(TOKEN, "")
    if token_file is not None:
        try:
            token = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsError(f"--token-file {token_file}: cannot read a token from it") from None
    if not token:
        raise SettingsError(
            f"--allow-controls needs a token: --token-file FILE ({TOKEN}_FILE), or {TOKEN}; for one: openssl rand -base64 24 > FILE"
        )
    return Desk(settings, sign_with), Token(token)


def costs_of(settings: Settings) -> Any:
    """The costs by which thresholds are judged. Raises ThresholdError where no threshold pays."""
    from scoring import cost_threshold
    from streams.console.scores import Costs

    cost_threshold(settings.cost_accounting, review=settings.cost_review, mistake=settings.cost_mistake)
    return Costs(settings.cost_review, settings.cost_mistake, settings.cost_accounting)  # type: ignore[arg-type] # checked

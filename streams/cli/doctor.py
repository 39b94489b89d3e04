"""`secondlook doctor`: what is wrong, and the command that mends it."""

import logging
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from streams.cli.main import setting_options, settings_from
from streams.cli.screen import echo_json
from streams.kafka.rights import ROLES
from streams.printable import printable

if TYPE_CHECKING:
    from streams.doctor import Finding, State

EXIT_WRONG: Final = 1
EXIT_UNKNOWN: Final = 3
_COLOURS: Final[dict["State", str]] = {"ok": "green", "warning": "yellow", "wrong": "red", "unknown": "magenta"}
_WORDS: Final[dict["State", str]] = {"unknown": "COULD NOT LOOK", "wrong": "WRONG", "warning": "warning", "ok": "ok"}


@click.command()
@click.option(
    "--as", "role", type=click.Choice(list(ROLES)), default="worker", show_default=True, help="Whose rights to check."
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@setting_options()
def doctor(role: str, *, as_json: bool, **options: Any) -> None:
    """Say what is wrong, and the command that mends it. Broker, TLS, login, topics, rights, clock, model, controls, workers.

    Give it the settings of the worker that it is about. It writes nothing that anybody reads: one transaction is opened and taken
    back. Exit code 0: nothing is wrong; 1: something is; 3: nothing is known to be, but something could not be looked at.
    """
    from streams.doctor import examine, gather

    given = [flag for flag, name in (("--config", "config"), ("-X", "kafka")) if options[name]]
    settings = settings_from(options)
    logging.getLogger("streams").addHandler(
        logging.NullHandler()
    )  # what would be logged is found, and told in its place
    found = examine(gather(settings, role))
    counts = Counter(one.state for one in found)
    if as_json:
        echo_json(
            {
                "broker": settings.broker,
                "counts": {state: counts[state] for state in _WORDS},
                "checks": [one._asdict() for one in found],
            }
        )
    else:
        _show(found)
        if given and any("secondlook " in one.mend for one in found):
            click.echo(f"(each command of secondlook takes the same {' and '.join(given)} as this one)")
        click.echo(", ".join(f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state]))
    sys.exit(EXIT_WRONG if counts["wrong"] else EXIT_UNKNOWN if counts["unknown"] else 0)


def _show(found: "list[Finding]") -> None:
    """A line each, and what mends it below; what could not be looked at for one reason is one line, at the end."""
    width = max(len(one.check) for one in found)
    untold: dict[str, list[str]] = {}
    for one in found:
        if one.state == "unknown":
            untold.setdefault(one.about, []).append(one.check)
            continue
        click.echo(f"{_word(one.state)}  {one.check:<{width}}  {printable(one.about)}")
        if one.mend:
            click.echo(f"{'':<14}  {'':<{width}}  -> {printable(one.mend)}")
    for why, checks in untold.items():
        click.echo(f"{_word('unknown')}  {', '.join(dict.fromkeys(checks)):<{width}}  {printable(why)}")


def _word(state: "State") -> str:
    return click.style(f"{_WORDS[state]:<14}", fg=_COLOURS[state])

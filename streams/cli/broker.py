"""`secondlook broker`: the embedded broker, for as long as a command runs in its sight."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import click

from streams.settings import PREFIX


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def broker(command: tuple[str, ...]) -> None:
    """Run an embedded broker while COMMAND runs, such as `bash`. It needs nothing installed; its records go with it.

    COMMAND has the broker's address in its environment, so that `secondlook worker` and the other commands, started in it, find it. Without a
    COMMAND the broker runs until Ctrl-C, and the two settings are printed for another terminal. It has all topics. For trying out only: it
    knows no real transactions (delivery is at least once) and keeps 5 MiB of a partition.
    """
    from streams.trials.brokers import EmbeddedBroker

    with EmbeddedBroker() as running:
        settings = {f"{PREFIX}BROKER": running.bootstrap, f"{PREFIX}DELIVERY": "at_least_once"}
        if not command:
            click.echo("export " + " ".join(f"{name}={value}" for name, value in settings.items()))
            click.echo("The embedded broker runs until Ctrl-C.", err=True)
            with suppress(KeyboardInterrupt):
                signal.pause()
            return
        click.echo(f"An embedded broker is at {running.bootstrap} until {command[0]} ends.", err=True)
        sys.exit(_run(command, {**os.environ, **settings}))


def _run(command: tuple[str, ...], environment: dict[str, str]) -> int:
    """The exit code of the command. Raises ClickException where it cannot be started."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # a Ctrl-C is for the command
    try:
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - the user's own command
    except OSError as problem:
        raise click.ClickException(f"{command[0]} cannot be run: {problem.strerror}") from None
    finally:
        signal.signal(signal.SIGINT, before)

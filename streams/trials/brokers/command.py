"""`python -m streams.trials.brokers.command start|status|stop`: a local Kafka that runs on between commands."""

import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from streams.errors import BrokerError
from streams.trials.brokers.distribution import cache_folder
from streams.trials.brokers.local_kafka import LocalKafka

_DEFAULT_PORT = 19092
_STOP_TIMEOUT = 60.0


@dataclass(frozen=True)
class _Running:
    """What `start` leaves in the data folder for `status` and `stop`: the address, and each node's process id."""

    bootstrap: str
    pids: dict[str, int]


def _note(data: Path) -> Path:
    return data / "running.json"


def _find(data: Path) -> _Running | None:
    """Return the cluster that runs on this folder. A process id alone may by now be anybody's; Kafka's lock is not."""
    try:
        noted = _Running(**json.loads(_note(data).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    pids = {number: pid for number, pid in noted.pids.items() if _is_locked(data / f"node-{number}" / "log" / ".lock")}
    return _Running(noted.bootstrap, pids) if pids else None


def _is_locked(file: Path) -> bool:
    if not file.exists():
        return False
    with file.open("r+b") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the records, kept from start to start.  [default: in the user's cache folder]",
    callback=lambda _context, _option, given: given or cache_folder() / "kafka" / "data",
)


@click.group(help=__doc__)
def main() -> None:
    """Set up what all commands share."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")


@main.command()
@_data
@click.option("--port", default=_DEFAULT_PORT, show_default=True, help="First port; a node takes two.")
@click.option("--nodes", default=1, show_default=True, help="Kafka processes in the cluster.")
def start(data: Path, port: int, nodes: int) -> None:
    """Start Kafka and print its address. One that runs already stays as it is."""
    running = _find(data)
    if running is None:
        kafka = LocalKafka(data, port=port, nodes=nodes)
        try:
            kafka.start()
        except BrokerError as error:
            raise click.ClickException(str(error)) from error
        running = _Running(kafka.bootstrap, {str(number): pid for number, pid in kafka.pids.items()})
        _note(data).write_text(json.dumps(asdict(running)), encoding="utf-8")
    click.echo(running.bootstrap)


@main.command()
@_data
def status(data: Path) -> None:
    """Print the address of the Kafka that runs; exit with 1 if none does."""
    running = _find(data)
    if running is None:
        click.echo(f"no Kafka runs on {data}", err=True)
        sys.exit(1)
    click.echo(running.bootstrap)


@main.command()
@_data
def stop(data: Path) -> None:
    """Stop Kafka cleanly; its records stay. Nothing to stop is no error."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _STOP_TIMEOUT
        running = _find(data)
        for pid in running.pids.values() if running else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        while _find(data) and time.monotonic() < deadline:
            time.sleep(0.1)
    _note(data).unlink(missing_ok=True)


if __name__ == "__main__":
    main()

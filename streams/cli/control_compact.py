"""`secondlook control compact`: a snapshot in place of the control log's past."""

import sys
from dataclasses import replace
from functools import partial

import click
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.cli.control_issue import EXIT_NOT_EVERYWHERE
from streams.errors import BrokerError, ControlError
from streams.kafka.admin import has_controller, records_kept
from streams.kafka.clients import admin_config, base_config
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import LISTEN, Fleet
from streams.kafka.issuing import Issue, write
from streams.kafka.topics import load_topics, topic_names
from streams.kafka.troubles import told
from streams.pipeline.control_messages import Snapshot
from streams.pipeline.reasons import Refusal
from streams.printable import printable
from streams.settings import Settings

_FRAMING = 16 * 1024
"""Bytes that a record needs beside its value, with room to spare."""
_TRIES = 3
"""Snapshots that are made before another message has come between each time."""


def compact_log(asked: Issue, settings: Settings) -> None:
    """Write a snapshot, have every live worker agree with it, then delete what stands before. Raises ControlError, BrokerError.

    Ends the command with exit code 3, and nothing deleted, where a live worker does not agree.
    """
    topic = topic_names(load_topics(settings.topic_prefix))["control"]
    admin = AdminClient(admin_config(base_config(settings)))
    if not has_controller(admin):
        raise BrokerError(f"the broker {settings.broker} cannot delete records: nothing was written")
    with Fleet(settings) as fleet:
        history = read_history(settings)
        _check(history, asked, topic)
        snapshot = _snapshot(history, settings)
        _confirm(history, snapshot, asked)
        offset = _write(history, replace(asked, expected_version=None), settings)
        click.echo(f"snapshot of version {history.log.version}, written to {topic} at offset {offset}")
        if not fleet.live:
            fleet.listen(min(asked.wait, LISTEN), lambda: bool(fleet.live))
        missing = partial(fleet.missing, frozenset(fleet.live), lambda one: one.snapshot >= offset)
        fleet.listen(asked.wait, lambda: not missing())
        silent = missing()
    for name in silent:
        click.echo(f"{printable(name)}: has not said that it agrees with it")
    if silent:
        click.echo(
            "nothing was deleted: a worker that does not agree is hung, of an older version, or trusts other keys. Mend that and do it again"
        )
        sys.exit(EXIT_NOT_EVERYWHERE)
    problems = records_kept(admin, {TopicPartition(topic, 0): offset})
    for problem in problems.values():
        raise BrokerError(
            f"the records of {topic} before offset {offset} could not be deleted: {told(problem, f'Delete in {topic}')}. What was in force still is, and the "
            "next control compact tries again"
        )
    click.echo(f"deleted what stood before offset {offset}")


def _check(history: History, asked: Issue, topic: str) -> None:
    log = history.log
    if not log.is_whole:
        raise ControlError(
            f"the beginning of {topic} is gone, so nobody knows what a snapshot should say. Nothing was written"
        )
    if not log.position:
        raise ControlError(f"{topic} is empty: there is nothing to compact")
    asked.check(log.version)


def _snapshot(history: History, settings: Settings) -> Snapshot:
    return history.log.snapshot(history.end, history.taken, settings.max_record_bytes - _FRAMING)


def _confirm(history: History, snapshot: Snapshot, asked: Issue) -> None:
    """Ask, naming what is lost. Raises ControlError where nobody is there to answer."""
    if asked.yes:
        return
    kept = {past.offset for past in snapshot.messages}
    lost = [one for one in history.taken.values() if one.offset not in kept]
    gone = [version for version, _ in history.log.versions if version < snapshot.base]
    click.echo(
        f"{len(lost):,} of {len(history.taken):,} messages go for good. To keep them: secondlook control history --json --last {len(history.taken)}"
    )
    click.echo(
        f"version {snapshot.base} and later can still be rolled back to; "
        + (
            f"no longer: {len(gone):,} versions from {gone[0]} to {gone[-1]}"
            if gone
            else "none is lost that can be now"
        )
    )
    if not sys.stdin.isatty():
        raise ControlError("say --yes if that is meant. Nothing was written")
    if not click.confirm("Go on?"):
        raise ControlError("not confirmed: nothing was written")


def _write(history: History, asked: Issue, settings: Settings) -> int:
    """Write the snapshot of what the log says by then; its offset. Raises ControlError when it is refused."""
    for _ in range(_TRIES - 1):
        try:
            return write(_snapshot(history, settings), asked, settings, history)[0].offset
        except ControlError as problem:
            if problem.code != Refusal.STALE:  # else another message was quicker, and history has it by now
                raise
    return write(_snapshot(history, settings), asked, settings, history)[0].offset

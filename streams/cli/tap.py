"""`secondlook tap`: decisions, and what is set aside, as they come."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, Final

import click
import msgspec

from streams.cli.main import setting_options, settings_from
from streams.cli.since import Since
from streams.console.decisions import ROLES, ROUTES, Asked, Decision, read_decision, without_request
from streams.console.feed import letter_of
from streams.console.read_model import moment
from streams.kafka.following import Follower, Heard
from streams.kafka.reading import broker_stamp
from streams.pipeline.reasons import Reason
from streams.printable import printable

_LETTERS: Final = "dead_letter"
_ID, _POLICY, _REASON = 36, 14, 21


@click.command()
@click.option("--policy", default="", help="Only this policy's.")
@click.option("--route", type=click.Choice(ROUTES), default=None, help="Only what went there.")
@click.option(
    "--reason", type=click.Choice([code.value for code in Reason]), default=None, help="Only what was decided so."
)
@click.option("--llm", default="", help="Only answers of this LLM.")
@click.option("--id", "request_id", default="", help="Only ids with this in them.")
@click.option("--since", type=Since(), help="Begin then: an age (90s, 10m, 2h) or an RFC 3339 time.  [default: now]")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Begin N records before the end of each partition.")
@click.option("--limit", type=click.IntRange(1), help="End after so many.")
@click.option("--until-now", is_flag=True, help="End where the topics end now.")
@click.option("--dead-letters", "letters", is_flag=True, help="What is set aside too.")
@click.option("--content", is_flag=True, help="With --json: the request too, where the decision carries it.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: the decision's record, with its place and time."
)
@setting_options("broker", "topic_prefix")
def tap(
    since: int | None,
    last: int | None,
    limit: int | None,
    *,
    until_now: bool,
    letters: bool,
    content: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Print decisions as they come. Committed ones, of every worker; Ctrl-C ends it.

    What was moderated is never shown, but with --json --content. Filters are about decisions: with one of them, dead letters are left out.
    """
    if content and not as_json:
        raise click.UsageError("--content goes with --json")
    if last is not None and since is not None:
        raise click.UsageError("say where to begin by --since or by --last")
    asked = Asked(*(options.pop(name) or "" for name in Asked._fields))
    if letters and any(asked):
        raise click.UsageError("--dead-letters goes without filters: a record that was set aside has no decision")
    settings = settings_from(options)
    count = 0
    with (
        suppress(KeyboardInterrupt),
        closing(Follower(settings, (*ROLES, _LETTERS) if letters else ROLES, last=last or 0, since=since)) as follower,
    ):
        for one in _heard(follower, until_now=until_now):
            line = _line(one, asked, content=content, as_json=as_json)
            if line is None or (since is not None and (broker_stamp(one.message) or since) < since):
                continue
            click.echo(line)
            count += 1
            if count == limit:
                break


def _heard(follower: Follower, *, until_now: bool) -> Iterator[Heard]:
    while True:
        yield from sorted(follower.poll(), key=lambda one: broker_stamp(one.message) or 0)
        if until_now and follower.caught_up:
            return
        time.sleep(0)  # where Ctrl-C is noticed


def _line(one: Heard, asked: Asked, *, content: bool, as_json: bool) -> str | None:
    """A record as it is printed; None for one that is not asked for, or is no decision."""
    at = moment(broker_stamp(one.message) or 0)
    if one.role == _LETTERS:
        letter = letter_of(one.message)
        if as_json:
            return json.dumps({"type": "dead_letter", **msgspec.structs.asdict(letter)})
        return f"{at[11:23]}  {_cell(letter.key, _ID)}  {'':{_POLICY}}  {'set aside':12}  {_cell(letter.code, _REASON)}  {printable(letter.message, 80)}"
    value = one.message.value() or b""
    decision = read_decision(value)
    if decision is None or not asked.wants(decision):
        return None
    if as_json:
        document = msgspec.json.decode(value) if content else without_request(value)
        place = {"topic": one.message.topic(), "partition": one.message.partition(), "offset": one.message.offset()}
        return json.dumps({"type": "decision", "at": at, **place, **document})  # with numbers of any length
    return _words(at, decision)


def _words(at: str, one: Decision) -> str:
    probability = "" if one.error_probability is None else f"{one.error_probability:.4f}"
    against = (
        ""
        if one.threshold is None
        else f"{'<' if (one.error_probability or 0) < one.threshold else '>='} {one.threshold:g}"
    )
    llm = printable(one.llm.name or "unnamed", 30)
    to = one.action if one.route == "auto-action" else "human"
    return f"{at[11:23]}  {_cell(one.request_id, _ID)}  {_cell(one.policy, _POLICY)}  {_cell(to, 12)}  {_cell(one.reason, _REASON)}  {probability:6} {against:9}  {llm}".rstrip()


def _cell(text: str, width: int) -> str:
    return f"{printable(text, width):{width}}"

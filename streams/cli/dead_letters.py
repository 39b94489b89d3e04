"""`secondlook dead-letters`: see what was set aside, and put it back once the cause is mended."""

import heapq
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import click

from streams.cli.main import setting_options, settings_from
from streams.cli.since import Since
from streams.dead_letters.reading import Spot, letters_at, read_letters, spot_of
from streams.dead_letters.redrive import Tally, redrive_codes, redrive_spots
from streams.errors import LetterError
from streams.kafka.clients import Consumed
from streams.pipeline.dead_letters import REFUSALS, Letter, read_letter
from streams.pipeline.reasons import DEAD_LETTERS, DeadLetter
from streams.pipeline.routing import rfc3339
from streams.printable import pretty, printable

_KEY_WIDTH: Final = 40
_HEAD: Final = ("position", "time", "code", "source", "cycles", "key")


class _PositionType(click.ParamType):
    name = "PARTITION:OFFSET"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Spot:
        if isinstance(value, Spot):
            return value
        found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", value)
        if found is None:
            self.fail(f"{value!r} is not PARTITION:OFFSET, as `secondlook dead-letters list` shows it", param, ctx)
        return Spot(int(found[1]), int(found[2]))


_codes = click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="CODE",
    type=click.Choice([code.value for code in DeadLetter]),
    help="Only letters with this code, e.g. not_a_record; may be given several times.",
)


@click.group()
def dead_letters() -> None:
    """See which records were set aside, and put them back."""


@dead_letters.command("list")
@_codes
@click.option("--since", type=Since(), help="Only letters since then: an age (30m, 1h, 2d) or an RFC 3339 time.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@setting_options("broker", "topic_prefix")
def show_list(codes: tuple[str, ...], since: int | None, limit: int, *, as_json: bool, **options: Any) -> None:
    """List the letters in the topic. The latest last, and how many there are of each code."""
    latest: list[tuple[int, Spot, dict[str, Any]]] = []
    counts: Counter[str] = Counter()
    for message in read_letters(settings_from(options)):
        letter, at = read_letter(message.headers()), message.timestamp()[1]
        if (codes and letter.code not in codes) or (since is not None and at < since):
            continue
        counts[letter.code or "(no code)"] += 1
        entry = (at, spot_of(message), _summary(message, letter))
        (heapq.heappush if len(latest) < limit else heapq.heappushpop)(latest, entry)
    rows = [row for _, _, row in sorted(latest, key=lambda entry: entry[:2])]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))  # in ASCII: what is in a key must not reach the terminal
    else:
        _echo_table(rows)
    more = counts.total() - len(rows)
    if more:
        click.echo(f"{more} more before these: --limit {counts.total()} shows all", err=as_json)
    if not as_json:
        click.echo(f"{counts.total()} dead letters" + (f": {_counted(counts)}" if counts else ""))


@dead_letters.command("show")
@click.argument("position", metavar="PARTITION:OFFSET", type=_PositionType())
@click.option("--raw", is_flag=True, help="Write the value's bytes, unchanged and alone, to standard output.")
@setting_options("broker", "topic_prefix")
def show(position: Spot, *, raw: bool, **options: Any) -> None:
    """Show one letter whole. Why it is here, its headers, and its value."""
    (message,) = letters_at(settings_from(options), [position])
    if raw:
        value = message.value()
        if value is None:
            raise LetterError(
                f"dead letter {position} has no value: {_whence(read_letter(message.headers()))} is its source"
            )
        click.get_binary_stream("stdout").write(value)
    else:
        _echo_letter(message)


@dead_letters.command("redrive")
@click.argument("positions", nargs=-1, metavar="[PARTITION:OFFSET]...", type=_PositionType())
@_codes
@click.option("--all", "every", is_flag=True, help="Letters with any code.")
@click.option(
    "--max-cycles",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Refuse a letter that was put back so often.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be sent.")
@setting_options("broker", "topic_prefix", "group", "delivery", "max_record_bytes")
def redrive(
    positions: tuple[Spot, ...],
    codes: tuple[str, ...],
    *,
    every: bool,
    max_cycles: int,
    dry_run: bool,
    **options: Any,
) -> None:
    """Put letters back into the topics that they came from. Byte for byte.

    Either the letters at PARTITION:OFFSET, as often as they are named; or those with a --code, or --all of them, each letter
    once: the next call goes on with the letters that came since. Letters that are refused are counted, and passed.
    """
    if [bool(positions), bool(codes), every].count(True) != 1:
        raise click.UsageError("Say which letters: either PARTITION:OFFSET ..., or --code CODE ..., or --all.")
    settings = settings_from(options)
    if positions:
        tally = redrive_spots(settings, positions, max_cycles=max_cycles, dry_run=dry_run)
    else:
        wanted = frozenset(DeadLetter(code) for code in codes) or frozenset(DeadLetter)
        tally = redrive_codes(settings, wanted, max_cycles=max_cycles, dry_run=dry_run)
    _echo_tally(tally, dry_run=dry_run)


def _summary(message: Consumed, letter: Letter) -> dict[str, Any]:
    """A letter in short; its value is not kept, so that a long topic needs little memory."""
    key = message.key()
    return {
        "position": str(spot_of(message)),
        "time": _time(message),
        "code": letter.code,
        "message": letter.message,
        "source": {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset},
        "cycles": letter.cycles,
        "key": None if key is None else key.decode(errors="backslashreplace"),
    }


def _time(message: Consumed) -> str:
    try:
        return rfc3339(message.timestamp()[1])
    except (ValueError, OverflowError, OSError):  # a stranger's record may claim any time
        return "(no time)"


def _whence(letter: Letter) -> str:
    return ":".join(printable(part) for part in (letter.topic, letter.partition, letter.offset))


def _echo_table(rows: list[dict[str, Any]]) -> None:
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    source = ":".join(printable(part) for part in row["source"].values())
    code, key = printable(row["code"]), printable(row["key"], _KEY_WIDTH)
    return row["position"], row["time"], code, source, str(row["cycles"]), key


def _echo_letter(message: Consumed) -> None:
    letter, value = read_letter(message.headers()), message.value()
    meaning = {code.value: text for code, text in DEAD_LETTERS.items()}.get(letter.code or "", "")
    for name, text in (
        ("position", str(spot_of(message))),
        ("time", _time(message)),
        ("code", f"{printable(letter.code)}  {meaning}".rstrip()),
        ("reason", printable(letter.message)),
        ("source", _whence(letter)),
        ("cycles", str(letter.cycles)),
        ("key", printable(message.key())),
    ):
        click.echo(f"{name:<9} {text}")
    click.echo("headers")
    for name, header in message.headers() or ():
        click.echo(f"  {printable(name)}: {printable(header)}")
    click.echo("value     (none)" if value is None else f"value     {len(value)} bytes\n{pretty(value)}")


def _echo_tally(tally: Tally, *, dry_run: bool) -> None:
    counts = f": {_counted(tally.sent)}" if tally.sent else ""
    click.echo(f"{'would redrive' if dry_run else 'redriven'} {tally.sent.total()}{counts}")
    for why, count in tally.refused.most_common():
        click.echo(f"refused {count}, {why.value}: {REFUSALS[why]}")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{printable(code)} {count}" for code, count in sorted(counts.items()))

"""The options of `secondlook control`: whom a message is about, what is tried, and what goes with a message."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from scoring import ACCOUNTINGS
from scoring.data.window import moment
from streams.cli.main import setting_options
from streams.errors import ControlError
from streams.pipeline.scope import EVERY, OUTCOMES
from streams.printable import printable

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN: Final = 40
"""Characters of a wrong text that its line repeats."""
_SETTINGS = ("broker", "topic_prefix", "control_keys", "control_signed_from")
_F = TypeVar("_F", bound=Callable[..., Any])


class Number(click.ParamType):
    """A number within bounds, or one line that says what it may be."""

    name = "NUMBER"

    def __init__(self, what: str, most: float = float("inf"), *, zero: bool = True) -> None:
        self._what, self._most, self._zero = what, most, zero

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> float:
        """The number. Raises ControlError."""
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not 0 <= number <= self._most or number == float("inf") or not (number or self._zero):
            limits = f"from 0 to {self._most:g}" if self._most < float("inf") else "above 0"
            raise ControlError(f"{value!r} is no {self._what}: that is a number {limits}. Nothing was written")
        return number


class Moment(click.ParamType):
    """A time with its zone. A wrong one is a usage error."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """See click.ParamType."""
        found = value if isinstance(value, datetime) else moment(value)
        return found or self.fail(f"{value!r} is no time with its zone, such as 2026-01-31T09:00:00Z", param, ctx)


class _Deadline(Moment):
    """That of a message: a wrong one refuses the message."""

    def fail(self, message: str, _param: click.Parameter | None = None, _ctx: click.Context | None = None) -> NoReturn:
        raise ControlError(f"{message}. Nothing was written")


class Words(click.ParamType):
    """Text that a control message can carry, or one line that says what it may be."""

    name = "TEXT"

    def __init__(self, what: str, most: int, *, empty: bool = False) -> None:
        self._what, self._most, self._least = what, most, 0 if empty else 1

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> str:
        """The text. Raises ControlError."""
        text = str(value)
        if not self._least <= len(text) <= self._most or not _is_unicode(text):
            limits = f"up to {self._most:,}" if not self._least else f"{self._least} to {self._most:,}"
            raise ControlError(
                f"{printable(text, _SHOWN)!r} is no {self._what}: that is {limits} characters, in UTF-8. Nothing was written"
            )
        return text


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: bytes of the command line that are none come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def reading(command: _F) -> _F:
    """The options of a command that only reads."""
    return setting_options(*_SETTINGS)(command)


def _all_of(*options: Callable[[Any], Any]) -> Callable[[_F], _F]:
    def with_options(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options


def issuing_by(*more: str) -> Callable[[_F], _F]:
    """The options of a command that writes a message, and goes by more settings than those of the broker."""
    return _all_of(
        click.option(
            "--issued-by",
            envvar="SECONDLOOK_ISSUED_BY",
            type=Words("name", 1000, empty=True),
            metavar="NAME",
            help="Who issues it, for the record.  [default: $SECONDLOOK_ISSUED_BY, else the user of this machine]",
        ),
        click.option("--reason", type=Words("reason", 1000, empty=True), metavar="TEXT", help="Why, for the record."),
        click.option(
            "--expected-version",
            type=click.IntRange(0),
            metavar="N",
            help="Refuse it when another version is in force by then.",
        ),
        click.option(
            "--expires-at",
            type=_Deadline(),
            metavar="TIME",
            help="Refuse it when the broker gets it at this time or later.",
        ),
        click.option(
            "--sign-with",
            type=FILE,
            envvar="SECONDLOOK_SIGN_WITH",
            metavar="FILE",
            help="Sign it with the private key of this file (control keygen); it then expires after ten minutes.  [default: $SECONDLOOK_SIGN_WITH]",
        ),
        click.option(
            "--wait",
            type=click.FloatRange(0),
            default=10.0,
            show_default=True,
            help="Seconds to wait for the live workers; 0: only write it.",
        ),
        click.option("--yes", is_flag=True, help="Do not ask, and do not stop at what looks like a mistake."),
        setting_options(*_SETTINGS, *more),
    )


issuing = issuing_by()
"""The options of a command that writes a message."""


def _scoped(text: str) -> Callable[[_F], _F]:
    """The options that say what a message is about; of the policy there is more to say."""
    return _all_of(
        click.option("--policy", type=Words("policy", 255), default=EVERY, show_default=True, help=text),
        click.option(
            "--tenant",
            type=Words("tenant", 255),
            default=EVERY,
            show_default=True,
            help="Only requests of this tenant.",
        ),
        click.option(
            "--outcome",
            type=click.Choice((EVERY, *OUTCOMES)),
            default=EVERY,
            show_default=True,
            help="Only what the LLM would allow, or remove.",
        ),
    )


def costs(*, required: bool) -> Callable[[_F], _F]:
    """What a review and a mistake cost."""
    cost = Number("cost", zero=False)
    return _all_of(
        click.option("--review", type=cost, required=required, help="Cost of one human review."),
        click.option("--mistake", type=cost, help="Cost of acting on one wrong verdict; or by outcome:"),
        click.option("--missed-violation", type=cost, help="Cost of a wrong allow."),
        click.option("--wrong-removal", type=cost, help="Cost of a wrong remove."),
        click.option("--accounting", type=click.Choice(ACCOUNTINGS), default=ACCOUNTINGS[0], show_default=True),
    )


def taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Some of the options, taken out of them."""
    return {name: options.pop(name) for name in names}


of_setting = _scoped("Only this policy; * sets it for all, their own settings included.")
of_stop = _scoped("Only this policy.")


proposing = _all_of(
    click.option("--threshold", type=Number("threshold", 1.0), help="Try this threshold, 0 to 1."),
    costs(required=False),
    click.option(
        "--sha256", metavar="SHA256", help="Try this model: one of the model directory or of the models topic."
    ),
    click.option("--keep-thresholds", is_flag=True, help="With a model: keep the thresholds in force."),
    of_setting,
)
"""The options that say what is tried: a model, and a threshold or costs, or one of them."""

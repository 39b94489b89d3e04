"""A point in time on the command line: an age, or a moment."""

import re
import time
from datetime import datetime
from typing import Any, Final

import click

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Since(click.ParamType):
    """A time in ms since the epoch."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        if isinstance(value, int):
            return value
        ago = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
        if ago is not None:
            return int(time.time() * 1000) - int(ago[1]) * _UNITS[ago[2]] * 1000
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.fail(
                f"{value!r} is neither an age (90s, 30m, 1h, 2d) nor a time with its zone (2026-01-31T09:00:00Z)",
                param,
                ctx,
            )
        return int(moment.timestamp() * 1000)

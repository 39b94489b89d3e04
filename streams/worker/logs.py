"""Logs: JSON lines on stdout. No record's content is ever logged."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

import orjson

from featurizers import SecondlookError

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

LIBRARY_LOG: Final = logging.getLogger("faust")
"""Where services say that they start and stop: the library's chatter, not ours."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever `extra` held.

    The project's own errors say it all in their message; others come with their traceback, as `error`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        problem = record.exc_info and record.exc_info[1]
        if record.exc_info and problem and not isinstance(problem, SecondlookError):
            line["error"] = "".join(traceback.format_exception(*record.exc_info))
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class FatalOnce(logging.Filter):
    """One line says why the worker ends: the library reports each crash again wherever it passes."""

    def __init__(self) -> None:
        super().__init__()
        self._said = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        if record.name.startswith(LIBRARY_LOG.name):
            return not self._said or record.levelno < logging.ERROR
        self._said = self._said or record.levelno >= logging.CRITICAL
        return True


def set_up_logging(level: str) -> None:
    """Send everything to stdout as JSON lines; the libraries' own chatter only from warnings up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    handler.addFilter(FatalOnce())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("streams").setLevel(level.upper())

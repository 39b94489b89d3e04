"""Log lines: one says why a worker ends, and the project's own errors need no traceback."""

import logging
from typing import Any

import orjson
import pytest

from streams.errors import DeliveryError
from streams.worker.logs import FatalOnce, JsonLines


def line(name: str, level: int, message: str, problem: Exception | None = None) -> logging.LogRecord:
    info = None if problem is None else (type(problem), problem, problem.__traceback__)
    return logging.makeLogRecord(
        {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": message, "exc_info": info}
    )


def test_the_library_repeats_no_crash_that_was_said() -> None:
    """Its other troubles are heard, and its own crash too where we said nothing."""
    once = FatalOnce()
    assert once.filter(line("faust", logging.ERROR, "Crashed"))
    assert once.filter(line("streams.worker.run", logging.CRITICAL, "the topics are another group's"))
    assert not once.filter(line("faust", logging.ERROR, "Crashed"))
    assert not once.filter(line("faust.worker", logging.CRITICAL, "We experienced a crash!"))
    assert once.filter(line("faust", logging.WARNING, "slow"))
    assert once.filter(line("streams.worker.run", logging.ERROR, "not committed"))


@pytest.mark.parametrize(("problem", "traced"), [(DeliveryError("refused"), False), (KeyError("x"), True)])
def test_only_what_nobody_expected_comes_with_its_traceback(problem: Exception, traced: bool) -> None:
    """Our own errors say it all in one line."""
    written: dict[str, Any] = orjson.loads(JsonLines().format(line("streams", logging.CRITICAL, str(problem), problem)))
    assert traced == ("error" in written)

"""`secondlook broker`: a command beside an embedded broker."""

import sys

from click.testing import CliRunner
from pytest import CaptureFixture  # noqa: PT013

from streams.cli.main import main

LOOK = (
    "import os, sys; from confluent_kafka.admin import AdminClient; from streams.settings import load_settings; "
    "s = load_settings(); print(s.delivery, len(AdminClient({'bootstrap.servers': s.broker}).list_topics(timeout=10).topics)); sys.exit(7)"
)


def test_the_command_finds_the_broker_in_its_environment(capfd: CaptureFixture[str]) -> None:
    """With all topics; its exit code is passed on."""
    result = CliRunner().invoke(main, ["broker", sys.executable, "-c", LOOK])
    assert 7 == result.exit_code, result.output
    assert "at_least_once 12\n" == capfd.readouterr().out


def test_a_command_that_is_not_there_is_named() -> None:
    """One line."""
    result = CliRunner().invoke(main, ["broker", "no-such-command"])
    assert (1, "Error: no-such-command cannot be run: No such file or directory\n") == (
        result.exit_code,
        result.stderr.splitlines(keepends=True)[-1],
    )

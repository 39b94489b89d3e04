"""`secondlook control` where the topics are not there: one line that says what to do."""

import pytest
from click.testing import CliRunner

from streams.cli.main import main


@pytest.mark.parametrize("command", [["show"], ["stop"], ["set-threshold", "0.2"], ["set-model", "abcdef"], ["wait"]])
def test_missing_topics_are_one_line_with_the_command_that_makes_them(
    kafka: str, prefix: str, command: list[str]
) -> None:
    """Also where the client would wait for the topic for ever."""
    result = CliRunner().invoke(main, ["control", *command, "--broker", kafka, "--topic-prefix", prefix])
    assert 1 == result.exit_code
    assert f"secondlook topics create --broker {kafka} --topic-prefix {prefix}" in result.output
    assert 1 == len(result.output.splitlines())

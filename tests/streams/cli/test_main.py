"""The command line itself: what its help shows, and that every error is one line."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli.main import main

NOWHERE = "127.0.0.1:1"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_version_says_what_reads_the_answers() -> None:
    """Whether the native reader was found."""
    assert re.fullmatch(r"secondlook, version [\d.]+, (native|python) reader.*\n", run("--version").output)


@pytest.mark.parametrize("group", [[], ["topics"], ["dead-letters"]])
def test_the_lists_of_commands_are_whole(group: list[str]) -> None:
    """On a terminal of 80 columns no command's description breaks off."""
    commands = run(*group, "--help").output.partition("Commands:\n")[2].splitlines()
    assert 2 <= len(commands)
    assert [line for line in commands if not line.endswith(".") or line.endswith("..")] == []


def test_help_says_what_a_command_does_without_a_setting() -> None:
    """The demo brings its own broker, and the stress test asks for one."""
    demo, stress = (" ".join(run(command, "--help").output.split()) for command in ("demo", "stress"))
    assert "[host:port, ...] Default: the embedded one." in demo
    assert "[host:port, ...] --delivery" in stress


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "--json"],
        ["stress", f"--broker={NOWHERE}", "--json"],
        ["evaluate", "--model=.", f"--data={__file__}", "--json"],
        ["evaluate", "--model=.", f"--data={__file__}", "--html"],
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_a_result_that_cannot_be_written_is_said_at_once(command: list[str], tmp_path: Path) -> None:
    """Not once the work is done."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        result = run(*command, str(folder / "out.json"))
        assert 2 == result.exit_code
        assert f"'{folder}' is no folder that may be written to" in result.output


def test_the_embedded_broker_has_no_transactions() -> None:
    """To ask the demo for exactly once on it is refused rather than passed by."""
    assert "goes with --broker" in run("demo", "--delivery=exactly_once").output


def test_a_file_that_is_in_the_way_is_one_line(tmp_path: Path) -> None:
    """It names the file."""
    (tmp_path / "file").touch()
    result = run("train", "--single=max-softmax", "--out", str(tmp_path / "file" / "models"))
    assert (1, 1) == (result.exit_code, result.output.count("\n"))
    assert result.output.startswith(f"secondlook: {tmp_path}/file/models")
    assert result.output.endswith(": Not a directory\n")

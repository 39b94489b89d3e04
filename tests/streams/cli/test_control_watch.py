"""`secondlook control show --watch`, as a process on a terminal of its own and on a pipe."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import SetThreshold, StopAutomation
from streams.settings import Settings, load_settings
from streams.trials.brokers import EmbeddedBroker

TOPICS = load_topics()
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker([TOPICS["control"], TOPICS["control_status"]]) as broker:
        yield broker


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings({"broker": broker.bootstrap}, environ={})


def command(settings: Settings, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "streams", "control", "show", "--watch", "--broker", settings.broker, *arguments]


def heed_interrupts() -> None:
    """Who runs the tests in the background has them ignored, and passes that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A terminal of so many lines, with the command on it."""

    def __init__(self, settings: Settings, *, lines: int) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS", "CI")}
        self.process = subprocess.Popen(
            command(settings),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm"},
            preexec_fn=heed_interrupts,  # noqa: PLW1509 - a signal is set, and nothing else
        )
        os.close(slave)
        self.text = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            self.read()

    def read(self) -> bool:
        try:
            more = os.read(self._master, 10_000)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.text += more.decode()
        return bool(more)

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        while self.read():
            pass
        os.close(self._master)
        return self.process.wait(30)


def test_a_stop_comes_onto_the_screen_and_ctrl_c_leaves_it_clean(settings: Settings) -> None:
    """Without an error, and with the cursor as it was."""
    terminal = Terminal(settings, lines=40)
    terminal.wait_for("controls version 0")
    publish_control(settings, StopAutomation(policy="*", issued_by="ana", reason="wrong removals"))
    terminal.wait_for("AUTOMATION STOPPED for every policy: version 1, by ana")
    assert 0 == terminal.interrupt(), terminal.text
    assert terminal.text.rindex(SHOW) > terminal.text.rindex(HIDE)
    assert "Traceback" not in terminal.text
    assert terminal.text.count("Ctrl-C ends it") == terminal.text.count("no worker is live")  # one picture, drawn once


def test_while_no_broker_answers_the_screen_says_so(broker: EmbeddedBroker, settings: Settings) -> None:
    """What was in force last stays on it, and Ctrl-C does not wait for the broker."""
    terminal = Terminal(settings, lines=40)
    terminal.wait_for("controls version 0")
    broker.set_down()
    terminal.wait_for("not up to date: ")
    assert 0 == terminal.interrupt(), terminal.text
    assert terminal.text.rindex(SHOW) > terminal.text.rindex(HIDE)


def test_a_small_screen_shows_the_workers_and_says_what_it_leaves_out(settings: Settings) -> None:
    """Whether every worker has it in force is below the policies, which may be many."""
    for number in range(30):
        publish_control(settings, SetThreshold(policy=f"policy-{number}", threshold=0.5))
    terminal = Terminal(settings, lines=12)
    terminal.wait_for("lines more: secondlook control show")
    terminal.wait_for("no worker is live")
    assert "policy-9 " not in terminal.text
    assert 0 == terminal.interrupt()


def test_a_program_gets_a_line_at_each_change(settings: Settings) -> None:
    """And none between: the second line is the next change, however long nothing happened."""
    program = command(settings, "--json")
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts) as process:  # noqa: PLW1509 - likewise
        assert process.stdout is not None
        assert 0 == json.loads(process.stdout.readline())["version"]
        time.sleep(2.5)
        publish_control(settings, StopAutomation(policy="hate", reason="why not"))
        line = json.loads(process.stdout.readline())
        assert (1, "why not") == (line["version"], line["stops"]["hate"]["reason"])
        process.send_signal(signal.SIGINT)
        assert ("", 0) == (process.stdout.read(), process.wait(30))


def test_without_a_terminal_it_says_what_to_do(settings: Settings) -> None:
    """There is nothing to draw on."""
    result = CliRunner().invoke(main, ["control", "show", "--watch", "--broker", settings.broker])
    assert (2, True) == (result.exit_code, "--watch --json" in result.output)

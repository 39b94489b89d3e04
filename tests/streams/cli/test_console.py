"""`secondlook console` as a process: it says where, answers there, and ends on Ctrl-C."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

from click.testing import CliRunner

from streams.cli.main import main


def test_it_answers_without_a_broker_and_ends_on_ctrl_c() -> None:
    """The page says that no broker has answered; nothing is printed but its address."""
    command = [sys.executable, "-m", "streams", "console", "--broker", "127.0.0.1:1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        at = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{at}state.json", timeout=10) as answer:
            assert json.load(answer)["findings"][0]["word"] in ("connecting", "blind")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert (0, "", "") == (process.returncode, out, errors)


def test_a_port_that_is_taken() -> None:
    """Is said in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["console", "--broker", "127.0.0.1:1", "--port", port])
    assert 1 == result.exit_code
    assert f"--port {port}: " in result.output
    assert "give a port that is free" in result.output

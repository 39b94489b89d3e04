"""`secondlook console` as a process: it says where, answers there, and ends on Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from click.testing import CliRunner

from streams.cli.main import main
from streams.kafka.control_keys import write_private_key
from streams.kafka.reading import read_values
from streams.kafka.topics import load_topics
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker


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


def test_controls_need_a_token_that_stands_in_no_argument(tmp_path: Path) -> None:
    """From a file or the environment; a short one is refused, and said without itself."""
    command = ["console", "--broker", "127.0.0.1:1", "--port", "0", "--allow-controls"]
    assert "needs a token" in CliRunner().invoke(main, command).output
    (tmp_path / "token").write_text("hush\n")
    for arguments, environment in (
        (["--token-file", str(tmp_path / "token")], {}),
        ([], {"SECONDLOOK_CONSOLE_TOKEN": "hush"}),
        ([], {"SECONDLOOK_CONSOLE_TOKEN_FILE": str(tmp_path / "token")}),
    ):
        result = CliRunner(env=environment).invoke(main, [*command, *arguments])
        assert (1, True, False) == (
            result.exit_code,
            "32 printable characters" in result.output,
            "hush" in result.output.replace(str(tmp_path), ""),
        )
    assert 2 == CliRunner().invoke(main, [*command, "--token", "hush"]).exit_code


def test_controls_where_messages_must_be_signed_need_a_key(tmp_path: Path) -> None:
    """That is said at the start, not at three in the morning."""
    (tmp_path / "keys").write_text(write_private_key(tmp_path / "ana.key") + " ana\n")
    command = ["console", "--broker", "127.0.0.1:1", "--allow-controls", "--control-keys", str(tmp_path / "keys")]
    result = CliRunner(env={"SECONDLOOK_CONSOLE_TOKEN": "0123456789" * 4}).invoke(main, command)
    assert (1, True) == (result.exit_code, "needs --sign-with FILE" in result.output)


def test_a_change_from_end_to_end() -> None:
    """With the token a form changes something, without it nothing; it stands in no argument, and nothing that is printed."""
    token = "correct horse battery staple, and a little more"
    topics = load_topics()
    with EmbeddedBroker(topics.values()) as broker:
        command = [sys.executable, "-m", "streams", "console", "--broker", broker.bootstrap, "--port", "0"]
        environment = {**os.environ, "SECONDLOOK_CONSOLE_TOKEN": token}
        with subprocess.Popen(
            [*command, "--allow-controls"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            at = process.stdout.readline().split()[0].rstrip("/")

            pages: list[str] = []

            def send(given: str) -> int:
                form = {"version": "0", "by": "ana", "reason": "half the reviews", "token": given}
                address = f"{at}/act?action=threshold&threshold=0.2"
                request = urllib.request.Request(address, urllib.parse.urlencode(form).encode(), {"Origin": at})
                try:
                    with urllib.request.urlopen(request, timeout=60) as answer:
                        assert answer.url.endswith("/controls?written=1")
                        status: int = answer.status
                except urllib.error.HTTPError as refused:
                    status = refused.code
                    pages.append(refused.read().decode())
                return status

            assert [403, 200, 409] == [send(given) for given in ("a guess", token, token)]
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=30)
        settings = load_settings({"broker": broker.bootstrap}, environ={})
        (message,) = map(json.loads, read_values(settings, topics["control"].name, [0]))
    assert (0.2, "ana (console)", 0) == tuple(message[name] for name in ("threshold", "issued_by", "expected_version"))
    assert (0, "") == (process.returncode, out)
    assert "a wrong token for the console's controls, from 127.0.0.1" in errors
    assert token not in errors + "".join(pages)

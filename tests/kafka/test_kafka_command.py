"""The command that keeps a local Kafka running between other commands."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kafka.topics import create_topics, load_topics
from streams.trials.brokers import free_ports


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as from a shell."""
    command = [sys.executable, "-m", "streams.trials.brokers.command", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("java")
def test_start_status_stop(tmp_path: Path) -> None:
    """What `start` started is found by `status`, kept by a second `start`, and ended by `stop`."""
    data, port = f"--data={tmp_path}", free_ports(2)
    address = f"127.0.0.1:{port}\n"
    try:
        started = run("start", data, f"--port={port}")
        assert (address, 0) == (started.stdout, started.returncode)
        assert create_topics({"bootstrap.servers": address.strip()}, load_topics())
        assert run("start", data, f"--port={port}").stdout == address
        assert run("status", data).stdout == address
    finally:
        stopped = run("stop", data)
    assert stopped.returncode == 0
    assert run("status", data).returncode == 1


def test_stop_without_start(tmp_path: Path) -> None:
    """Stopping where nothing runs is no error."""
    assert run("stop", f"--data={tmp_path}").returncode == 0


@pytest.mark.usefixtures("java")
def test_port_is_taken(tmp_path: Path) -> None:
    """A port in use is an error that names the port and the option to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("start", f"--data={tmp_path}", f"--port={port}")
    assert result.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in result.stderr
    assert "--port" in result.stderr

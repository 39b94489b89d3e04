"""What all tests share."""

import socket
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, trained by the command that a user runs, on the shipped recording."""
    from click.testing import CliRunner

    from scoring import RECORDING
    from streams.cli.main import main

    folder = tmp_path_factory.mktemp("models")
    result = CliRunner().invoke(main, ["train", "--data", str(RECORDING), "--out", str(folder)], catch_exceptions=False)
    assert 0 == result.exit_code, result.output
    return folder


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

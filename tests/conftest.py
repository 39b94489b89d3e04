"""What all tests share."""

import fcntl
import os
import socket
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that wait longest first: what runs beside them fills their time."""
    items.sort(key=lambda item: "tests/kafka/" not in item.nodeid and "tests/streams/worker/" not in item.nodeid)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, trained by the command that a user runs, on the shipped recording."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _trained(tmp_path_factory.mktemp("models"))
    # One training for all processes of a run: the first one trains, the others wait for it.
    shared = tmp_path_factory.getbasetemp().parent / "models"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return shared if (shared / "current").exists() else _trained(shared)


def _trained(folder: Path) -> Path:
    from click.testing import CliRunner

    from scoring import RECORDING
    from streams.cli.main import main

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

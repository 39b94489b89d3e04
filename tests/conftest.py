"""What all tests share."""

import fcntl
import os
import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from scoring.training import Trained

# How long an example takes is the machine's business.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that wait longest first: what runs beside them fills their time. Small ones last, so that no process ends late.

    The very first file has the model trained; what needs none comes next, and so does not wait for it.
    """
    in_need = {item.path for item in items if "models" in getattr(item, "fixturenames", ())}

    def place(item: pytest.Item) -> tuple[bool, ...]:
        waits = "tests/kafka/" in item.nodeid or "tests/streams/worker/" in item.nodeid
        reckons = "tests/scoring/" in item.nodeid or "tests/test_" in item.nodeid
        return "kafka/test_delivery" not in item.nodeid, not waits, waits and item.path in in_need, not reckons

    items.sort(key=place)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder of the temporary directory, made by the first of a run's processes; the others wait for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        path = factory.mktemp(name) / name
        make(path)
        return path
    path = factory.getbasetemp().parent / name
    made = path.with_suffix(".made")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(path)
            made.touch()
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, trained by the command that a user runs, on the shipped recording."""
    from click.testing import CliRunner

    from scoring import RECORDING, training
    from streams.cli.main import main

    def train(folder: Path) -> None:
        def kept(*given: Any, **options: Any) -> "Trained":
            made = by_the_library(*given, **options)
            _beside(folder).write_bytes(pickle.dumps(made))
            return made

        by_the_library = training.train
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "train", kept)
            arguments = ["train", "--data", str(RECORDING), "--out", str(folder)]
            result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert 0 == result.exit_code, result.output

    return once(tmp_path_factory, "models", train)


def _beside(models: Path) -> Path:
    return models.with_suffix(".pickle")


@pytest.fixture(scope="session")
def trained(models: Path) -> "Trained":
    """The same default model as the library gave it to the command: one training for both."""
    model: Trained = pickle.loads(_beside(models).read_bytes())
    return model


@pytest.fixture
def _no_worker_to_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands listen for a word of the workers as long as a live one may be silent: not where a test has none."""
    from streams.cli import control_compact, control_issue, control_prepare, control_show

    for command in (control_compact, control_issue, control_prepare, control_show):
        monkeypatch.setattr(command, "LISTEN", 0.2)


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts' folder on the path, as when one of them is run."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    for name in (
        "job",
        "track",
        "contenders",
        "run",
        "figures",
        "in_process",
        "on_kafka",
        "scaling",
        "pacing",
        "latency",
        "course",
        "restart",
        "memory",
        "backlog",
        "control_messages",
        "control_fold",
        "control_check",
        "control_models",
        "control_script",
        "control_traffic",
        "control_figures",
        "control_laps",
        "controls",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)

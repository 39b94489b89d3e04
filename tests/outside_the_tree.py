"""The built wheel, as `make test-wheel` installs it: run from a folder that holds this file and the examples, and nothing else."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

PACKAGES = ("featurizers", "scoring", "streams")
DATA = [
    *((package, "py.typed") for package in PACKAGES),
    ("scoring", "recordings/qwen2.5-coder-1.5b-instruct.jsonl.xz"),
    ("scoring.evaluation", "templates/report.html"),
    ("scoring.evaluation", "templates/report.css"),
    ("streams.kafka", "topics.toml"),
]
SECONDLOOK = str(Path(sys.executable).with_name("secondlook"))


def _run(*command: str) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == found.returncode, found.stdout + found.stderr
    return found.stdout


@pytest.mark.parametrize(("package", "file"), DATA)
def test_it_carries_its_data(package: str, file: str) -> None:
    """What is no Python is installed with it, and nothing comes from a checkout."""
    found = resources.files(package).joinpath(file)
    assert found.is_file()
    assert Path(str(found)).is_relative_to(sys.prefix)


def test_the_command_line_starts() -> None:
    """`secondlook --help` lists the commands."""
    assert "worker" in _run(SECONDLOOK, "--help")


def test_a_saved_response_is_read() -> None:
    """`secondlook features` on the example's response finds its outcome."""
    assert "outcome 1 (violation)" in _run(SECONDLOOK, "features", "response.json")


def test_a_model_is_trained_judged_and_used(tmp_path: Path) -> None:
    """From the shipped recording to a model, its report, and the example that scores with it."""
    recording = str(resources.files("scoring").joinpath(DATA[3][1]))
    models, report = tmp_path / "models", tmp_path / "report.html"
    _run(SECONDLOOK, "train", "--data", recording, "--out", str(models))
    _run(SECONDLOOK, "evaluate", "--model", str(models), "--data", recording, "--html", str(report))
    assert "<h2>Charts</h2>" in report.read_text()
    assert "automated at threshold" in _run(sys.executable, "score_a_batch.py", str(models))


def test_a_users_mypy_sees_its_types() -> None:
    """Strict mypy, with no configuration of ours, is content with the examples; and says so where a type is wrong."""
    _run(sys.executable, "-m", "mypy", "--strict", *sorted(file.name for file in Path().glob("*.py")))
    wrong = "from featurizers import decode\ndecode(3)\n"
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "-c", wrong], capture_output=True, text=True, check=False
    )
    assert 'incompatible type "int"; expected "bytes"' in found.stdout

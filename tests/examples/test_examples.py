"""The examples run as a user runs them, and say what they should."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(*arguments: str, cwd: Path) -> str:
    found = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert 0 == found.returncode, found.stdout + found.stderr
    return found.stdout


def test_featurize_a_response(tmp_path: Path) -> None:
    """The predictors, the deciding token, and why others are missing."""
    printed = _run(str(EXAMPLES / "featurize_a_response.py"), cwd=tmp_path)
    assert "outcome 1 of example-moderator, 41 predictors" in printed
    assert "decided by '1'" in printed
    assert "missing: the answer has no rationale" in printed


def test_score_a_batch(models: Path, tmp_path: Path) -> None:
    """What is automated is wrong less often than what goes to humans."""
    printed = _run(str(EXAMPLES / "score_a_batch.py"), str(models), cwd=tmp_path)
    automated, reviewed = (float(line.split()[-1].rstrip("%")) for line in printed.splitlines()[1:])
    assert automated < reviewed


def test_the_embedded_broker(tmp_path: Path) -> None:
    """The user's test passes."""
    file = EXAMPLES / "test_with_the_embedded_broker.py"
    assert "1 passed" in _run("-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", str(file), cwd=tmp_path)


def test_every_example_is_run_here() -> None:
    """No example goes without a test."""
    tested = Path(__file__).read_text()
    assert [] == [file.name for file in EXAMPLES.glob("*.py") if f'"{file.name}"' not in tested]

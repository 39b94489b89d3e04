"""`secondlook train` and `secondlook evaluate`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from scoring import RECORDING, load_model
from scoring.model import model_file
from scoring.training import Trained
from streams.cli.scoring import evaluate, train


def test_train_writes_a_model_that_loads(models: Path) -> None:
    """DIR/<sha256>/model.onnx, card.json, and `current` naming the hash."""
    sha256 = (models / "current").read_text().strip()
    assert {"model.onnx", "card.json"} == {path.name for path in (models / sha256).iterdir()}
    assert sha256 == load_model(models).sha256


def test_training_twice_gives_the_same_bytes(models: Path, trained: Trained) -> None:
    """The command line's model is, byte for byte, the one that the library trains."""
    assert trained.onnx == model_file(models).read_bytes()


@pytest.mark.usefixtures("_few_draws")
def test_evaluate_writes_json_and_html_and_prints_the_table(models: Path, tmp_path: Path) -> None:
    """Both files are written, and the terminal shows model, baselines and conclusions."""
    figures, page = tmp_path / "out.json", tmp_path / "out.html"
    arguments = ["--model", str(models), "--data", str(RECORDING), "--json", str(figures), "--html", str(page)]
    result = CliRunner().invoke(evaluate, arguments)
    assert (0, None) == (result.exit_code, result.exception)
    assert load_model(models).sha256 == json.loads(figures.read_text())["model"]["sha256"]
    assert page.read_text().startswith("<!doctype html>")
    assert "label-and-policy" in result.output


def test_a_first_day_model_needs_no_data(tmp_path: Path) -> None:
    """--single writes a model without labels that says it is uncalibrated."""
    result = CliRunner().invoke(train, ["--single", "max-softmax", "--out", str(tmp_path)])
    assert (0, False) == (result.exit_code, load_model(tmp_path).card["calibrated"])
    assert "Uncalibrated" in result.output


@pytest.mark.parametrize(
    "arguments", [[], ["--vectors", str(RECORDING)], ["--data", str(RECORDING), "--vectors", str(RECORDING)]]
)
def test_train_says_what_it_can_read(arguments: list[str], tmp_path: Path) -> None:
    """No data, or half of a pair, is a usage error."""
    result = CliRunner().invoke(train, [*arguments, "--out", str(tmp_path)])
    assert 2 == result.exit_code
    assert "--vectors FILE with --decisions FILE" in result.output


@pytest.mark.parametrize(
    ("arguments", "ignored"),
    [
        (["--single", "margin", "--data", str(RECORDING)], "--data"),
        (["--single", "margin", "--from-topics"], "--from-topics"),
        (["--data", str(RECORDING), "--broker", "localhost:9092"], "--broker"),
        (["--vectors", str(RECORDING), "--decisions", str(RECORDING), "--topic-prefix", "eu."], "--topic-prefix"),
    ],
)
def test_train_ignores_nothing_that_was_asked_for(arguments: list[str], ignored: str, tmp_path: Path) -> None:
    """An option that would be without effect is refused by name, before anything is written."""
    result = CliRunner().invoke(train, [*arguments, "--out", str(tmp_path / "models")])
    assert 2 == result.exit_code
    assert f"leave out {ignored}" in result.output
    assert not (tmp_path / "models").exists()


TRAINING_LIBRARIES = ["sklearn", "skl2onnx", "onnx", "scipy", "threadpoolctl", "jinja2", "matplotlib"]


def test_answers_without_log_probabilities_are_told(tmp_path: Path) -> None:
    """Before anything is made of them: the usual reason why nothing is learned. The shipped recordings have theirs."""
    line = '{"request": {"request_id": "%d", "policy": "p"}, "response": {"provider": "none", "body": "{\\"outcome\\": 1}"}, "label": 1}\n'
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(line % number for number in range(3)))
    result = CliRunner().invoke(train, ["--data", str(file), "--data", str(RECORDING), "--only", "magic"])
    assert "note: 3 of 843 answers have no log-probabilities" in result.stderr


def test_a_worker_imports_no_training_library() -> None:
    """What `secondlook worker` imports loads onnxruntime and nothing of the `train` extra."""
    probe = (
        "import sys, streams.cli.main, streams.worker.run\n"
        f"print([name for name in {TRAINING_LIBRARIES} if name in sys.modules], 'onnxruntime' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "[] True" == found.stdout.strip()


def test_training_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a training library is missing, the error names the extra."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delattr("scoring.training")
    for module in [name for name in sys.modules if name.startswith("scoring.training")]:
        monkeypatch.delitem(sys.modules, module)
    result = CliRunner().invoke(train, ["--single", "margin", "--out", str(tmp_path)])
    assert 1 == result.exit_code
    assert "secondlook[train]" in result.output

"""`secondlook train`, `models promote` and `models show`: a candidate becomes the current model when it is shown to be better."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scoring import RECORDING, load_model
from scoring.store import add_model, current_model, promote, write_model
from scoring.training.cold_start import single_estimator_model
from streams.cli.main import main
from streams.kafka.model_topic import push_model
from streams.kafka.publishing import publish_control
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import SetModel
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker
from tests.streams.cli.test_from_topics import labelled, send

LABELS = ("--data", str(RECORDING))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def directory(models: Path, tmp_path: Path) -> Path:
    """A model directory of the test's own: the trained model is current, that of the entropy a candidate."""
    return Path(shutil.copytree(models, tmp_path / "ours"))


@pytest.fixture
def first_day(directory: Path) -> str:
    """The sha256 of the entropy's."""
    return add_model(directory, *single_estimator_model("entropy")).name


def test_a_candidate_leaves_the_current_model_alone(directory: Path) -> None:
    """Into an empty directory `train` puts the current model, into any other one a candidate; it says how to go on."""
    trained = current_model(directory)
    result = run("train", "--single", "margin", "--out", str(directory))
    candidate = single_estimator_model("margin")
    assert (0, trained) == (result.exit_code, current_model(directory))
    assert f"secondlook models promote {add_model(directory, *candidate).name[:12]}" in result.output
    fresh = directory / "fresh"
    assert 0 == run("train", "--single", "margin", "--out", str(fresh)).exit_code
    assert load_model(fresh).sha256 == add_model(directory, *candidate).name


def test_the_better_one_becomes_current(directory: Path, first_day: str) -> None:
    """By labels that neither was trained on, with intervals; and what to do next is said."""
    trained = current_model(directory)
    assert trained is not None
    promote(directory, first_day)
    result = run("models", "promote", trained[:12], "--model", str(directory), *LABELS)
    assert (0, trained) == (result.exit_code, current_model(directory))
    assert "On 361 labelled verdicts, 151 of them wrong, that neither model was trained on:" in result.output
    assert "The candidate is better: it costs less, beyond noise." in result.output
    assert "control set-model" in result.output


def test_one_that_is_not_better_takes_force(directory: Path, first_day: str) -> None:
    """It stays a candidate, with its figures told; forced, it needs no labels."""
    trained = current_model(directory)
    result = run("models", "promote", first_day[:8], "--model", str(directory), *LABELS)
    assert (1, trained) == (result.exit_code, current_model(directory))
    assert "The candidate is worse" in result.output
    assert "is not shown to be better" in result.output
    assert (0, first_day) == (
        run("models", "promote", first_day[:8], "--model", str(directory), "--force").exit_code,
        current_model(directory),
    )


def test_without_labels_nothing_is_compared(directory: Path, first_day: str) -> None:
    """A usage error that says what can be read; a model that is not there is one, too."""
    result = run("models", "promote", first_day[:8], "--model", str(directory))
    assert (2, True) == (result.exit_code, "--from-topics" in result.output)
    assert 1 == run("models", "promote", "abcdef", "--model", str(directory), *LABELS).exit_code


def test_show_prints_a_card_that_can_be_read(directory: Path, first_day: str) -> None:
    """What it was trained on, how it did beside what it has to beat, and whether it is the current one; a first day's too."""
    result = run("models", "show", "--model", str(directory))
    assert (0, None) == (result.exit_code, result.exception)
    for part in (
        "Trained on 477 labelled answers, 475 with a verdict, 179 of these wrong",
        "label-and-policy      AUROC 0.850",
        "Thresholds by cost: false-discovery 0.390",
        "It is the directory's current model.",
    ):
        assert part in result.output
    other = run("models", "show", first_day[:12], "--model", str(directory))
    assert (0, True, False) == (other.exit_code, "Uncalibrated" in other.output, "current model" in other.output)


def test_times_that_no_answer_has_are_an_error(tmp_path: Path) -> None:
    """A recording says no times; a time without a zone is none."""
    result = run("train", *LABELS, "--since", "2026-11-26T00:00:00Z", "--out", str(tmp_path / "models"))
    assert (1, True) == (result.exit_code, "None of 840 rows was decided in that time" in result.output)
    wrong = run("train", *LABELS, "--until", "tomorrow", "--out", str(tmp_path / "models"))
    assert (2, True) == (wrong.exit_code, "'tomorrow' is no time with its zone, such as 2026" in wrong.output)


def test_by_topics_the_model_in_force_is_what_has_to_be_beaten(directory: Path, first_day: str) -> None:
    """Not the directory's current one; where it is not here, it is fetched."""
    trained = current_model(directory)
    assert trained is not None
    write_model(directory, *single_estimator_model("margin"))
    onnx = (directory / first_day / "model.onnx").read_bytes()
    shutil.rmtree(directory / first_day)
    with EmbeddedBroker(
        [load_topics()[role] for role in ("control", "models", "vectors", "human_decisions")]
    ) as broker:
        settings = load_settings({"broker": broker.bootstrap}, environ={})
        topics = ("--from-topics", "--broker", broker.bootstrap, "--model", str(directory))
        push_model(settings, onnx)
        publish_control(settings, SetModel(sha256=first_day))
        send(broker, "", labelled())
        result = run("models", "promote", trained[:12], *topics)
    assert (0, trained) == (result.exit_code, current_model(directory)), result.output
    assert "cost, candidate less model in force, false-discovery" in result.output
    assert first_day == load_model(directory / first_day).sha256

"""Loading, checking and serving a model."""

import json
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from featurizers import SCHEMA
from scoring import ModelError, load_model
from scoring.data.dataset import Dataset
from scoring.model import METADATA_KEY, ErrorModel
from scoring.store import write_model
from scoring.training import Trained
from scoring.training.cold_start import single_estimator_model


@pytest.fixture
def home(trained: Trained, tmp_path: Path) -> Path:
    """A model directory with the default model as `current`."""
    return write_model(tmp_path / "models", trained.onnx, trained.card)


def of_another_schema(monkeypatch: pytest.MonkeyPatch, name: str, names: tuple[str, ...]) -> None:
    """From here on the featurizer gives other predictors."""
    monkeypatch.setattr("scoring.model.SCHEMA", SimpleNamespace(id=name, names=names))


def test_a_model_is_found_by_directory_hash_and_file(home: Path) -> None:
    """The directory (its `current`), the addressed directory and the .onnx file give the same model."""
    found = {load_model(path).sha256 for path in (home.parent, home, home / "model.onnx")}
    assert {home.name} == found


def test_what_a_model_says_of_itself(home: Path, trained: Trained) -> None:
    """Name, schema, policies and terms come from the file alone."""
    model = load_model(home / "model.onnx")
    assert trained.card == model.card
    assert (trained.card["name"], SCHEMA.id) == (model.name, model.schema)
    assert {"harassment", "hate", "self-harm", "sexual", "violence"} == model.policies
    assert (*SCHEMA.names, "policy", "policy x outcome") == model.terms


def test_the_card_beside_the_model_is_the_one_inside(home: Path, trained: Trained) -> None:
    """card.json is the embedded card and the file's sha256."""
    card = json.loads((home / "card.json").read_text())
    assert {**trained.card, "sha256": home.name} == card


def test_writing_a_model_again_changes_nothing(home: Path, trained: Trained) -> None:
    """The directory is content-addressed: the same bytes land in the same place."""
    before = sorted(path.relative_to(home.parent) for path in home.parent.rglob("*"))
    assert home == write_model(home.parent, trained.onnx, trained.card)
    assert before == sorted(path.relative_to(home.parent) for path in home.parent.rglob("*"))


def test_scores_are_probabilities_with_one_push_a_term(home: Path, recording: Dataset) -> None:
    """A batch of n gives P(E) [n] in 0..1 and contributions [n, k], float32 both."""
    model = load_model(home)
    scores = model.score(recording.values, recording.policies)
    assert ((840,), (840, len(model.terms))) == (scores.error_probability.shape, scores.contributions.shape)
    assert np.float32 == scores.error_probability.dtype == scores.contributions.dtype
    assert 0 <= scores.error_probability.min() <= scores.error_probability.max() <= 1


def test_a_batch_scores_as_its_rows_do_alone(home: Path, recording: Dataset) -> None:
    """Batching changes no score."""
    model = load_model(home)
    batch = model.score(recording.values[:20], recording.policies[:20]).error_probability
    alone = [
        model.score(recording.values[i : i + 1], recording.policies[i : i + 1]).error_probability[0] for i in range(20)
    ]
    assert batch.tolist() == pytest.approx(alone, abs=1e-7)


def test_an_empty_batch_scores_to_nothing(home: Path) -> None:
    """No vectors, no scores, no error."""
    model = load_model(home)
    one, none = (model.score(np.zeros((n, len(SCHEMA.names)), np.float32), ["hate"] * n) for n in (1, 0))
    for some, empty in zip(astuple(one), astuple(none), strict=True):
        assert (some[:0].shape, some.dtype) == (empty.shape, empty.dtype)


def test_an_unknown_policy_is_scored_by_the_pooled_model(home: Path, recording: Dataset) -> None:
    """A policy that training never saw still gets a probability."""
    scores = load_model(home).score(recording.values[:5], ["never-seen"] * 5)
    assert np.isfinite(scores.error_probability).all()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((*SCHEMA.names, "brand_new"), "the model does not know brand_new"),
        (SCHEMA.names[1:], f"the featurizer does not give {SCHEMA.names[0]}"),
        (SCHEMA.names[::-1], "the order of the features differs"),
    ],
)
def test_another_schema_is_refused_by_the_features_that_differ(
    home: Path, names: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names both schemas and the difference, and how to mend it."""
    of_another_schema(monkeypatch, "lpp/next", names)
    with pytest.raises(ModelError, match=rf"{SCHEMA.id}, the featurizer gives lpp/next: {says}\. Retrain"):
        load_model(home)


def test_a_new_meaning_under_the_same_names_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema's version counts even where no name changed."""
    of_another_schema(monkeypatch, "lpp/next", SCHEMA.names)
    with pytest.raises(ModelError, match="same names with another meaning"):
        load_model(home)


def test_an_altered_file_is_refused(home: Path) -> None:
    """A file whose bytes do not match the hash it is stored under is not loaded."""
    other, _ = single_estimator_model("margin")
    (home / "model.onnx").write_bytes(other)
    with pytest.raises(ModelError, match="its sha256 is"):
        load_model(home)


@pytest.mark.parametrize("content", [b"", b"no onnx at all"])
def test_bytes_that_are_no_model_are_refused(tmp_path: Path, content: bytes) -> None:
    """Garbage gives a ModelError."""
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ModelError):
        load_model(tmp_path / "x.onnx")


def test_a_missing_model_says_how_to_build_one(tmp_path: Path) -> None:
    """An empty directory points to `secondlook train`."""
    with pytest.raises(ModelError, match="secondlook train"):
        load_model(tmp_path)


def test_someone_elses_onnx_is_refused(trained: Trained) -> None:
    """A graph without our card is not guessed at."""
    graph = onnx.load_from_string(trained.onnx)
    del graph.metadata_props[:]
    with pytest.raises(ModelError, match=METADATA_KEY):
        ErrorModel(graph.SerializeToString())


@pytest.mark.parametrize("card", ["not json", "[]", "{}", '{"schema": {"id": "lpp/1"}}'])
def test_a_damaged_card_is_refused(trained: Trained, card: str) -> None:
    """A card that is no JSON, or lacks what serving needs, is a ModelError."""
    graph = onnx.load_from_string(trained.onnx)
    onnx.helper.set_model_props(graph, {METADATA_KEY: card})
    with pytest.raises(ModelError, match=r"secondlook\.card|card lacks"):
        ErrorModel(graph.SerializeToString())


def test_a_failing_session_is_a_model_error(home: Path) -> None:
    """Vectors of the wrong width make the session fail, and the error carries its words."""
    with pytest.raises(ModelError, match="failed on 1 vectors"):
        load_model(home).score(np.zeros((1, 3), np.float32), ["hate"])


def test_no_number_is_nan_for_that_answer_only(trained: Trained, recording: Dataset) -> None:
    """An infinite probability is given as missing; the other answers of the batch keep theirs."""
    graph = onnx.load_from_string(trained.onnx)
    (last,) = (node for node in graph.graph.node if "error_probability" in node.output)
    rows = np.array([0.0, np.inf, 0.0, 0.0])
    graph.graph.initializer.append(onnx.numpy_helper.from_array(rows, "spoiler"))
    spoil = onnx.helper.make_node("Add", [last.input[0], "spoiler"], ["spoilt"])
    graph.graph.node.insert(list(graph.graph.node).index(last), spoil)
    last.input[0] = "spoilt"
    scores = ErrorModel(graph.SerializeToString()).score(recording.values[:4], recording.policies[:4])
    assert [False, True, False, False] == np.isnan(scores.error_probability).tolist()


def test_an_answer_that_lacks_what_no_training_answer_lacked_is_not_supported(home: Path, recording: Dataset) -> None:
    """Without log-probabilities the model would judge on means alone: it says so."""
    bare = recording.values[:2].copy()
    bare[1, [place for place, name in enumerate(SCHEMA.names) if "logprob" in name]] = np.nan
    model = load_model(home)
    assert [True, False] == model.score(bare, recording.policies[:2]).supported.tolist()
    assert [] == model.lacking(bare[0])
    assert model.lacking(bare[1]) == [name for name in model.card["inputs"]["never_missing"] if "logprob" in name] != []

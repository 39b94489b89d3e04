"""Serving: a model file, checked against the featurizer's schema, scored with onnxruntime. Needs no training library."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from featurizers import SCHEMA
from scoring.errors import ModelError
from scoring.inputs import Inputs

INPUT, PROBABILITY, CONTRIBUTIONS = "predictors", "error_probability", "contributions"
METADATA_KEY = "secondlook.card"
"""Where the graph's metadata holds the model card, as JSON."""


@dataclass(frozen=True)
class Scores:
    """For n answers: P(the LLM is wrong) [n], and each term's signed push on the score [n, k].

    A probability is NaN where the model gave no number. `supported` [n] is False where an answer lacks a predictor that no
    training answer lacked: the model fills the gap with a median, but what it then says of that answer was never tested.
    """

    error_probability: NDArray[np.float32]
    contributions: NDArray[np.float32]
    supported: NDArray[np.bool_]


class ErrorModel:
    """A loaded meta-model. Thread-safe: onnxruntime sessions are, and nothing else changes.

    `name`, `sha256` (of the file), `schema` (id of the feature list), `policies` (seen in training; empty for a single
    estimator), `terms` (k names of the contributions' columns), `card` (the whole model card).
    """

    def __init__(self, onnx: bytes) -> None:
        self._session = _open(onnx)
        self.sha256 = hashlib.sha256(onnx).hexdigest()
        self.card = _read_card(self._session)
        try:
            _check_schema(self.card)
            self.name: str = self.card["name"]
            self.schema: str = self.card["schema"]["id"]
            self.policies: frozenset[str] = frozenset(self.card["policies"])
            self.terms: tuple[str, ...] = tuple(self.card["terms"])
            layout = self.card["inputs"]
            # Models from before languages were an input have none.
            self._inputs = Inputs(tuple(layout["policies"]), tuple(layout.get("languages", ())))
            self._never_missing: list[str] = self.card["inputs"]["never_missing"]
            self._needed = [SCHEMA.names.index(name) for name in self._never_missing]
        except (KeyError, TypeError) as error:
            raise ModelError(f"The model's card lacks or garbles {error}: retrain with `secondlook train`.") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def score(
        self, values: NDArray[np.float32], policies: Sequence[str], languages: Sequence[str | None] | None = None
    ) -> Scores:
        """Score LPP vectors float32 [n, d], NaN = missing, with the policy and the language of each (a BCP 47 tag; None: unknown).

        Raises ModelError when the session fails as a whole.
        """
        if not len(values):  # onnxruntime before 1.32 fails on no rows
            return Scores(np.zeros(0, np.float32), np.zeros((0, len(self.terms)), np.float32), np.zeros(0, np.bool_))
        try:
            results = self._session.run(self._outputs, {INPUT: self._inputs.encode(values, policies, languages)})
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise ModelError(f"Model {self.sha256[:12]} failed on {len(values)} vectors: {error}") from error
        named = dict(zip(self._outputs, results, strict=True))
        probability = named[PROBABILITY]
        return Scores(
            np.where(np.isfinite(probability), probability, np.float32(np.nan)),
            named.get(CONTRIBUTIONS, np.zeros((len(values), 0), dtype=np.float32)),
            np.asarray(~np.isnan(values[:, self._needed]).any(axis=1)),
        )

    def lacking(self, vector: NDArray[np.float32]) -> list[str]:
        """The predictors that one LPP vector float32 [d] lacks and no training answer lacked: those that make it not supported."""
        missing = np.isnan(vector[self._needed]).tolist()
        return [name for name, gone in zip(self._never_missing, missing, strict=True) if gone]


def load_model(path: Path) -> ErrorModel:
    """Load from a model directory (its `current`), from `DIR/<sha256>`, or from an .onnx file.

    Raises ModelError when the file is missing or changed, or when its features are not the featurizer's.
    """
    file = model_file(path)
    try:
        onnx = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error}. Build a model with `secondlook train`.") from error
    model = ErrorModel(onnx)
    is_addressed = len(file.parent.name) == len(model.sha256) and file.name == "model.onnx"
    if is_addressed and file.parent.name != model.sha256:
        raise ModelError(
            f"{file} is not what its directory's name says: its sha256 is {model.sha256}. Restore or retrain it."
        )
    return model


def model_file(path: Path) -> Path:
    """The .onnx file that `load_model` loads. Raises ModelError where there is none."""
    if path.suffix == ".onnx":
        return path
    current = path / "current"
    if current.is_file():
        return path / current.read_text().strip() / "model.onnx"
    if (path / "model.onnx").is_file():
        return path / "model.onnx"
    raise ModelError(
        f"No model at {path}: expected `current` or `model.onnx` in it. Build one with `secondlook train --out {path}`."
    )


def _open(onnx: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Small graphs: a thread's hand-over costs more than the work, and spinning threads would take the event loop's core.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise ModelError(f"Not an ONNX model that this onnxruntime can run: {error}") from error


def _read_card(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelError(
            f"The ONNX file carries no {METADATA_KEY!r} metadata: it was not written by `secondlook train`."
        )
    try:
        card: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ModelError(f"The ONNX file's {METADATA_KEY!r} metadata is no JSON: {error}.") from error
    return card


def _check_schema(card: dict[str, Any]) -> None:
    theirs, ours = tuple(card["schema"]["names"]), SCHEMA.names
    if card["schema"]["id"] == SCHEMA.id and theirs == ours:
        return
    lacking = [name for name in ours if name not in theirs]
    unknown = [name for name in theirs if name not in ours]
    differences = [
        *([f"the model does not know {', '.join(lacking)}"] if lacking else []),
        *([f"the featurizer does not give {', '.join(unknown)}"] if unknown else []),
        *(["the order of the features differs"] if not lacking and not unknown and theirs != ours else []),
    ]
    raise ModelError(
        f"The model expects feature schema {card['schema']['id']}, the featurizer gives {SCHEMA.id}: "
        f"{'; '.join(differences) or 'the same names with another meaning'}. Retrain with `secondlook train`."
    )

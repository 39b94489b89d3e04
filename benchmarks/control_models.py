"""Models for the trial of the controls: good ones, those that no worker may use, and what each makes of the recorded answers."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from control_check import UNREADABLE, Answer, Facts, Model
from control_messages import ALL

from featurizers import PRESETS, decode, featurize
from scoring import RECORDING, ErrorModel, cost_threshold, load_model
from scoring.data import load
from scoring.model import METADATA_KEY, model_file
from scoring.store import add_model
from scoring.training import single_estimator_model, train
from streams.settings import Settings

_DEFAULTS = Settings()
_NOBODYS = "0" * 64
TENANTS = ("acme", "globex")
_ABSENT = object()
_GIVEN: Sequence[object] = (_ABSENT, *TENANTS, _ABSENT, TENANTS[0], None, 7, ALL, "", "x" * 256)
"""What stands in requests' `tenant`, in turn. None, as `*`, is as if it was not there; what is no text of 1 to 255 characters may be anyone."""


def with_tenants(parts: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Records without the beginning that names the id, their requests with tenants."""
    return [
        (b'"tenant":' + json.dumps(given).encode() + b"," + request if given is not _ABSENT else request, response)
        for (request, response), given in zip(parts, cycle(_GIVEN), strict=False)
    ]


def _tenant(request: dict[str, Any]) -> str:
    given = request.get("tenant")
    if given is None:
        return ALL
    return given if isinstance(given, str) and 0 < len(given) < 256 else UNREADABLE


@dataclass(frozen=True)
class Models:
    """By their sha256. `newcomer` is in the first directory alone; `uncalibrated` can be loaded, the other bad ones cannot."""

    own: str
    other: str
    newcomer: str
    uncalibrated: str
    wrong_schema: str
    corrupt: str
    missing: str = _NOBODYS


def furnish(current: Path, directories: Sequence[Path]) -> Models:
    """Give each worker a model directory of its own, with all models but those that are missing."""
    own = model_file(current).read_bytes()
    labelled = load([RECORDING])
    trained = train(labelled.take(np.arange(len(labelled)) % 2 == 0))
    newcomer = _with_card(trained.onnx, name="newcomer")
    damaged = _with_card(own, name="damaged")
    made = {}
    for directory in directories:
        shutil.copytree(current, directory, ignore=shutil.ignore_patterns("*.tmp"))
        made = {
            "own": load_model(current).sha256,
            "other": add_model(directory, trained.onnx, trained.card).name,
            "uncalibrated": add_model(directory, *single_estimator_model("entropy")).name,
            "wrong_schema": add_model(directory, _with_card(own, schema={"id": "other/1", "names": []}), {}).name,
            "corrupt": (home := add_model(directory, damaged, {})).name,
        }
        (home / "model.onnx").write_bytes(damaged[:-1])
    return Models(**made, newcomer=add_model(directories[0], newcomer, ErrorModel(newcomer).card).name)


def _with_card(model: bytes, **changed: Any) -> bytes:
    """The same graph under another card, so under another sha256."""
    graph = onnx.load_from_string(model)
    (entry,) = (one for one in graph.metadata_props if one.key == METADATA_KEY)
    entry.value = json.dumps({**json.loads(entry.value), **changed}, sort_keys=True)
    written: bytes = graph.SerializeToString()
    return written


def usable(directory: Path, models: Models) -> dict[str, ErrorModel]:
    """The models that a worker can load."""
    names = (models.own, models.other, models.newcomer, models.uncalibrated)
    return {name: load_model(directory / name) for name in names}


def facts(loaded: Mapping[str, ErrorModel], own: str) -> Facts:
    """What the checker must know of the workers, who have the default costs."""
    of_costs = cost_threshold(_DEFAULTS.cost_accounting, review=_DEFAULTS.cost_review, mistake=_DEFAULTS.cost_mistake)
    known = {name: Model(bool(one.card["calibrated"]), one.policies) for name, one in loaded.items()}
    return Facts(known, own, of_costs)


def answers(parts: Sequence[tuple[bytes, bytes]], loaded: Mapping[str, ErrorModel]) -> list[Answer]:
    """What each model says of each recorded answer; `parts` are its request and response without the id."""
    requests = [json.loads(b"{" + request) for request, _ in parts]
    policies = [request["policy"] for request in requests]
    vectors = featurize([decode(b"{" + response) for _, response in parts], PRESETS["lpp"])
    scores: dict[str, list[float | None]] = {}
    for name, model in loaded.items():
        scored = model.score(vectors.values, policies, [request.get("language") for request in requests])
        rounded = np.round(scored.error_probability.astype(np.float64), 7)
        known = scored.supported & ~np.isnan(rounded)
        scores[name] = [float(value) if there else None for value, there in zip(rounded, known, strict=True)]
    return [
        Answer(
            request["policy"], int(outcome), {name: column[row] for name, column in scores.items()}, _tenant(request)
        )
        for row, (request, outcome) in enumerate(zip(requests, vectors.outcomes, strict=True))
    ]

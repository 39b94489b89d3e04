"""Labelled LPP vectors: what training and evaluation work on, however they were delivered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers import PRESETS, SCHEMA, OutcomeSpec, Response, ResponseError, decode, featurize
from scoring.data.window import moment
from scoring.recording import Item, is_held_out

UNKNOWN = "unknown"
NO_OUTCOME = -1
NO_LABEL = -1
"""Of a row that nobody has judged; `errors` says nothing of it."""


@dataclass(frozen=True)
class Origin:
    """Where a row comes from. `group` names what must stay in one fold: the content, where its hash is known, else the item.

    `chance` is that with which the row came to be labelled (None: not known, or nothing was left out), `humans` how many have judged it and
    whether they differ, `decided_at` RFC 3339.
    """

    request_id: str
    policy: str
    group: str
    language: str = UNKNOWN
    modality: str = UNKNOWN
    llm: str = UNKNOWN
    length: str = UNKNOWN
    functionality: str = UNKNOWN
    tenant: str | None = None
    chance: float | None = None
    stratum: str = "unknown"
    humans: str = "unknown"
    decided_at: str | None = None


@dataclass(frozen=True)
class Dataset:
    """n labelled answers: `values` float32 [n, d], `outcomes` 0..3 or -1 (none found), `labels` 1 where the item violates."""

    origins: tuple[Origin, ...]
    values: NDArray[np.float32]
    outcomes: NDArray[np.int8]
    labels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def policies(self) -> list[str]:
        """Policy of each row."""
        return [origin.policy for origin in self.origins]

    @property
    def languages(self) -> list[str]:
        """Language of each row, or `unknown`."""
        return [origin.language for origin in self.origins]

    @property
    def groups(self) -> list[str]:
        """What must stay in one fold, and is drawn as one, of each row."""
        return [origin.group for origin in self.origins]

    @property
    def errors(self) -> NDArray[np.bool_]:
        """E of the method: the LLM's decision differs from the label. Meaningful where `decided`."""
        return np.asarray(self.outcomes != self.labels)

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Answers that carry a decision (outcome 0 or 1); all others go to humans whatever a model says."""
        return np.isin(self.outcomes, (0, 1))

    @property
    def bare(self) -> NDArray[np.bool_]:
        """Answers without log-probabilities, of their outcome and of anything else."""
        columns = [SCHEMA.names.index(name) for name in ("outcome_logprob", "sequence_logprob_sum")]
        return np.asarray(np.isnan(self.values[:, columns]).all(axis=1))

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """The items that no training may see."""
        return np.array([is_held_out(origin.request_id) for origin in self.origins], dtype=bool)

    @property
    def trains(self) -> NDArray[np.bool_]:
        """The items that training may see: neither held out nor of a group of which an item is."""
        judging = {origin.group for origin in self.origins if is_held_out(origin.request_id)}
        return np.array([origin.group not in judging for origin in self.origins], dtype=bool)

    @property
    def span(self) -> dict[str, str]:
        """`since` when and `until` when the rows were decided; empty where none says it."""
        times = sorted((at, str(one.decided_at)) for one in self.origins if (at := moment(one.decided_at)))
        return {"since": times[0][1], "until": times[-1][1]} if times else {}

    @property
    def chances(self) -> NDArray[np.float64]:
        """With what chance each row came to be labelled; 1 where nothing says otherwise."""
        return np.array([1.0 if origin.chance is None else origin.chance for origin in self.origins])

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """How much of the traffic each row stands for: inverse to its chance (Horvitz and Thompson), 1 on average. None where all are alike."""
        chances = self.chances
        if not len(self) or chances.min() == chances.max():
            return None
        weights: NDArray[np.float64] = (1 / chances) / (1 / chances).mean()
        return weights

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Dataset":
        """The rows of a mask [n] or of indices."""
        indices = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Dataset(
            tuple(self.origins[i] for i in indices), self.values[indices], self.outcomes[indices], self.labels[indices]
        )

    def in_canonical_order(self) -> "Dataset":
        """Rows sorted by item and policy, so that the order of files, lines and partitions cannot change a model or its figures.

        Rows of the same item and policy, which no topic's join gives, stay in the order that they came in.
        """
        keys = [(origin.request_id, origin.policy) for origin in self.origins]
        return self.take(np.array(sorted(range(len(self)), key=keys.__getitem__), dtype=int))

    def sha256(self) -> str:
        """Hash of the schema and of each row's item, policy, values, outcome and label, in the rows' order; and of weights, where there are any."""
        digest = hashlib.sha256(json.dumps([SCHEMA.id, list(SCHEMA.names)]).encode())
        digest.update(json.dumps([[origin.request_id, origin.policy] for origin in self.origins]).encode())
        for array, dtype in ((self.values, "<f4"), (self.outcomes, "<i1"), (self.labels, "<i1")):
            digest.update(array.astype(dtype).tobytes())
        if self.weights is not None:
            digest.update(self.chances.astype("<f8").tobytes())
        return digest.hexdigest()


def from_items(items: Sequence[Item], spec: OutcomeSpec = PRESETS["lpp"]) -> Dataset:
    """Featurize recorded answers. One that cannot be read keeps its row: outcome -1, every predictor NaN."""
    responses: list[Response] = []
    readable = []
    for i, item in enumerate(items):
        try:
            responses.append(decode(bytes(item.response)))
        except ResponseError:
            continue
        readable.append(i)
    vectors = featurize(responses, spec)
    values = np.full((len(items), len(SCHEMA.names)), np.nan, dtype=np.float32)
    outcomes = np.full(len(items), NO_OUTCOME, dtype=np.int8)
    llms: list[str | None] = [None] * len(items)
    values[readable], outcomes[readable] = vectors.values, vectors.outcomes
    for i, llm in zip(readable, vectors.llms, strict=True):
        llms[i] = llm
    return Dataset(
        tuple(_origin(item, llm) for item, llm in zip(items, llms, strict=True)),
        values,
        outcomes,
        np.array([item.label for item in items], dtype=np.int8),
    )


def _origin(item: Item, llm: str | None) -> Origin:
    content = item.request.get("content")
    group = content.get("sha256") if isinstance(content, dict) else None
    return Origin(
        request_id=item.request_id,
        policy=item.policy,
        group=str(group or item.request_id),
        language=item.language or UNKNOWN,
        modality=str(item.request.get("modality", "unknown")),
        llm=llm or "unknown",
        length=_length(content),
        functionality=_functionality(item.request.get("metadata")),
    )


def _functionality(metadata: Any) -> str:
    """What a test suite says that the item tests, as in HateCheck."""
    return str(metadata.get("functionality", "unknown")) if isinstance(metadata, dict) else "unknown"


def _length(content: Any) -> str:
    """Band of the text's length; evidence tends to be deficient in short texts."""
    if not isinstance(content, dict):
        return UNKNOWN
    chars = content["chars"] if isinstance(content.get("chars"), int) else len(str(content.get("text", "")))
    for below, band in ((1, "unknown"), (100, "under 100 characters"), (500, "100 to 499 characters")):
        if chars < below:
            return band
    return "500 characters or more"

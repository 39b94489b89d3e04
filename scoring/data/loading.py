"""Labelled files of any of the accepted kinds, as one dataset."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from featurizers import PRESETS, OutcomeSpec, ResponseError, explain
from scoring.data.dataset import NO_OUTCOME, Dataset, from_items
from scoring.data.distributions import is_distribution, read_distributions
from scoring.data.joining import read_labelled_vectors
from scoring.data.window import ALWAYS, Window
from scoring.errors import DataError
from scoring.recording import UNREADABLE, Item, read_lines, read_recording


def load(paths: Sequence[Path], window: Window = ALWAYS, spec: OutcomeSpec = PRESETS["lpp"]) -> Dataset:
    """Read recordings ({request, response, label}), labelled vectors and label distributions, told apart by their first line.

    `spec` says how the answers of recordings, and labels in words, are read. Raises DataError. Only labelled vectors say when they were decided; what lies out of the window is left out.
    """
    data = concatenate([_load_one(path, spec) for path in paths])
    if window == ALWAYS:
        return data
    within = np.array([window.holds(origin.decided_at) for origin in data.origins], dtype=bool)
    if not within.any():
        timed = sum(origin.decided_at is not None for origin in data.origins)
        raise DataError(f"None of {len(data)} rows was decided in that time; {timed} say when they were (decided_at).")
    return data.take(within)


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Datasets one after another."""
    return Dataset(
        tuple(origin for part in parts for origin in part.origins),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.outcomes for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _load_one(path: Path, spec: OutcomeSpec) -> Dataset:
    fields = set() if path.suffix == ".parquet" else _first_fields(path)
    if path.suffix == ".parquet" or "values" in fields:
        return read_labelled_vectors(path)
    if is_distribution(fields):
        return read_distributions(path)
    items = read_recording(path, spec)
    data = from_items(items, spec)
    if len(data) and (data.outcomes == NO_OUTCOME).all():
        raise DataError(
            f"{path}: spec {spec.name} finds no outcome in any of its {len(data)} answers; the first: {_why_unread(items[0], spec)}. "
            "Say how they are to be read: --outcome-spec."
        )
    return data


def _why_unread(item: Item, spec: OutcomeSpec) -> str:
    try:
        return str(explain(bytes(item.response), spec).problem)
    except ResponseError as error:
        return str(error)


def _first_fields(path: Path) -> set[str]:
    for _, line in read_lines(path):
        try:
            return set(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
        except UNREADABLE:
            break  # the reader of recordings will name the line
    return set()

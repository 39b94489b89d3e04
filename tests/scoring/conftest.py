"""Shared data: the recording, and synthetic answers whose errors follow a known rule."""

from collections.abc import Callable

import numpy as np
import pytest

from featurizers import SCHEMA
from scoring import RECORDING, read_recording
from scoring.data import Dataset, Origin, from_items

Synthetic = Callable[[int, int, float], Dataset]

COLUMN = {name: i for i, name in enumerate(SCHEMA.names)}


@pytest.fixture(scope="session")
def recording() -> Dataset:
    """The shipped recording as a dataset."""
    return from_items(read_recording(RECORDING))


def _synthetic(n: int, seed: int, signal: float) -> Dataset:
    """n answers under three policies: outcome at random, P(E) = sigmoid(signal * (outcome_entropy's z)), some missing."""
    rng = np.random.default_rng(seed)
    values = rng.random((n, len(SCHEMA.names))).astype(np.float32)
    z = (values[:, COLUMN["outcome_entropy"]] - 0.5) * np.sqrt(12)
    errors = rng.random(n) < 1 / (1 + np.exp(-signal * z))
    outcomes = rng.integers(0, 2, n).astype(np.int8)
    values[:, COLUMN["outcome_is_violation"]] = outcomes
    values[rng.random(n) < 0.2, COLUMN["stated_confidence"]] = np.nan
    policies = rng.choice(["hate", "spam", "violence"], n)
    origins = tuple(Origin(f"item-{seed}-{i}", str(policy), f"item-{seed}-{i}") for i, policy in enumerate(policies))
    return Dataset(origins, values, outcomes, np.where(errors, 1 - outcomes, outcomes).astype(np.int8))


@pytest.fixture(scope="session")
def synthetic() -> Synthetic:
    """Make synthetic answers: synthetic(n, seed, signal)."""
    return _synthetic

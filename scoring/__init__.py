"""LPP vectors -> P(the LLM is wrong), and the thresholds on it. Knows no Kafka.

What a worker needs is here; `scoring.training`, `scoring.evaluation` and the labelled `scoring.data` are imported by name.
"""

import os

# Read when onnxruntime is first imported: from 1.32 on it would report its use to its makers, over the network.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from scoring.errors import DataError, ModelError, ThresholdError, TrainingError
from scoring.model import ErrorModel, Scores, load_model
from scoring.recording import MULTILINGUAL, RECORDING, RECORDINGS, Item, is_held_out, read_recording
from scoring.thresholds import (
    ACCOUNTINGS,
    Accounting,
    best_f1_threshold,
    cost_threshold,
    cost_thresholds,
    review_budget_threshold,
)

__all__ = [
    "ACCOUNTINGS",
    "MULTILINGUAL",
    "RECORDING",
    "RECORDINGS",
    "Accounting",
    "DataError",
    "ErrorModel",
    "Item",
    "ModelError",
    "Scores",
    "ThresholdError",
    "TrainingError",
    "best_f1_threshold",
    "cost_threshold",
    "cost_thresholds",
    "is_held_out",
    "load_model",
    "read_recording",
    "review_budget_threshold",
]

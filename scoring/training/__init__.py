"""Labelled vectors -> a model file and its card. Needs the `train` extra; no worker imports it."""

from scoring.training.cold_start import single_estimator_model
from scoring.training.learners import FAMILIES
from scoring.training.trainer import Trained, train

__all__ = ["FAMILIES", "Trained", "single_estimator_model", "train"]

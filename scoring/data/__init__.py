"""Labelled answers as one `Dataset`, from recordings, from labelled vectors, or from vectors and human decisions."""

from scoring.data.dataset import NO_LABEL, Dataset, Origin, from_items
from scoring.data.joining import Joined, join_decisions, read_labelled_vectors
from scoring.data.loading import concatenate, load
from scoring.data.rewording import reworded
from scoring.data.traffic import Traffic
from scoring.data.window import ALWAYS, Window

__all__ = [
    "ALWAYS",
    "NO_LABEL",
    "Dataset",
    "Joined",
    "Origin",
    "Traffic",
    "Window",
    "concatenate",
    "from_items",
    "join_decisions",
    "load",
    "read_labelled_vectors",
    "reworded",
]

"""The scoring branch of the exception hierarchy.

SecondlookError
├── ModelError             a model file that cannot be used, or a model that fails while scoring
├── ThresholdError         an operating point that no threshold meets, or costs that make no sense
├── DataError              labelled data that cannot be read
└── TrainingError          labelled data from which no model can honestly be learned
"""

from featurizers.errors import SecondlookError


class ModelError(SecondlookError):
    """The model is missing, broken or of another feature schema, or a session failed or gave no number."""


class ThresholdError(SecondlookError):
    """The asked-for operating point does not exist; the message says what could be had instead."""


class DataError(SecondlookError):
    """A data file is unreadable; the message names the file and the line."""


class TrainingError(SecondlookError):
    """The data cannot teach a model: too few errors, a leak, or the `train` extra is not installed."""

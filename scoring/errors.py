"""The scoring branch of the exception hierarchy.

SecondlookError
├── ModelError             a model file that cannot be used, or a model that fails while scoring
├── ThresholdError         an operating point that no threshold meets, or costs that make no sense
├── DataError              labelled data that cannot be read, or that nothing can be judged by
└── TrainingError          labelled data from which no model can honestly be learned, or an unknown estimator
"""

from featurizers.errors import SecondlookError


class ModelError(SecondlookError):
    """The model is missing, broken or of another feature schema, or its session failed."""


class ThresholdError(SecondlookError):
    """The asked-for operating point does not exist; the message says what could be had instead."""


class DataError(SecondlookError):
    """Labelled data is unreadable or lacks a kind of answer; the message names the file and line where there is one."""


class TrainingError(SecondlookError):
    """The data cannot teach a model (too few errors, a leak), or there is no single estimator of that name."""

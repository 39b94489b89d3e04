"""The models that this worker has: that of its settings, and those of its model directory, by their sha256."""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from scoring import ErrorModel, ModelError, cost_threshold, load_model
from streams.pipeline.controls import Baseline, Controls, by_settings, is_calibrated
from streams.settings import Settings

log = logging.getLogger(__name__)

_LOADED = 4
"""Models kept in memory: the one in force, and those that are compared with it or were before it."""


class ModelShelf:
    """Finds models, keeps the last few, and tries anew what it did not find. One thread."""

    def __init__(self, directory: Path, own: ErrorModel, load: Callable[[Path], ErrorModel] = load_model) -> None:
        self._directory = directory
        self._own = own
        self._load = load
        self._loaded: OrderedDict[str, ErrorModel] = OrderedDict()

    def find(self, sha256: str) -> ErrorModel:
        """The model of a sha256. Raises ModelError where it is not there or cannot be used."""
        if sha256 == self._own.sha256:
            return self._own
        if sha256 not in self._loaded:
            try:
                self._loaded[sha256] = self._load(self._directory / sha256)
            except ModelError:
                raise
            except Exception as problem:  # whatever it is: a model that cannot be had stops automation, not the worker
                raise ModelError(f"model {sha256} cannot be loaded from {self._directory}: {problem}") from problem
            if len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(sha256)
        return self._loaded[sha256]

    def names(self) -> list[str]:
        """The sha256 of each model that is there, that of the settings first, then the newest."""
        try:
            files = [(path.stat().st_mtime, path.parent.name) for path in self._directory.glob("[0-9a-f]*/model.onnx")]
        except OSError:  # the next look will tell
            files = []
        found = [name for _, name in sorted(files, reverse=True) if re.fullmatch("[0-9a-f]{64}", name)]
        return [self._own.sha256, *(name for name in found if name != self._own.sha256)]


def baseline(settings: Settings) -> Baseline:
    """The model and the costs of the settings. Raises ModelError, ThresholdError."""
    threshold = cost_threshold(settings.cost_accounting, review=settings.cost_review, mistake=settings.cost_mistake)
    given = Baseline(load_model(settings.model), threshold)
    if not is_calibrated(given.model):
        log.warning("the model is not calibrated: everything goes to humans until a control message sets a threshold")
    return given


def initial_controls(settings: Settings) -> Controls:
    """What holds until a control message says otherwise."""
    return by_settings(baseline(settings))

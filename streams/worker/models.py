"""The models that this worker has: that of its settings, and those of its model directory, by their sha256."""

import hashlib
import logging
from collections import OrderedDict
from pathlib import Path

from scoring import ErrorModel, ModelError, cost_threshold, load_model
from scoring.store import stored_models
from streams.kafka.control_keys import load_trust
from streams.kafka.model_fetcher import ModelFetcher
from streams.pipeline.controls import Baseline, Controls, by_settings, is_calibrated
from streams.settings import Settings

log = logging.getLogger(__name__)

_LOADED = 6
"""Models kept in memory: the one in force, the shadow's, and those that are compared with them or were before them."""


class ModelShelf:
    """Finds models, keeps the last few, and tries anew what it did not find. One thread.

    The fetcher, if there is one, is asked for a model that the directory lacks or holds damaged.
    """

    def __init__(self, directory: Path, own: ErrorModel, fetcher: ModelFetcher | None = None) -> None:
        self._directory = directory
        self._own = own
        self._fetcher = fetcher
        self._loaded: OrderedDict[str, ErrorModel] = OrderedDict()

    def find(self, sha256: str) -> ErrorModel:
        """The model of a sha256. Raises ModelError where it is not there or cannot be used."""
        if sha256 == self._own.sha256:
            return self._own
        if sha256 not in self._loaded:
            self._loaded[sha256] = self._read(sha256)
            if len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(sha256)
        return self._loaded[sha256]

    def _read(self, sha256: str) -> ErrorModel:
        try:
            return ErrorModel(self._bytes(self._directory / sha256, sha256))
        except ModelError:
            raise
        except Exception as problem:  # whatever it is: a model that cannot be had stops automation, not the worker
            raise ModelError(f"model {sha256} cannot be loaded from {self._directory}: {problem}") from problem

    def _bytes(self, home: Path, sha256: str) -> bytes:
        try:
            onnx = (home / "model.onnx").read_bytes()
        except FileNotFoundError:
            raise ModelError(f"No model at {home}; {self._fetch(sha256)}") from None
        if hashlib.sha256(onnx).hexdigest() != sha256:
            raise ModelError(f"The model at {home} is damaged; {self._fetch(sha256)}")
        return onnx

    def _fetch(self, sha256: str) -> str:
        """Ask for it elsewhere; how that stands, to be told."""
        if self._fetcher is None:
            return "put its folder there (secondlook models pull)"
        return self._fetcher.want(sha256)

    def look_again(self, sha256: str) -> None:
        """Somebody says that a model is there that was not."""
        if self._fetcher is not None:
            self._fetcher.look_again(sha256)

    def is_looking(self, sha256: str) -> bool:
        """Whether it is not known yet if a model can be had."""
        return self._fetcher is not None and self._fetcher.is_looking(sha256)

    def names(self) -> list[str]:
        """The sha256 of each model that is there, that of the settings first, then the newest."""
        try:
            found = stored_models(self._directory)
        except OSError:  # the next look will tell
            found = []
        return [self._own.sha256, *(name for name in found if name != self._own.sha256)]


def baseline(settings: Settings) -> Baseline:
    """The model and the costs of the settings. Raises ModelError, ThresholdError."""
    threshold = cost_threshold(settings.cost_accounting, review=settings.cost_review, mistake=settings.cost_mistake)
    trust = load_trust(settings)
    given = Baseline(load_model(settings.model), threshold, "" if trust is None else trust.hash)
    if not is_calibrated(given.model):
        log.warning("the model is not calibrated: everything goes to humans until a control message sets a threshold")
    return given


def initial_controls(settings: Settings) -> Controls:
    """What holds until a control message says otherwise."""
    return by_settings(baseline(settings))

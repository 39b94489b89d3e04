"""Fetches models that the worker lacks from the models topic into its model directory, each on a thread of its own.

Whoever wants it never waits: a stop must not stand behind ten megabytes.
"""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from featurizers import SecondlookError
from scoring import ErrorModel, ModelError
from scoring.store import add_model
from streams.kafka.model_topic import models_topic, read_models
from streams.kafka.reading import watermarks
from streams.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the last look for a model came to: why it is not there, and where the topic ended then, if that settles it."""

    problem: str
    end: int | None = None


class ModelFetcher:
    """Looks for a model each time that it is asked for, one look at a time; the topic is read only if it has grown since.

    No model waits for another one: that of a shadow must not hold up the one that is to be in force.
    """

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings, self._directory = settings, directory
        self._topic = models_topic(settings)
        self._looks: dict[str, _Look | None] = {}
        """What each model that was asked for came to; None while that is not known."""
        self._threads: dict[str, threading.Thread] = {}

    def want(self, sha256: str) -> str:
        """Ask for a model, again and again until it is there; says how that stands."""
        known = self._looks.setdefault(sha256, None)
        looking = self._threads.get(sha256)
        if looking is None or not looking.is_alive():
            looking = threading.Thread(target=self._look, args=(sha256,), name="model-fetcher", daemon=True)
            self._threads[sha256] = looking
            looking.start()
        return f"it is being looked for in {self._topic}" if known is None else known.problem

    def look_again(self, sha256: str) -> None:
        """What is known of a model may be out of date: somebody says that it is there now."""
        if sha256 in self._looks:
            self._looks[sha256] = None

    def is_looking(self, sha256: str) -> bool:
        """Whether a model was asked for and nothing is known yet."""
        return sha256 in self._looks and self._looks[sha256] is None

    def _look(self, sha256: str) -> None:
        end = None
        try:
            end = watermarks(self._settings, self._topic, [0])[0][1]
            before = self._looks.get(sha256)
            if before is not None and before.end == end:
                return
            fetch_model(self._settings, sha256, self._directory)
        except ModelError as problem:
            self._looks[sha256] = _Look(str(problem), end)
        except SecondlookError as problem:
            self._looks[sha256] = _Look(str(problem))
        except OSError as problem:
            self._looks[sha256] = _Look(f"{self._directory} cannot be written to: {problem.strerror}")
        except Exception as problem:
            log.exception("model %s cannot be fetched", sha256)
            self._looks[sha256] = _Look(f"it cannot be fetched from {self._topic}: {problem}")
        else:
            self._looks.pop(sha256, None)
            log.info("model fetched from %s", self._topic, extra={"model": sha256})


def fetch_model(settings: Settings, sha256: str, directory: Path) -> ErrorModel:
    """Write a model of the topic into a model directory, if it is whole, has this sha256, and can be used.

    Raises ModelError where it is not or cannot, BrokerError, and OSError where the directory cannot be written to.
    """
    onnx = read_models(settings, [sha256]).whole(sha256)
    if onnx is None:
        raise ModelError(
            f"{models_topic(settings)} has no whole model {sha256[:12]}: put it there (secondlook models push), or its "
            f"folder into {directory}"
        )
    model = ErrorModel(onnx)
    add_model(directory, onnx, model.card)
    return model

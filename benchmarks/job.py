"""The one job that every contender does: answers in, decisions and predictors out. Only who carries the records differs.

A contender that does not match requests with responses reads the topic `joined`: the response record, with the request
in the header `request`.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

from featurizers import PRESETS, decode
from scoring import cost_threshold, load_model
from streams.kafka.topics import load_topics
from streams.pipeline.assignment import Assignment
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Case, Matched, Matcher
from streams.pipeline.records import REQUESTS, Output, Record
from streams.pipeline.requests import read_request
from streams.pipeline.scope import EVERYTHING
from streams.pipeline.stages import MatchedBatch, Pipeline, Ticket
from streams.settings import Settings

JOINED = "joined"
REQUEST_HEADER = "request"
_VARIABLE = "BENCH_"
_DEFAULTS = Settings()
_NO_LIMITS = Limits(2**60, 2**60, 2**60)
_TICKET = Ticket(1, Assignment(1, frozenset(), None), {}, 0.0)


@dataclass(frozen=True)
class Setup:
    """What the harness tells a contender's process, through environment variables."""

    broker: str
    prefix: str
    group: str
    model: str
    batch_size: str = "2000"

    @classmethod
    def from_environment(cls) -> Self:
        return cls(**{name: os.environ[_VARIABLE + name.upper()] for name in cls.__dataclass_fields__})

    def environment(self) -> dict[str, str]:
        return {_VARIABLE + name.upper(): value for name, value in asdict(self).items()}

    @property
    def batch(self) -> int:
        return int(self.batch_size)

    @property
    def names(self) -> dict[str, str]:
        """Role -> name on the broker."""
        return {key: topic.name for key, topic in load_topics(self.prefix).items()} | {JOINED: self.prefix + JOINED}


def now() -> int:
    """The time in ms."""
    return int(time.time() * 1000)


class Answer(NamedTuple):
    """A response record with its request."""

    key: bytes
    value: bytes
    request: bytes


class Job:
    """decode -> featurize -> score -> encode, for one answer or many."""

    def __init__(self, setup: Setup) -> None:
        self.names = setup.names
        threshold = cost_threshold(
            _DEFAULTS.cost_accounting, review=_DEFAULTS.cost_review, mistake=_DEFAULTS.cost_mistake
        )
        controls = Controls(load_model(Path(setup.model)), {EVERYTHING: threshold})
        unused = Matcher(response_timeout=1, limits=_NO_LIMITS)
        self._pipeline = Pipeline(unused, PRESETS["lpp"], lambda: controls, self.names, now)

    def decide(self, answers: Iterable[Answer]) -> Sequence[Output]:
        """The decision and the vector of each answer, as records to produce."""
        matched = Matched(cases=[_case(answer) for answer in answers])
        stages = self._pipeline
        return stages.route(stages.score(stages.featurize(MatchedBatch(_TICKET, matched)))).outputs

    def produced(self, answers: Iterable[Answer]) -> list[tuple[str, bytes, bytes]]:
        """The same as (topic name, key, value), for clients that know no `Output`."""
        return [(self.names[out.topic], out.key or b"", out.value or b"") for out in self.decide(answers)]


def _case(answer: Answer) -> Case:
    record = Record(REQUESTS, 0, 0, 0, answer.key, answer.request, None)
    request = read_request(record)
    return Case(
        request.request_id,
        request.policy,
        record,
        decode(answer.value),
        None,
        tenant=request.tenant,
        language=request.language,
    )


def request_of(headers: Iterable[tuple[str, bytes]]) -> bytes:
    """The request that travels in a joined record's headers."""
    return next(value for name, value in headers if name == REQUEST_HEADER)

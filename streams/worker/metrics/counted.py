"""What happens is counted here, per batch and never per record; no ids as labels."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from featurizers import SCHEMA
from streams.kafka.quality import Said
from streams.pipeline.controls import Controls
from streams.pipeline.incidents import Incident
from streams.pipeline.measures import Measures
from streams.pipeline.stages import Outbox
from streams.worker.busy import Busy
from streams.worker.metrics.controls import CONTROLS
from streams.worker.metrics.flow import FLOW
from streams.worker.metrics.histogram import BatchHistogram
from streams.worker.metrics.quality import QUALITY
from streams.worker.state import State

OTHER_POLICY = "other"
"""Label of policies that neither the model nor a threshold knows: their names come from outside and are not bounded."""
TOLD = (*FLOW, *CONTROLS, *QUALITY)
"""All that is read off the worker."""

_PREDICTORS = SCHEMA.names
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
_PROBABILITIES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_CLOCKS = "the record's timestamp, of the producer's clock or, where the topic says LogAppendTime, the broker's"
_NOW = "when its decision was committed, by this worker's clock set right by the broker's"


def _own_clock() -> int:
    return int(time.time() * 1000)


class Metrics:
    """What one worker counts, in a registry of its own. `now` gives the time in ms that records' timestamps are compared with."""

    def __init__(self, now: Callable[[], int] = _own_clock) -> None:
        self._now = now
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, buckets=_SECONDS, registry=self.registry)
        self._consumed = counter("secondlook_records_consumed", "Records read.", ["source"])
        self._decisions = counter("secondlook_decisions", "Decisions committed.", ["route", "reason", "policy"])
        self._dead = counter("secondlook_dead_letters", "Records set aside.", ["code"])
        self._batches = counter("secondlook_batches", "Batches by how they ended.", ["result"])
        self.stage_seconds = histogram(
            "secondlook_stage_seconds",
            "Time a batch spends in a stage; in `deliver`, what is committed together.",
            ["stage"],
        )
        self.busy = Busy()
        self._batch_seconds = histogram("secondlook_batch_seconds", "From a batch's poll to its commit.")
        self.model_failures = counter("secondlook_model_failures", "Batches the model failed on.")
        self._shadow = counter(
            "secondlook_shadow_decisions",
            "Decisions committed while there was a shadow: their route, and what it would have been with the shadow in force.",
            ["live", "shadow", "policy"],
        )
        self.shadow_failures = counter(
            "secondlook_shadow_failures", "Batches the shadow failed on; they were decided all the same."
        )
        self._human_decisions = counter(
            "secondlook_human_decisions",
            "Human decisions by whether they agree with the LLM, how the answer came to the human, and where its decision had gone.",
            ["policy", "agreement", "channel", "route"],
        )
        self._last_commit = Gauge(
            "secondlook_last_commit_timestamp_seconds", "When a batch was last committed.", registry=self.registry
        )
        self._incidents = counter(
            "secondlook_incidents", "Records that a stage failed on and that were set aside.", ["stage"]
        )
        self._unread = counter(
            "secondlook_tokens_unread", "Answers whose log-probabilities are in no known shape.", ["provider"]
        )
        self._old = counter(
            "secondlook_old_records", "Records older than the response timeout as they came.", ["source"]
        )
        self._answers = counter("secondlook_answers", "Answers whose predictors were reckoned.")
        self._missing = counter(
            "secondlook_predictors_missing",
            "Answers that lack this predictor; over secondlook_answers_total, its share.",
            ["predictor"],
        )
        waits = partial(BatchHistogram, bounds=_WAITS, registry=self.registry)
        self._request_seconds = waits(
            "secondlook_request_to_decision_seconds",
            f"From a request's record time ({_CLOCKS}) to {_NOW}. answered: no where it was decided without an answer, after "
            "response_timeout as a rule. Records without a timestamp are left out, one from the future counts as 0.",
            ["answered"],
        )
        self._response_seconds = waits(
            "secondlook_response_to_decision_seconds",
            f"The same from an answer's record time ({_CLOCKS}) to {_NOW}: an answer that waited for its request as well.",
            [],
        )
        self._probabilities = BatchHistogram(
            "secondlook_error_probability",
            "P(error) of the answers that the model can score, by policy, whether a threshold is then asked or humans decide anyway.",
            ["policy"],
            _PROBABILITIES,
            self.registry,
        )

    def consumed(self, sources: Iterable[tuple[str, int]]) -> None:
        """Count records read, by source."""
        for source, count in sources:
            self._consumed.labels(source).inc(count)

    def worked(self, stage: str, seconds: float) -> None:
        """Count what a batch took in a stage."""
        self.stage_seconds.labels(stage).observe(seconds)
        self.busy.add(stage, seconds)

    def settled(self, result: str) -> None:
        """Count a batch by how it ended: committed, aborted, or stale (its assignment was over)."""
        self._batches.labels(result).inc()

    def committed(self, outbox: Outbox, controls: Controls, seconds: float) -> None:
        """Count what a committed batch decided."""
        self.settled("committed")
        self._batch_seconds.observe(seconds)
        self._last_commit.set_to_current_time()
        for (route, reason, policy), count in outbox.decisions.items():
            self._decisions.labels(route, reason, self.policy_label(policy, controls)).inc(count)
        for (live, shadow, policy), count in outbox.shadow.items():
            self._shadow.labels(live, shadow, self.policy_label(policy, controls)).inc(count)
        for code, count in outbox.dead.items():
            self._dead.labels(code).inc(count)
        for provider, count in outbox.unread.items():
            self._unread.labels(provider).inc(count)
        for source, count in outbox.old.items():
            self._old.labels(source).inc(count)
        if outbox.measures is not None:
            self._measured(outbox.measures, controls)

    def _measured(self, measures: Measures, controls: Controls) -> None:
        now = self._now()
        waited = np.maximum(now - measures.requests, 0.0) / 1000
        self._request_seconds.observe(waited, measures.is_answered.astype(np.intp), [("no",), ("yes",)])
        self._response_seconds.observe(np.maximum(now - measures.responses, 0.0) / 1000)
        self._answers.inc(len(measures.responses))
        for predictor, count in zip(_PREDICTORS, measures.missing.tolist(), strict=True):
            if count:
                self._missing.labels(predictor).inc(count)
        labels = {policy: self.policy_label(policy, controls) for policy in set(measures.policies)}
        numbers = {label: number for number, label in enumerate(set(labels.values()))}
        which = np.array([numbers[labels[policy]] for policy in measures.policies], dtype=np.intp)
        self._probabilities.observe(measures.error_probability, which, [(label,) for label in numbers])

    def humans_said(self, said: Mapping[Said, int], controls: Controls) -> None:
        """Count human decisions."""
        for one, count in said.items():
            labels = self.policy_label(one.policy, controls), one.agreement, one.channel, one.route
            self._human_decisions.labels(*labels).inc(count)

    def policy_label(self, policy: str, controls: Controls) -> str:
        """The policy's name when it is one of ours."""
        trained = controls.model is not None and policy in controls.model.policies
        return policy if trained or policy in controls.policies else OTHER_POLICY

    def incidents(self, incidents: Iterable[Incident]) -> None:
        """Count the records that a stage failed on."""
        for one in incidents:
            self._incidents.labels(one.stage).inc()

    def render(self, state: State) -> bytes:
        """The page Prometheus reads."""
        return generate_latest(self.registry) + generate_latest(_Page(state))


class _Page:
    """`TOLD` as a collector."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        return (one.collect(self._state) for one in TOLD)


@dataclass(frozen=True, slots=True)
class Described:
    """What there is to say of a metric. `name` is that of its time series; a histogram's end in `_bucket`, `_sum` and `_count`."""

    name: str
    type: str
    labels: tuple[str, ...]
    about: str


def described() -> list[Described]:
    """All metrics of a worker, but those of its process, which are Prometheus' own."""
    found = []
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (about,) = metric.describe()
            name = about.name + ("_total" if about.type == "counter" else "")
            found.append(Described(name, about.type, tuple(metric._labelnames), about.documentation))  # noqa: SLF001 - no public way to its labels
        elif isinstance(metric, BatchHistogram):
            found.append(Described(metric.name, metric.type, metric.labels, metric.about))
    return [*found, *(Described(one.name, one.type, one.labels, one.about) for one in TOLD)]

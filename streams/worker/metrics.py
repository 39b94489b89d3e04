"""Prometheus metrics: counted per batch, never per record; no ids as labels."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streams.kafka.source import Source
from streams.pipeline.controls import EVERY_POLICY, Controls
from streams.pipeline.matching import Matcher
from streams.pipeline.stages import Outbox

OTHER_POLICY = "other"
"""Label of policies that neither the model nor a threshold knows: their names come from outside and are not bounded."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _Total(Counter):
    """A counter of what is counted elsewhere."""

    _told = 0

    def follow(self, total: int) -> None:
        """Add what has come since the last time."""
        self.inc(total - self._told)
        self._told = total


class Metrics:
    """All metrics of one worker, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._consumed = Counter("secondlook_records_consumed", "Records read.", ["source"], registry=registry)
        self._decisions = Counter(
            "secondlook_decisions", "Decisions committed.", ["route", "reason", "policy"], registry=registry
        )
        self._dead = Counter("secondlook_dead_letters", "Records set aside.", ["code"], registry=registry)
        self._batches = Counter("secondlook_batches", "Batches by how they ended.", ["result"], registry=registry)
        self.stage_seconds = Histogram(
            "secondlook_stage_seconds",
            "Time a batch spends in a stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "secondlook_batch_seconds", "From a batch's poll to its commit.", buckets=_SECONDS, registry=registry
        )
        self.model_failures = Counter("secondlook_model_failures", "Batches the model failed on.", registry=registry)
        self.human_decisions = Counter(
            "secondlook_human_decisions",
            "Human decisions by whether they agree with the LLM.",
            ["policy", "agreement"],
            registry=registry,
        )
        self._last_commit = Gauge(
            "secondlook_last_commit_timestamp_seconds", "When a batch was last committed.", registry=registry
        )
        self._pending = Gauge("secondlook_pending_records", "Records waiting.", ["source"], registry=registry)
        self._pending_bytes = Gauge("secondlook_pending_bytes", "Values of all waiting records.", registry=registry)
        self._paused = Gauge(
            "secondlook_paused", "1: held back, the pending store is full.", ["source"], registry=registry
        )
        self._lag = Gauge("secondlook_lag_records", "Records not yet read.", ["source"], registry=registry)
        self._lag_seconds = Gauge(
            "secondlook_lag_seconds", "Age of the last record read while there is lag.", ["source"], registry=registry
        )
        self._assignments = _Total("secondlook_assignments", "Times partitions were dealt.", registry=registry)
        self._control_version = Gauge("secondlook_control_version", "Version of the controls.", registry=registry)
        self._threshold = Gauge("secondlook_threshold", "Threshold in force.", ["policy"], registry=registry)
        self._model = Gauge("secondlook_model_info", "The model in force.", ["name", "sha256"], registry=registry)
        self._refused = _Total("secondlook_control_messages_refused", "Control messages refused.", registry=registry)

    def consumed(self, sources: Iterable[tuple[str, int]]) -> None:
        """Count records read, by source."""
        for source, count in sources:
            self._consumed.labels(source).inc(count)

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
        for code, count in outbox.dead.items():
            self._dead.labels(code).inc(count)

    def policy_label(self, policy: str, controls: Controls) -> str:
        """The policy's name when it is one of ours."""
        known = policy in controls.model.policies or (policy in controls.thresholds and policy != EVERY_POLICY)
        return policy if known else OTHER_POLICY

    def render(self, source: Source, matcher: Matcher, controls: Controls, refused: int) -> bytes:
        """The page Prometheus reads; gauges are taken now."""
        for role in ("requests", "responses"):
            mine = [position for (owner, _), position in list(source.positions.items()) if owner == role]
            self._lag.labels(role).set(sum(position.lag for position in mine))
            self._lag_seconds.labels(role).set(max((position.behind for position in mine), default=0.0))
            self._paused.labels(role).set(role in source.paused)
        self._pending.labels("requests").set(matcher.waiting_requests)
        self._pending.labels("responses").set(matcher.waiting_responses)
        self._pending_bytes.set(matcher.waiting_bytes)
        self._assignments.follow(source.rebalances)
        self._control_version.set(controls.version)
        self._refused.follow(refused)
        self._threshold.clear()
        for policy, threshold in controls.thresholds.items():
            self._threshold.labels(policy).set(threshold)
        self._model.clear()
        self._model.labels(controls.model.name, controls.model.sha256).set(1)
        return generate_latest(self.registry)

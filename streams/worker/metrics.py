"""Prometheus metrics: counted per batch, never per record; no ids as labels."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streams.pipeline.assignment import Place
from streams.pipeline.controls import Controls
from streams.pipeline.incidents import Incident
from streams.pipeline.ledger import Holdings
from streams.pipeline.positions import Position
from streams.pipeline.stages import Outbox
from streams.worker.control_metrics import ControlMetrics

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


@dataclass(frozen=True, slots=True)
class State:
    """What the gauges show, taken when Prometheus asks. Times are in seconds, except `now` (ms of the broker's clock)."""

    controls: Controls
    controls_hash: str
    settings_hash: str
    controls_age: float
    refused: Mapping[str, int]
    holdings: Holdings
    positions: Mapping[Place, Position]
    held: Collection[Place]
    now: int
    rebalances: int
    restoring: bool
    restore_seconds: float
    foreign: int
    skipped: Mapping[str, int]
    broker_silent: float
    clock_skew: float | None
    changelog_records: int
    remembered_reach: float
    producers_replaced: int


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
        self._shadow = Counter(
            "secondlook_shadow_decisions",
            "Decisions committed while there was a shadow: their route, and what it would have been with the shadow in force.",
            ["live", "shadow", "policy"],
            registry=registry,
        )
        self.shadow_failures = Counter(
            "secondlook_shadow_failures",
            "Batches the shadow failed on; they were decided all the same.",
            registry=registry,
        )
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
        self._pending_bytes = Gauge(
            "secondlook_pending_bytes", "Bytes of waiting records, overheads included.", ["source"], registry=registry
        )
        self._remembered = Gauge("secondlook_remembered_ids", "Decided requests remembered.", registry=registry)
        self._reach = Gauge(
            "secondlook_remembered_seconds",
            "How far back decided requests are remembered: dedup_window, or less where max_remembered is too small.",
            registry=registry,
        )
        self._paused = Gauge(
            "secondlook_paused", "Partitions held back because memory is full.", ["source"], registry=registry
        )
        self._lag = Gauge("secondlook_lag_records", "Records not yet read.", ["source"], registry=registry)
        self._hidden = Gauge(
            "secondlook_lag_open_transaction_records",
            "Of the lag, what stands behind a transaction that is still open.",
            ["source"],
            registry=registry,
        )
        self._lag_seconds = Gauge(
            "secondlook_lag_seconds", "Age of the last record read while there is lag.", ["source"], registry=registry
        )
        self._assignments = _Total("secondlook_assignments", "Times partitions were dealt.", registry=registry)
        self._restoring = Gauge("secondlook_restoring", "1: partitions are being taken over.", registry=registry)
        self._restore_seconds = Gauge(
            "secondlook_restore_seconds", "How long taking partitions over took the last time.", registry=registry
        )
        self._foreign = _Total(
            "secondlook_changelog_foreign_records", "Records in the changelog that are not ours.", registry=registry
        )
        self._changelog = Gauge(
            "secondlook_changelog_records", "Records that the changelog holds of these partitions.", registry=registry
        )
        self._skipped = Counter(
            "secondlook_records_skipped",
            "Records or state gone from Kafka, gone on without.",
            ["cause"],
            registry=registry,
        )
        self._skipped_told: dict[str, int] = {}
        self._incidents = Counter(
            "secondlook_incidents",
            "Records that a stage failed on and that were set aside.",
            ["stage"],
            registry=registry,
        )
        self._unread = Counter(
            "secondlook_tokens_unread",
            "Answers whose log-probabilities are in no known shape.",
            ["provider"],
            registry=registry,
        )
        self._old = Counter(
            "secondlook_old_records",
            "Records older than the response timeout as they came.",
            ["source"],
            registry=registry,
        )
        self._silent = Gauge(
            "secondlook_broker_silent_seconds", "Seconds since a broker last answered.", registry=registry
        )
        self._skew = Gauge(
            "secondlook_clock_skew_seconds",
            "Seconds that this machine's clock is ahead of the broker's.",
            registry=registry,
        )
        self._replaced = _Total(
            "secondlook_producers_replaced", "Producers given up after a fatal error.", registry=registry
        )
        self.controls = ControlMetrics(registry)

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
        for (live, shadow, policy), count in outbox.shadow.items():
            self._shadow.labels(live, shadow, self.policy_label(policy, controls)).inc(count)
        for code, count in outbox.dead.items():
            self._dead.labels(code).inc(count)
        for provider, count in outbox.unread.items():
            self._unread.labels(provider).inc(count)
        for source, count in outbox.old.items():
            self._old.labels(source).inc(count)

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
        held = state.holdings
        for role, count, held_bytes in (
            ("requests", held.requests, held.request_bytes),
            ("responses", held.responses, held.response_bytes),
        ):
            mine = [position for (owner, _), position in list(state.positions.items()) if owner == role]
            self._lag.labels(role).set(sum(position.lag for position in mine))
            self._hidden.labels(role).set(sum(position.hidden_lag for position in mine))
            self._lag_seconds.labels(role).set(max((position.behind(state.now) for position in mine), default=0.0))
            self._paused.labels(role).set(sum(owner == role for owner, _ in state.held))
            self._pending.labels(role).set(count)
            self._pending_bytes.labels(role).set(held_bytes)
        self._remembered.set(held.remembered)
        self._reach.set(state.remembered_reach)
        self._restoring.set(state.restoring)
        self._restore_seconds.set(state.restore_seconds)
        self._changelog.set(state.changelog_records)
        self._silent.set(state.broker_silent)
        self._skew.set(nan if state.clock_skew is None else state.clock_skew)
        self._foreign.follow(state.foreign)
        self._replaced.follow(state.producers_replaced)
        for cause, count in state.skipped.items():
            self._skipped.labels(cause).inc(count - self._skipped_told.get(cause, 0))
            self._skipped_told[cause] = count
        self._assignments.follow(state.rebalances)
        self.controls.render(
            state.controls,
            hashes=(state.controls_hash, state.settings_hash),
            age=state.controls_age,
            refused=state.refused,
        )
        return generate_latest(self.registry)

"""Prometheus metrics: counted per batch, never per record; no ids as labels.

What happens is counted by `Metrics`. What is known elsewhere stands in `TOLD`, and is read off the worker when Prometheus asks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from featurizers import readers
from streams.pipeline.budget import STATES, UNMET
from streams.pipeline.controls import Controls
from streams.pipeline.incidents import Incident
from streams.pipeline.quality.books import RESULTS
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.pipeline.scope import Scope
from streams.pipeline.stages import Outbox
from streams.worker.state import State, Values

OTHER_POLICY = "other"
"""Label of policies that neither the model nor a threshold knows: their names come from outside and are not bounded."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Told:
    """A metric that is read off the state: a counter if its name ends in `_total`, else a gauge."""

    name: str
    about: str
    read: Callable[[State], Values | float]
    labels: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Prometheus' name for its kind."""
        return "counter" if self.name.endswith("_total") else "gauge"

    def collect(self, state: State) -> Metric:
        """The metric as it is now."""
        family = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        metric = family(self.name, self.about, labels=self.labels)
        values = self.read(state)
        for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
            metric.add_metric(labels, value)
        return metric


def _named(controls: Controls | None) -> Values:
    """The model of some controls, where they have one."""
    return {} if controls is None or controls.model is None else {(controls.model.name, controls.model.sha256): 1}


_BY_LLM = ("policy", "llm")

TOLD = (
    Told(
        "secondlook_pending_records",
        "Records waiting.",
        lambda it: {(REQUESTS,): it.holdings.requests, (RESPONSES,): it.holdings.responses},
        ("source",),
    ),
    Told(
        "secondlook_pending_bytes",
        "Bytes of waiting records, overheads included.",
        lambda it: {(REQUESTS,): it.holdings.request_bytes, (RESPONSES,): it.holdings.response_bytes},
        ("source",),
    ),
    Told("secondlook_remembered_ids", "Decided requests remembered.", lambda it: it.holdings.remembered),
    Told(
        "secondlook_remembered_seconds",
        "How far back decided requests are remembered: dedup_window, or less where max_remembered is too small.",
        lambda it: it.remembered_reach,
    ),
    Told(
        "secondlook_paused",
        "Partitions held back because memory is full.",
        lambda it: {(one,): sum(role == one for role, _ in it.held) for one in (REQUESTS, RESPONSES)},
        ("source",),
    ),
    Told(
        "secondlook_lag_records",
        "Records not yet read.",
        lambda it: it.by_source(lambda its: sum(one.lag for one in its)),
        ("source",),
    ),
    Told(
        "secondlook_lag_open_transaction_records",
        "Of the lag, what stands behind a transaction that is still open.",
        lambda it: it.by_source(lambda its: sum(one.hidden_lag for one in its)),
        ("source",),
    ),
    Told(
        "secondlook_lag_seconds",
        "Age of the last record read while there is lag.",
        lambda it: it.by_source(lambda its: max((one.behind(it.now) for one in its), default=0.0)),
        ("source",),
    ),
    Told("secondlook_assignments_total", "Times partitions were dealt.", lambda it: it.rebalances),
    Told("secondlook_restoring", "1: partitions are being taken over.", lambda it: it.restoring),
    Told(
        "secondlook_restore_seconds",
        "How long taking partitions over took the last time.",
        lambda it: it.restore_seconds,
    ),
    Told(
        "secondlook_changelog_foreign_records_total",
        "Records in the changelog that are not ours.",
        lambda it: it.foreign,
    ),
    Told(
        "secondlook_changelog_records",
        "Records that the changelog holds of these partitions.",
        lambda it: it.changelog_records,
    ),
    Told(
        "secondlook_records_skipped_total",
        "Records or state gone from Kafka, gone on without.",
        lambda it: {(cause,): count for cause, count in it.skipped.items()},
        ("cause",),
    ),
    Told("secondlook_broker_silent_seconds", "Seconds since a broker last answered.", lambda it: it.broker_silent),
    Told(
        "secondlook_clock_skew_seconds",
        "Seconds that this machine's clock is ahead of the broker's.",
        lambda it: nan if it.clock_skew is None else it.clock_skew,
    ),
    Told(
        "secondlook_producers_replaced_total",
        "Producers given up after a fatal error.",
        lambda it: it.producers_replaced,
    ),
    Told(
        "secondlook_human_decision_errors_total",
        "Errors met while reading human decisions.",
        lambda it: it.human_decision_errors,
    ),
    Told(
        "secondlook_control_version",
        "Version of the controls: offset + 1 of the last message applied.",
        lambda it: it.controls.version,
    ),
    Told(
        "secondlook_controls_info",
        "1; its labels are hashes of what the control log says, and of the model and costs in the worker's settings. Workers of a "
        "group differ in them only while they read a new message.",
        lambda it: {(it.controls_hash, it.settings_hash): 1},
        ("hash", "settings_hash"),
    ),
    Told(
        "secondlook_controls_honoured",
        "0: what is in force cannot be honoured, everything goes to humans.",
        lambda it: it.controls.problem is None,
    ),
    Told(
        "secondlook_automation_stopped",
        "1: a control message has stopped automation (* = of all).",
        lambda it: {tuple(scope): 1 for scope in it.controls.stopped},
        Scope._fields,
    ),
    Told(
        "secondlook_control_last_read_age_seconds",
        "Seconds since the control topic was last known to be read to its end.",
        lambda it: it.controls_age,
    ),
    Told(
        "secondlook_threshold",
        "Threshold in force; of all that a decision lies in, the most specific counts (* = every).",
        lambda it: {tuple(scope): threshold for scope, threshold in it.controls.thresholds.items()},
        Scope._fields,
    ),
    Told("secondlook_model_info", "The model in force.", lambda it: _named(it.controls), ("name", "sha256")),
    Told("secondlook_shadow_info", "1: the shadow's model.", lambda it: _named(it.controls.shadow), ("name", "sha256")),
    Told(
        "secondlook_shadow_honoured",
        "0: a shadow is set that this worker leaves out, as it cannot honour it; what is in force is not touched by that.",
        lambda it: it.controls.shadow_problem is None,
    ),
    Told(
        "secondlook_review_budget",
        "Share of the decisions that is to go to humans, where a review budget is set.",
        lambda it: {tuple(scope): found.wanted for scope, found in it.budgets.items()},
        Scope._fields,
    ),
    Told(
        "secondlook_review_share",
        "Share of this worker's decisions that did go to humans lately, where a review budget is set.",
        lambda it: {tuple(scope): found.measured for scope, found in it.budgets.items() if found.measured is not None},
        Scope._fields,
    ),
    Told(
        "secondlook_review_budget_state",
        "1: how a review budget stands, by this worker's decisions: " + ", ".join(STATES) + ".",
        lambda it: {(*scope, found.state): 1 for scope, found in it.budgets.items()},
        (*Scope._fields, "state"),
    ),
    Told(
        "secondlook_review_budget_unmet",
        "1: a review budget cannot be met, or not moved (" + ", ".join(sorted(UNMET)) + ").",
        lambda it: {tuple(scope): found.state in UNMET for scope, found in it.budgets.items()},
        Scope._fields,
    ),
    Told(
        "secondlook_live_error_rate",
        "Share of wrong verdicts among the automated, by audits alone, each weighted by its chance, since the model came into force. As "
        "all of live quality: by the one worker that keeps the books, and absent where nothing is known.",
        lambda it: it.by_llm(lambda one: one.error),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_error_rate_recent",
        "The same by the last 200 audits or more.",
        lambda it: it.by_llm(lambda one: one.recent_error),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_error_rate_low",
        "Lower end of the 90 % confidence sequence of secondlook_live_error_rate, which holds however often it is looked at.",
        lambda it: it.by_llm(lambda one: one.low),
        _BY_LLM,
    ),
    Told("secondlook_live_error_rate_high", "Its upper end.", lambda it: it.by_llm(lambda one: one.high), _BY_LLM),
    Told(
        "secondlook_live_error_estimated",
        "Mean P(error) of the automated: the share of wrong ones before any human has looked, if the model is calibrated.",
        lambda it: it.by_llm(lambda one: one.estimated),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_audits_drawn",
        "Automatic decisions that were drawn for an audit.",
        lambda it: it.by_llm(lambda one: one.drawn),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_audits_judged",
        "Audits that humans have judged.",
        lambda it: it.by_llm(lambda one: one.audits),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_overturned_share",
        "Share of the escalated verdicts that humans overturned.",
        lambda it: it.by_llm(lambda one: one.overturned / one.escalated if one.escalated else None),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_calibration_z",
        "Spiegelhalter's z: above 0 more errors than P(error) says, about standard normal at one look where it is calibrated.",
        lambda it: it.by_llm(lambda one: one.z),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_drift",
        "Population stability index of the predictors farthest from training.",
        lambda it: {(one.policy, one.llm, name): psi for one in it.quality.figures for name, psi in one.drift.items()},
        (*_BY_LLM, "predictor"),
    ),
    Told(
        "secondlook_quality_alert",
        "1: something that somebody should look at: risk, calibration, drift or missing (* = every).",
        lambda it: {alert.names: 1 for alert in it.quality.alerts},
        ("kind", "policy", "tenant", "outcome", "llm", "subject"),
    ),
    Told(
        "secondlook_quality_lag_records",
        "Records that live quality has not counted yet; only from the worker that keeps its books, while it can.",
        lambda it: {} if it.quality_lag is None else it.quality_lag,
    ),
    Told(
        "secondlook_quality_reviews_total",
        "Human decisions by what became of them in live quality: " + ", ".join(RESULTS) + ".",
        lambda it: {(result,): count for result, count in it.quality.reviews.items()},
        ("result",),
    ),
    Told(
        "secondlook_quality_records_skipped_total",
        "Records that were gone (retention) before live quality had read them.",
        lambda it: it.quality.skipped if it.quality.reviews else {},
    ),
    Told("secondlook_reader_info", "What reads the answers.", lambda _: {(readers.reader.name,): 1}, ("reader",)),
    Told(
        "secondlook_control_messages_refused_total",
        "Control messages refused since the start, by reason.",
        lambda it: {(reason,): count for reason, count in it.refused.items()},
        ("reason",),
    ),
)


class Metrics:
    """What one worker counts, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.human_decisions = counter(
            "secondlook_human_decisions",
            "Human decisions by whether they agree with the LLM.",
            ["policy", "agreement"],
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
        return generate_latest(self.registry) + generate_latest(_Page(state))


class _Page:
    """`TOLD` as a collector."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        return (one.collect(self._state) for one in TOLD)

"""Told of the flow: what waits, lag, Kafka, the changelog, memory."""

from math import nan

from featurizers import readers
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.worker.metrics.told import Told

FLOW = (
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
    Told(
        "secondlook_pending_oldest_seconds",
        "How long the record has waited that times out first, to the second; 0 where none waits.",
        lambda it: {(source,): it.oldest.get(source, 0.0) for source in (REQUESTS, RESPONSES)},
        ("source",),
    ),
    Told(
        "secondlook_pending_overdue_seconds",
        "By how much that is longer than response_timeout: until its partition's other half has been read that far, nobody knows whether "
        "its counterpart is there.",
        lambda it: {
            (source,): max(0.0, it.oldest.get(source, 0.0) - it.response_timeout) for source in (REQUESTS, RESPONSES)
        },
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
    Told("secondlook_reader_info", "What reads the answers.", lambda _: {(readers.reader.name,): 1}, ("reader",)),
)

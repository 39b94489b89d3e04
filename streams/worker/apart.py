"""What a worker of some settings makes of records that are all there is, without Kafka: for `explain`, and the stress test's oracle."""

from collections.abc import Sequence
from typing import Final

from streams.pipeline.assignment import Assignment
from streams.pipeline.controls import Controls
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals, Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.stages import Outbox, Pipeline, Polled, Ticket
from streams.settings import Settings
from streams.worker.run import outcome_specs

_HOUR: Final = 3_600_000


def decide_apart(settings: Settings, controls: Controls, records: Sequence[Record]) -> Outbox:
    """All that the stages make of the records as one batch, before anything times out."""
    limits = Limits(settings.max_pending, settings.max_pending_bytes, settings.max_remembered)
    matcher = Matcher(response_timeout=_HOUR, limits=limits, max_bytes=settings.max_record_bytes)
    names = {role: role for role in (REQUESTS, RESPONSES)}
    pipeline = Pipeline(matcher, outcome_specs(settings), lambda: controls, names, lambda: _HOUR)
    assignment = Assignment(1, frozenset({0}), None, stores={0: PartitionStore(0, dedup_window=_HOUR)})
    batch = Polled(Ticket(1, assignment, {}, 0.0), Arrivals(list(records), {}, {}))
    return pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(batch))))

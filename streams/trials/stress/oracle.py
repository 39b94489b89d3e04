"""How each recorded answer must be decided: the pipeline itself, without Kafka, is asked once."""

from collections.abc import Sequence

import orjson

from featurizers import PRESETS
from scoring import Item
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.assignment import Assignment
from streams.pipeline.ledger import Limits
from streams.pipeline.matching import Arrivals, Matcher
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.stages import Pipeline, Polled, Ticket
from streams.settings import Settings
from streams.trials.stress.plan import Recorded
from streams.worker.models import initial_controls

_HOUR = 3_600_000


def recorded(items: Sequence[Item], settings: Settings) -> list[Recorded]:
    """Each item with the reason that the settings' model and costs give for it."""
    limits = Limits(settings.max_pending, settings.max_pending_bytes, settings.max_remembered)
    matcher = Matcher(response_timeout=_HOUR, limits=limits)
    assignment = Assignment(1, frozenset({0}), None, stores={0: PartitionStore(0, dedup_window=_HOUR)})
    controls, names = initial_controls(settings), topic_names(load_topics(settings.topic_prefix))
    spec = PRESETS[settings.outcome_spec]
    pipeline = Pipeline(matcher, spec, lambda: controls, names, lambda: _HOUR)
    records: list[Record] = []
    for item in items:
        key = item.request_id.encode()
        records.append(Record(REQUESTS, 0, len(records), 0, key, orjson.dumps(item.request), None))
        records.append(Record(RESPONSES, 0, len(records), 0, key, bytes(item.response), None))
    batch = Polled(Ticket(1, assignment, {}, 0.0), Arrivals(records, {}, {}))
    outbox = pipeline.route(pipeline.score(pipeline.featurize(pipeline.intake(batch))))
    decisions = [orjson.loads(output.value or b"") for output in outbox.outputs if output.topic != "vectors"]
    reasons = {decision["request_id"]: decision["reasons"][0] for decision in decisions}
    return [Recorded.of(item.request, bytes(item.response), reasons[item.request_id]) for item in items]

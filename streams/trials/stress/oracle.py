"""How each recorded answer must be decided: the pipeline itself, without Kafka, is asked once."""

from collections.abc import Sequence

import orjson

from scoring import Item
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.settings import Settings
from streams.trials.stress.plan import Recorded
from streams.worker.apart import decide_apart
from streams.worker.models import initial_controls


def recorded(items: Sequence[Item], settings: Settings) -> list[Recorded]:
    """Each item with the reason that the settings' model and costs give for it."""
    records: list[Record] = []
    for item in items:
        key = item.request_id.encode()
        records.append(Record(REQUESTS, 0, len(records), 0, key, orjson.dumps(item.request), None))
        records.append(Record(RESPONSES, 0, len(records), 0, key, bytes(item.response), None))
    outbox = decide_apart(settings, initial_controls(settings), records)
    decisions = [orjson.loads(output.value or b"") for output in outbox.outputs if output.topic != "vectors"]
    reasons = {decision["request_id"]: decision["reasons"][0] for decision in decisions}
    return [Recorded.of(item.request, bytes(item.response), reasons[item.request_id]) for item in items]

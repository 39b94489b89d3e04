"""Dead letters: the record as it came, its reason in headers under the names that Kafka Connect's tools know."""

from collections.abc import Mapping

from streams.pipeline.matching import Dead
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import Headers, Output

CONNECT = "__connect.errors."
ERROR_CODE = "secondlook.error.code"
CYCLES = "secondlook.redrive.cycles"


def dead_letter(dead: Dead, topic_names: Mapping[str, str]) -> Output:
    """Key, value and headers unchanged, the reason in additional headers; of a record too large only the reason."""
    record = dead.record
    reasons: Headers = [
        (CONNECT + "topic", topic_names[record.source].encode()),
        (CONNECT + "partition", str(record.partition).encode()),
        (CONNECT + "offset", str(record.offset).encode()),
        (CONNECT + "stage", b"intake"),
        (CONNECT + "exception.class.name", type(dead.code).__name__.encode()),
        (CONNECT + "exception.message", dead.message.encode(errors="replace")),
        (ERROR_CODE, dead.code.encode()),
    ]
    if dead.code is DeadLetter.TOO_LARGE:
        return Output("dead_letter", None, None, reasons)
    return Output("dead_letter", record.key, record.value, [*(record.headers or []), *reasons])

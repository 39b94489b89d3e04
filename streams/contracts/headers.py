"""The headers by which a dead letter says why it was set aside: Kafka Connect's names, which tools know, and two of our own."""

from typing import Final

CONNECT: Final = "__connect.errors."
"""What every name of Kafka Connect's begins with."""
SOURCE_TOPIC: Final = CONNECT + "topic"
SOURCE_PARTITION: Final = CONNECT + "partition"
SOURCE_OFFSET: Final = CONNECT + "offset"
STAGE: Final = CONNECT + "stage"
EXCEPTION_CLASS: Final = CONNECT + "exception.class.name"
EXCEPTION_MESSAGE: Final = CONNECT + "exception.message"
ERROR_CODE: Final = "secondlook.error.code"
CYCLES: Final = "secondlook.redrive.cycles"
"""How often the record was put back; a redrive writes it, and no dead letter that was never put back has it."""

DEAD_LETTER_HEADERS: Final = (
    SOURCE_TOPIC,
    SOURCE_PARTITION,
    SOURCE_OFFSET,
    STAGE,
    EXCEPTION_CLASS,
    EXCEPTION_MESSAGE,
    ERROR_CODE,
    CYCLES,
)

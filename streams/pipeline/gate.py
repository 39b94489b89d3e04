"""The intake gate: what a record can cause to be written is known before it is let in.

A record is written again as a whole in at most one record of each kind: a request in the changelog while it waits and in
its human-review decision, a response in the changelog while it waits, either in a dead letter. Around it stand, at most,
`ENVELOPE` bytes of ours: a decision's own fields (names of at most 255 characters, escaped sixfold in JSON), a dead letter's
reasons, a delta's framing. Nothing else that is written grows with what comes in: names that an LLM or a request gives are
bounded (`MAX_NAME`), vectors have a fixed number of values, ids of decided requests are cut into segments. So a record
whose key, value and headers leave room for the envelope can't cause an output that is refused as too large.
"""

from typing import Final

from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import Record, size

MAX_NAME: Final = 255
"""Characters of an id, a policy or an LLM's name."""
ENVELOPE: Final = 16 * 1024
LETTER: Final = 4 * 1024
"""Bytes that a dead letter's reasons take, at most."""


class Refused(Exception):  # noqa: N818 - a signal inside the pipeline, never seen outside
    """A record that cannot be used, with its dead-letter code; not `carried` when not even a dead letter can hold it."""

    def __init__(self, code: DeadLetter, message: str, *, carried: bool = True) -> None:
        self.code, self.message, self.carried = code, message, carried
        super().__init__(message)


class Gate:
    """Lets records in. `max_bytes` is the largest record that may be written."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes - ENVELOPE
        self._letter_room = max_bytes - LETTER

    def admit(self, record: Record, more: int = 0) -> None:
        """Raise Refused for a record that could be written nowhere, or whose headers cannot be passed on.

        `more` are bytes by which a decision's form of it is longer.
        """
        weight = size(record) + more
        if weight > self._room:
            message = f"{weight} bytes, of which max_record_bytes leaves room for {self._room}"
            raise Refused(DeadLetter.TOO_LARGE, message, carried=weight - more <= self._letter_room)
        if record.headers_unreadable:
            raise Refused(
                DeadLetter.UNREADABLE_HEADERS, "the name of a header is not UTF-8, so that headers cannot be passed on"
            )


def shortened(name: str | None) -> str | None:
    """A name that an LLM's answer gives, cut to what a record may hold."""
    return name if name is None or len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"

"""Books and drift together, as one worker keeps them, from the values of records that anybody may have written. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Self

import msgspec

from scoring.reference import Reference
from streams.pipeline.control_content import Bound, Content
from streams.pipeline.quality.books import Books, Decision, read_decision
from streams.pipeline.quality.drift import Drift, DriftState, Vector
from streams.pipeline.quality.items import Ruled
from streams.pipeline.quality.judging import Judgement, judge, ruling_bound
from streams.pipeline.readable import readable


class _Kept(msgspec.Struct, array_like=True):
    drift: DriftState
    stopped: list[Ruled]


class Ledger:
    """All that is kept. `stopped` are the bounds for which automation was stopped."""

    def __init__(self) -> None:
        self.books, self.drift = Books(), Drift()
        self.stopped: set[Ruled] = set()
        self.model = ""
        """The sha256 of the one in force; empty before it is known."""

    def use(self, model: str, reference: Reference | None) -> None:
        """Go by this model, with what its card says of the training answers."""
        self.drift.use(model, reference)
        self.model = model

    @staticmethod
    def read(records: Iterable[tuple[bytes, int]]) -> list[tuple[Decision, int]]:
        """The decisions among records, each with its period; what is none is passed by."""
        found = []
        for value, period in records:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found.append((read_decision(value), period))
        return found

    def decided(self, decisions: Iterable[tuple[Decision, int]], content: Content) -> None:
        """Count decisions; `content` is what is in force, of their versions or later."""
        for decision, period in decisions:
            scope = decision.scope
            ruled = None if scope is None else ruling_bound(content, scope, decision.control_version)
            self.books.decided(decision, period, ruled)

    def answered(self, values: Iterable[bytes]) -> None:
        """Count the vectors among records."""
        self.drift.answered(readable(values, Vector))

    def said(self, value: bytes) -> None:
        """Count a human decision."""
        self.books.said(value)

    def judge(self, bounds: Mapping[Ruled, Bound], *, is_level: bool = True) -> Judgement:
        """What is known now; `bounds` are those in force. `is_level`: all has been read, of each topic as far as of the others."""
        self.books.keep_ruled(bounds)
        self.stopped &= bounds.keys()
        return judge(self.books, self.drift, bounds, self.model, is_level=is_level)

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces."""
        yield msgspec.msgpack.encode(_Kept(self.drift.state(), sorted(self.stopped)))
        yield from self.books.pieces()

    @classmethod
    def of(cls, pieces: list[bytes]) -> Self:
        """As it was kept. Raises msgspec.DecodeError on what is none."""
        made = cls()
        kept = msgspec.msgpack.decode(pieces[0], type=_Kept)
        made.drift.restore(kept.drift)
        made.stopped, made.books = set(kept.stopped), Books.of(pieces[1:])
        return made

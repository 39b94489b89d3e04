"""Books and drift together, as one worker keeps them, from the values of records that anybody may have written. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Self

import msgspec

from scoring.reference import Reference
from streams.pipeline.control_content import Bound
from streams.pipeline.quality.books import Books, Decision, Made, read_decision
from streams.pipeline.quality.drift import Drift, DriftState, Vector
from streams.pipeline.quality.judging import Judgement, judge
from streams.pipeline.quality.ruling import Ruled, Rulings
from streams.pipeline.readable import readable


class _Kept(msgspec.Struct, array_like=True):
    drift: DriftState
    stopped: list[Ruled]


class Ledger:
    """All that is kept. `stopped` are the bounds for which automation was stopped; `salt` is that of the books."""

    def __init__(self, salt: bytes = b"") -> None:
        self.books, self.drift = Books(salt), Drift()
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

    def decided(self, decisions: Sequence[tuple[Decision, int]], rulings: Rulings) -> None:
        """Count decisions; `rulings` knows of their versions, and later ones."""
        self.books.decided(
            [Made(one, period, rulings.of(one.policy, one.scope, one.control_version)) for one, period in decisions]
        )

    def answered(self, records: Iterable[tuple[bytes, int]]) -> None:
        """Count the vectors among records, each with its period."""
        values: list[bytes] = []
        periods: list[int] = []
        for value, period in records:
            values.append(value)
            periods.append(period)
        if values:
            self.drift.answered(readable(values, Vector), max(periods))

    def said(self, records: Iterable[tuple[bytes, int]]) -> None:
        """Count human decisions, each with its period."""
        self.books.said(records)

    def judge(self, bounds: Mapping[Ruled, Bound], *, is_level: bool = True) -> Judgement:
        """What is known now; `bounds` are those in force. `is_level`: all has been read, of each topic as far as of the others."""
        self.books.keep_ruled(bounds)
        self.stopped &= bounds.keys()
        return judge(self.books, self.drift, bounds, self.model, is_level=is_level)

    def pieces(self) -> Iterator[bytes]:
        """All of it but the pages of the books, in pieces."""
        yield msgspec.msgpack.encode(_Kept(self.drift.state(), sorted(self.stopped)))
        yield from self.books.pieces()

    @classmethod
    def of(cls, pieces: Sequence[bytes], pages: Mapping[str, bytes]) -> Self:
        """As it was kept. Raises msgspec.DecodeError, ValueError or StopIteration on what is none."""
        made = cls()
        kept = msgspec.msgpack.decode(pieces[0], type=_Kept)
        made.drift.restore(kept.drift)
        made.stopped, made.books = set(kept.stopped), Books.of(pieces[1:], pages)
        return made

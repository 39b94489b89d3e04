"""The books of live quality: decisions, and what humans say of them, joined as they come, in whichever order. Pure.

All are counts in whole numbers. What went to a human with a verdict of the LLM is remembered (the last `MOST_ITEMS`), so that a later word, a second reviewer or a
correction changes what was counted before; a human decision that comes before its decision waits for it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from scoring.human import CHOSEN, HumanDecision
from scoring.reference import BINS
from streams.pipeline.quality.blocks import Blocks, BlocksState, Cell, Counts
from streams.pipeline.quality.calibration import PARTS
from streams.pipeline.quality.items import ABOVE, BELOW, BELOW_SUM, HELD, UNAUDITED, Item, Ruled, Word, bin_of
from streams.pipeline.quality.sequence import Kind, coded
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import OUTCOMES, Scope

MOST_ITEMS: Final = 100_000
"""Answers that went to humans and are remembered: about 500 bytes each, with one word."""
MOST_WORDS: Final = 200_000
MOST_EARLY: Final = 10_000
"""Human decisions whose decision has not been read."""
MOST_KEYS: Final = 100
"""Of a policy, an LLM and a model with counts of their own: about 100 kB each at most."""
_LONGEST_ID: Final = 255
_RATES_FOR: Final = 4
"""Periods for which an audit rate counts as one that may be in force."""
_BATCH: Final = 500
_AUTOMATED: Final = frozenset({Reason.BELOW_THRESHOLD, Reason.AUDIT})
_BY_SCORE: Final = _AUTOMATED | {Reason.ABOVE_THRESHOLD}
_BELOW, _BELOW_SUM, _ABOVE = ([Cell(what, where) for where in range(BINS)] for what in (BELOW, BELOW_SUM, ABOVE))
_UNAUDITED, _HELD = Cell(UNAUDITED), Cell(HELD)


class Key(NamedTuple):
    """What has counts of its own. `llm` and `model` are empty where a decision names none."""

    policy: str
    llm: str
    model: str


OTHER: Final = Key("other", "", "")
"""All that there is no room for."""


class _Llm(msgspec.Struct):
    name: str | None = None
    outcome: int | None = None


class _Model(msgspec.Struct):
    sha256: str | None = None


class Decision(msgspec.Struct):
    """What a decision says that counts here."""

    request_id: str
    policy: str
    reasons: list[str]
    llm: _Llm
    model: _Model
    control_version: int = 0
    error_probability: float | None = None
    audit_probability: float | None = None
    tenant: str | None = None

    @property
    def scope(self) -> Scope | None:
        """Where it lies, if the LLM gave a verdict."""
        outcome = self.llm.outcome
        return None if outcome not in (0, 1) else Scope(self.policy, self.tenant or "*", OUTCOMES[outcome])


class _State(msgspec.Struct, array_like=True):
    keys: list[tuple[int, Key]]
    blocks: list[tuple[int, BlocksState]]
    rates: list[tuple[int, list[tuple[int, float]]]]
    ruled: list[tuple[int, Ruled, BlocksState]]
    early: list[tuple[str, str, list[Word]]]
    counts: dict[str, int]
    numbered: int


_Remembered = list[tuple[str, str, Item]]


class Books:
    """See above. `counts` are human decisions and items by what became of them: unreadable, chosen, unmatched, forgotten, repeated."""

    def __init__(self) -> None:
        self.keys: dict[int, Key] = {}
        self.blocks: dict[int, Blocks] = {}
        self.ruled: dict[int, tuple[Ruled, Blocks]] = {}
        self.counts: Counter[str] = Counter()
        self._numbers: dict[Key, int] = {}
        self._ruled_numbers: dict[Ruled, int] = {}
        self._rates: dict[int, dict[int, float]] = {}
        self._items: dict[tuple[str, str], Item] = {}
        self._early: dict[tuple[str, str], list[Word]] = {}
        self._words = self._early_words = self._numbered = 0

    def decided(self, decision: Decision, period: int, ruled: Ruled | None = None) -> None:
        """Count a decision of a period, made under a bound if `ruled` says so."""
        about = decision.request_id, decision.policy
        key = self._number(Key(decision.policy, decision.llm.name or "", decision.model.sha256 or ""))
        reason = decision.reasons[0] if decision.reasons else ""
        if about in self._items:
            self.counts["repeated"] += 1
            return
        probability = decision.error_probability
        scored = -1 if probability is None or not 0 <= probability <= 1 else round(PARTS * probability)
        drawn = reason in _AUTOMATED
        chance = decision.audit_probability or 0.0
        audited = drawn and 0 < chance <= 1
        lowest = self._lowest_rate(key, period, chance) if audited else 0.0
        self._count(key, period, _routed(scored, reason, audited=audited))
        if reason != Reason.BELOW_THRESHOLD and decision.llm.outcome in (
            0,
            1,
        ):  # nobody can agree with what has no verdict
            kind = Kind(coded(chance), coded(lowest / chance)) if audited else None
            number = -1 if ruled is None or kind is None else self._ruled_number(ruled)
            self._remember(about, Item(key, period, decision.llm.outcome, scored, drawn, kind, number))

    def said(self, value: bytes) -> None:
        """Count a human decision, whatever it is worth."""
        try:
            decision = _read(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.counts["unreadable"] += 1
            return
        about = decision.request_id, decision.policy
        if decision.channel in CHOSEN:  # as no draw was
            self.counts["chosen"] += 1
        elif max(map(len, about)) > _LONGEST_ID:
            self.counts["unmatched"] += 1
        elif about in self._items:
            self._hear(self._items[about], Word.of(decision))
        else:
            self._wait(about, Word.of(decision))

    def keep_ruled(self, in_force: Iterable[Ruled]) -> None:
        """Let go of what was counted for other bounds."""
        kept_on = set(in_force)
        self.ruled = {number: one for number, one in self.ruled.items() if one[0] in kept_on}
        self._ruled_numbers = {one: number for number, (one, _) in self.ruled.items()}

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of some hundred items, so that nothing waits long for one."""
        yield _encode(
            _State(
                list(self.keys.items()),
                [(number, one.state()) for number, one in self.blocks.items()],
                [(number, list(rates.items())) for number, rates in self._rates.items()],
                [(number, one, blocks.state()) for number, (one, blocks) in self.ruled.items()],
                [(*about, words) for about, words in self._early.items()],
                dict(self.counts),
                self._numbered,
            )
        )
        items = iter(self._items.items())
        while batch := [(*about, item) for about, item in islice(items, _BATCH)]:
            yield _encode(batch)

    @classmethod
    def of(cls, pieces: Iterable[bytes]) -> "Books":
        """The books that gave these pieces. Raises msgspec.DecodeError on others."""
        made, rest = cls(), iter(pieces)
        state = _read_state(next(rest))
        made.keys = dict(state.keys)
        made._numbers = {key: number for number, key in state.keys}
        made.blocks = {number: Blocks.of(one) for number, one in state.blocks}
        made._rates = {number: dict(rates) for number, rates in state.rates}
        made.ruled = {number: (one, Blocks.of(blocks)) for number, one, blocks in state.ruled}
        made._ruled_numbers = {one: number for number, one, _ in state.ruled}
        made._early = {(request_id, policy): words for request_id, policy, words in state.early}
        made._early_words = sum(map(len, made._early.values()))
        made.counts.update(state.counts)
        made._numbered = state.numbered
        for piece in rest:
            made._items.update({(request_id, policy): item for request_id, policy, item in _read_items(piece)})
        made._words = sum(len(item.words) for item in made._items.values())
        return made

    def _number(self, key: Key) -> int:
        if key not in self._numbers and len(self._numbers) >= MOST_KEYS:
            for number, one in list(self.keys.items()):
                if one.model != key.model and one != OTHER:  # a model that is not in force any more
                    del self.keys[number], self._numbers[one], self.blocks[number]
                    self._rates.pop(number, None)
            if len(self._numbers) >= MOST_KEYS:
                key = OTHER
        if key not in self._numbers:
            self._numbered += 1
            self._numbers[key], self.keys[self._numbered], self.blocks[self._numbered] = self._numbered, key, Blocks()
        return self._numbers[key]

    def _ruled_number(self, ruled: Ruled) -> int:
        if ruled not in self._ruled_numbers:
            self._numbered += 1
            self._ruled_numbers[ruled], self.ruled[self._numbered] = self._numbered, (ruled, Blocks())
        return self._ruled_numbers[ruled]

    def _lowest_rate(self, key: int, period: int, chance: float) -> float:
        """The lowest audit rate that has lately been met, this one at most: what the weights of audits are held against.

        It hangs on the rates alone, which are known before any verdict.
        """
        rates = self._rates.setdefault(key, {})
        if chance < rates.get(period, 2.0):
            rates[period] = chance
            for old in [one for one in rates if one <= max(rates) - _RATES_FOR]:
                del rates[old]
        return min(chance, *rates.values())

    def _count(self, key: int, period: int, counts: Iterable[tuple[Cell, int]]) -> None:
        if key in self.blocks:
            self.blocks[key].add(period, counts)

    def _remember(self, about: tuple[str, str], item: Item) -> None:
        self._items[about] = item
        for word in self._early.pop(about, ()):
            self._early_words -= 1
            self._hear(item, word)
        while len(self._items) > MOST_ITEMS or self._words > MOST_WORDS:
            oldest = self._items.pop(next(iter(self._items)))
            self._words -= len(oldest.words)
            self.counts["forgotten"] += not oldest.words

    def _hear(self, item: Item, word: Word) -> None:
        before = item.counts(), item.audited()
        self._words -= len(item.words)
        item.hear(word)
        self._words += len(item.words)
        self._count(item.key, item.period, _change(before[0], item.counts()))
        if item.ruled in self.ruled:
            self.ruled[item.ruled][1].add(item.period, _change(before[1], item.audited()))

    def _wait(self, about: tuple[str, str], word: Word) -> None:
        self._early.setdefault(about, []).append(word)
        self._early_words += 1
        while self._early_words > MOST_EARLY:
            gone = self._early.pop(next(iter(self._early)))
            self._early_words -= len(gone)
            self.counts["unmatched"] += len(gone)


def _routed(scored: int, reason: str, *, audited: bool) -> list[tuple[Cell, int]]:
    where = bin_of(scored)
    if scored < 0 or reason not in _BY_SCORE:
        return [(_HELD, 1)]
    if reason == Reason.ABOVE_THRESHOLD:
        return [(_ABOVE[where], 1)]
    counts = [(_BELOW[where], 1), (_BELOW_SUM[where], scored)]
    return counts if audited else [*counts, (_UNAUDITED, 1)]


def _change(before: Counts, after: Counts) -> list[tuple[Cell, int]]:
    """What must be added for the one to become the other."""
    changed = ((cell, after[cell] - before[cell]) for cell in {*before, *after})
    return [(cell, count) for cell, count in changed if count]


_encode: Any = msgspec.msgpack.Encoder().encode
_read = msgspec.json.Decoder(HumanDecision).decode
read_decision = msgspec.json.Decoder(Decision).decode
_read_state = msgspec.msgpack.Decoder(_State).decode
_read_items = msgspec.msgpack.Decoder(_Remembered).decode

"""The books of live quality: decisions, and what humans say of them, joined as they come, in whichever order. Pure.

All are counts in whole numbers. What went to a human is remembered, audits apart from what was escalated, so that no flood of those drives them
out. A later word, a second reviewer or a correction changes what was counted before; a human decision that comes before its decision waits for it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from scoring.human import CHOSEN, HumanDecision
from scoring.reference import BINS
from streams.pipeline.quality.blocks import Blocks, BlocksState, Cell, Counts
from streams.pipeline.quality.calibration import PARTS
from streams.pipeline.quality.items import (
    ABOVE,
    BELOW,
    BELOW_SUM,
    DRAWN,
    HELD,
    NONE,
    UNAUDITED,
    Heard,
    Item,
    Lot,
    Word,
    bin_of,
)
from streams.pipeline.quality.memory import Found, Memory, MemoryState
from streams.pipeline.quality.ruling import Ruled, Ruling
from streams.pipeline.quality.sequence import coded
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import OUTCOMES, Scope

MOST_AUDITS: Final = 1_000_000
MOST_ESCALATED: Final = 2_000_000
MOST_WITHOUT: Final = 500_000
"""Answers that went to humans and are remembered: audits, what was escalated with a verdict, and without one. 14 bytes each."""
MOST_WORDS: Final = 100_000
"""Words of humans that can be taken back: about 500 bytes each."""
MOST_EARLY: Final = 10_000
"""Human decisions whose decision has not been read."""
MOST_KEYS: Final = 100
"""Of a policy, an LLM and a model with counts of their own: about 100 kB each at most."""
_EARLY_FOR: Final = 4
"""Periods after which a human decision has none that is still to come."""
_BATCH: Final = 500
_AUTOMATED: Final = frozenset({Reason.BELOW_THRESHOLD, Reason.AUDIT})
_BY_SCORE: Final = _AUTOMATED | {Reason.ABOVE_THRESHOLD}
_BELOW, _BELOW_SUM, _ABOVE = ([Cell(what, where) for where in range(BINS)] for what in (BELOW, BELOW_SUM, ABOVE))
_UNAUDITED, _DRAWN, _HELD = Cell(UNAUDITED), Cell(DRAWN), Cell(HELD)

Result = Literal["counted", "no_verdict", "chosen", "late", "unmatched", "unreadable"]
"""What became of a human decision: it counts; its answer has no verdict of the LLM's; it came by an appeal or a report; it came after the first
word on its answer was settled; its answer is not remembered, or there never was one; it breaks the contract."""
RESULTS: Final[tuple[Result, ...]] = get_args(Result)
SKIPPED: Final = "skipped"
"""Records that were gone before they were read."""


class Key(NamedTuple):
    """What has counts of its own. `llm` and `model` are empty where a decision names none."""

    policy: str
    llm: str
    model: str


OTHER: Final = "other"
"""In place of the policy: all of a model's that there is no room for."""


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
    def reason(self) -> str:
        """Why it went where it went."""
        return self.reasons[0] if self.reasons else ""

    @property
    def scope(self) -> Scope | None:
        """Where it lies, if the LLM gave a verdict."""
        outcome = self.llm.outcome
        return None if outcome not in (0, 1) else Scope(self.policy, self.tenant or "*", OUTCOMES[outcome])

    @property
    def scored(self) -> int:
        """P(error) in millionths; `NONE` without."""
        p = self.error_probability
        return NONE if p is None or not 0 <= p <= 1 else round(PARTS * p)

    @property
    def chance(self) -> float:
        """With what chance a human sees what is below the threshold; 0 where there is none, or it is no chance."""
        chance = self.audit_probability
        return 0.0 if chance is None or self.reason not in _AUTOMATED or not 0 < chance <= 1 else chance


class Made(NamedTuple):
    """A decision, the period that it was written in, and under what it was made."""

    decision: Decision
    period: int
    ruling: Ruling = Ruling()


class _State(msgspec.Struct, array_like=True):
    salt: bytes
    newest: int
    keys: list[tuple[int, Key]]
    blocks: list[tuple[int, BlocksState]]
    ruled: list[tuple[int, Ruled, BlocksState]]
    early: list[tuple[int, int, list[Word]]]
    counts: dict[str, int]
    numbered: int
    memories: list[MemoryState]


_HeardOnes: TypeAlias = list[tuple[int, Heard]]


class Books:
    """See above. `counts` are human decisions by `Result`, answers that were `repeated`, or `forgotten` without a human's word, and what was `skipped`.

    `salt` makes what ids are remembered by: who does not know it cannot make two that are taken for one.
    """

    def __init__(self, salt: bytes = b"") -> None:
        self.salt = salt
        self.keys: dict[int, Key] = {}
        self.blocks: dict[int, Blocks] = {}
        self.ruled: dict[int, tuple[Ruled, Blocks]] = {}
        self.counts: Counter[str] = Counter()
        self.pages_lost = 0
        """Pages that were missing when the books were read back: what they held is forgotten."""
        self._numbers: dict[Key, int] = {}
        self._ruled_numbers: dict[Ruled, int] = {}
        self._audits, self._escalated, self._without = self._memories = (
            Memory(MOST_AUDITS),
            Memory(MOST_ESCALATED),
            Memory(MOST_WITHOUT),
        )
        self._heard: dict[int, Heard] = {}
        self._early: dict[int, tuple[int, list[Word]]] = {}
        self._words = self._early_words = self._numbered = 0
        self._newest = NONE

    def decided(self, made: Sequence[Made]) -> None:
        """Count decisions."""
        abouts = [self._about(one.decision.request_id, one.decision.policy) for one in made]
        seen = [one.decision.reason != Reason.BELOW_THRESHOLD for one in made]
        known = {*self._find([about for about, is_seen in zip(abouts, seen, strict=True) if is_seen])}
        for one, about, is_seen in zip(made, abouts, seen, strict=True):
            if is_seen and about in known:
                self.counts["repeated"] += 1
                continue
            decision = one.decision
            number = self._number(Key(decision.policy, decision.llm.name or "", decision.model.sha256 or ""))
            self._count(number, one.period, _routed(decision))
            if is_seen:
                known.add(about)
                self._newest = max(self._newest, one.period)
                self._remember(about, self._item(one, number))
        for memory in self._memories:
            self.counts["forgotten"] += memory.turn()
        self._give_up_early()

    def said(self, values: Iterable[tuple[bytes, int]]) -> None:
        """Count human decisions, each with the period that it was written in, whatever they are worth."""
        words: list[tuple[int, int, Word]] = []
        for value, period in values:
            try:
                decision = _read(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.counts["unreadable"] += 1
                continue
            if decision.channel in CHOSEN:  # as no draw was
                self.counts["chosen"] += 1
            else:
                words.append((self._about(decision.request_id, decision.policy), period, Word.of(decision)))
        found = self._find([about for about, _, _ in words])
        for about, period, word in words:
            if about in self._heard or about in found:
                self._hear(about, word, found.get(about))
            else:
                self._wait(about, period, word)

    def keep_ruled(self, in_force: Iterable[Ruled]) -> None:
        """Let go of what was counted for other bounds."""
        kept_on = set(in_force)
        self.ruled = {number: one for number, one in self.ruled.items() if one[0] in kept_on}
        self._ruled_numbers = {one: number for number, (one, _) in self.ruled.items()}

    def kept(self) -> dict[str, int]:
        """How many entries it holds: answers that went to humans, and humans' words, that count and that wait for their decision."""
        return {
            "audits": len(self._audits),
            "escalated": len(self._escalated),
            "without_verdict": len(self._without),
            "words": self._words,
            "early_words": self._early_words,
        }

    def pieces(self) -> Iterator[bytes]:
        """All of it but its pages, in pieces of some hundred answers, so that nothing waits long for one."""
        yield _encode(
            _State(
                self.salt,
                self._newest,
                list(self.keys.items()),
                [(number, one.state()) for number, one in self.blocks.items()],
                [(number, one, blocks.state()) for number, (one, blocks) in self.ruled.items()],
                [(about, period, words) for about, (period, words) in self._early.items()],
                dict(self.counts),
                self._numbered,
                [memory.state() for memory in self._memories],
            )
        )
        heard = iter(self._heard.items())
        while batch := list(islice(heard, _BATCH)):
            yield _encode(batch)

    def pages(self) -> dict[str, Callable[[], bytes]]:
        """By name, what gives the bytes of each page; under one name they are always the same."""
        return {page.name: page.packed for memory in self._memories for page in memory.pages}

    @classmethod
    def of(cls, pieces: Iterable[bytes], pages: Mapping[str, bytes]) -> "Books":
        """The books that gave these. What a page held that is missing is forgotten. Raises msgspec.DecodeError or ValueError on others."""
        rest = iter(pieces)
        state = _read_state(next(rest))
        made = cls(state.salt)
        made._newest, made._numbered = state.newest, state.numbered
        made.keys = dict(state.keys)
        made._numbers = {key: number for number, key in state.keys}
        made.blocks = {number: Blocks.of(one) for number, one in state.blocks}
        made.ruled = {number: (one, Blocks.of(blocks)) for number, one, blocks in state.ruled}
        made._ruled_numbers = {one: number for number, one, _ in state.ruled}
        made._early = {about: (period, words) for about, period, words in state.early}
        made._early_words = sum(len(words) for _, words in made._early.values())
        made.counts.update(state.counts)
        for memory, of_it in zip(made._memories, state.memories, strict=True):
            made.pages_lost += memory.restore(of_it, pages)
        for piece in rest:
            made._heard.update(_read_heard(piece))
        made._words = sum(len(one.words) for one in made._heard.values())
        return made

    def _about(self, request_id: str, policy: str) -> int:
        named = f"{len(request_id)} {request_id}{policy}".encode(errors="surrogatepass")
        return int.from_bytes(blake2b(named, digest_size=8, key=self.salt).digest(), "little")

    def _find(self, abouts: Sequence[int]) -> dict[int, Found]:
        return {about: found for memory in self._memories for about, found in memory.find(abouts).items()}

    def _number(self, key: Key) -> int:
        if key not in self._numbers and len(self._numbers) >= MOST_KEYS:
            for number, one in list(self.keys.items()):
                if one.model != key.model:  # it is not in force any more
                    del self.keys[number], self._numbers[one], self.blocks[number]
            if len(self._numbers) >= MOST_KEYS:
                key = Key(OTHER, "", key.model)
        if key not in self._numbers:
            self._numbered += 1
            self._numbers[key], self.keys[self._numbered], self.blocks[self._numbered] = self._numbered, key, Blocks()
        return self._numbers[key]

    def _ruled_number(self, ruled: Ruled | None) -> int:
        if ruled is None:
            return NONE
        if ruled not in self._ruled_numbers:
            self._numbered += 1
            self._ruled_numbers[ruled], self.ruled[self._numbered] = self._numbered, (ruled, Blocks())
        return self._ruled_numbers[ruled]

    def _item(self, made: Made, key: int) -> Item:
        decision, ruling = made.decision, made.ruling
        chance, outcome = decision.chance, decision.llm.outcome
        drawn = int(decision.reason in _AUTOMATED)
        if not chance or outcome not in (0, 1):
            lot = Lot(key, made.period, NONE if outcome not in (0, 1) else outcome, drawn, NONE, NONE, NONE, NONE)
            return Item(lot, decision.scored)
        lowest = ruling.lowest if self.keys[key].policy == decision.policy else ruling.lowest_of_all
        weight, ruled_weight = (coded(min(1.0, one / chance) or 1.0) for one in (lowest, ruling.ruled_lowest))
        ruled = self._ruled_number(ruling.ruled)
        return Item(Lot(key, made.period, outcome, drawn, coded(chance), weight, ruled, ruled_weight), decision.scored)

    def _count(self, key: int, period: int, counts: Iterable[tuple[Cell, int]]) -> None:
        if key in self.blocks:
            self.blocks[key].add(period, counts)

    def _remember(self, about: int, item: Item) -> None:
        memory = self._without if item.lot.outcome == NONE else self._audits if item.lot.drawn else self._escalated
        memory.add(about, item)
        for word in self._early.pop(about, (0, ()))[1]:
            self._early_words -= 1
            self._hear(about, word, Found(item))

    def _hear(self, about: int, word: Word, found: Found | None) -> None:
        """Take in a word on an answer that humans have spoken of before, or that was found."""
        heard = self._heard.get(about)
        if heard is None and found is not None:
            outcome, drawn = found.item.lot.outcome, found.item.lot.drawn
            if outcome == NONE:  # nobody can agree with what has no verdict
                self.counts["no_verdict"] += 1
                return
            if not (self._audits if drawn else self._escalated).speak(about, found):
                self.counts["late"] += 1
                return
            heard = self._heard[about] = Heard(found.item)
        if heard is not None:
            self.counts["counted"] += 1
            self._change(heard, word)
        while self._words > MOST_WORDS:
            self._words -= len(self._heard.pop(next(iter(self._heard))).words)

    def _change(self, heard: Heard, word: Word) -> None:
        before = heard.counts(), heard.ruled(), len(heard.words)
        heard.hear(word)
        self._words += len(heard.words) - before[2]
        lot = heard.item.lot
        self._count(lot.key, lot.period, _difference(before[0], heard.counts()))
        if lot.ruled in self.ruled:
            self.ruled[lot.ruled][1].add(lot.period, _difference(before[1], heard.ruled()))

    def _wait(self, about: int, period: int, word: Word) -> None:
        self._early.setdefault(about, (period, []))[1].append(word)
        self._early_words += 1
        while self._early_words > MOST_EARLY:
            self._give_up(next(iter(self._early)))

    def _give_up_early(self) -> None:
        """Those that came long before the newest decisions: theirs would have been read by now."""
        while self._early:
            about, (period, _) = next(iter(self._early.items()))
            if period > self._newest - _EARLY_FOR:
                return
            self._give_up(about)

    def _give_up(self, about: int) -> None:
        words = len(self._early.pop(about)[1])
        self._early_words -= words
        self.counts["unmatched"] += words


def _routed(decision: Decision) -> list[tuple[Cell, int]]:
    scored, reason = decision.scored, decision.reason
    where = bin_of(scored)
    if scored < 0 or reason not in _BY_SCORE:
        return [(_HELD, 1)]
    if reason == Reason.ABOVE_THRESHOLD:
        return [(_ABOVE[where], 1)]
    counts = [(_BELOW[where], 1), (_BELOW_SUM[where], scored)]
    if not decision.chance:
        counts.append((_UNAUDITED, 1))
    elif reason == Reason.AUDIT:
        counts.append((_DRAWN, 1))
    return counts


def _difference(before: Counts, after: Counts) -> list[tuple[Cell, int]]:
    """What must be added for the one to become the other."""
    changed = ((cell, after[cell] - before[cell]) for cell in {*before, *after})
    return [(cell, count) for cell, count in changed if count]


_encode: Any = msgspec.msgpack.Encoder().encode
_read = msgspec.json.Decoder(HumanDecision).decode
read_decision = msgspec.json.Decoder(Decision).decode
_read_state = msgspec.msgpack.Decoder(_State).decode
_read_heard = msgspec.msgpack.Decoder(_HeardOnes).decode

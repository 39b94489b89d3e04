"""The stress test's books: every decision and dead letter that was read, held against the plan. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from streams.contracts.headers import ERROR_CODE, SOURCE_TOPIC
from streams.pipeline.gate import ENVELOPE
from streams.pipeline.reasons import Reason
from streams.pipeline.records import Headers
from streams.trials.stress.plan import Fault, Kind, Plan, index_in_trace, index_of

_REASONS = tuple(reason.value for reason in Reason)
_NUMBER = {reason: number for number, reason in enumerate(_REASONS)}
_NONE = 255
_EXAMPLES = 10
_TIMED_OUT = frozenset({"late_response", "orphan_response", "duplicate_response"})
"""What may become of a response that Kafka had too long before or after its request."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the books come to.

    `duplicated` counts decisions beyond the first of a request. `wrong_reason` counts requests that were decided for
    a reason the plan does not allow, were routed against their reason, or (late responses) whose decision and dead
    letter contradict each other. `damaged` counts records whose bytes or headers are not what was sent. `unknown`
    counts records that belong to no request of this run. Dead letters are counted by code; `dead_unexpected` are those
    beyond what was expected. `foreign` counts the changelog's records that are not its own: sent, still standing, and
    passed by when workers read it anew; `own_passed_by` those of its own that were passed by with them. `stored_apart`
    counts requests whose answer the broker stored so long before or after them (an outage does that) that they timed out,
    `never_stored` those of the unanswered whose answer is not in Kafka, although the sender was told that it is.
    """

    expected: int
    decided: int
    lost: int
    duplicated: int
    wrong_reason: int
    damaged: int
    unknown: int
    reasons: dict[str, int]
    dead_expected: dict[str, int]
    dead_seen: dict[str, int]
    dead_missing: dict[str, int]
    dead_unexpected: dict[str, int]
    foreign: dict[str, int]
    stored_apart: int
    never_stored: int
    throughput: float
    latencies: npt.NDArray[np.float64]
    examples: list[str]


class Books:
    """Filled in record by record; `findings` closes them. Times are a clock's seconds, the same for sent and decided."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        count = plan.requests
        self._decisions = np.zeros(count, np.uint16)
        self._reason = np.full(count, _NONE, np.uint8)
        self._wrong = np.zeros(count, bool)
        self._timed_out = np.zeros(count, bool)
        self._never_stored = 0
        self._dead = np.zeros(count, np.uint16)
        self._returned: dict[int, list[str]] = {}
        self._apart: frozenset[int] = frozenset()
        self._sent_at = np.full(count, np.nan)
        self._decided_at = np.full(count, np.nan)
        self._unexpected: Counter[str] = Counter()
        self._dead_seen: Counter[str] = Counter()
        self._examples: list[tuple[int | None, str]] = []
        self._foreign = dict.fromkeys(("sent", "standing", "passed_by", "own_passed_by"), 0)
        self._foreign["sent"] = plan.foreign
        self.decided = 0
        self.dead = 0
        self.duplicated = 0
        self.damaged = 0
        self.unknown = 0

    def sent(self, index: int, at: float) -> None:
        """A request or its response was sent: the later of the two starts the clock."""
        self._sent_at[index] = at

    def decision(self, topic: str, name: bytes | None, value: bytes, headers: Headers | None, at: float) -> None:
        """A decision was read from the topic of this role."""
        index = index_of(name)
        if index is None or not index < self._plan.requests:
            self.unknown += 1
            self._note(f"decision with key {name!r}, which was never sent")
            return
        content = orjson.loads(value)
        reason = content["reasons"][0]
        self._decisions[index] += 1
        if self._decisions[index] == 1:
            self.decided += 1
            self._reason[index] = _NUMBER[reason]
            self._decided_at[index] = at
        else:
            self.duplicated += 1
            self._note(f"{content['request_id']} decided again: {reason}, first {_REASONS[self._reason[index]]}")
        misrouted = (topic == "auto_action") != (reason == "below_threshold")
        if reason not in self._plan.expects(index).reasons or misrouted:
            told = self._timed_out if reason == "no_response" and not misrouted else self._wrong
            told[index] = True
            wanted = " or ".join(self._plan.expects(index).reasons)
            self._note(f"{content['request_id']} ({self._fault(index)}) in {topic}: {reason}, not {wanted}", index)
        request = self._plan.request(index)
        sent = request.value or b""
        whole = topic == "auto_action" or sent in value
        kept = content["request_id"].encode() == name == request.key and headers == request.headers
        if not whole or not kept or len(value) > len(sent) + ENVELOPE:
            self.damaged += 1
            self._note(f"decision {name!r} is not of the request that was sent")

    def dead_letter(self, name: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        """A dead letter was read."""
        index = index_in_trace(headers) if name is None else index_of(name)
        if index is None or not index < self._plan.requests:
            self.unknown += 1
            self._note(f"dead letter with key {name!r}, which was never sent")
            return
        code = _header(headers, ERROR_CODE).decode()
        self._dead_seen[code] += 1
        if code != self._plan.expects(index).dead or self._dead[index]:
            if code in _TIMED_OUT and value == self._plan.send(Kind.RESPONSE, index).value:
                self._returned.setdefault(index, []).append(code)
            else:
                self._unexpected[code] += 1
            self._note(f"dead letter {name!r} ({self._fault(index)}): {code} was not to come, or not again", index)
            return
        self._dead[index] += 1
        self.dead += 1
        sent = self._plan.set_aside(index)
        if name != sent.key or value != sent.value or not _headers_kept(sent.headers, headers):
            self.damaged += 1
            self._note(f"dead letter {name!r} ({code}) is not the record that was sent")

    def changelog(self, keys: Mapping[tuple[int, int], bytes | None], passed_by: Collection[tuple[int, int]]) -> None:
        """The changelog was read anew: its records' keys by partition and offset, and those that workers passed by.

        Records may have been deleted since: what no longer stands there is not judged.
        """
        foreign = {place for place, name in keys.items() if index_of(name) is not None}
        found = keys.keys() & set(passed_by)
        self._foreign |= {
            "standing": len(foreign),
            "passed_by": len(foreign & found),
            "own_passed_by": len(found - foreign),
        }
        for place in sorted(foreign ^ found):
            self._note(f"changelog, partition and offset {place}, key {keys[place]!r}: not passed by, or wrongly")

    @property
    def unanswered(self) -> frozenset[int]:
        """The requests that timed out, or whose responses were set aside, although the plan has an answer in time for them."""
        return frozenset(np.flatnonzero(self._timed_out).tolist()) | self._returned.keys()

    def stored_apart(self, indices: Collection[int]) -> None:
        """Of these requests the broker has the answer too long before or after them: each may do without it.

        Then each response that was sent must have been set aside, but the one that an answered request was decided by.
        """
        self._apart = frozenset(one for one in self.unanswered & frozenset(indices) if self._adds_up(one))

    def stored(self, answers: Collection[int]) -> None:
        """Which answers are in Kafka: what is not there, no worker can have lost."""
        self._never_stored = sum(bool(self._plan.answered[one]) for one in self.unanswered.difference(answers))

    def _adds_up(self, index: int) -> bool:
        copied = self._plan.faults[index] == Fault.DUPLICATE_RESPONSE
        set_aside = len(self._returned.get(index, ())) + (self._dead[index] if copied else 0)
        used = self._decisions[index] > 0 and self._reason[index] != _NUMBER["no_response"]
        return bool(self._plan.answered[index] and set_aside + used == 1 + copied)

    @property
    def complete(self) -> bool:
        """Whether all that must come has come (late responses aside: they may be decided instead)."""
        late = self._plan.faults == Fault.LATE_RESPONSE
        return self.decided == self._plan.requests and not (self._plan.dead_due & ~late & (self._dead == 0)).any()

    def findings(self) -> Findings:
        """Close the books."""
        late = self._plan.faults == Fault.LATE_RESPONSE
        no_response = self._reason == _NUMBER["no_response"]
        contradicts = late & (self._decisions > 0) & (no_response != (self._dead > 0))
        apart = np.zeros(len(late), bool)
        apart[list(self._apart)] = True
        copied = self._plan.faults == Fault.DUPLICATE_RESPONSE
        due = self._plan.dead_due & ~(late & ~no_response) & ~(apart & copied & (self._dead == 0))
        returned = Counter(code for index, codes in self._returned.items() if not apart[index] for code in codes)
        codes = np.array([self._plan.expects(index).dead or "" for index in range(self._plan.requests)])
        missing = due & (self._dead == 0)
        numbers = Counter(self._reason[self._reason != _NONE].tolist())
        return Findings(
            expected=self._plan.requests,
            decided=self.decided,
            lost=self._plan.requests - self.decided,
            duplicated=self.duplicated,
            wrong_reason=int((self._wrong | contradicts | (self._timed_out & ~apart)).sum()),
            damaged=self.damaged,
            unknown=self.unknown,
            reasons={_REASONS[number]: count for number, count in sorted(numbers.items())},
            dead_expected=_counts(codes[due]),
            dead_seen=dict(sorted(self._dead_seen.items())),
            dead_missing=_counts(codes[missing]),
            dead_unexpected=dict(sorted((self._unexpected + returned).items())),
            foreign=self._foreign,
            stored_apart=len(self._apart),
            never_stored=self._never_stored,
            throughput=self._throughput(),
            latencies=self._latencies(),
            examples=[*self._noted(), *self._contradictions(contradicts), *self._absent(missing)],
        )

    def _throughput(self) -> float:
        """Requests a second, from the first one sent to the last answered one decided."""
        answered = self._plan.answered & ~np.isnan(self._decided_at)
        if not answered.any():
            return 0.0
        return float(answered.sum() / (self._decided_at[answered].max() - np.nanmin(self._sent_at)))

    def _latencies(self) -> npt.NDArray[np.float64]:
        """Seconds from the later of request and response sent to the decision read, of the answered requests."""
        seconds: npt.NDArray[np.float64] = (self._decided_at - self._sent_at)[self._plan.answered]
        return seconds[~np.isnan(seconds)]

    def _fault(self, index: int) -> str:
        return Fault(self._plan.faults[index]).name.lower()

    def _note(self, text: str, index: int | None = None) -> None:
        self._examples.append((index, text))

    def _noted(self) -> list[str]:
        return [text for index, text in self._examples if index not in self._apart][:_EXAMPLES]

    def _contradictions(self, contradicts: npt.NDArray[np.bool_]) -> list[str]:
        return [
            f"{self._plan.request(int(one)).key!r}: decided {_REASONS[self._reason[one]]}, and its late response was "
            f"{'' if self._dead[one] else 'not '}set aside"
            for one in np.flatnonzero(contradicts)[:_EXAMPLES]
        ]

    def _absent(self, missing: npt.NDArray[np.bool_]) -> list[str]:
        undecided = np.flatnonzero(self._decisions == 0)[:_EXAMPLES]
        unseen = np.flatnonzero(missing)[:_EXAMPLES]
        lost = [f"{self._plan.request(int(one)).key!r} ({self._fault(one)}) was never decided" for one in undecided]
        return lost + [
            f"the dead letter of {self._plan.set_aside(int(one)).key!r} ({self._fault(one)}) never came"
            for one in unseen
        ]


def _header(headers: Headers | None, name: str) -> bytes:
    return next((value for one, value in headers or [] if one == name and value is not None), b"")


def _headers_kept(own: Headers | None, headers: Headers | None) -> bool:
    """The record's own headers first, then ours, one of which names its topic."""
    own, kept = own or [], headers or []
    return kept[: len(own)] == own and [name for name, _ in kept[len(own) : len(own) + 1]] == [SOURCE_TOPIC]


def _counts(codes: npt.NDArray[np.str_]) -> dict[str, int]:
    return dict(sorted(Counter(codes.tolist()).items()))

"""The read model of the fleet: records and looks in, a state out. Bounded in memory, whatever comes. Pure.

Shares are of the last ten minutes by the records' own times; rates are of the last minute by the time at which records came, and only of what came
while they were watched: what stood in the topics before says nothing of a rate.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.console.decisions import ROLES, ROUTES, Asked, Decision
from streams.console.findings import BLIND_AFTER, judged
from streams.console.lag import Course, Look, added, together
from streams.console.latency import DecidedIds, Latencies
from streams.console.scores import Costs, Scores
from streams.console.state import (
    Contact,
    Controls,
    Letters,
    LetterSeen,
    Partition,
    Pending,
    Rates,
    Routes,
    Seen,
    Slot,
    State,
    Worker,
)
from streams.console.window import Window
from streams.kafka.control_status import WorkerStatus
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.pipeline.routing import HUMAN_REVIEW, rfc3339
from streams.pipeline.scope import EVERY

WINDOW: Final = 600.0
MOST_POLICIES: Final = 50
"""Policies with figures of their own; further ones are `OTHER`: their names come from outside."""
OTHER: Final = "(others)"
_MOST_REASONS: Final = 64
_KEPT: Final = 2_000
"""Decisions kept to be looked through; and a tenth of it dead letters."""
_SLOT: Final = 5.0
_SLOTS: Final = 120
_LATELY: Final = 60.0
_RATED_AFTER: Final = 5.0
_RATE: Final = 60.0

_ROUTE_OF: Final = dict(zip(ROLES, ROUTES, strict=True))

Place = tuple[str, int]


class ReadModel:
    """What is known. Times are seconds since the epoch by this machine's clock, records' own times ms."""

    def __init__(self, broker: str, costs: Costs) -> None:
        self._broker, self._costs = broker, costs
        self._routes: Window[tuple[str, str, str]] = Window(WINDOW, _SLOT)
        self._rates: Window[str] = Window(_RATE * 2, 1.0)
        self._set_aside: Window[str] = Window(_LATELY, _SLOT)
        self._skipped: Window[None] = Window(WINDOW, _SLOT)
        self._spreads: OrderedDict[str, Scores] = OrderedDict()
        self._policies: set[str] = set()
        self._reasons: set[str] = set()
        self._seen: deque[tuple[int, Decision]] = deque(maxlen=_KEPT)
        self._courses: dict[Place, Course] = {}
        self._of_requests, self._of_responses, self._decided = Latencies(), Latencies(), DecidedIds()
        self._codes: Counter[str] = Counter()
        self._letters: deque[LetterSeen] = deque(maxlen=_KEPT // 10)
        self._letters_since: str | None = None
        self._live: Mapping[str, WorkerStatus] = {}
        self._hears = False
        self._silent: Mapping[str, float] = {}
        self._gone: dict[str, str] = {}
        self._controls: Controls | None = None
        self._began = self._answered = 0.0
        self._problems: dict[str, tuple[str, int]] = {}
        self._unread: int | None = None

    def decided(self, one: Decision, at: int, now: float, *, live: bool) -> None:
        """A decision's record; `at` is its own time (ms), `live` that it came while it was watched."""
        policy = self._bounded(one.policy, self._policies, MOST_POLICIES)
        reason = self._bounded(one.reason, self._reasons, _MOST_REASONS)
        self._routes.add(now if live else min(at / 1000, now), (policy, one.route, reason))
        if live:
            self._rates.add(now, one.route)
        if one.llm.outcome in (0, 1):
            self._spreads.setdefault(policy, Scores()).add(one.error_probability)
        self._of_requests.decided(one.request_id, at)
        self._of_responses.decided(one.request_id, at)
        self._decided.add(one.request_id, at)
        self._seen.append((at, one))

    def came(self, role: str, request_id: str, at: int) -> None:
        """A request or an answer of the sample."""
        kind = self._of_requests if role == REQUESTS else self._of_responses
        kind.came(request_id, at, self._decided.get(request_id))

    def set_aside(self, letter: LetterSeen, now: float, *, live: bool) -> None:
        """A dead letter's record."""
        code = letter.code if letter.code in self._codes or len(self._codes) < _MOST_REASONS else OTHER
        self._codes[code] += 1
        self._letters.append(letter)
        self._letters_since = min(self._letters_since or letter.at, letter.at)
        if live:
            self._rates.add(now, "dead_letter")
            self._set_aside.add(now, code)

    def progress(self, reached: Mapping[Place, tuple[int | None, int]], now: float) -> None:
        """The group's committed offsets (None: none) and the ends, by role and partition."""
        for place in [one for one in self._courses if one not in reached]:
            del self._courses[place]
        for place, (committed, end) in reached.items():
            self._courses.setdefault(place, Course()).add(Look(now, committed, end))

    def heard(self, live: Mapping[str, WorkerStatus], silent: Mapping[str, float], gone: Mapping[str, str]) -> None:
        """The live workers' last words, for how many seconds each has been silent, and who was last heard when."""
        self._live, self._silent, self._gone, self._hears = live, silent, dict(gone), True

    def in_force(self, controls: Controls) -> None:
        """What the control log says."""
        self._controls = controls

    def looked(self, what: str, problem: str | None, answered: float | None) -> None:
        """Something was looked at, or why it could not be; when a broker answered, if one did."""
        times = self._problems.pop(what, ("", 0))[1]
        if problem is not None:
            self._problems[what] = problem, times + 1
        if answered is not None:
            self._answered = answered
            self._began = self._began or answered

    def unread(self, count: int, skipped: Mapping[str, int], now: float) -> None:
        """Records that have not been read here yet, and those that were passed by, by role: they count in rates alone."""
        self._unread = count
        for role, passed_by in skipped.items():
            self._rates.add(now, _ROUTE_OF.get(role, role), passed_by)
            self._skipped.add(now, None, passed_by)

    def latest(self, asked: Asked, most: int) -> list[Seen]:
        """The last decisions of those that are kept and asked for, the latest first."""
        found: list[Seen] = []
        for at, one in reversed(self._seen):
            if asked.wants(one):
                found.append(Seen(moment(at), one))
                if len(found) == most:
                    break
        return found

    def state(self, now: float) -> State:
        """As it stands; while no broker answers, as it stood when one last did: else nothing would seem to come."""
        at, now = now, min(now, self._answered + BLIND_AFTER) if self._answered else now
        owners = self._owners()
        partitions = [
            Partition(role, number, owners.get(number), course.lag(now))
            for (role, number), course in sorted(self._courses.items())
        ]
        words = list(self._live.values())
        return judged(
            State(
                at=moment(int(at * 1000)),
                findings=[],
                contact=self._contact(at),
                rates=self._rated(now, partitions),
                window=WINDOW,
                routes=self._routed(now, WINDOW),
                lately=self._routed(now, _LATELY)[0],
                set_aside_lately=dict(self._set_aside.last(now)),
                slots=[_slot(at, counts) for at, counts in self._routes.series(now, _SLOTS)],
                lag=together([one.lag for one in partitions]),
                partitions=partitions,
                request_latency=self._of_requests.lately(int(now * 1000)),
                response_latency=self._of_responses.lately(int(now * 1000)),
                pending=_pending([_pending_of(one) for one in words]),
                workers=[self._worker(name, one) for name, one in sorted(self._live.items())],
                gone=self._gone,
                controls=self._controls,
                spreads={policy: scores.spread() for policy, scores in self._spreads.items()},
                costs=self._costs,
                quality=[figures for one in words for figures in one.quality],
                alerts=[alert for one in words for alert in one.alerts],
                letters=Letters(
                    self._codes.total(), self._letters_since, dict(self._codes.most_common()), list(self._letters)[::-1]
                ),
            )
        )

    def _bounded(self, name: str, known: set[str], most: int) -> str:
        if name == EVERY or (name not in known and len(known) >= most):
            return OTHER
        known.add(name)
        return name

    def _contact(self, now: float) -> Contact:
        silent = max(0.0, now - self._answered) if self._answered else None
        # What fails once is tried again; only what fails again says something.
        known = [text for text, times in self._problems.values() if times > 1 or not self._answered]
        problem = "; ".join(dict.fromkeys(known)) or None
        watched = now - self._began if self._began else 0.0
        skipped = self._skipped.last(now).total()
        hears = self._hears and "workers" not in self._problems
        return Contact(self._broker, silent, problem, self._unread, watched, skipped, hears)

    def _rated(self, now: float, partitions: Sequence[Partition]) -> Rates:
        watched = now - self._began if self._began else 0.0
        if watched < _RATED_AFTER:
            return Rates(None, None, None, None, None)
        requests, responses = (_arriving(partitions, role) for role in (REQUESTS, RESPONSES))
        if "decisions" in self._problems:
            return Rates(requests, responses, None, None, None)
        counts, seconds = self._rates.last(now, _RATE), min(watched, _RATE)
        escalated = counts[HUMAN_REVIEW] / seconds
        every = (counts.total() - counts["dead_letter"]) / seconds
        return Rates(requests, responses, every, escalated, counts["dead_letter"] / seconds)

    def _routed(self, now: float, seconds: float) -> list[Routes]:
        counts = self._routes.last(now, seconds)
        by_policy: dict[str, Counter[tuple[str, str]]] = {EVERY: Counter()}
        for (policy, route, reason), count in counts.items():
            for name in (EVERY, policy):
                by_policy.setdefault(name, Counter())[route, reason] += count
        return [
            Routes(
                policy,
                of.total(),
                sum(count for (route, _), count in of.items() if route == HUMAN_REVIEW),
                _by_reason(of),
            )
            for policy, of in sorted(by_policy.items(), key=lambda one: (one[0] != EVERY, -one[1].total(), one[0]))
        ]

    def _owners(self) -> dict[int, str]:
        """Whose each partition is; of several that name it, the first by name."""
        workers = sorted(self._live.items(), reverse=True)
        return {number: name for name, one in workers for number in one.partitions or ()}

    def _worker(self, name: str, one: WorkerStatus) -> Worker:
        return Worker(
            name,
            self._silent.get(name, 0.0),
            one.control_version,
            one.model,
            one.cannot,
            one.leaves_out,
            None if one.partitions is None else list(one.partitions),
            _pending_of(one),
            one.restoring,
            None if one.busy is None else dict(one.busy),
        )


def _arriving(partitions: Sequence[Partition], role: str) -> float | None:
    of_role = [one.lag.arriving for one in partitions if one.role == role]
    return added(of_role) if of_role else None


def moment(at: int) -> str:
    """A record's time (ms) as RFC 3339; as it is where it is none that a calendar has: a producer may stamp what it likes."""
    try:
        return rfc3339(at)
    except (ValueError, OverflowError, OSError):
        return str(at)


def _by_reason(counts: Counter[tuple[str, str]]) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    for (_, reason), count in counts.items():
        reasons[reason] += count
    return dict(reasons.most_common())


def _slot(at: float, counts: Counter[Any]) -> Slot:
    escalated = sum(count for (_, route, _), count in counts.items() if route == HUMAN_REVIEW)
    return Slot(moment(int(at * 1000)), counts.total() - escalated, escalated)


def _pending_of(one: WorkerStatus) -> Pending | None:
    return None if one.pending is None else Pending(one.pending.requests, one.pending.responses, one.pending.oldest)


def _pending(said: Sequence[Pending | None]) -> Pending | None:
    """Of all workers together; unknown if one does not say, or there is none."""
    known = [one for one in said if one is not None]
    if not known or len(known) < len(said):
        return None
    oldest = [one.oldest for one in known if one.oldest is not None]
    return Pending(
        sum(one.requests for one in known), sum(one.responses for one in known), max(oldest) if oldest else None
    )

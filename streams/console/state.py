"""What is known of the fleet at one moment: immutable, and JSON as it stands. None is "not known", which is never zero. Pure."""

from typing import Any

import msgspec

from streams.console.decisions import Decision
from streams.console.lag import Lag
from streams.console.scores import Costs, Spread
from streams.pipeline.quality.judging import Alert, Figures


class Finding(msgspec.Struct, frozen=True):
    """Something that is so: a word for it, how bad it is (`good`, `warn`, `bad`), why, and what to do about it."""

    word: str
    level: str
    why: str
    do: str = ""


class Contact(msgspec.Struct, frozen=True):
    """How the console itself stands: seconds since a broker last answered, what it could not do, records that it has not read yet.

    `skipped` are those of the window that it passed by, as more came than it could read. Unless it `hears` the workers, nothing is known of them.
    """

    broker: str
    silent: float | None
    problem: str | None
    unread: int | None
    watched: float
    skipped: int = 0
    hears: bool = True


class Rates(msgspec.Struct, frozen=True):
    """Records a second over the last minute, or as long as was watched."""

    requests: float | None
    responses: float | None
    decisions: float | None
    escalated: float | None
    dead_letters: float | None


class Routes(msgspec.Struct, frozen=True):
    """Decisions of a policy (`*`: all) in the window, by route and by reason."""

    policy: str
    decisions: int
    escalated: int
    reasons: dict[str, int]

    @property
    def share(self) -> float | None:
        """Of them that went to humans."""
        return self.escalated / self.decisions if self.decisions else None


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds between the times of two records, of a sample of `count`."""

    count: int
    p50: float
    p95: float
    p99: float


class Pending(msgspec.Struct, frozen=True):
    """What waits for its other half, by the workers' own words: records, and seconds that the oldest has waited (None: none waits)."""

    requests: int
    responses: int
    oldest: float | None


class Partition(msgspec.Struct, frozen=True):
    """An input partition, whose it is, and how its reading goes."""

    role: str
    number: int
    worker: str | None
    lag: Lag


class Worker(msgspec.Struct, frozen=True):
    """A live worker's last word. `partitions`, `pending` and `busy` (by stage, the share of the last seconds) are None where it does not say them."""

    name: str
    silent: float
    version: int
    model: str | None
    problem: str | None
    shadow_problem: str | None
    partitions: list[int] | None
    pending: Pending | None
    restoring: bool | None
    busy: dict[str, float] | None = None


class LetterSeen(msgspec.Struct, frozen=True):
    """A dead letter."""

    spot: str
    at: str
    code: str
    message: str
    source: str
    key: str
    cycles: int


class Letters(msgspec.Struct, frozen=True):
    """Dead letters that were read, since when, by code, and the last of them."""

    counted: int
    since: str | None
    by_code: dict[str, int]
    latest: list[LetterSeen]


class Slot(msgspec.Struct, frozen=True):
    """Decisions of some seconds, for the chart: when they began, automated, escalated."""

    at: str
    automated: int
    escalated: int


class Controls(msgspec.Struct, frozen=True):
    """What `control show` says, the last messages, and what each of the last changes changed."""

    in_force: dict[str, Any]
    history: list[dict[str, Any]]
    changes: list[dict[str, Any]]


class State(msgspec.Struct, frozen=True):
    """All of it. `window` is the time in seconds that `routes` are of; `lately` and `set_aside_lately` are of the last one: what findings go by."""

    at: str
    findings: list[Finding]
    contact: Contact
    rates: Rates
    window: float
    routes: list[Routes]
    lately: Routes
    set_aside_lately: dict[str, int]
    slots: list[Slot]
    lag: Lag
    partitions: list[Partition]
    request_latency: Latency | None
    response_latency: Latency | None
    pending: Pending | None
    workers: list[Worker]
    gone: dict[str, str]
    controls: Controls | None
    spreads: dict[str, Spread]
    costs: Costs
    quality: list[Figures]
    alerts: list[Alert]
    letters: Letters

    @property
    def word(self) -> Finding:
        """How it stands, in one word: the worst that is so."""
        return self.findings[0]


class Seen(msgspec.Struct, frozen=True):
    """A decision with its record's time."""

    at: str
    decision: Decision


encode_state = msgspec.json.Encoder().encode

"""What is known of a pipeline and its cluster. What could not be looked at is `Unknown`, and never taken for well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from streams.kafka.rights import Kind
from streams.settings import Settings

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be looked at, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It was tried, and does not work. `kind` is that of the trouble, where the client told one (see `streams.kafka.troubles`)."""

    why: str
    kind: str = ""


Known: TypeAlias = _T | Unknown
Tried: TypeAlias = _T | Failed


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a transaction that was opened, and taken back. `lacks_right`: to write under this transactional id.

    `unsupported`: the broker has no transactions.
    """

    problem: str = ""
    lacks_right: bool = False
    timeout_too_long: bool = False
    unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group: its client, where it runs, and how many partitions it has."""

    client: str
    host: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Model:
    """The model of the settings."""

    name: str
    sha256: str
    calibrated: bool


@dataclass(frozen=True, slots=True)
class InForce:
    """What the control log says, and why a worker of these settings cannot do it, if so. `whole`: its beginning is known.

    `model` is the sha256 of the model that it names. `fetchable`: the models topic holds it. `budgets`: review budgets are set.
    """

    version: int
    whole: bool
    model: str | None
    problem: str | None
    fetchable: bool = False
    budgets: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """What a live worker says of itself: why it does not do what the log says, if so."""

    name: str
    version: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that speak, those that fell silent, and whether they differ in what they have in force."""

    live: tuple[Worker, ...]
    gone: tuple[str, ...] = ()
    split: bool = False


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine has: the model, the outcome spec (in words) and the reader of answers."""

    model: Tried[Model]
    spec: Tried[str]
    reader: str
    reader_why: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was found.

    `brokers` is how many there are; `counts` the partitions of each topic by name; `half_made` the topics that are being made or
    deleted, and what brokers say of them; `leaderless` the partitions that no broker leads, by topic; `in_sync` the fewest replicas in sync that a led partition
    of each topic has; `denied` topics that this user may not see;
    `configs` the settings of each topic by its key; `granted` what this user may do with a thing; `skew` the seconds that this
    machine's clock is ahead; `others` the groups that work on the same topics, with their members; `owner` the group that the
    changelog belongs to ("": nobody's yet).
    """

    settings: Settings
    role: str
    here: Here
    brokers: Tried[int]
    counts: Known[Mapping[str, int]]
    half_made: Mapping[str, str]
    leaderless: Mapping[str, tuple[int, ...]]
    in_sync: Mapping[str, int]
    denied: Known[frozenset[str]]
    configs: Mapping[str, Known[Mapping[str, str | None]]]
    granted: Mapping[tuple[Kind, str], Known[frozenset[str]]]
    transactions: Known[Trial]
    most_transaction: Known[float]
    skew: Known[float]
    members: Known[tuple[Member, ...]]
    others: Known[Mapping[str, int]]
    owner: Known[str]
    in_force: Known[InForce]
    fleet: Known[Fleet]

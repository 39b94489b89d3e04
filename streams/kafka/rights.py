"""The rights that each user of the cluster needs: the one table by which the docs tell them and `secondlook doctor` checks them.

Read, Write and Delete bring Describe with them, so that it stands here only where nothing else does.
"""

from collections.abc import Mapping
from shlex import quote
from typing import Final, Literal, NamedTuple

from streams.kafka.clients import group_name
from streams.kafka.topics import load_topics
from streams.settings import Settings

Kind = Literal["topic", "group", "transactional-id"]
"""What a right is for, as `kafka-acls.sh` calls it."""

When = Literal[
    "always", "transactions", "moves", "used", "status", "models", "quality", "restarts", "settings", "doctor"
]
WHEN: Final[Mapping[When, str]] = {
    "always": "",
    "transactions": "with `delivery = exactly_once`",
    "moves": "where review budgets are set, or `on_risk_breach = stop`",
    "used": "where that is used",
    "status": "else commands do not know the worker",
    "models": "else humans decide while it lacks one",
    "quality": "else that is not kept",
    "restarts": "else restarts take ever longer",
    "settings": "else there is none",
    "doctor": "else it could not",
}
"""When a right is needed, or what it is like without, in words. Without one that is always needed a worker does not start."""
WORSE: Final = frozenset({"status", "models", "quality", "restarts"})
"""Without these a worker goes on, and warns."""

_EVERY: Final = tuple(load_topics())


class Need(NamedTuple):
    """An operation on topics (by their keys), on groups, or on transactional ids. Without it `why` cannot be."""

    operation: str
    kind: Kind
    topics: tuple[str, ...]
    why: str
    when: When = "always"


class Right(NamedTuple):
    """An operation on one thing of the cluster, or on all whose names begin so."""

    operation: str
    kind: Kind
    name: str
    prefixed: bool = False

    @property
    def text(self) -> str:
        """In words, after "the right to"."""
        return f"{self.operation} {self.name}" if self.kind == "topic" else f"{self.operation} the {self.words}"

    @property
    def words(self) -> str:
        """What it is for, in words."""
        kind = {"topic": "topic", "group": "group", "transactional-id": "transactional id"}[self.kind]
        return f"{kind}s that begin with {self.name}" if self.prefixed else f"{kind} {self.name}"


def _topics(operation: str, *topics: str, why: str, when: When = "always") -> Need:
    return Need(operation, "topic", topics, why, when)


_SETTINGS: Final = _topics("DescribeConfigs", *_EVERY, why="a look at the topics' settings", when="settings")
_SHOW: Final = (_topics("Read", "control", "control_status", why="what is in force, and which workers have it"),)
_IN_FORCE: Final = _topics("Read", "control", why="what is in force")
_LABELS: Final = _topics("Read", "vectors", "human_decisions", why="labelled answers from the topics")
_DECIDED: Final = _topics("Read", "auto_action", "human_review", "dead_letter", why="decisions and dead letters")
_HISTORY: Final = _topics("Read", "vectors", "human_decisions", why="an item's history")

ROLES: Final[Mapping[str, tuple[Need, ...]]] = {
    "worker": (
        _topics("Read", "requests", "responses", why="what is decided"),
        _topics("Read", "pending", why="what waits, read back on assignment"),
        _topics("Read", "control", why="what is in force"),
        _topics("Read", "models", why="models that it lacks", when="models"),
        _topics("Read", "human_decisions", why="live quality", when="quality"),
        _topics(
            "Read",
            "auto_action",
            "human_review",
            "vectors",
            "quality",
            why="live quality, in the worker that leads",
            when="quality",
        ),
        _topics("Write", "auto_action", "human_review", "dead_letter", "vectors", "pending", why="what it decides"),
        _topics(
            "Write", "control_status", why="what it has in force; its stamp tells the brokers' clock", when="status"
        ),
        _topics("Write", "quality", why="the state of live quality", when="quality"),
        _topics("Write", "control", why="moves and stops", when="moves"),
        _topics("Delete", "pending", why="a short changelog", when="restarts"),
        _topics("Read", "control_status", why="`secondlook doctor`, to see the other workers", when="doctor"),
        Need("Read", "group", (), "the workers' groups"),
        Need("Write", "transactional-id", (), "exactly once", "transactions"),
        _SETTINGS,
    ),
    "control show": _SHOW,
    "control": (
        *_SHOW,
        _topics(
            "Write",
            "control",
            why="what changes something: this right stops, starts and swaps everything, so give it to few",
        ),
        _topics("Delete", "control", why="`control compact`", when="used"),
    ),
    "control set-risk-bound": (
        *_SHOW,
        _topics("Read", "human_review", "human_decisions", why="audits that humans judged, with `--from-topics`"),
        _topics("Write", "control", why="the bound"),
    ),
    "control show-shadow": (
        _IN_FORCE,
        _topics("Read", "auto_action", "human_review", why="what the shadow said"),
    ),
    "control simulate": (
        *_SHOW,
        _topics(
            "Read",
            "vectors",
            "auto_action",
            "human_review",
            "human_decisions",
            "models",
            why="the past, decided otherwise",
        ),
    ),
    "control plan-audits": (_LABELS,),
    "models": (
        _topics("Read", "models", "control", why="which models there are, and which is in force"),
        _topics("Write", "models", why="`models push`", when="used"),
    ),
    "models promote": (
        _LABELS,
        _topics("Read", "control", why="which model is in force, to compare with"),
        _topics("Read", "models", why="that model, where the directory lacks it", when="used"),
    ),
    "train": (_LABELS,),
    "evaluate": (_LABELS,),
    "console": (
        *_SHOW,
        _DECIDED,
        _topics("Read", "requests", "responses", why="rates, lag and latency"),
        _HISTORY,
        Need("Describe", "group", (), "how far the workers have come"),
        _topics("Write", "control", why="`--allow-controls`", when="used"),
    ),
    "tap": (_DECIDED,),
    "explain": (_IN_FORCE, _DECIDED, _topics("Read", "requests", "responses", why="an item's history"), _HISTORY),
    "dead-letters": (_topics("Read", "dead_letter", why="the letters"),),
    "dead-letters redrive": (
        _topics("Read", "dead_letter", why="the letters"),
        _topics("Write", "requests", "responses", why="where they go back to"),
        Need("Read", "group", (), "how far it has come"),
        Need("Write", "transactional-id", (), "each letter once", "transactions"),
    ),
    "replay": (
        _topics("Write", "requests", "responses", why="labelled answers, for the workers to decide"),
        _DECIDED,
        _topics("Write", "human_decisions", why="`--judge`", when="used"),
    ),
    "autoscaler": (
        _topics("Describe", "requests", "responses", why="how much there is to read"),
        Need("Describe", "group", (), "how far the workers have come"),
    ),
    "topics check": (_topics("Describe", *_EVERY, why="the topics"), _SETTINGS),
    "topics create": (
        _topics("Create", *_EVERY, why="the topics"),
        _topics("Describe", *_EVERY, why="those that are there"),
    ),
    "producer of requests": (_topics("Write", "requests", why="requests"),),
    "producer of responses": (_topics("Write", "responses", why="responses"),),
    "consumer of decisions": (
        _topics("Read", "auto_action", "human_review", why="decisions, besides `Read` on its own group"),
    ),
    "reviewers' tool": (
        _topics("Read", "human_review", why="what humans decide, besides `Read` on its own group"),
        _topics(
            "Write",
            "human_decisions",
            why="what they decided: live quality, `set-risk-bound` and training believe it, so it is this tool's alone",
        ),
    ),
}
"""By what a user runs, what it takes."""


def rights(needs: tuple[Need, ...], settings: Settings) -> dict[Right, Need]:
    """Each single right of these needs, under the settings' names."""
    names = {key: topic.name for key, topic in load_topics(settings.topic_prefix).items()}
    group = group_name(settings)
    found: dict[Right, Need] = {}
    for need in needs:
        if need.kind == "topic":
            found |= {Right(need.operation, "topic", names[key]): need for key in need.topics}
        else:
            name = group if need.kind == "group" else f"{group}:"
            found[Right(need.operation, need.kind, name, prefixed=True)] = need
    return found


def lacking(settings: Settings, operations: Mapping[str, frozenset[str] | None]) -> dict[Right, Need]:
    """The rights on topics that a worker lacks, of what it may do with each; nothing of topics that the brokers tell nothing of."""
    wanted = rights(ROLES["worker"], settings)
    return {
        right: need
        for right, need in wanted.items()
        if right.kind == "topic"
        and (allowed := operations.get(right.name)) is not None
        and right.operation.lower() not in allowed
    }


def grant_command(right: Right, settings: Settings) -> str:
    """The command that gives a right to the user of these settings."""
    user = settings.kafka.get("sasl.username", "NAME")
    pattern = " --resource-pattern-type prefixed" if right.prefixed else ""
    return (
        f"kafka-acls.sh --bootstrap-server {quote(settings.broker)} --add --allow-principal {quote(f'User:{user}')} "
        f"--operation {right.operation} --{right.kind} {quote(right.name)}{pattern}"
    )


def rights_markdown() -> str:
    """The table of the docs."""
    rows = ["| who | right | on | for |", "|---|---|---|---|"]
    for role, needs in ROLES.items():
        for number, need in enumerate(needs):
            why = f"{need.why}, {WHEN[need.when]}" if WHEN[need.when] else need.why
            rows.append(f"| {role if number == 0 else ''} | `{need.operation}` | {_on(need)} | {why} |")
    return "\n".join(rows)


def _on(need: Need) -> str:
    if need.kind == "group":
        return "groups that begin with `<topic_prefix><group>`"
    if need.kind == "transactional-id":
        return "transactional ids that begin with `<topic_prefix><group>:`"
    if need.topics == _EVERY:
        return "every topic"
    names = {key: topic.name for key, topic in load_topics().items()}
    return ", ".join(f"`{names[key]}`" for key in need.topics)

"""What a check is, and what it finds. `examine` goes through all that are marked as checks."""

import re
from collections.abc import Callable, Iterator
from shlex import quote
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.doctor.facts import Facts
from streams.kafka.troubles import DOCTOR

State = Literal["ok", "warning", "wrong", "unknown"]
_KAFKAS: Final = re.compile(r"\b(kafka-[a-z-]+\.sh) ")
"""Kafka's own tools."""
_MEND: Final = re.compile(r"\.? Mend it(?P<when>[^:]*): (?P<command>.*)", re.DOTALL)


class Finding(NamedTuple):
    """What a check came to, and the command that mends it."""

    check: str
    state: State
    about: str
    mend: str = ""


Found: TypeAlias = Iterator[Finding]
Check: TypeAlias = Callable[[Facts], Found]
CHECKS: Final[list[Check]] = []
FOR_ALL: Final[list[Check]] = []
"""Those that are not about workers alone."""


def check(one: Check) -> Check:
    """Mark a function as a check of workers: of its facts it tells what it found."""
    CHECKS.append(one)
    return one


def check_for_all(one: Check) -> Check:
    """Mark a function as a check of whatever a user runs."""
    FOR_ALL.append(one)
    return check(one)


def examine(facts: Facts) -> list[Finding]:
    """Every check of the role, in the order in which causes come before what follows from them."""
    checks = CHECKS if facts.role == "worker" else FOR_ALL
    return [_told(finding, facts) for one in checks for finding in one(facts)]


def _told(found: Finding, facts: Facts) -> Finding:
    """Without advice that another finding has; Kafka's own tools log in where this user must."""
    about = found.about.replace(f" {DOCTOR}", "")
    about = _MEND.sub("", about) if found.state == "unknown" else about
    is_open = facts.settings.kafka.get("security.protocol", "plaintext").lower() == "plaintext"
    return found._replace(
        about=about, mend=found.mend if is_open else _KAFKAS.sub(r"\1 --command-config ADMIN.properties ", found.mend)
    )


def mended(name: str, state: State, text: str) -> Finding:
    """A finding from a text that holds its mending."""
    found = _MEND.search(text)
    if found is None:
        return Finding(name, state, text)
    when = f". Mend it{found['when']}" if found["when"] else ""
    return Finding(name, state, text[: found.start()] + when, found["command"])


def command(facts: Facts, what: str) -> str:
    """A command of ours on this pipeline."""
    prefix = facts.settings.topic_prefix
    return f"secondlook {what} --broker {quote(facts.settings.broker)}" + (
        f" --topic-prefix {prefix}" if prefix else ""
    )

"""With what chance each answer came to a human, by its decision: what is measured on those that did stands for all with that. Pure."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from streams.pipeline.control_content import Content
from streams.pipeline.readable import readable
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import HUMAN_REVIEW
from streams.pipeline.scope import EVERYTHING, Scope


class Decided(msgspec.Struct, frozen=True):
    """What a decision says of it."""

    request_id: str
    policy: str
    route: str
    reasons: tuple[str, ...]
    control_version: int
    audit_probability: float | None = None


class Draw(NamedTuple):
    """Whether an answer came to a human, and with what chance; None: unknown."""

    came: bool
    chance: float | None


def read_decisions(values: Iterable[bytes]) -> list[Decided]:
    """The decisions among records; what is none is passed by."""
    return list(readable(values, Decided))


def versions_needed(decisions: Iterable[Decided]) -> set[int]:
    """The control versions whose audit rates must be known."""
    return {one.control_version for one in decisions if _hangs_on_the_rate(one)}


def draws(decisions: Iterable[Decided], content_at: Callable[[int], Content | None]) -> dict[tuple[str, str], Draw]:
    """By request id and policy, how each came to a human or did not. The last decision on it counts."""
    return {(one.request_id, one.policy): _draw(one, content_at) for one in decisions}


def _draw(one: Decided, content_at: Callable[[int], Content | None]) -> Draw:
    came = one.route == HUMAN_REVIEW
    if one.audit_probability is not None and (not came or Reason.AUDIT in one.reasons):
        return Draw(came, one.audit_probability)
    if not _hangs_on_the_rate(one):
        return Draw(came, 1.0)
    content = content_at(one.control_version)
    if content is None:
        return Draw(came, None)
    rates = content.audit_rates  # decisions of when there were tenants and outcomes state their chance
    return Draw(came, (rates.get(Scope(one.policy)) or rates[EVERYTHING]).rate)


def _hangs_on_the_rate(one: Decided) -> bool:
    drawn = one.route != HUMAN_REVIEW or Reason.AUDIT in one.reasons
    return drawn and one.audit_probability is None

"""A span of time that answers must have been decided in, to count."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Window:
    """From `since` on and before `until`; without either there is no such limit. Both have their zones."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, decided_at: str | None) -> bool:
        """Whether a time (RFC 3339) lies within. What has none, or none that can be read, lies in no window but the one without limits."""
        if self == ALWAYS:
            return True
        at = moment(decided_at)
        return at is not None and (self.since is None or at >= self.since) and (self.until is None or at < self.until)


ALWAYS = Window()


def moment(decided_at: str | None) -> datetime | None:
    """The time that a text says, with its zone; None where it says none."""
    try:
        at = None if decided_at is None else datetime.fromisoformat(decided_at)
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None

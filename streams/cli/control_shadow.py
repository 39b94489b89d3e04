"""`secondlook control set-shadow` and `show-shadow`: another model or other thresholds beside what is in force, and how they do."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from rich.console import Console

from streams.cli.control_issue import issue
from streams.cli.control_prepare import full_sha256, prepare
from streams.cli.control_proposal import Proposal
from streams.cli.screen import echo_json, row, say, table
from streams.errors import ControlError
from streams.kafka.control_history import read_history
from streams.kafka.fleet import Fleet
from streams.kafka.issuing import Issue, model_of_workers
from streams.kafka.reading import places_of
from streams.kafka.recent import read_recent
from streams.pipeline.control_messages import SetModel, SetShadow
from streams.pipeline.readable import readable
from streams.pipeline.reasons import Reason
from streams.pipeline.routing import AUTO_ACTION
from streams.settings import Settings

_COLUMNS: Final = {
    "decisions": "decisions",
    "automated": "automated",
    "shadow_automated": "by the shadow",
    "to_automation": "would be automated",
    "to_humans": "would go to humans",
    "failed": "shadow failed",
}


class _Stamp(msgspec.Struct):
    route: str
    reasons: list[str]


class Decision(msgspec.Struct):
    """What is read of a decision."""

    policy: str
    route: str
    control_version: int
    decided_at: str
    shadow: _Stamp | None = None


def issue_shadow(proposal: Proposal, asked: Issue, settings: Settings) -> None:
    """Set what is proposed as the shadow, a model once every live worker is ready for it; with no time to wait, at once."""
    with Fleet(settings) as fleet:
        history = read_history(settings)
        sha256 = None if proposal.sha256 is None else full_sha256(proposal.sha256, settings, fleet)
        made_for = None if sha256 or history.log.content.model else model_of_workers(fleet)
        steps = proposal.messages(sha256, made_for)
        changes = tuple(one for one in steps if not isinstance(one, SetModel))
        message = SetShadow(sha256=sha256, keep_thresholds=proposal.keep_thresholds, changes=changes)  # type: ignore[arg-type]
        is_prepared = sha256 is not None and asked.wait > 0
        first = (lambda: prepare(message, asked, settings, fleet)) if is_prepared else (lambda: None)
        issue(message, asked, settings, fleet, history, first=first)


def show_shadow(settings: Settings, *, last: int, as_json: bool) -> None:
    """Print how the decisions that were made beside the shadow would differ. Raises ControlError where there is no shadow."""
    shadow = read_history(settings).log.content.shadow
    if shadow is None:
        raise ControlError("there is no shadow (secondlook control set-shadow)")
    document = agreement(_recent(settings, last), shadow.since)
    if as_json:
        echo_json(document)
    else:
        _render(document, Console())


def _recent(settings: Settings, last: int) -> list[Decision]:
    """The last decisions, of both routes as far back as either goes: at most `last` of each."""
    found: list[Decision] = []
    begin = ""
    for topic, partitions in places_of(settings, "auto_action", "human_review").values():
        values = [value for _, value in read_recent(settings, topic, partitions, last=last)]
        decisions = list(readable(values, Decision))
        if len(values) >= last:
            begin = max(begin, min((one.decided_at for one in decisions), default=""))
        found += decisions
    return [one for one in found if one.decided_at >= begin]


def agreement(decisions: Iterable[Decision], since: int) -> dict[str, Any]:
    """Decisions since a version, with the shadow's beside them: over all policies (`*`) first, then by policy.

    `without` counts those that have no shadow's: a worker left it out.
    """
    counts: dict[str, Counter[str]] = {"*": Counter()}
    without = 0
    for one in decisions:
        if one.control_version < since:
            continue
        if one.shadow is None:
            without += 1
            continue
        live, then = one.route == AUTO_ACTION, one.shadow.route == AUTO_ACTION
        told = {
            "decisions": True,
            "automated": live,
            "shadow_automated": then,
            "to_automation": then and not live,
            "to_humans": live and not then,
            "failed": Reason.MODEL_FAILED in one.shadow.reasons,
        }
        for policy in ("*", one.policy):
            counts.setdefault(policy, Counter()).update({name: int(holds) for name, holds in told.items()})
    every = counts.pop("*")
    rows = [("*", every), *sorted(counts.items())]
    return {
        "since": since,
        "without": without,
        "rows": [{"policy": policy, **{name: count[name] for name in _COLUMNS}} for policy, count in rows],
    }


def _render(document: Mapping[str, Any], console: Console) -> None:
    by_policy = table("policy", *_COLUMNS.values())
    for one in document["rows"]:
        row(by_policy, one["policy"], *(str(one[name]) for name in _COLUMNS))
    console.print(by_policy)
    if document["without"]:
        say(console, f"{document['without']} decisions since then are without it: a worker left it out", "yellow")

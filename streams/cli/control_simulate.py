"""`secondlook control simulate`: what a change would do to the answers that have been, before it is issued."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from scoring import ErrorModel, ModelError
from scoring.data import NO_LABEL, join_decisions
from scoring.sampled_error import NO_AUDITS, NO_AUDITS_JUDGED, NO_REVIEWS_JUDGED, NOTHING_AUTOMATED
from streams.cli.control_issue import issue
from streams.cli.control_prepare import full_sha256, prepare
from streams.cli.control_proposal import Proposal
from streams.cli.scoring import lines_of, tell_left_out
from streams.cli.screen import echo_json, row, say, table
from streams.errors import ControlError
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import Fleet
from streams.kafka.issuing import Issue, listed
from streams.kafka.model_topic import read_models
from streams.kafka.reading import places_of, read_values
from streams.kafka.recent import read_recent, read_since
from streams.pipeline.chances import Draw, draws, read_decisions, versions_needed
from streams.pipeline.control_content import Content
from streams.pipeline.control_log import ControlLog
from streams.pipeline.control_messages import ControlMessage, SetModel
from streams.pipeline.controls import Baseline, Controls, FindModel, honour, is_calibrated
from streams.pipeline.scope import EVERY, UNREADABLE, Scope
from streams.pipeline.simulation import Answers, Costs, Outcome, compare, over_thresholds, simulate
from streams.printable import printable
from streams.settings import Settings
from streams.worker.models import ModelShelf, baseline

_DECISIONS = ("auto_action", "human_review")
_EARLIER = 60_000
"""Milliseconds by which a decision may have an older stamp than its vector; they are written together."""
_WHY = {
    NOTHING_AUTOMATED: "nothing is automated",
    NO_AUDITS: "what is automated had no chance of being seen by a human when it was decided, or its decision is gone: set-audit-rate",
    NO_AUDITS_JUDGED: "humans have decided none of its audits yet: the errors among what nobody saw cannot be known without",
    NO_REVIEWS_JUDGED: "what of it was escalated when it was decided is not judged yet, and the rest had no chance of an audit",
}
_THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(101))
_EXPECTED = "expected error: mean P(error) among what is automated: the model's own word, as true as it is calibrated"
_MEASURED = (
    "measured error: what humans found wrong, weighted by the chance with which each answer came to them, so that audits stand for what "
    "nobody saw; with its 95 % interval. It takes for granted that what humans have not got to yet is like what they have"
)

_OTHER_SETTINGS = (
    "live workers have another model or other costs in their settings than this machine: what the log does not set differs "
    "(--model, --cost-review, --cost-mistake)"
)


@dataclass(frozen=True, slots=True)
class Side:
    """Controls, and what becomes of the answers under them."""

    controls: Controls
    outcome: Outcome


def run_simulation(
    proposal: Proposal,
    asked: Issue,
    settings: Settings,
    *,
    last: int,
    since: datetime | None,
    vectors: Path | None,
    decisions: Path | None,
    routed: Path | None,
    as_json: bool,
    plot: Path | None,
    apply: bool,
) -> None:
    """Simulate, show, and issue it if that was asked. Raises ControlError where it cannot be honoured with this machine's models."""
    if vectors is None and (decisions is not None or routed is not None):
        raise click.UsageError("--decisions and --routed go with --vectors")
    given = baseline(settings)
    shelf = ModelShelf(settings.model, given.model)
    history = read_history(settings)
    version = history.log.version
    asked.check(version)
    with Fleet(settings) as fleet:
        sha256 = None if proposal.sha256 is None else full_sha256(proposal.sha256, settings, fleet, shelf.names())
        made_for = None if history.log.content.model or sha256 else given.model.sha256
        messages = proposal.messages(sha256, made_for)
        controls = _both(messages, history.log, given, partial(find_model, settings, shelf))
        answers = (
            _from_topics(settings, last, since)
            if vectors is None
            else _from_files(settings, vectors, decisions, routed, last, since)
        )
        _check_scope(proposal.scope, answers)
        sides = [Side(one, simulate(answers, replace(one, stopped=frozenset()))) for one in controls]
        document = _document(messages, answers, sides, proposal.costs(settings), version, proposal.scope)
        if any(one.settings_hash != given.hash for one in fleet.live.values()):
            document["notes"].append(_OTHER_SETTINGS)
        if plot is not None:
            plot.write_text(_plot(sides[1].outcome, proposal), encoding="utf-8")
        if as_json:
            echo_json(document)
        else:
            _render(document, Console())
        if apply:
            _apply(messages, replace(asked, expected_version=version), settings, fleet, history)


def _both(messages: Iterable[ControlMessage], log: ControlLog, given: Baseline, find: FindModel) -> list[Controls]:
    """The controls in force, and those with the messages. Raises ControlError where these could not be honoured."""
    now = honour(log.content, log.version, given, find)
    then = honour(_after(messages, log.content, log.version), log.version, given, find)
    if then.problem is not None:
        raise ControlError(f"it could not be honoured: {then.problem}")
    return [now, then]


def _check_scope(scope: Scope, answers: Answers) -> None:
    """Raise ControlError where no answer has the policy, or the tenant, that is tried."""
    for what, name, there in (("policy", scope.policy, answers.policies), ("tenant", scope.tenant, answers.tenants)):
        if name not in {EVERY, *there}:
            others = sorted(set(there) - {EVERY, UNREADABLE})
            raise ControlError(
                f"no answer of {what} {printable(name)!r} is among them. {listed('They are of', others)}"
            )


def _after(messages: Iterable[ControlMessage], content: Content, version: int) -> Content:
    def unknown(_: int) -> Content:
        raise AssertionError

    for message in messages:
        content = message.apply(content, version + 1, unknown)
    return content


def find_model(settings: Settings, shelf: ModelShelf, sha256: str) -> ErrorModel:
    """A model of the model directory, else of the topic; nothing is written."""
    with suppress(ModelError):
        return shelf.find(sha256)
    onnx = read_models(settings, [sha256]).whole(sha256)
    if onnx is None:
        return shelf.find(sha256)
    return ErrorModel(onnx)


def _from_topics(settings: Settings, last: int, since: datetime | None) -> Answers:
    places = places_of(settings, "vectors", "human_decisions", *_DECISIONS)
    stamp = None if since is None else int(since.timestamp() * 1000)
    vectors = read_recent(settings, *places["vectors"], last=last, since=stamp)
    if not vectors:
        later = "" if since is None else f" from {since.isoformat()} on (--since)"
        raise ControlError(f"{places['vectors'][0]} holds no answer{later}: there is nothing to simulate on")
    oldest = max(min(at for at, _ in vectors) - _EARLIER, 0)
    routed = (value for role in _DECISIONS for value in read_since(settings, *places[role], oldest))
    judged = read_values(settings, *places["human_decisions"])
    return _answers(settings, [value for _, value in vectors], judged, routed)


def _from_files(
    settings: Settings,
    vectors: Path,
    decisions: Path | None,
    routed: Path | None,
    last: int,
    since: datetime | None,
) -> Answers:
    if since is not None:
        raise click.UsageError("lines of a file have no time: leave out --since, or take them from the topic")
    judged, sent = (() if file is None else lines_of(file) for file in (decisions, routed))
    return _answers(settings, list(lines_of(vectors))[-last:], judged, sent)


def _answers(settings: Settings, vectors: Iterable[bytes], judged: Iterable[bytes], routed: Iterable[bytes]) -> Answers:
    joined = join_decisions(vectors, judged, keep_unlabelled=True)
    tell_left_out(joined)
    data = joined.data.in_canonical_order()
    decided = read_decisions(routed)
    versions = versions_needed(decided)
    drawn = draws(decided, read_history(settings, versions).at_version.get if versions else lambda _: None)
    ids = [origin.request_id for origin in data.origins]
    tenants = [EVERY if origin.tenant is None else origin.tenant for origin in data.origins]
    of = [drawn.get(about, Draw(came=False, chance=None)) for about in zip(ids, data.policies, strict=True)]
    chance = np.array([np.nan if one.chance is None else one.chance for one in of], dtype=np.float64)
    # What a human decided without having been asked (an appeal, say) was chosen by somebody, and stands for nothing else.
    came = np.array([one.came for one in of], dtype=bool)
    known = (data.labels != NO_LABEL) & data.decided & came
    return Answers(
        ids, data.policies, tenants, data.values, data.outcomes, chance, known, known & data.errors, data.languages
    )


def _document(
    messages: list[ControlMessage], answers: Answers, sides: list[Side], costs: Costs, version: int, scope: Scope
) -> dict[str, Any]:
    now, then = sides
    rows = list(compare(answers, now.outcome, then.outcome, costs, scope))
    notes = [_EXPECTED, *_of_measured(rows[0])]
    for name, side in (("now", now), ("then", then)):
        model = side.controls.model
        if model is not None and not is_calibrated(model):
            notes.append(
                f"{name}: model {model.sha256[:12]} is not calibrated, so nothing can be expected by its scores"
            )
    if now.controls.problem is not None:
        notes.append(f"now everything goes to humans here: {now.controls.problem}")
    if now.controls.stopped:
        stopped = "; ".join(str(scope) for scope in sorted(now.controls.stopped))
        notes.append(f"automation is stopped for {stopped}; both sides are shown as if it were not")
    return {
        "version": version,
        "messages": [{"type": type(one).__struct_config__.tag, **_fields(one)} for one in messages],
        "costs": costs.stated(),
        "judged": int(answers.judged.sum()),
        "rows": rows,
        "notes": notes,
    }


def _of_measured(every: Mapping[str, Any]) -> Iterator[str]:
    """What is to be known of the measured errors of all answers."""
    yield _MEASURED
    for name in ("now", "then"):
        one = every[name]["measured_error"]
        if one["problem"] is not None:
            yield f"{name}: no measured error, {_WHY[one['problem']]}"
        elif one["unseen"]:
            yield (
                f"{name}: of {one['unseen']} of {one['unseen'] + one['of']} automated answers nothing is measured: they had no chance of "
                "an audit when they were decided, their decision is gone, or they were escalated and none such is judged yet"
            )


def _fields(message: ControlMessage) -> dict[str, Any]:
    return {name: value for name in message.__struct_fields__ if (value := getattr(message, name)) is not None}


def _render(document: Mapping[str, Any], console: Console) -> None:
    costs, every = dict(document["costs"]), document["rows"][0]
    what = ", ".join(" ".join(_headline(one)) for one in document["messages"])
    say(
        console,
        f"{what}: of {every['answers']:,} answers {every['to_humans']:,} more would go to humans, {every['to_automation']:,} more "
        "would be automated",
        "bold",
    )
    sides = table("policy", "", "answers", "to humans", "flips", "cost", "expected error", "measured error")
    for one in document["rows"]:
        flips = f"+{one['to_humans']} -{one['to_automation']}"
        scope = Scope(one["policy"], one["tenant"], one["outcome"])
        _add_side(sides, one["now"], str(scope), "now", f"{one['answers']}", "")
        _add_side(sides, one["then"], "", "then", "", flips)
    console.print(sides)
    accounting = costs.pop("accounting")
    of_each = ", ".join(f"a {name.replace('_', ' ')} {cost:g}" for name, cost in costs.items())
    say(
        console,
        f"flips: more to humans, fewer. Cost: expected, per answer with a score, {accounting}: {of_each}",
        "dim",
    )
    for note in document["notes"]:
        say(console, note, "dim")


def _headline(message: Mapping[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if name == "sha256":
            yield value[:12]
        elif name != "model":  # that in force, or that of the settings
            yield f"{value}"


def _add_side(sides: Table, side: Mapping[str, Any], policy: str, when: str, answers: str, flips: str) -> None:
    cost, error = _or_none(side["expected_cost"], "{:.4g}"), _or_none(side["expected_error"], "{:.2%}")
    share = f"{side['escalation_rate']:.1%}"
    row(sides, policy, when, answers, share, flips, cost, error, _stated(side["measured_error"]))


def _or_none(value: float | None, form: str) -> str:
    return "none" if value is None else form.format(value)


def _stated(measured: Mapping[str, Any]) -> str:
    if measured["rate"] is None:
        return str(measured["problem"])
    return f"{measured['rate']:.1%} [{measured['low']:.1%}, {measured['high']:.1%}]"


def _plot(outcome: Outcome, proposal: Proposal) -> str:
    from scoring.svg import Frame, Line, svg_file

    if not np.isfinite(outcome.probability).any():
        raise ControlError("there is nothing to plot: no answer has a P(error) under these controls")
    points = over_thresholds(outcome, _THRESHOLDS)
    lines = [
        Line("escalation rate", "model", [(at, rate) for at, (rate, _) in zip(_THRESHOLDS, points, strict=True)]),
        Line(
            "expected error among the automated (the model's own word)",
            "single",
            [(at, error) for at, (_, error) in zip(_THRESHOLDS, points, strict=True)],
        ),
    ]
    if proposal.threshold is not None:
        at = proposal.threshold
        lines.append(Line(f"the threshold tried, {at:g}", "rates", [(at, 0.0), (at, 1.0)]))
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    frame = Frame((0, 1), (0, 1), ticks, ticks, "threshold for every policy", "share", (False, True))
    return svg_file("What each threshold would do to the answers that were simulated", frame, lines)


def _apply(messages: list[ControlMessage], asked: Issue, settings: Settings, fleet: Fleet, history: History) -> None:
    """Issue the messages, each only if nothing else has come since the simulation, and wait for the workers after the last."""
    for number, message in enumerate(messages, start=1):
        is_last = number == len(messages)
        first = partial(prepare, message, asked, settings, fleet) if isinstance(message, SetModel) else lambda: None
        issue(message, asked if is_last else replace(asked, wait=0.0), settings, fleet, history, first=first)
        history = read_history(settings, on=history)
        asked = replace(asked, expected_version=history.log.version)

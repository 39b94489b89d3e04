"""`secondlook control simulate`: what a change would do to the answers that have been, before it is issued."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoring import ErrorModel, ModelError
from scoring.data import NO_LABEL, join_decisions
from streams.cli.control_issue import Issue, issue, listed
from streams.cli.control_prepare import full_sha256, prepare
from streams.cli.control_proposal import Proposal
from streams.cli.printable import printable
from streams.cli.scoring import lines_of, training_extra
from streams.errors import ControlError
from streams.kafka.clients import base_config
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import Fleet
from streams.kafka.model_topic import read_models
from streams.kafka.reading import read_values
from streams.kafka.recent import read_recent
from streams.kafka.topics import existing_partitions, load_topics
from streams.pipeline.control_content import Content
from streams.pipeline.control_messages import ControlMessage, SetModel
from streams.pipeline.controls import Controls, honour, is_calibrated
from streams.pipeline.scope import EVERY, UNREADABLE, Scope
from streams.pipeline.simulation import Answers, Costs, Interval, Outcome, compare, over_thresholds, simulate
from streams.settings import Settings
from streams.worker.models import ModelShelf, baseline

_THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(101))
_EXPECTED = "expected error: mean P(error) among what is automated: the model's own word, as true as it is calibrated"
_MEASURED = (
    "measured error: what humans found wrong among what is automated, with its 95 % interval; of that they see only audits and what was "
    "escalated when it was decided, which is riskier than the rest"
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
    as_json: bool,
    plot: Path | None,
    apply: bool,
) -> None:
    """Simulate, show, and issue it if that was asked. Raises ControlError where it cannot be honoured with this machine's models."""
    if decisions is not None and vectors is None:
        raise click.UsageError("--decisions goes with --vectors")
    given = baseline(settings)
    find = partial(find_model, settings, ModelShelf(settings.model, given.model))
    history = read_history(settings)
    content, version = history.log.content, history.log.version
    with Fleet(settings) as fleet:
        sha256 = (
            None if proposal.sha256 is None else full_sha256(proposal.sha256, settings, fleet, find.args[1].names())
        )
        made_for = None if content.model or sha256 else given.model.sha256
        messages = proposal.messages(sha256, made_for)
        now = honour(content, version, given, find)
        then = honour(_after(messages, content, version), version, given, find)
        if then.problem is not None:
            raise ControlError(f"it could not be honoured: {then.problem}")
        answers = (
            _from_topics(settings, last, since) if vectors is None else _from_files(vectors, decisions, last, since)
        )
        _check_scope(proposal.scope, answers)
        sides = [Side(one, simulate(answers, replace(one, stopped=frozenset()))) for one in (now, then)]
        document = _document(messages, answers, sides, proposal.costs(settings), version, proposal.scope)
        if any(one.settings_hash != given.hash for one in fleet.live.values()):
            document["notes"].append(
                "live workers have another model or other costs in their settings than this machine: what the log does not set differs "
                "(--model, --cost-review, --cost-mistake)"
            )
        if plot is not None:
            plot.write_text(_plot(sides[1].outcome, proposal), encoding="utf-8")
        if as_json:
            click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        else:
            _render(document, Console())
        if apply:
            _apply(messages, replace(asked, expected_version=version), settings, fleet, history)


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
    every = load_topics(settings.topic_prefix)
    wanted = {key: every[key] for key in ("vectors", "human_decisions")}
    partitions = existing_partitions(base_config(settings), wanted)
    stamp = None if since is None else int(since.timestamp() * 1000)
    vectors = read_recent(settings, wanted["vectors"].name, partitions["vectors"], last=last, since=stamp)
    return _answers(vectors, read_values(settings, wanted["human_decisions"].name, partitions["human_decisions"]))


def _from_files(vectors: Path, decisions: Path | None, last: int, since: datetime | None) -> Answers:
    if since is not None:
        raise click.UsageError("lines of a file have no time: leave out --since, or take them from the topic")
    return _answers(list(lines_of(vectors))[-last:], () if decisions is None else lines_of(decisions))


def _answers(vectors: Iterable[bytes], decisions: Iterable[bytes]) -> Answers:
    joined = join_decisions(vectors, decisions, keep_unlabelled=True)
    for reason, count in sorted(joined.left_out.items()):
        click.echo(f"left out: {count} {reason}", err=True)
    data = joined.data.in_canonical_order()
    judged = (data.labels != NO_LABEL) & data.decided
    ids = [origin.request_id for origin in data.origins]
    tenants = [EVERY if origin.tenant is None else origin.tenant for origin in data.origins]
    return Answers(ids, data.policies, tenants, data.values, data.outcomes, judged, judged & data.errors)


def _document(
    messages: list[ControlMessage], answers: Answers, sides: list[Side], costs: Costs, version: int, scope: Scope
) -> dict[str, Any]:
    now, then = sides
    interval, notes = _interval(answers)
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
        "rows": list(compare(answers, now.outcome, then.outcome, costs, interval, scope)),
        "notes": notes,
    }


def _interval(answers: Answers) -> tuple[Interval | None, list[str]]:
    """How sure a measured error is, where there is one; and what is to be known of expected and measured errors."""
    notes = [_EXPECTED]
    if not answers.judged.any():
        return None, notes
    notes.append(_MEASURED)
    try:
        with training_extra():
            from scoring.evaluation import clopper_pearson
    except click.ClickException as missing:
        return None, [*notes, f"no intervals: {missing.message}"]
    return clopper_pearson, notes


def _fields(message: ControlMessage) -> dict[str, Any]:
    return {name: value for name in message.__struct_fields__ if (value := getattr(message, name)) is not None}


def _render(document: Mapping[str, Any], console: Console) -> None:
    costs = dict(document["costs"])
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in (
        "policy",
        "answers",
        "to humans",
        "would go to humans",
        "would be automated",
        "expected cost",
        "expected error",
        "measured error",
    ):
        table.add_column(name, overflow="fold")
    for row in document["rows"]:
        now, then = row["now"], row["then"]
        cells = (
            str(Scope(row["policy"], row["tenant"], row["outcome"])),
            f"{row['answers']}",
            f"{now['escalation_rate']:.1%} -> {then['escalation_rate']:.1%}",
            f"{row['to_humans']}",
            f"{row['to_automation']}",
            _arrow(now["expected_cost"], then["expected_cost"], "{:.4g}"),
            _arrow(now["expected_error"], then["expected_error"], "{:.2%}"),
            f"{_stated(now['measured_error'])} -> {_stated(then['measured_error'])}",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)
    console.print(
        Text(
            f"cost per answer with a score, {costs.pop('accounting')}: "
            + ", ".join(f"a {name.replace('_', ' ')} {cost:g}" for name, cost in costs.items()),
            style="dim",
        )
    )
    for note in document["notes"]:
        console.print(Text(printable(note), style="dim"))


def _arrow(now: float | None, then: float | None, form: str) -> str:
    return " -> ".join("none" if one is None else form.format(one) for one in (now, then))


def _stated(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "not judged"
    said = f"{measured['errors']} of {measured['judged']}"
    return said if measured["low"] is None else f"{said} [{measured['low']:.1%}, {measured['high']:.1%}]"


def _plot(outcome: Outcome, proposal: Proposal) -> str:
    with training_extra():
        from scoring.evaluation.svg import Frame, Line, svg_file
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

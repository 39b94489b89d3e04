"""`secondlook explain FILE|REQUEST_ID`: one answer through spec, predictors, model and threshold, as a worker decides it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from featurizers import Explanation, OutcomeSpec, ResponseError, SpecBook, decode
from featurizers import explain as explained
from scoring import ModelError
from streams.cli.features import as_document, read_saved, render
from streams.cli.main import setting_options, settings_from
from streams.cli.screen import say
from streams.console.item import Item, find_records, tell
from streams.console.item import Record as Found
from streams.errors import TopicError
from streams.kafka.control_history import read_history
from streams.pipeline.controls import Baseline, Controls, by_settings, honour
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.scope import EVERY
from streams.printable import pretty
from streams.settings import Settings
from streams.worker.apart import decide_apart
from streams.worker.models import ModelShelf, baseline
from streams.worker.run import outcome_specs


@click.command()
@click.argument("what", metavar="FILE|REQUEST_ID")
@click.option("--policy", help="The request's policy, for a saved response.  [default: the model's first]")
@click.option("--content", is_flag=True, help="Of a request in the topics, what was moderated and answered too.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@setting_options(
    "broker", "topic_prefix", "model", "outcome_spec", "specs", "cost_review", "cost_mistake", "cost_accounting"
)
def explain(what: str, policy: str | None, *, content: bool, as_json: bool, **options: Any) -> None:
    """Say what a worker makes of one answer. Outcome, missing predictors, P(error), threshold, route and reason.

    FILE is a saved response; the threshold is then the one that the costs give. Anything else that does not look like a path is
    the id of a request, of which all is told that the topics hold: request, answer, predictors, decision, dead letters, human decisions.
    Beside what was decided stands what would be now, under the controls in force, where the model is here.
    """
    settings = settings_from(options)
    if _is_file(what):
        _explain_saved(settings, Path(what), policy, as_json=as_json)
        return
    if _looks_like_a_file(what):
        raise click.ClickException(f"{what} cannot be read: there is no such file")
    records, unread = find_records(settings, what)
    item = tell(what, records, unread, content=content)
    if not item.events:
        raise TopicError(f"no topic holds a record of {what!r}, and there is no such file")
    now, problem = _decided_now(settings, records)
    if as_json:
        nothing: dict[str, Any] = {"answer": None, "lacking": [], "decision": None, "problem": problem}
        document = nothing if now is None else now.document()
        click.echo(json.dumps({**document, "history": msgspec.to_builtins(item)}))  # with numbers of any length
        return
    console = Console()
    show_item(item, console)
    say(console, "")
    if now is None:
        say(console, f"what would be decided now is not told: {problem}", "dim")
    else:
        say(console, "as it would be decided now", "bold reverse")
        now.show(console, words=content)


@dataclass(frozen=True)
class _Now:
    """What a worker makes of an answer now."""

    answer: Explanation | None
    lacking: list[str]
    decision: dict[str, Any]
    unread: str
    """Why the answer cannot be read, in words that may quote it; empty where it can."""

    def document(self) -> dict[str, Any]:
        decision = {key: value for key, value in self.decision.items() if key != "request"}
        answer = None if self.answer is None else as_document(self.answer)
        return {"answer": answer, "lacking": self.lacking, "decision": decision}

    def show(self, console: Console, *, words: bool) -> None:
        missing = {} if self.answer is None else self.answer.missing
        if self.answer is not None:
            render(self.answer, console, words=words)
        elif words:
            say(console, self.unread)
        for reason in sorted(set(missing.values())):
            names = ", ".join(name for name, why in missing.items() if why == reason)
            say(console, f"missing, as {reason}: {names}", "dim")
        if self.lacking:
            say(console, f"never missing where the model learned, so not scored: {', '.join(self.lacking)}")
        _show(self.decision, console)


def _explain_saved(settings: Settings, file: Path, policy: str | None, *, as_json: bool) -> None:
    given = baseline(settings)
    request, response = _saved(file, policy or next(iter(sorted(given.model.policies)), EVERY))
    now = _now(settings, by_settings(given), request, response)
    if as_json:
        click.echo(orjson.dumps(now.document()).decode())
    else:
        now.show(Console(), words=True)


def _decided_now(settings: Settings, records: Sequence[Found]) -> tuple[_Now | None, str]:
    """What the first request and the first answer come to now; or why that cannot be told."""
    pair = []
    for role in (REQUESTS, RESPONSES):
        one = next((found for found in records if found.role == role), None)
        if one is None:
            return None, f"{role} holds no record of it any more"
        message = one.message
        pair.append(_record(role, message.key() or b"", message.value(), message.headers()))
    try:
        return _now(settings, _in_force(settings, baseline(settings)), *pair), ""
    except (ModelError, click.ClickException) as problem:
        return None, str(problem)


def _now(settings: Settings, controls: Controls, request: Record, response: Record) -> _Now:
    decision = _decide(settings, controls, request, response)
    said, unread = None, ""
    try:
        said = _said(request, response, outcome_specs(settings), decision["policy"])
    except ResponseError as error:
        unread = str(error)
    needed = [] if controls.model is None else controls.model.card["inputs"]["never_missing"]
    return _Now(said, [name for name in needed if said is not None and name in said.missing], decision, unread)


def show_item(item: Item, console: Console) -> None:
    """Print an item's history."""
    for one in item.events:
        say(console, f"{one.at}  {one.what}", "bold")
        say(console, f"  {one.place}", "dim")
        for name, value in one.said.items():
            _say_field(name, value, console)
        if one.content is not None:
            for line in pretty(one.content.encode()).split("\n"):
                console.print(Text(f"    {line}"))
    if item.unread:
        say(console, f"not read to the end: {', '.join(item.unread)}", "bold red")


def _say_field(name: str, value: object, console: Console) -> None:
    if name == "predictors" and isinstance(value, Mapping):
        known = ", ".join(f"{one} {number:.4g}" for one, number in value.items() if isinstance(number, int | float))
        missing = [one for one, number in value.items() if number is None]
        say(console, f"  predictors: {known}" + (f"; missing: {', '.join(missing)}" if missing else ""))
    elif name == "drivers" and isinstance(value, list):
        pushes = ", ".join(f"{one['predictor']} {one['push']:+.3f}" for one in value)
        say(console, f"  drivers: {pushes or 'none'}")
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        say(console, f"  {name}: {text}")


def _is_file(what: str) -> bool:
    try:
        return Path(what).is_file()
    except OSError:  # an id may be longer than a file's name
        return False


def _looks_like_a_file(what: str) -> bool:
    """Whether a path was meant: topics need not be read through for it. Ids may have slashes, but begin at no folder here."""
    first, slash, _ = what.partition("/")
    return (
        what.startswith(("/", ".", "~")) or what.endswith((".json", ".jsonl")) or bool(slash and Path(first).is_dir())
    )


def _saved(file: Path, policy: str) -> tuple[Record, Record]:
    value = read_saved(file)
    try:
        request_id = decode(value).request_id
    except ResponseError as error:
        if error.code == "not_a_record":
            raise click.ClickException(f"{file}: {error}") from None
        request_id = error.request_id
    key = request_id or "saved"
    request = orjson.dumps({"request_id": key, "policy": policy})
    return _record(REQUESTS, key.encode(), request, None), _record(RESPONSES, key.encode(), value, None)


def _record(source: str, key: bytes, value: bytes | None, headers: Any) -> Record:
    return Record(source, 0, 0, 0, key, value, headers)


def _in_force(settings: Settings, given: Baseline) -> Controls:
    """What a worker of these settings and models does after every message of the control topic."""
    log = read_history(settings).log
    return honour(log.content, log.version, given, ModelShelf(settings.model, given.model).find)


def _decide(settings: Settings, controls: Controls, request: Record, response: Record) -> dict[str, Any]:
    """The decision that the stages make of the two records."""
    outbox = decide_apart(settings, controls, [request, response])
    for output in outbox.outputs:
        if output.topic in {"auto_action", "human_review"}:
            decision: dict[str, Any] = orjson.loads(output.value or b"")
            return decision
    raise click.ClickException(f"it gets no decision: {', '.join(outbox.dead) or 'its request waits for an answer'}")


def _said(request: Record, record: Record, specs: OutcomeSpec | SpecBook, policy: str) -> Explanation:
    """What the featurizer makes of the answer. Raises ResponseError if it cannot be read."""
    response = decode(record.value or b"")
    if isinstance(specs, SpecBook):
        specs = specs.choose(
            provider=response.provider,
            llm=response.llm,
            policy=policy,
            headers=[*(record.headers or ()), *(request.headers or ())],
        )
    return explained(record.value or b"", specs)


def _show(decision: dict[str, Any], console: Console) -> None:
    probability, threshold = decision["error_probability"], decision["threshold"]
    say(console, f"P(error): {'not scored' if probability is None else f'{probability:.4f}'}", "bold")
    for driver in decision["drivers"]:
        say(console, f"  {driver['push']:+.3f}  {driver['predictor']}")
    say(console, f"threshold: {'none was asked' if threshold is None else f'{threshold:g}'}")
    model, version = decision["model"], decision["control_version"]
    which = "none" if model["sha256"] is None else f"{model['name']} {model['sha256'][:12]}"
    say(console, f"model: {which}, controls version {version}")
    say(console, f"{decision['route']}: {decision['action']}, as {', '.join(decision['reasons'])}", "bold")
    shadow = decision.get("shadow")
    if shadow is not None:
        say(console, f"with the shadow: {shadow['route']}, as {', '.join(shadow['reasons'])}")

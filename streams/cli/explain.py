"""`secondlook explain FILE|REQUEST_ID`: one answer through spec, predictors, model and threshold, as a worker decides it."""

from contextlib import closing
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console

from featurizers import Explanation, OutcomeSpec, Response, ResponseError, SpecBook, decode
from featurizers import explain as explained
from streams.cli.features import as_document, read_saved, render
from streams.cli.main import setting_options, settings_from
from streams.cli.screen import say
from streams.errors import TopicError
from streams.kafka.clients import legible
from streams.kafka.control_history import read_history
from streams.kafka.reading import ends, places_of, read_once
from streams.pipeline.controls import Baseline, Controls, by_settings, honour
from streams.pipeline.records import REQUESTS, RESPONSES, Record
from streams.pipeline.scope import EVERY
from streams.settings import Settings
from streams.worker.apart import decide_apart
from streams.worker.models import ModelShelf, baseline
from streams.worker.run import outcome_specs


@click.command()
@click.argument("what", metavar="FILE|REQUEST_ID")
@click.option("--policy", help="The request's policy, for a saved response.  [default: the model's first]")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@setting_options(
    "broker", "topic_prefix", "model", "outcome_spec", "specs", "cost_review", "cost_mistake", "cost_accounting"
)
def explain(what: str, policy: str | None, as_json: bool, **options: Any) -> None:
    """Say what a worker makes of one answer. Outcome, missing predictors, P(error), threshold, route and reason.

    FILE is a saved response; the threshold is then the one that the costs give. Anything else that does not look like a path is
    the id of a request, which is looked for in the topics, and the controls in force decide: it says what would be decided now,
    not what was.
    """
    settings = settings_from(options)
    is_file = _is_file(what)
    if not is_file and _looks_like_a_file(what):
        raise click.ClickException(f"{what} cannot be read: there is no such file")
    given = baseline(settings)
    controls = by_settings(given)
    if is_file:
        policy = policy or next(iter(sorted(given.model.policies)), EVERY)
        request, response = _saved(Path(what), policy)
    else:
        request, response = _found(settings, what)
        controls = _in_force(settings, given)
    decision = _decide(settings, controls, request, response)
    said = _said(request, response, outcome_specs(settings), decision["policy"])
    missing = said.missing if said is not None else {}
    needed = [] if controls.model is None else controls.model.card["inputs"]["never_missing"]
    lacking = [name for name in needed if name in missing]
    if as_json:
        shown = {key: value for key, value in decision.items() if key != "request"}
        answer = None if said is None else as_document(said)
        click.echo(orjson.dumps({"answer": answer, "lacking": lacking, "decision": shown}).decode())
        return
    console = Console()
    if said is not None:
        render(said, console)
    for reason in sorted(set(missing.values())):
        names = ", ".join(name for name, why in missing.items() if why == reason)
        say(console, f"missing, as {reason}: {names}", "dim")
    if lacking:
        say(console, f"never missing where the model learned, so not scored: {', '.join(lacking)}")
    _show(decision, console)


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


def _found(settings: Settings, request_id: str) -> tuple[Record, Record]:
    """The first request and the first response of an id, as they stand in the topics."""
    places = places_of(settings, REQUESTS, RESPONSES, "control")
    found = []
    for role in (REQUESTS, RESPONSES):
        topic, partitions = places[role]
        with closing(read_once(settings, topic, ends(settings, topic, partitions))) as records:
            message = next((one for one in records if one.key() == request_id.encode()), None)
        if message is None:
            hint = "and there is no such file" if role == REQUESTS else "its request is there"
            raise TopicError(f"{topic} holds no record of {request_id!r} ({hint})")
        found.append(_record(role, request_id.encode(), message.value(), legible(message).headers()))
    request, response = found
    return request, response


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


def _said(request: Record, record: Record, specs: OutcomeSpec | SpecBook, policy: str) -> Explanation | None:
    """What the featurizer makes of the answer; None if it cannot be read."""
    try:
        response: Response = decode(record.value or b"")
    except ResponseError:
        return None
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

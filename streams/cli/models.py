"""`secondlook models`: how a model reaches the workers. They fetch what they lack; here is what puts it there, and what shows it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import click
from rich.console import Console

from scoring import ErrorModel, ModelError, load_model
from scoring.data import Joined
from scoring.model import model_file
from scoring.store import current_model, stored_models
from scoring.store import promote as point_at
from streams.cli.main import setting_options, settings_from
from streams.cli.model_card import card_lines, told
from streams.cli.scoring import label_options, load_labelled, training_extra
from streams.cli.screen import echo_json, row, say, table
from streams.errors import BrokerError
from streams.kafka.control_history import read_history
from streams.kafka.model_fetcher import fetch_model
from streams.kafka.model_topic import models_topic, push_model, read_models
from streams.pipeline.controls import is_calibrated
from streams.pipeline.model_chunks import Chunks
from streams.printable import printable
from streams.settings import Settings

_SHORTEST: Final = 6


@click.group()
def models() -> None:
    """See models, choose one, and bring it to the workers.

    They travel by the models topic. A worker that lacks the model in force fetches it from there into its model directory, by itself.
    """


@models.command()
@click.argument("sha256", nargs=-1)
@setting_options("broker", "topic_prefix", "model", "max_record_bytes")
def push(sha256: tuple[str, ...], **options: Any) -> None:
    """Put models of the model directory into the topic. SHA256 may be cut to 6 digits; left out: the directory's current model."""
    settings = settings_from(options)
    files = [model_file(settings.model)]
    if sha256:
        files = [
            settings.model / name / "model.onnx"
            for name in _meant(sha256, stored_models(settings.model), str(settings.model))
        ]
    for file in files:
        name, onnx = load_model(file).sha256, file.read_bytes()
        if read_models(settings, [name]).whole(name) is None:
            push_model(settings, onnx)
            click.echo(f"{name}: {_size(len(onnx))} written to {models_topic(settings)}, and read back")
        else:
            click.echo(f"{name}: {models_topic(settings)} has it already")


@models.command()
@click.argument("sha256", nargs=-1)
@setting_options("broker", "topic_prefix", "model", "control_keys", "control_signed_from")
def pull(sha256: tuple[str, ...], **options: Any) -> None:
    """Write models of the topic into the model directory. SHA256 may be cut to 6 digits; left out: the model in force.

    The directory's current model, by which a worker starts, stays.
    """
    settings = settings_from(options)
    wanted = _meant(sha256, read_models(settings).names(), models_topic(settings)) if sha256 else [_in_force(settings)]
    for name in wanted:
        model = fetch_model(settings, name, settings.model)
        click.echo(f"{name}: {printable(model.name)}, in {settings.model / name}")


@models.command()
@click.argument("sha256")
@click.option("--force", is_flag=True, help="Whatever the comparison says; without labels there is none.")
@click.option("--cost-ratio", type=float, default=0.64, show_default=True, help="c_rev / c_mis.")
@setting_options("model", "broker", "topic_prefix", "outcome_spec", "control_keys", "control_signed_from")
@label_options
def promote(sha256: str, *, force: bool, cost_ratio: float, **options: Any) -> None:
    """Make a candidate of the model directory its current model, if it is better. SHA256 may be cut to 6 digits.

    It is compared on labelled answers that neither was trained on: what was decided after their training data, or, where that has no times, what
    is held out. With --from-topics the other one is the model in force by the control log, else the directory's current one. Better is what
    costs less beyond noise. What is worse, or not told apart, takes --force. Workers that run go on with theirs: `push` and `control set-model`
    come next.
    """
    source = {name: options.pop(name) for name in ("files", "vectors", "decisions", "from_topics", "since", "until")}
    more = ("config", "kafka") if source["from_topics"] else ("config",) if source["files"] else ()
    reading = {**source, **{name: options[name] for name in ("broker", "topic_prefix", "outcome_spec", *more)}}
    settings = settings_from(options)
    directory = settings.model
    name = one_model(sha256, stored_models(directory), str(directory))
    if current_model(directory) == name:
        click.echo(f"{name[:12]} is the current model already")
        return
    rival, what = _rival(settings, from_topics=source["from_topics"])
    has_labels = any(source[one] for one in ("files", "vectors", "decisions", "from_topics"))
    if rival not in (None, name) and (has_labels or not force):
        joined = load_labelled(**reading)
        verdict = _compared(settings, name, rival, what, joined, cost_ratio)
        if verdict != "better" and not force:
            raise ModelError(
                f"{name[:12]} is not shown to be better than {rival[:12]}, the {what}; nothing was changed. Take more labels, or --force"
            )
    point_at(directory, name)
    click.echo(
        f"{name[:12]} is the current model. To the workers: secondlook models push; secondlook control set-model {name[:12]}"
    )


def _rival(settings: Settings, *, from_topics: bool) -> tuple[str | None, str]:
    """The sha256 of the model that a candidate has to beat, if there is one, and what it is."""
    in_force = read_history(settings).log.content.model if from_topics else None
    return (current_model(settings.model), "current model") if in_force is None else (in_force, "model in force")


def _compared(settings: Settings, name: str, other: str, what: str, joined: Joined, cost_ratio: float) -> str:
    """The verdict on a candidate beside another model, which is told with its figures."""
    with training_extra():
        from scoring.evaluation import rivals
    here = settings.model
    rival = load_model(here / other) if other in stored_models(here) else fetch_model(settings, other, here)
    found = rivals(load_model(here / name), rival, joined.data, traffic=joined.traffic, cost_ratio=cost_ratio)
    for line in told(found, what):
        click.echo(line)
    return str(found["verdict"])


@models.command()
@click.argument("sha256", required=False)
@setting_options("model")
def show(sha256: str | None, **options: Any) -> None:
    """Show a model's card in words: what it was trained on, how it did, what it was compared with. Left out: the current model's."""
    directory = settings_from(options).model
    name = current_model(directory) if sha256 is None else one_model(sha256, stored_models(directory), str(directory))
    model = load_model(directory if name is None else directory / name)
    for line in card_lines(model.sha256, model.card):
        click.echo(printable(line))
    if name is not None and current_model(directory) == name:
        click.echo("It is the directory's current model.")


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@setting_options("broker", "topic_prefix", "model", "control_keys", "control_signed_from")
def list_models(as_json: bool, **options: Any) -> None:
    """List the models of the model directory and of the topic, and which one is in force. Without a broker those of the directory."""
    settings = settings_from(options)
    in_force, there, away = _on_the_broker(settings)
    found = [_document(one, None if away else one.sha256 == in_force) for one in _find(settings, there)]
    if away:
        click.echo(f"only {settings.model} is listed, and what is in force is not known: {away}", err=True)
    if as_json:
        echo_json(found)
        return
    listed = table("sha256", "name", "calibrated", "policies", "size", "where", "in force")
    for column in listed.columns:
        column.no_wrap = column.header not in ("name", "policies")
    for one in found:
        policies = "all" if one["policies"] == [] else ", ".join(one["policies"] or ())
        calibrated = {True: "yes", False: "no", None: ""}[one["calibrated"]]
        name, where = one["problem"] or one["name"], ", ".join(one["where"])
        is_in_force = "yes" if one["in_force"] else ""
        row(listed, one["sha256"][:12], name, calibrated, policies, _size(one["size"]), where, is_in_force)
    if found:
        Console().print(listed)
    else:
        say(Console(), "no model, neither here nor there: secondlook train makes one")
    if away:
        return
    if in_force is None:
        click.echo("no control message names a model: each worker has the current one of its model directory")
    elif not any(one["in_force"] for one in found):
        click.echo(f"in force is {in_force}, which is neither here nor there")


def _on_the_broker(settings: Settings) -> tuple[str | None, Chunks, str]:
    """The sha256 in force and what the topic holds; neither where the broker does not say, and why."""
    try:
        return read_history(settings).log.content.model, read_models(settings), ""
    except BrokerError as problem:
        return None, Chunks([]), str(problem)


@dataclass(frozen=True, slots=True)
class _Found:
    """A model by its name, with its bytes where they have that sha256."""

    sha256: str
    onnx: bytes | None
    where: tuple[str, ...]


def _find(settings: Settings, there: Chunks) -> Iterable[_Found]:
    """Every model, here and in the topic."""
    here = stored_models(settings.model)
    for name in [*here, *(name for name in there.names() if name not in here)]:
        pushed = there.whole(name)
        local = (settings.model / name / "model.onnx").read_bytes() if name in here else None
        places = [("local", local is not None), ("topic", pushed is not None)]
        yield _Found(name, local if local is not None else pushed, tuple(place for place, has in places if has))


def _document(one: _Found, in_force: bool | None) -> dict[str, Any]:
    model, problem = None, None
    try:
        model = _model(one)
    except ModelError as refused:
        problem = str(refused)
    return {
        "sha256": one.sha256,
        "name": model and model.name,
        "calibrated": model and is_calibrated(model),
        "policies": model and sorted(model.policies),
        "size": 0 if one.onnx is None else len(one.onnx),
        "where": list(one.where),
        "in_force": in_force,
        "problem": problem,
    }


def _model(one: _Found) -> ErrorModel:
    if one.onnx is None:
        raise ModelError("incomplete: push it again")
    model = ErrorModel(one.onnx)
    if model.sha256 != one.sha256:
        raise ModelError(f"damaged: its sha256 is {model.sha256}")
    return model


def _in_force(settings: Settings) -> str:
    """The model that the control log names. Raises ModelError where it names none."""
    sha256 = read_history(settings).log.content.model
    if sha256 is None:
        raise ModelError(
            "no control message names a model, so each worker has that of its settings: name the one to pull (secondlook models list)"
        )
    return sha256


def _meant(given: Iterable[str], have: list[str], where: str) -> list[str]:
    """The sha256 that each text begins. Raises ModelError where that is none, or several."""
    return [one_model(text, have, where) for text in given]


def one_model(text: str, have: Iterable[str], where: str) -> str:
    """The one sha256 among those that some place has that begins with a text. Raises ModelError where it is not one."""
    found = [name for name in have if name.startswith(text)]
    if len(found) == 1 and re.fullmatch(f"[0-9a-f]{{{_SHORTEST},64}}", text):
        return found[0]
    listed = ", ".join(name[:12] for name in have) or "none"
    raise ModelError(
        f"{printable(text)!r} names {len(found) or 'none'} of the models of {where}: give {_SHORTEST} to 64 digits of the sha256. It has: {listed}"
    )


def _size(count: int) -> str:
    return f"{count / 1000:,.0f} kB"

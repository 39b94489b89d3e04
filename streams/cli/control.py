"""`secondlook control`: issue a control message and wait until the workers say what they did with it."""

import getpass
import time
import uuid
from collections.abc import Mapping
from typing import Any

import click
import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from streams.cli.main import setting_options, settings_from
from streams.errors import ControlError
from streams.kafka.clients import consume, reader_config, topic_names
from streams.kafka.publishing import publish_control
from streams.kafka.reading import ends
from streams.kafka.topics import load_topics
from streams.pipeline.controls import (
    EVERY_POLICY,
    ControlMessage,
    SetAuditRate,
    SetCosts,
    SetModel,
    SetThreshold,
)
from streams.settings import Settings


@click.group()
def control() -> None:
    """Change what is in force while the stream runs."""


_policy = click.option(
    "--policy",
    default=EVERY_POLICY,
    show_default=True,
    help="The policy; * sets it for all, their own settings included.",
)
_wait = click.option(
    "--wait", type=click.FloatRange(0), default=5.0, show_default=True, help="Seconds to wait for the workers' answers."
)


@control.command("set-threshold")
@click.argument("value", type=float)
@_policy
@_wait
@setting_options("broker", "topic_prefix", "group")
def set_threshold(value: float, policy: str, wait: float, **options: Any) -> None:
    """Escalate where P(error) is at or above VALUE (0 to 1)."""
    _issue(SetThreshold(threshold=value, policy=policy, issued_by=_issuer()), wait, settings_from(options))


@control.command("set-costs")
@click.option("--review", type=float, required=True, help="Cost of one human review.")
@click.option("--mistake", type=float, required=True, help="Cost of acting on one wrong verdict.")
@click.option("--accounting", type=click.Choice(["false-discovery", "review-charged"]), default="false-discovery")
@_policy
@_wait
@setting_options("broker", "topic_prefix", "group")
def set_costs(review: float, mistake: float, accounting: Any, policy: str, wait: float, **options: Any) -> None:
    """Set the threshold that follows from the costs."""
    message = SetCosts(accounting=accounting, review=review, mistake=mistake, policy=policy, issued_by=_issuer())
    _issue(message, wait, settings_from(options))


@control.command("set-audit-rate")
@click.argument("rate", type=float)
@_policy
@_wait
@setting_options("broker", "topic_prefix", "group")
def set_audit_rate(rate: float, policy: str, wait: float, **options: Any) -> None:
    """Send this share (0 to 1) of the automatic decisions to a human as well."""
    _issue(SetAuditRate(rate=rate, policy=policy, issued_by=_issuer()), wait, settings_from(options))


@control.command("set-model")
@click.argument("sha256")
@_wait
@setting_options("broker", "topic_prefix", "group")
def set_model(sha256: str, wait: float, **options: Any) -> None:
    """Score with the model of this sha256, which must be in every worker's model directory."""
    _issue(SetModel(sha256=sha256, issued_by=_issuer()), wait, settings_from(options))


def _issuer() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _issue(message: ControlMessage, wait: float, settings: Settings) -> None:
    names = topic_names(load_topics(settings.topic_prefix))
    from_here = ends(settings, names["control_status"], [0])[0]
    offset = publish_control(settings, message)
    click.echo(f"written to {names['control']} at offset {offset}, {_reach(message)}")
    answers = _answers(settings, names["control_status"], from_here, offset, wait)
    for answer in answers:
        verdict = (
            f"in force, version {answer['control_version']}" if answer["applied"] else f"refused: {answer['error']}"
        )
        click.echo(f"{answer['worker']}: {verdict}")
    if not answers:
        click.echo(f"no worker answered within {wait:g} s; it takes effect when one starts")
    elif not all(answer["applied"] for answer in answers):
        raise ControlError("not every worker applied the message; what was in force before stays in force there")


def _reach(message: ControlMessage) -> str:
    """Which policies the message is about; one for all takes away what single policies had."""
    match message:
        case SetModel():
            return "for every policy"
        case _ if message.policy == EVERY_POLICY:
            return "for every policy, in place of their own settings"
        case _:
            return f"for policy {message.policy}"


def _answers(settings: Settings, topic: str, start: int, offset: int, wait: float) -> list[Mapping[str, Any]]:
    """The workers' answers to the message at `offset`; ends a second after the last one, or when `wait` is over."""
    consumer = Consumer({**reader_config(settings), "client.id": f"control-{uuid.uuid4().hex[:8]}"})
    consumer.assign([TopicPartition(topic, 0, start or OFFSET_BEGINNING)])
    answers: list[Mapping[str, Any]] = []
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        for message in consume(consumer, 100, 0.1):
            if message.error() is None:
                answer = orjson.loads(message.value() or b"")
                if answer.get("offset") == offset:
                    answers.append(answer)
                    deadline = min(deadline, time.monotonic() + 1)
    consumer.close()
    return answers

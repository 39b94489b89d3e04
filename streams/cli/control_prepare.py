"""The first step of `set-model` and `set-shadow`: every live worker gets ready for the model, before anything changes."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Final

import click

from streams.errors import ControlError
from streams.kafka.fleet import LISTEN, Fleet
from streams.kafka.issuing import Issue, listed, some, write
from streams.kafka.model_topic import models_topic, read_models
from streams.pipeline.control_messages import PrepareModel, PrepareShadow, SetModel, SetShadow
from streams.printable import printable
from streams.settings import Settings

_SHORTEST_SHA: Final = 6


def full_sha256(text: str, settings: Settings, fleet: Fleet, here: Iterable[str] = ()) -> str:
    """The sha256 that a text means: itself, or the only one of the workers' and the topic's models that begins so.

    Raises ControlError.
    """
    if re.fullmatch("[0-9a-f]{64}", text):
        return text
    if not re.fullmatch(f"[0-9a-f]{{{_SHORTEST_SHA},63}}", text):
        raise ControlError(
            f"{printable(text)!r} is no model's sha256: that is 64 digits 0-9a-f, the name of its folder in a model directory, and may "
            f"be cut to {_SHORTEST_SHA} (secondlook models list). Nothing was written"
        )
    theirs = (sha256 for one in fleet.live.values() for sha256 in one.models)
    have = sorted({*here, *theirs, *read_models(settings).names()})
    found = [sha256 for sha256 in have if sha256.startswith(text)]
    if len(found) != 1:
        raise ControlError(
            f"{len(found) or 'none'} of the models of the live workers and of {models_topic(settings)} begins with {text}. "
            f"{listed('They have', have)}"
        )
    return found[0]


def prepare(message: SetModel | SetShadow, asked: Issue, settings: Settings, fleet: Fleet) -> None:
    """Have every live worker get, load and check the model. Raises ControlError unless each says that it could honour it.

    With no worker live there is nobody to ask.
    """
    if not fleet.live:
        fleet.listen(min(asked.wait, LISTEN), lambda: bool(fleet.live))
    expected = set(fleet.live)
    if not expected:
        return
    if not asked.wait:
        raise ControlError(
            f"--wait 0 leaves {some(sorted(expected))} no time to get ready for the model: wait longer, or say --force --yes. "
            "Nothing has changed"
        )
    step, unprepared = _first_step(message)
    offset = write(step, asked, settings)[0].offset
    missing = partial(fleet.missing, expected, lambda one: one.prepared is not None and one.prepared.offset == offset)
    fleet.listen(asked.wait, lambda: not missing())
    expected |= set(fleet.live)
    answers = {name: one.prepared for name, one in fleet.said.items() if name in expected and one.prepared}
    problems = [
        f"{printable(name)} cannot do it: {printable(one.problem)}"
        for name, one in answers.items()
        if one.offset == offset and one.problem is not None
    ]
    if silent := missing():
        problems.append(f"{some(silent)} did not say within {asked.wait:g} s that it is ready")
    if problems:
        raise ControlError(
            f"model {step.sha256[:12]} is not set, nothing has changed: {'; '.join(problems)}. Mend that and issue it anew ({unprepared})"
        )
    click.echo(f"ready for it: {some(sorted(expected))}")


def _first_step(message: SetModel | SetShadow) -> tuple[PrepareModel | PrepareShadow, str]:
    """What asks the workers to get ready, and how to do without."""
    if isinstance(message, SetModel):
        step = PrepareModel(sha256=message.sha256, keep_thresholds=message.keep_thresholds)
        return step, "or --force --yes: who cannot do it sends everything to humans"
    given = {name: getattr(message, name) for name in ("sha256", "keep_thresholds", "changes")}
    return PrepareShadow(**given), "or --wait 0: who cannot do it leaves the shadow out until it can"

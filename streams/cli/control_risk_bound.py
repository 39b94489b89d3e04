"""`secondlook control set-risk-bound`: a threshold certified on labels, issued as a control message.

Which labels certify anything is the point. What was escalated says nothing of what is automated, so labels of reviews are not taken: only
audits (`streams.pipeline.audits`), or files of items that somebody says were drawn at random, and of these only what no training has seen.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
import numpy as np

from featurizers import load_spec
from scoring import ThresholdError
from scoring.data import load
from streams.cli.control_issue import issue
from streams.cli.control_simulate import find_model
from streams.cli.scoring import training_extra
from streams.errors import ControlError
from streams.kafka.control_history import read_history
from streams.kafka.fleet import Fleet
from streams.kafka.issuing import Issue, model_of_workers
from streams.kafka.reading import places_of, read_values
from streams.pipeline.audits import Labels, audit_labels, period
from streams.pipeline.control_limits import SetRiskBound
from streams.pipeline.scope import EVERY, OUTCOMES, Scope
from streams.settings import Settings
from streams.worker.models import ModelShelf, baseline

_ANY_VERSION = range(2**53)


def run_risk_bound(
    scope: Scope,
    asked: Issue,
    settings: Settings,
    *,
    max_risk: float,
    confidence: float,
    files: Sequence[Path],
    drawn_at_random: bool,
    from_topics: bool,
) -> None:
    """Certify a threshold for the model in force, and issue it. Raises ControlError where nothing can be certified."""
    if bool(files) == from_topics:
        raise click.UsageError("say which labels: --from-topics (the audits), or --labels FILE with --drawn-at-random")
    if files and not drawn_at_random:
        raise ControlError(
            "labels of what humans reviewed are no fair draw of what is automated, and promise nothing: say --drawn-at-random if every item "
            "of the traffic had the same chance to be among them, or take the audits (--from-topics). Nothing was written"
        )
    with Fleet(settings) as fleet:
        history = read_history(settings, _ANY_VERSION)
        model = history.log.content.model or model_of_workers(fleet) or baseline(settings).model.sha256
        if from_topics:
            when = period(history.at_version, scope, model)
            labels = audit_labels(*_topics(settings), scope, model, when)
        else:
            labels = _labelled(files, settings, scope, model)
        message = certify(labels, scope, model, max_risk, confidence, "audits" if from_topics else "drawn-at-random")
        click.echo(_told(labels, message))
        issue(message, asked, settings, fleet, history)


def certify(
    labels: Labels,
    scope: Scope,
    model: str,
    max_risk: float,
    confidence: float,
    sample: Literal["audits", "drawn-at-random"],
) -> SetRiskBound:
    """The message of the largest threshold that the labels certify. Raises ControlError where they certify none."""
    with training_extra():
        from scoring.evaluation import risk_bound_threshold, smallest_risk
    if not len(labels):
        raise ControlError(f"there are no labels of {scope.words} to certify anything by. Nothing was written")
    delta = 1 - confidence
    try:
        found = risk_bound_threshold(labels.scores, labels.errors, max_risk=max_risk, delta=delta)
    except ThresholdError as problem:
        least = smallest_risk(labels.scores, labels.errors, delta=delta)
        could = (
            "These labels certify no risk at all"
            if least is None
            else f"The smallest risk that they certify is {least:.1%}"
        )
        raise ControlError(
            f"{problem} {could}; but a target chosen by looking at the labels takes new labels{_notes(labels)}. Nothing was written"
        ) from problem
    return SetRiskBound(
        **scope._asdict(),
        max_risk=max_risk,
        confidence=confidence,
        threshold=min(found.threshold, labels.below),
        labels=len(labels),
        automated=found.automated,
        errors=found.errors,
        labels_sha256=labels.sha256,
        sample=sample,
        model=model,
    )


def _notes(labels: Labels) -> str:
    """What there is to know of the labels besides."""
    notes = [
        f"{labels.undecided} more without a human decision" if labels.undecided else "",
        f"{labels.untold} where a human could not tell, counted as wrong" if labels.untold else "",
        f"{labels.thinned} left out so that all had the same chance" if labels.thinned else "",
    ]
    return "".join(f"; {note}" for note in notes if note)


def _told(labels: Labels, message: SetRiskBound) -> str:
    drawn = "audits" if message.sample == "audits" else "labels drawn at random, of items that no training has seen"
    return (
        f"threshold {message.threshold:g}: below it {message.errors} of {message.automated} verdicts are wrong, and with "
        f"{message.confidence:.0%} confidence at most {message.max_risk:.1%} of all ({message.labels} {drawn}{_notes(labels)})"
    )


def _topics(settings: Settings) -> tuple[list[bytes], list[bytes]]:
    """The records of human-review and of human-decisions."""
    places = places_of(settings, "human_review", "human_decisions").values()
    decisions, human = (list(read_values(settings, topic, partitions)) for topic, partitions in places)
    return decisions, human


def _labelled(files: Sequence[Path], settings: Settings, scope: Scope, model: str) -> Labels:
    """The labels of files: those of the scope, that no training has seen, that the model scores, one of each content."""
    if scope.tenant != EVERY:
        raise ControlError("files do not say whose requests they are of: leave out --tenant, or take --from-topics")
    given = baseline(settings)
    scorer = find_model(settings, ModelShelf(settings.model, given.model), model)
    data = load(files, spec=load_spec(settings.outcome_spec))
    data = data.take(data.decided & data.held_out).in_canonical_order()
    is_covered = [scope.policy != EVERY or not scorer.policies or policy in scorer.policies for policy in data.policies]
    lies_in = [
        Scope(policy, EVERY, OUTCOMES[outcome]) for policy, outcome in zip(data.policies, data.outcomes, strict=True)
    ]
    data = data.take(np.array(is_covered, dtype=bool) & np.array([scope.covers(one) for one in lies_in], dtype=bool))
    if not len(data):
        raise ControlError(
            f"no label is of {scope.words} and of the 40 % of items that no training has seen. Nothing was written"
        )
    scores = scorer.score(data.values, data.policies, data.languages)
    probability = np.asarray(
        np.round(scores.error_probability.astype(np.float64), 7), dtype=np.float64
    )  # as a decision has it
    rows = _one_of_each(data.groups, data.policies, np.flatnonzero(scores.supported & (probability < 1)).tolist())
    ids = tuple((data.origins[row].request_id, data.origins[row].policy) for row in rows)
    return Labels(ids, probability[rows], data.errors[rows])


def _one_of_each(groups: Sequence[str], policies: Sequence[str], rows: Sequence[int]) -> list[int]:
    """One row of each content, by chance: what is said of one content twice is not two draws."""
    chosen: dict[str, tuple[bytes, int]] = {}
    for row in rows:
        lot = hashlib.sha256(f"{groups[row]}\0{policies[row]}".encode()).digest(), row
        chosen[groups[row]] = min(chosen.get(groups[row], lot), lot)
    return sorted(row for _, row in chosen.values())

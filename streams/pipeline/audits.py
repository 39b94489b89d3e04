"""Audits as labels that promise something: which decisions that a human has checked are a fair draw of what is automated. Pure.

What was escalated is no draw of what is automated, and what humans say of it says nothing of that. An audit is drawn by its request's id
alone, whatever the answer; so where every part of a scope was audited at a known rate, its audits are a fair draw of all that lay below the
thresholds then in force.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scoring.human import fold
from streams.errors import ControlError
from streams.pipeline.control_content import Content
from streams.pipeline.controls import Controls
from streams.pipeline.readable import readable
from streams.pipeline.reasons import Reason
from streams.pipeline.scope import EVERY, OUTCOMES, Scope, by_specificity

_MOST_UNDECIDED: Final = 0.05
"""Of the audits, without a human's word: beyond it, those that have one may have been chosen."""


class _Llm(msgspec.Struct):
    outcome: int | None = None


class _Model(msgspec.Struct):
    sha256: str | None = None


class _Decision(msgspec.Struct):
    request_id: str
    policy: str
    reasons: list[str]
    llm: _Llm
    model: _Model
    control_version: int
    error_probability: float | None = None
    threshold: float | None = None
    audit_probability: float = 0.0
    tenant: str | None = None


@dataclass(frozen=True)
class Labels:
    """A fair draw of n decisions of a scope: P(error) [n] as it was decided by, and whether the LLM was wrong [n].

    It says nothing of decisions with a P(error) at or above `below`. `undecided` audits have no human's word, `untold` are those
    where a human could not tell (counted as wrong), `thinned` were left out so that all had the same chance.
    """

    ids: tuple[tuple[str, str], ...]
    scores: NDArray[np.float64]
    errors: NDArray[np.bool_]
    below: float = 1.0
    undecided: int = 0
    untold: int = 0
    thinned: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sha256(self) -> str:
        """The same for the same labels, in whichever order they came."""
        rows = sorted(zip(self.ids, self.scores.tolist(), self.errors.tolist(), strict=True))
        return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


@dataclass(frozen=True)
class Period:
    """The versions under which audits count, the first and on: the model, and every audit rate of the scope, were those of now.

    `below` is the lowest threshold that was in force for any part of the scope (None: only the workers' settings said), `rate` the lowest
    audit rate of any part, of which chance may have drawn no audit at all.
    """

    since: int
    below: float | None
    rate: float


def period(contents: Mapping[int, Content], scope: Scope, model: str) -> Period:
    """The period up to now, from what was in force at every version. Raises ControlError where not all of the scope is audited."""
    versions = sorted(contents, reverse=True)
    now = contents[versions[0]]
    rates = _rates(now, scope)
    unseen = [one for one, rate in rates.items() if not rate]
    if unseen:
        raise ControlError(
            f"nothing that is automated of {unseen[0].words} is audited, so nobody knows how much of it is wrong: set-audit-rate first, and "
            "let time pass"
        )
    if _lowest(now, scope) == 0:
        raise ControlError(
            f"nothing of {scope.words}, or of a part of it, is automated now: none of that is among the audits. Give it a threshold, or name a "
            "part that has one"
        )
    found = Period(versions[0], None, min(rates.values()))
    for version in versions:
        content = contents[version]
        lowest = _lowest(content, scope)
        if content.model not in (None, model) or _relevant(content, scope) != _relevant(now, scope) or lowest == 0:
            break
        known = [one for one in (found.below, lowest) if one is not None]
        found = replace(found, since=version, below=min(known, default=None))
    return found


def audit_labels(decisions: Iterable[bytes], human: Iterable[bytes], scope: Scope, model: str, when: Period) -> Labels:
    """The labels in the records of human-review and of human-decisions.

    Raises ControlError where there are none, or too many audits that nobody has decided.
    """
    audits = {(one.request_id, one.policy): one for one in _audits(decisions, scope, model, when)}
    if not audits:
        raise ControlError(
            f"there is no audit of {scope.words} under model {model[:12]} since version {when.since}: only audits are a fair draw of what is "
            "automated (set-audit-rate), what was escalated is not"
        )
    said = _said(human)
    least = min(when.rate, *(one.audit_probability for one in audits.values()))
    stamped = min(one.threshold for one in audits.values() if one.threshold is not None)
    below = min(stamped, 1.0 if when.below is None else when.below)
    ids, scores, errors = [], [], []
    undecided = untold = thinned = 0
    for about, one in audits.items():
        if about not in said:
            undecided += 1
        elif _uniform(one.request_id) * one.audit_probability >= least:
            thinned += 1
        elif one.error_probability is not None and one.error_probability < below:
            untold += said[about] not in (0, 1)
            ids.append(about)
            scores.append(one.error_probability)
            errors.append(said[about] != one.llm.outcome)
    if undecided > _MOST_UNDECIDED * len(audits):
        raise ControlError(
            f"{undecided} of {len(audits)} audits have no human decision yet: which have one may be no accident. Have them decided first"
        )
    return Labels(tuple(ids), np.array(scores), np.array(errors, dtype=bool), below, undecided, untold, thinned)


def _audits(decisions: Iterable[bytes], scope: Scope, model: str, when: Period) -> Iterable[_Decision]:
    for one in readable(decisions, _Decision):
        if Reason.AUDIT not in one.reasons or one.llm.outcome not in (0, 1) or not one.audit_probability:
            continue
        lies_in = Scope(one.policy, one.tenant or EVERY, OUTCOMES[one.llm.outcome])
        if scope.covers(lies_in) and one.model.sha256 == model and one.control_version >= when.since:
            yield one


def _said(human: Iterable[bytes]) -> dict[tuple[str, str], int | None]:
    """The label that humans gave each request and policy, None where they could not tell. Appeals and reports are no draw, and say nothing."""
    found, _ = fold(human)
    return {about: one.label for about, one in found.items() if not one.chosen}


def _uniform(request_id: str) -> float:
    """In [0, 1), by the id and by nothing that the audit was drawn by."""
    return int.from_bytes(hashlib.sha256(b"secondlook-thin:" + request_id.encode()).digest()[:7], "big") / 2**56


def _relevant(content: Content, scope: Scope) -> dict[Scope, tuple[float, float]]:
    """The audit rates that bear on a scope, and their floors."""
    return {one: (rate.rate, rate.floor) for one, rate in content.audit_rates.items() if scope.overlaps(one)}


def _parts(scope: Scope, settings: Iterable[Scope]) -> Iterator[Scope]:
    """The parts of a scope that may each have a setting of their own; `*` stands for whatever else there is."""
    bearing = [one for one in settings if scope.overlaps(one)]
    policies = {one.policy for one in bearing} | {EVERY} if scope.policy == EVERY else {scope.policy}
    tenants = {one.tenant for one in bearing} | {EVERY} if scope.tenant == EVERY else {scope.tenant}
    outcomes = OUTCOMES if scope.outcome == EVERY else (scope.outcome,)
    return (Scope(*part) for part in product(sorted(policies), sorted(tenants), outcomes))


def _rates(content: Content, scope: Scope) -> dict[Scope, float]:
    """The audit rate of each part of a scope."""
    controls = Controls(None, {}, content.audit_rates)
    return {
        part: controls.ruling(part.policy, part.tenant, OUTCOMES.index(part.outcome)).audit_rate
        for part in _parts(scope, content.audit_rates)
    }


def _lowest(content: Content, scope: Scope) -> float | None:
    """The lowest threshold of any part of a scope: 0 where a part has none or is stopped, None where only the workers' settings give it."""
    if any(stop.overlaps(scope) and not stop.covers(scope) for stop in content.stops):
        return 0.0
    known: list[float] = []
    for part in _parts(scope, content.thresholds):
        one = next((content.thresholds[wider] for wider in by_specificity(*part) if wider in content.thresholds), None)
        if one is None:
            return 0.0
        if one.value is not None:
            known.append(one.value)
    return min(known, default=None)

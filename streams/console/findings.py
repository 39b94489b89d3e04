"""What is so, in one word each, the worst first: what an operator should see before any figure, why, and what to do. Pure.

A word is only said of what is known: where it is not, that is what is said.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streams.console.lag import LATE, Pace
from streams.console.state import Finding, State
from streams.pipeline.quality.judging import RISK
from streams.pipeline.reasons import DeadLetter, Reason
from streams.pipeline.scope import EVERY

if TYPE_CHECKING:
    from streams.pipeline.quality.judging import Alert

GOOD, WARN, BAD = "good", "warn", "bad"

BLIND_AFTER: Final = 6.0
"""Seconds without an answer from any broker after which nothing here is current."""
_FEW: Final = 20
"""Decisions below which no share of them means anything."""
_MANY_UNANSWERED: Final = 0.2
_AS_MANY: Final = 0.25
"""Answers without a request, for each request without an answer, from which on it looks as if they belonged together."""
_MANY_MISSING: Final = 0.2
_MANY_LETTERS: Final = 0.05
_UNABLE: Final = (Reason.CONTROLS_NOT_HONOURED, Reason.NO_THRESHOLD, Reason.AUTOMATION_STOPPED, Reason.MODEL_FAILED)
"""Reasons that hold for all of a policy or worker, whatever the answers are."""


def findings(state: State) -> list[Finding]:
    """All that is so, the worst first; of several equally bad ones in the order in which they are looked for."""
    blind = list(_blind(state))
    if blind and (blind[0].level == BAD or state.contact.silent is None):
        return blind  # whatever else there is to say is of another time
    found = [*blind, *(finding for look in _LOOKS for finding in look(state))]
    worst = sorted(found, key=lambda one: (BAD, WARN, GOOD).index(one.level))
    return worst or [_well(state)]


def _well(state: State) -> Finding:
    if state.rates.decisions is None:
        return Finding("looking", WARN, "it has not been watched for long enough to say anything")
    if state.lag.records is None:
        return Finding(
            "looking",
            WARN,
            "whether anything is unread is not known: a partition holds records, and the group has committed nothing there",
        )
    if not state.rates.decisions and not state.rates.requests:
        return Finding("quiet", GOOD, "no request came in the last minute, and nothing is unread")
    return Finding("flowing", GOOD, "what comes is decided, and nothing else is wrong that can be seen from here")


def _blind(state: State) -> Iterator[Finding]:
    contact = state.contact
    if contact.silent is None and contact.problem is None:
        yield Finding("connecting", WARN, f"no broker has answered at {contact.broker} yet")
    elif contact.silent is None:
        yield Finding("blind", BAD, contact.problem or "")
    elif contact.silent > BLIND_AFTER:
        nothing = "no broker has answered the console" if contact.problem is None else "the console could read nothing"
        why = f"{nothing} for {contact.silent:.0f} s: what stands below is as it was then"
        why += "" if contact.problem is None else f" ({contact.problem})"
        yield Finding("blind", BAD, why, "look at the brokers: while none answers, no worker decides anything either")
    elif contact.problem is not None:
        yield Finding("blind in part", WARN, contact.problem)


def _down(state: State) -> Iterator[Finding]:
    gone = "; ".join(f"{name} was last heard {at}" for name, at in list(state.gone.items())[:5])
    if not state.contact.hears:
        return
    if not state.workers:
        yield Finding(
            "down",
            BAD,
            "no worker is live" + (f": {gone}" if gone else ""),
            "start one, and see what its log said last",
        )
    elif state.gone:
        yield Finding(
            "short of workers", WARN, f"{gone}: it ended badly, or hangs; the others have its partitions, or will",
            "see what its log said last; its supervisor should have started it again",
        )  # fmt: skip


def _unable(state: State) -> Iterator[Finding]:
    unable = [one for one in state.workers if one.problem is not None]
    if unable:
        everywhere = len(unable) == len(state.workers)
        which = "every worker" if everywhere else ", ".join(one.name for one in unable[:5])
        yield Finding(
            "closed" if everywhere else "closed in part", BAD,
            f"{which} sends everything to humans: {unable[0].problem}", "secondlook control show; secondlook models push",
        )  # fmt: skip
    restoring = [one.name for one in state.workers if one.restoring]
    if restoring:
        yield Finding("taking over", WARN, f"{', '.join(restoring[:5])}: partitions are being taken over")
    for one in state.workers:
        if one.shadow_problem is not None:
            yield Finding("shadow left out", WARN, f"{one.name}: {one.shadow_problem}")
            return


def _controls(state: State) -> Iterator[Finding]:
    if state.controls is None:
        return
    document = state.controls.in_force
    if not document["whole"]:
        yield Finding(
            "closed",
            BAD,
            "the control log's beginning is gone: what is in force is not known",
            "secondlook control show",
        )
    stops = document["stops"]
    every = next((one for one in stops.values() if one["policy"] == one["tenant"] == one["outcome"] == EVERY), None)
    if every is not None:
        why = f"automation of everything is stopped, by {every['issued_by'] or 'unknown'}{_because(every)}"
        yield Finding("stopped", BAD, why, "secondlook control resume")
    elif stops:
        scope, one = next(iter(stops.items()))
        more = f", and {len(stops) - 1} scopes more" if len(stops) > 1 else ""
        why = f"automation of {scope} is stopped, by {one['issued_by'] or 'unknown'}{_because(one)}{more}"
        yield Finding("stopped in part", WARN, why, "secondlook control show; secondlook control resume")
    if document["split"]:
        yield Finding(
            "split", BAD, "the workers differ in what they have in force, or in the model and costs of their settings",
            "secondlook control show says which; give all the same settings, or wait for the one that starts",
        )  # fmt: skip


def _because(one: Mapping[str, Any]) -> str:
    return f": {one['reason']}" if one["reason"] else ""


def _lag(state: State) -> Iterator[Finding]:
    stalled = [f"{one.role} {one.number}" for one in state.partitions if one.lag.pace == Pace.STALLED]
    if stalled and state.workers:
        yield Finding(
            "stalled", BAD, f"records are unread and nothing is committed in {', '.join(stalled[:6])}",
            "whose they are stands under Workers: its log and its /live say why",
        )  # fmt: skip
    lag = state.lag
    if lag.records and lag.pace == Pace.FALLING_BEHIND:
        yield Finding(
            "falling behind",
            BAD,
            f"more comes than is worked off: {lag.records:,} records unread, and rising",
            "start more workers of the group",
        )
    elif lag.records and (lag.seconds or 0) > LATE and not stalled:
        until = "" if lag.catch_up is None else f"; all is read in about {lag.catch_up:.0f} s"
        yield Finding("behind", WARN, f"{lag.records:,} records unread, the oldest for {lag.seconds:.0f} s{until}")


def _answers(state: State) -> Iterator[Finding]:
    reasons, count = state.lately.reasons, state.lately.decisions
    if count < _FEW:
        return
    orphans = state.set_aside_lately.get(DeadLetter.ORPHAN_RESPONSE, 0)
    lonely = reasons.get(Reason.NO_RESPONSE, 0)
    unanswered = lonely / count
    if unanswered > _MANY_UNANSWERED and orphans > _AS_MANY * lonely:
        yield Finding(
            "not meeting", BAD, f"{unanswered:.0%} of the requests got no answer while {orphans:,} answers had no request",
            "both topics need the request_id as key, and their producers the same partitioner (murmur2)",
        )  # fmt: skip
    elif unanswered > _MANY_UNANSWERED:
        yield Finding(
            "unanswered",
            BAD,
            f"{unanswered:.0%} of the requests got no answer in time",
            "look at the LLM and its gateway",
        )
    missing = reasons.get(Reason.PREDICTORS_MISSING, 0) / count
    if missing > _MANY_MISSING:
        yield Finding(
            "log-probs missing", BAD, f"{missing:.0%} of the answers lack predictors that the model needs",
            "does the gateway still ask for logprobs and top_logprobs? secondlook features FILE shows what an answer has",
        )  # fmt: skip
    told = {Reason.CONTROLS_NOT_HONOURED} if any(one.problem for one in state.workers) else set()
    if state.controls is not None and state.controls.in_force["stops"]:
        told.add(Reason.AUTOMATION_STOPPED)
    unable = [(reasons[code] / count, code) for code in _UNABLE if reasons.get(code) and code not in told]
    if sum(share for share, _ in unable) > 1 - _MANY_MISSING:
        share, code = max(unable)
        yield Finding(
            "closed", BAD, f"{share:.0%} of what is decided goes to humans as {code.value}", "secondlook control show"
        )


def _letters(state: State) -> Iterator[Finding]:
    rates = state.rates
    if rates.requests is None and rates.responses is None:
        return
    came, aside = (rates.requests or 0) + (rates.responses or 0), rates.dead_letters or 0
    if aside > _MANY_LETTERS * max(came, 1.0):
        share = f"{aside:.1f} records a second are set aside" + (f", {aside / came:.0%} of what comes" if came else "")
        yield Finding("much set aside", WARN, share, "Dead letters says why, and how to put them back")


def _quality(state: State) -> Iterator[Finding]:
    """One finding of each kind: of drift alone there may be as many alerts as there are predictors."""
    by_kind: dict[str, list[Alert]] = {}
    for alert in state.alerts:
        by_kind.setdefault(alert.kind, []).append(alert)
    for kind, alerts in by_kind.items():
        first = alerts[0]
        where = ("all policies" if first.policy == EVERY else first.policy) + (
            f", LLM {first.llm}" if first.llm else ""
        )
        more = f"; and {len(alerts) - 1} more" if len(alerts) > 1 else ""
        word = "risk breached" if kind == RISK else kind
        yield Finding(word, BAD if kind == RISK else WARN, f"{where}: {first.about}{more}", "Quality shows the figures")


_LOOKS: Final[tuple[Callable[[State], Iterator[Finding]], ...]] = (
    _down, _unable, _controls, _lag, _answers, _letters, _quality,
)  # fmt: skip


def judged(state: State) -> State:
    """The state with what is so."""
    return msgspec.structs.replace(state, findings=findings(state))

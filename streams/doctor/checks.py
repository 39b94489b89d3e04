"""The checks. Each is one function of the facts, marked as one; what it finds wrong comes with the command that mends it.

A new check is a function here; a fact that nobody gathers yet, a field of `Facts` and a question besides.
"""

import re
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Final

from streams.doctor.checking import Finding, Found, State, check, check_for_all, command, mended
from streams.doctor.facts import Facts, Failed, Unknown
from streams.kafka.clients import group_name
from streams.kafka.rights import ROLES, WORSE, Need, Right, grant_command, rights
from streams.kafka.topics import CO_PARTITIONED, Topic, delete_command, judge_counts, judge_settings, load_topics

_NOTEWORTHY_SKEW: Final = 5.0
_SHORT_RETENTION: Final = 3600.0
"""Seconds that unread records should be kept at least: a worker may be down for a while."""
_NAMED: Final = 3
"""Rights that one line names."""
_ABSENT: Final = "the topics are not there"


@check_for_all
def topics(facts: Facts) -> Found:
    """Whether the topics are there, and fit together."""
    counts, bootstrap = facts.counts, facts.settings.broker
    if isinstance(counts, Unknown):
        yield Finding("topics", "unknown", counts.why)
        return
    wanted = _used(facts)
    unsure = _unsure(facts, [topic.name for topic in wanted.values() if topic.name not in counts])
    for why, names in unsure.items():
        yield Finding("topics", "unknown", f"whether {', '.join(names)} can be used is not known: {why}")
    hidden = {name for names in unsure.values() for name in names}
    problems = judge_counts({key: one for key, one in wanted.items() if one.name not in hidden}, counts, bootstrap)
    for text in problems:
        yield mended("topics", "wrong", text)
    if problems and (others := _other_prefixes(counts, facts.settings.topic_prefix)):
        mend = f"secondlook doctor --broker {quote(bootstrap)} --topic-prefix {quote(others[0])}"
        about = f"there are pipelines with the topic_prefix {', '.join(map(repr, others))}: is one of them meant?"
        yield Finding("topics", "warning", about, mend)
    if not (problems or hidden):
        numbers = {key: counts[wanted[key].name] for key in CO_PARTITIONED if key in wanted}
        each = f", {', '.join(numbers)} with {max(numbers.values())} partitions each" if len(numbers) > 1 else ""
        yield Finding("topics", "ok", f"all {len(wanted)} are there{each}")


def _used(facts: Facts) -> dict[str, Topic]:
    """The topics that this role uses, by their keys."""
    used = {key for need in ROLES[facts.role] for key in need.topics}
    return {key: topic for key, topic in load_topics(facts.settings.topic_prefix).items() if key in used}


def _unsure(facts: Facts, names: Iterable[str]) -> dict[str, list[str]]:
    """Those of the topics that are not there for which this says nothing, by why."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name in facts.half_made:
            found.setdefault(facts.half_made[name], []).append(name)
        elif isinstance(facts.denied, Unknown):
            found.setdefault(facts.denied.why, []).append(name)
        elif name in facts.denied:
            found.setdefault("this user may not see them", []).append(name)
    return found


@check_for_all
def leaders(facts: Facts) -> Found:
    """Whether each partition has a broker that leads it."""
    if isinstance(facts.counts, Unknown):
        yield Finding("leaders", "unknown", facts.counts.why)
        return
    lost = {one.name: facts.leaderless[one.name] for one in _used(facts).values() if one.name in facts.leaderless}
    if lost:
        which = "; ".join(f"{name} {', '.join(map(str, numbers))}" for name, numbers in lost.items())
        about = f"partitions that no broker leads, so that nothing there is read or written: {which}. Start the brokers that have them"
        mend = f"kafka-topics.sh --bootstrap-server {quote(facts.settings.broker)} --describe --unavailable-partitions"
        yield Finding("leaders", "wrong", about, mend)
    elif all(one.name not in facts.counts for one in _used(facts).values()):
        yield Finding("leaders", "unknown", _ABSENT)
    else:
        yield Finding("leaders", "ok", "each partition has one")


@check
def replicas(facts: Facts) -> Found:
    """Whether so many replicas are in sync as a topic must have to be written to."""
    if isinstance(facts.counts, Unknown):
        yield Finding("replicas", "unknown", facts.counts.why)
        return
    names = load_topics(facts.settings.topic_prefix)
    known = {names[key].name: one for key, one in facts.configs.items() if not isinstance(one, Unknown)}
    least = {name: int(one.get("min.insync.replicas") or 1) for name, one in known.items()}
    few = [
        f"{name} has {facts.in_sync[name]} of {most}"
        for name, most in least.items()
        if facts.in_sync.get(name, most) < most
    ]
    if few:
        about = f"fewer replicas in sync than min.insync.replicas, so that nothing is written there: {'; '.join(few)}. Start the brokers that have them"
        mend = (
            f"kafka-topics.sh --bootstrap-server {quote(facts.settings.broker)} --describe --under-min-isr-partitions"
        )
        yield Finding("replicas", "wrong", about, mend)
    elif known and len(known) == len(facts.configs):
        yield Finding("replicas", "ok", "as many in sync as each topic wants")
    else:
        why = "how many the topics want is not told" if facts.configs else _ABSENT
        yield Finding("replicas", "unknown", why)


def _other_prefixes(counts: Mapping[str, int], own: str) -> list[str]:
    """The prefixes of other pipelines, by the names of the topics."""
    plain = load_topics()["requests"].name
    found = sorted(name.removesuffix(plain) for name in counts if name.endswith(plain))
    return [prefix for prefix in found if prefix != own and not prefix[-1:].isalnum()]


@check
def topic_settings(facts: Facts) -> Found:
    """Retention, compaction, stamps and sizes of the topics."""
    if isinstance(facts.counts, Unknown):
        yield Finding("topic settings", "unknown", facts.counts.why)
        return
    wanted, fine, untold = load_topics(facts.settings.topic_prefix), 0, dict[str, list[str]]()
    for key, actual in facts.configs.items():
        if isinstance(actual, Unknown):
            untold.setdefault(re.sub(re.escape(wanted[key].name), "it", actual.why), []).append(wanted[key].name)
            continue
        found = judge_settings(wanted[key], actual, facts.settings.broker, facts.settings.max_record_bytes)
        for text in found.errors:
            yield mended("topic settings", "wrong", text)
        for text in found.warnings:
            yield mended("topic settings", "warning", text)
        fine += not (found.errors or found.warnings)
    for why, names in untold.items():
        yield Finding("topic settings", "unknown", f"{', '.join(names)}: {why}")
    if fine:
        yield Finding("topic settings", "ok", f"of {fine} topics")
    if not facts.configs:
        yield Finding("topic settings", "unknown", _ABSENT)


@check
def retention(facts: Facts) -> Found:
    """Whether unread records outlive a worker that is down for a while."""
    if isinstance(facts.counts, Unknown):
        yield Finding("retention", "unknown", facts.counts.why)
        return
    least = max(_SHORT_RETENTION, 10 * facts.settings.response_timeout)
    for key in ("requests", "responses"):
        actual = facts.configs.get(key, Unknown(_ABSENT))
        if isinstance(actual, Unknown):
            yield Finding("retention", "unknown", actual.why)
            continue
        kept = float(actual.get("retention.ms") or -1) / 1000
        name = load_topics(facts.settings.topic_prefix)[key].name
        if 0 <= kept < least:
            mend = (
                f"kafka-configs.sh --bootstrap-server {quote(facts.settings.broker)} --alter --entity-type topics --entity-name {name} "
                "--add-config retention.ms=604800000"
            )
            about = f"{name} keeps records for {kept:g} s: what no worker has read by then is lost"
            yield Finding("retention", "warning", about, mend)
        else:
            yield Finding(
                "retention", "ok", f"{name} keeps records " + ("for ever" if kept < 0 else f"for {kept / 3600:g} h")
            )


@check_for_all
def access(facts: Facts) -> Found:
    """Each right that this role needs, as the brokers reckon it."""
    if isinstance(facts.counts, Unknown):
        yield Finding("access", "unknown", facts.counts.why)
        return
    wanted = rights(ROLES[facts.role], facts.settings)
    had, unknown = 0, dict[str, list[str]]()
    for right, need in wanted.items():
        operations = _operations(facts, right)
        if isinstance(operations, Unknown):
            unknown.setdefault(operations.why, []).append(right.text)
        elif right.operation.lower() in operations:
            had += 1
        elif (state := _lacking(facts, need)) is not None:
            about = f"this user lacks the right to {right.text} ({need.why})"
            yield Finding("access", state, about, grant_command(right, facts.settings))
    for why, texts in unknown.items():
        which = "; ".join(texts) if len(texts) <= _NAMED else f"{len(texts)} rights"
        yield Finding("access", "unknown", why if why == _ABSENT else f"{which}: {why}")
    if had:
        yield Finding("access", "ok", f"{had} of {len(wanted)} rights of {facts.role!r}")


def _operations(facts: Facts, right: Right) -> frozenset[str] | Unknown:
    """What this user may do with what a right is for."""
    if right.kind == "transactional-id":
        trial = facts.transactions
        if isinstance(trial, Unknown):
            return trial
        return frozenset() if trial.lacks_right else frozenset({"write"})
    if right.kind == "topic" and not isinstance(facts.denied, Unknown) and right.name in facts.denied:
        return frozenset()
    if right.kind == "topic" and not isinstance(facts.counts, Unknown) and right.name not in facts.counts:
        return Unknown(_ABSENT)
    return facts.granted.get((right.kind, right.name), Unknown("it was not asked for"))


def _lacking(facts: Facts, need: Need) -> State | None:
    """How bad it is that a right is lacking; None where it is not needed."""
    if need.when in WORSE or need.when in ("settings", "doctor"):
        return "warning"
    if need.when == "transactions":
        return "wrong" if facts.settings.delivery == "exactly_once" else None
    if need.when == "moves":
        budgets = not isinstance(facts.in_force, Unknown) and facts.in_force.budgets
        return "wrong" if budgets or facts.settings.on_risk_breach == "stop" else None
    return None if need.when == "used" else "wrong"


@check
def transactions(facts: Facts) -> Found:
    """Whether a transaction as a worker's can be had."""
    trial, ours = facts.transactions, facts.settings.transaction_timeout
    if facts.settings.delivery != "exactly_once":
        yield Finding("transactions", "ok", "none are used (delivery = at_least_once)")
    elif isinstance(trial, Unknown):
        yield Finding("transactions", "unknown", trial.why)
    elif trial.timeout_too_long:
        most = facts.most_transaction
        limit = "its transaction.max.timeout.ms" if isinstance(most, Unknown) else f"{most:g} s"
        mend = "--transaction-timeout 15" if isinstance(most, Unknown) else f"--transaction-timeout {most:g}"
        about = f"transaction_timeout is {ours:g} s, and the broker allows {limit}"
        yield Finding("transactions", "wrong", about, f"secondlook worker {mend}")
    elif trial.lacks_right:
        yield Finding("transactions", "wrong", trial.problem)  # what gives it stands under access
    elif trial.problem:
        mend = "secondlook worker --delivery at_least_once" if trial.unsupported else ""
        yield Finding("transactions", "wrong", f"none can be opened: {trial.problem}", mend)
    else:
        yield Finding("transactions", "ok", f"one of {ours:g} s was opened, and taken back")


@check
def clock(facts: Facts) -> Found:
    """Whether this machine's clock is the broker's."""
    skew = facts.skew
    if isinstance(skew, Unknown):
        yield Finding("clock", "unknown", skew.why)
        return
    direction = "ahead of" if skew > 0 else "behind"
    about = f"this machine's is {abs(skew):.1f} s {direction} the broker's"
    if abs(skew) > _NOTEWORTHY_SKEW:
        yield Finding(
            "clock", "warning", f"{about}, which counts: this one should be right", "timedatectl set-ntp true"
        )
    else:
        yield Finding("clock", "ok", about)


@check
def group(facts: Facts) -> Found:
    """Who works on these topics: only one group may."""
    name, found = group_name(facts.settings), facts.members
    if isinstance(found, Unknown):
        yield Finding("group", "unknown", found.why)
    elif found:
        who = ", ".join(f"{one.client} on {one.host} ({one.partitions} partitions)" for one in found)
        yield Finding("group", "ok", f"{name!r} has {len(found)}: {who}")
    else:
        yield Finding("group", "ok", f"nobody is in {name!r}")
    if isinstance(facts.others, Unknown):
        if not isinstance(found, Unknown):
            yield Finding("group", "unknown", f"whether other groups read these topics: {facts.others.why}")
        return
    for other, count in facts.others.items():
        about = (
            f"group {other!r} reads these requests too, with {count}. If it is a worker's, everything is decided twice"
        )
        server = quote(facts.settings.broker)
        mend = f"kafka-consumer-groups.sh --bootstrap-server {server} --describe --group {quote(other)}"
        yield Finding("group", "warning", about, mend)


@check
def ownership(facts: Facts) -> Found:
    """Whose the changelog is."""
    name, found = group_name(facts.settings), facts.owner
    if isinstance(found, Unknown):
        yield Finding("ownership", "unknown", found.why)
    elif found in ("", name):
        yield Finding(
            "ownership",
            "ok",
            f"the topics are {'nobody' if found == '' else repr(name)}'s" + (" yet" if not found else ""),
        )
    else:
        about = f"the topics are group {found!r}'s: a worker of {name!r} refuses to start"
        mine = found.removeprefix(facts.settings.topic_prefix)
        mend = f"secondlook worker --group {quote(mine)}; or, to take over for good: --new-group-from state"
        yield Finding("ownership", "wrong", about, mend)


@check
def model(facts: Facts) -> Found:
    """The model of the settings."""
    found = facts.here.model
    if isinstance(found, Failed):
        mend = (
            f"secondlook train --data LABELLED.jsonl.gz --out {quote(str(facts.settings.model))}; or --model DIRECTORY"
        )
        yield Finding("model", "wrong", found.why, mend)
    elif not found.calibrated:
        about = (
            f"{found.name} {found.sha256[:12]} is not calibrated: everything goes to humans until a threshold is set"
        )
        yield Finding("model", "warning", about, command(facts, "control set-threshold 0.2"))
    else:
        yield Finding("model", "ok", f"{found.name} {found.sha256[:12]}, calibrated")


@check
def controls(facts: Facts) -> Found:
    """What the control log says, and whether a worker can do it with what is here."""
    found = facts.in_force
    if isinstance(found, Unknown):
        yield Finding("controls", "unknown", found.why)
    elif not found.whole:
        about = (
            "the beginning of the control log is gone, and no snapshot stands for it: everything goes to humans. See what is left, "
            "make the topic anew, and set what is to hold"
        )
        topic = load_topics(facts.settings.topic_prefix)["control"].name
        anew = f"{delete_command(facts.settings.broker, topic)} && {command(facts, 'topics create')}"
        mend = f"{command(facts, 'control history')}; {anew}"
        yield Finding("controls", "wrong", about, mend)
    elif found.problem is not None and found.fetchable:
        about = f"version {found.version} names a model that is not here; a worker fetches it from the models topic"
        yield Finding(
            "controls", "warning", about, f"{command(facts, 'models pull')} --model {quote(str(facts.settings.model))}"
        )
    elif found.problem is not None:
        lacking = found.model is not None and "No model" in found.problem
        mend = command(facts, f"models push {(found.model or '')[:12]}" if lacking else "control rollback")
        yield Finding("controls", "wrong", f"version {found.version} cannot be done here: {found.problem}", mend)
    else:
        names = "the settings' model" if found.model is None else f"model {found.model[:12]}"
        yield Finding("controls", "ok", f"version {found.version}, {names}")


@check
def workers(facts: Facts) -> Found:
    """Those that run: whether each does what the log says."""
    found = facts.fleet
    if isinstance(found, Unknown):
        yield Finding("workers", "unknown", found.why)
        return
    for one in found.live:
        if one.problem is not None:
            about = f"{one.name} sends everything to humans: {one.problem}"
            yield Finding("workers", "wrong", about, command(facts, "control show"))
    if found.split:
        yield Finding("workers", "wrong", "they differ in what they have in force", command(facts, "control show"))
    for name in found.gone:
        about = f"{name} fell silent within the last hour: it ended badly, or hangs"
        yield Finding("workers", "warning", about, "look at its last log line, and at its supervisor")
    fine = [one.name for one in found.live if one.problem is None]
    yield Finding("workers", "ok", f"{len(fine)} live: {', '.join(fine)}" if fine else "none is live")


@check
def spec(facts: Facts) -> Found:
    """How outcomes stand in answers."""
    found = facts.here.spec
    if isinstance(found, Failed):
        yield Finding("spec", "wrong", found.why, "secondlook features SAVED-RESPONSE.json --spec auto")
    else:
        yield Finding("spec", "ok", found)


@check
def reader(facts: Facts) -> Found:
    """Which reader of answers runs: the native one is the faster one."""
    if facts.here.reader == "native":
        yield Finding("reader", "ok", "native")
    else:
        about = f"answers are read in Python: {facts.here.reader_why}"
        yield Finding("reader", "warning", about, "make native (needs cargo)")

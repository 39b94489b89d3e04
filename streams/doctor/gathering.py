"""Gathers the facts: each question on a thread of its own, with a deadline, so that nothing that hangs holds up the rest."""

import threading
import time
from collections.abc import Callable
from queue import Empty, Queue
from typing import Final, Generic, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined] # its documented name

from featurizers import SecondlookError, SpecBook, readers
from scoring import load_model
from streams.doctor import questions
from streams.doctor.facts import Facts, Failed, Here, Known, Model, Tried, Unknown
from streams.errors import BrokerError, SettingsError
from streams.kafka.admin import metadata
from streams.kafka.clients import base_config, kafka_error
from streams.kafka.rights import ROLES, rights
from streams.kafka.topics import load_topics, partition_counts
from streams.kafka.troubles import heard, told
from streams.pipeline.controls import is_calibrated
from streams.settings import Settings
from streams.worker.run import outcome_specs

_T = TypeVar("_T")

CONTACT: Final = 5.0
"""Seconds for a broker to answer at all."""
PATIENCE: Final = 20.0
"""Seconds for the answers to all further questions, which are asked at once."""
_NOBODY: Final = Unknown("no broker answered")


class Asked(Generic[_T]):
    """A question that is being looked into, unless it is not wanted. The thread is left behind if it does not come back.

    `patience` are the seconds that it has from now on, whatever is waited for meanwhile.
    """

    def __init__(self, question: Callable[[], _T], *, wanted: bool = True, patience: float = PATIENCE) -> None:
        self._patience, self._until = patience, time.monotonic() + patience
        self._answers: Queue[Known[_T]] = Queue()
        if not wanted:
            self._answers.put(Unknown("it was not asked for"))
            return
        threading.Thread(target=self._ask, args=(question,), name="doctor", daemon=True).start()

    def _ask(self, question: Callable[[], _T]) -> None:
        try:
            self._answers.put(question())
        except KafkaException as problem:
            self._answers.put(Unknown(told(kafka_error(problem))))
        except TimeoutError:
            self._answers.put(Unknown("no answer"))
        except (SecondlookError, OSError) as problem:
            self._answers.put(Unknown(str(problem)))
        except Exception as problem:  # noqa: BLE001 - whatever it is: it could not be looked at
            self._answers.put(Unknown(f"{type(problem).__name__}: {problem}"))

    def answer(self) -> Known[_T]:
        """Wait for it."""
        try:
            return self._answers.get(timeout=max(0.0, self._until - time.monotonic()))
        except Empty:
            return Unknown(f"no answer within {self._patience:g} s")


def gather(settings: Settings, role: str = "worker") -> Facts:
    """Look at everything. Raises nothing that a cluster, a model or a setting can bring about."""
    here = _here(settings)
    try:
        config = base_config(settings)
        cluster = metadata(config, CONTACT)
    except SettingsError as problem:
        return _without_broker(settings, role, here, Failed(str(problem), "settings"))
    except BrokerError as problem:
        trouble = heard(config)
        return _without_broker(settings, role, here, Failed(str(problem), "" if trouble is None else trouble.kind.name))
    return _with_broker(settings, role, here, cluster)


def half_made(cluster: ClusterMetadata) -> dict[str, str]:
    """The topics that are being made or deleted, and what brokers say of them."""
    return {
        name: "it has no partitions yet" if topic.error is None else told(topic.error)
        for name, topic in cluster.topics.items()
        if topic.error is not None or not topic.partitions
    }


def leaderless(cluster: ClusterMetadata) -> dict[str, tuple[int, ...]]:
    """The partitions that no broker leads, by topic."""
    found = {
        name: tuple(number for number, one in sorted(topic.partitions.items()) if one.leader < 0)
        for name, topic in cluster.topics.items()
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def in_sync(cluster: ClusterMetadata) -> dict[str, int]:
    """The fewest replicas in sync that a partition of each topic has, of those that a broker leads."""
    found = {
        name: [len(one.isrs) for one in topic.partitions.values() if one.leader >= 0]
        for name, topic in cluster.topics.items()
    }
    return {name: min(counts) for name, counts in found.items() if counts}


def _with_broker(settings: Settings, role: str, here: Here, cluster: ClusterMetadata) -> Facts:
    topics, counts = load_topics(settings.topic_prefix), partition_counts(cluster)
    present = {key: topic.name for key, topic in topics.items() if topic.name in counts}
    hidden = [topic.name for topic in topics.values() if topic.name not in counts]
    denied = Asked(lambda: questions.denied(settings, hidden))
    granted = Asked(lambda: questions.granted(settings, list(present.values())))
    transactional = any(need.kind == "transactional-id" for need in ROLES[role])
    tried = Asked(lambda: questions.try_writing(settings, into_topic="control_status" in present), wanted=transactional)
    worker = role == "worker"
    configs = Asked(lambda: questions.configs(settings, present), wanted=worker)
    most = Asked(lambda: questions.most_transaction(settings), wanted=worker)
    members = Asked(lambda: questions.members(settings), wanted=worker)
    others = Asked(lambda: questions.others(settings), wanted=worker)
    owner = Asked(lambda: questions.owner(settings), wanted=worker)
    in_force = Asked(lambda: questions.in_force(settings), wanted=worker)
    fleet = Asked(lambda: questions.fleet(settings), wanted=worker)
    unseen, told_configs, written, allowed = denied.answer(), configs.answer(), tried.answer(), granted.answer()
    return Facts(
        settings,
        role,
        here,
        len(cluster.brokers),
        counts,
        half_made(cluster),
        leaderless(cluster),
        in_sync(cluster),
        denied=unseen if isinstance(unseen, Unknown) else frozenset(unseen),
        configs=dict.fromkeys(present, told_configs) if isinstance(told_configs, Unknown) else told_configs,
        granted=dict.fromkeys(((one.kind, one.name) for one in rights(ROLES[role], settings)), allowed)
        if isinstance(allowed, Unknown)
        else allowed,
        transactions=written if isinstance(written, Unknown) else written.transaction,
        most_transaction=most.answer(),
        skew=written if isinstance(written, Unknown) else written.skew,
        members=members.answer(),
        others=others.answer(),
        owner=owner.answer(),
        in_force=in_force.answer(),
        fleet=fleet.answer(),
    )


def _without_broker(settings: Settings, role: str, here: Here, problem: Failed) -> Facts:
    return Facts(
        settings,
        role,
        here,
        problem,
        counts=_NOBODY,
        half_made={},
        leaderless={},
        in_sync={},
        denied=_NOBODY,
        configs={},
        granted={(one.kind, one.name): _NOBODY for one in rights(ROLES[role], settings)},
        transactions=_NOBODY,
        most_transaction=_NOBODY,
        skew=_NOBODY,
        members=_NOBODY,
        others=_NOBODY,
        owner=_NOBODY,
        in_force=_NOBODY,
        fleet=_NOBODY,
    )


def _here(settings: Settings) -> Here:
    return Here(
        _tried(lambda: _model(settings)), _tried(lambda: _spec(settings)), readers.reader.name, readers.reader.why
    )


def _tried(look: Callable[[], _T]) -> Tried[_T]:
    try:
        return look()
    except (SecondlookError, OSError) as problem:
        return Failed(str(problem))
    except Exception as problem:  # noqa: BLE001 - a model's file may hold anything
        return Failed(f"{type(problem).__name__}: {problem}")


def _model(settings: Settings) -> Model:
    model = load_model(settings.model)
    return Model(model.name, model.sha256, is_calibrated(model))


def _spec(settings: Settings) -> str:
    found = outcome_specs(settings)
    return f"{settings.specs}, a directory of specs" if isinstance(found, SpecBook) else settings.outcome_spec

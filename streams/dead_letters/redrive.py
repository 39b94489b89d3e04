"""Redrive: put dead letters back into the topics that they came from.

By code, progress is kept in the group `<topic_prefix><group>-redrive`: per partition the offset that every code has reached,
and in the commit's note the codes that are further. So no letter is sent twice, whichever codes are asked for in whichever
order. Exactly once: it is committed in the transaction of the records, under one transactional id, so that of two redrives at
once the later one stops the other. At least once: after the records.

Letters named by position are sent in one transaction and leave no mark: naming them is the operator's decision.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.dead_letters.reading import Spot, below, dead_letter_topic, letter_ends, letters_at
from streams.errors import DeliveryError
from streams.kafka.clients import Consumed, group_name, kafka_error, reader_config
from streams.kafka.delivery import AtLeastOnce, BatchAborted, ExactlyOnce
from streams.kafka.reading import read_to_end
from streams.kafka.topics import load_topics, topic_names
from streams.kafka.troubles import failed
from streams.pipeline.dead_letters import (
    Progress,
    Refusal,
    put_back,
    read_letter,
    read_progress,
    refusal,
    write_progress,
)
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import REQUESTS, RESPONSES, Output
from streams.settings import Settings

_INSTANCE = ":redrive"
"""In the transactional id: no worker can be called so."""
_CALL_TIMEOUT = 10.0
_BATCH_BYTES = 8 * 2**20

_Send: TypeAlias = Callable[[list[Output], list[TopicPartition]], None]


@dataclass(slots=True)
class Tally:
    """What a redrive came to: letters sent, by code, and letters refused, by reason."""

    sent: Counter[str] = field(default_factory=Counter)
    refused: Counter[Refusal] = field(default_factory=Counter)


def redrive_group(settings: Settings) -> str:
    """The group that the progress is kept in."""
    return f"{group_name(settings)}-redrive"


def redrive_spots(settings: Settings, positions: Iterable[Spot], *, max_cycles: int, dry_run: bool) -> Tally:
    """Put these letters back, all or none of them. Raises LetterError when one is not there."""
    sorting = _Sorting(settings, max_cycles)
    outputs = [output for message in letters_at(settings, positions) if (output := sorting.put_back(message))]
    if outputs and not dry_run:
        with _group_consumer(settings) as consumer, _sending(settings, consumer) as send:
            send(outputs, [])
    return sorting.tally


def redrive_codes(settings: Settings, codes: Collection[DeadLetter], *, max_cycles: int, dry_run: bool) -> Tally:
    """Put back the letters with these codes that no redrive by code has passed, up to the topic's end as it is now.

    Letters refused are passed too. Raises DeliveryError when it stops half-way: the next call goes on from there.
    """
    until = letter_ends(settings)
    with _group_consumer(settings) as consumer:
        if dry_run:
            return _walk(settings, consumer, until, _Walk(settings, codes, max_cycles, _send_nothing))
        # Only once the transactions are open: a redrive that was killed may have left progress undecided until then.
        with _sending(settings, consumer) as send:
            return _walk(settings, consumer, until, _Walk(settings, codes, max_cycles, send))


class _Sorting:
    """Tells the letters to put back from those to refuse, and counts them."""

    def __init__(self, settings: Settings, max_cycles: int) -> None:
        names = topic_names(load_topics(settings.topic_prefix))
        self._roles = {names[role]: role for role in (REQUESTS, RESPONSES)}
        self._max_cycles = max_cycles
        self.tally = Tally()

    def put_back(self, message: Consumed) -> Output | None:
        letter = read_letter(message.headers())
        why = refusal(letter, self._roles, self._max_cycles)
        if why is not None or letter.topic is None:
            self.tally.refused[why or Refusal.MALFORMED] += 1
            return None
        self.tally.sent[str(letter.code)] += 1
        return put_back(self._roles[letter.topic], message.key(), message.value(), message.headers())


class _Walk:
    """One way through the topic: collects batches of records and sends each with the progress that it makes."""

    def __init__(self, settings: Settings, codes: Collection[DeadLetter], max_cycles: int, send: _Send) -> None:
        self._topic = dead_letter_topic(settings).name
        self._batch_size = settings.batch_size
        self._codes = {code.value for code in codes}
        self._every_code = self._codes == {code.value for code in DeadLetter}
        self._send = send
        self._sorting = _Sorting(settings, max_cycles)
        self._outputs: list[Output] = []
        self._bytes = 0
        self._reached: dict[int, int] = {}
        self.progress: dict[int, Progress] = {}

    @property
    def tally(self) -> Tally:
        return self._sorting.tally

    def start(self) -> dict[int, int]:
        """Where to begin in each partition: the first offset that one of the codes has not passed."""
        return {one: min(progress[code] for code in self._codes) for one, progress in self.progress.items()}

    def take(self, message: Consumed) -> None:
        partition, offset = message.partition(), message.offset()
        self._reached[partition] = offset + 1
        if not self._is_wanted(read_letter(message.headers()).code, partition, offset):
            return
        output = self._sorting.put_back(message)
        if output is not None:
            self._outputs.append(output)
            self._bytes += len(output.key or b"") + len(output.value or b"")
        if len(self._outputs) >= self._batch_size or self._bytes >= _BATCH_BYTES:
            self._flush()

    def finish(self, until: dict[int, int]) -> None:
        """Send the last batch; the ends themselves are reached, although the last offsets may be transactions' marks."""
        self._reached = dict(until)
        self._flush()

    def _is_wanted(self, code: str | None, partition: int, offset: int) -> bool:
        """Whether a letter is this walk's; those of no known code are counted with every code, and never sent."""
        progress = self.progress[partition]
        if code in progress:
            return code in self._codes and offset >= progress[code]
        return self._every_code and offset >= min(progress.values())

    def _flush(self) -> None:
        offsets = []
        for partition, reached in self._reached.items():
            before = self.progress[partition]
            after = {code: max(at, reached) if code in self._codes else at for code, at in before.items()}
            if after != before:
                self.progress[partition] = after
                offset, note = write_progress(after)
                offsets.append(TopicPartition(self._topic, partition, offset, metadata=note))
        if self._outputs or offsets:
            self._send(self._outputs, offsets)
        self._outputs, self._bytes, self._reached = [], 0, {}


def _walk(settings: Settings, consumer: Consumer, until: dict[int, int], walk: _Walk) -> Tally:
    topic = dead_letter_topic(settings).name
    walk.progress = _committed(consumer, topic, until, redrive_group(settings))
    for message in below(until, read_to_end(consumer, topic, until, walk.start())):
        walk.take(message)
    walk.finish(until)
    return walk.tally


def _committed(consumer: Consumer, topic: str, partitions: Iterable[int], group: str) -> dict[int, Progress]:
    asked = [TopicPartition(topic, partition) for partition in partitions]
    try:
        answers = consumer.committed(asked, timeout=_CALL_TIMEOUT)
    except KafkaException as problem:
        raise failed(
            f"cannot read how far {topic} was redriven", kafka_error(problem), f"Read the group {group}"
        ) from problem
    error = next((one.error for one in answers if one.error is not None), None)
    if error is not None:
        raise failed(f"cannot read how far {topic} was redriven", error, f"Read the group {group}")
    return {one.partition: read_progress(max(one.offset, 0), one.metadata) for one in answers}


def _group_consumer(settings: Settings) -> closing[Consumer]:
    """A consumer that assigns partitions to itself, and commits to the redrive's group."""
    return closing(Consumer({**reader_config(settings), "group.id": redrive_group(settings)}))


@contextmanager
def _sending(settings: Settings, consumer: Consumer) -> Iterator[_Send]:
    """A way to send records, and commit offsets with them, as the setting `delivery` has it."""
    names = topic_names(load_topics(settings.topic_prefix))
    delivery = (
        ExactlyOnce(replace(settings, instance_id=_INSTANCE), names, fenced_is_final=True)
        if settings.delivery == "exactly_once"
        else AtLeastOnce(settings, names, lambda offsets: consumer.commit(offsets=offsets, asynchronous=False))
    )

    def send(outputs: list[Output], offsets: list[TopicPartition]) -> None:
        try:
            delivery.commit(outputs, offsets, consumer.consumer_group_metadata())
        except (BatchAborted, DeliveryError) as problem:
            raise DeliveryError(
                f"the redrive stopped: {problem}. What was sent before is marked as done: run it again to go on"
            ) from problem

    with suppress(BatchAborted):  # the first producer was cut off, and another one has started
        delivery.start()
    try:
        yield send
    finally:
        delivery.close()


def _send_nothing(_outputs: list[Output], _offsets: list[TopicPartition]) -> None:
    """Do what `--dry-run` does."""

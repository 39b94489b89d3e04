"""Feeds the read model from the topics, on a thread of its own: no group, no offsets, nothing written anywhere.

Decisions and dead letters are read as they come, and a little of what stood before. Of requests and answers, which may be large, only the last few
of one partition are looked at now and then: what latency is taken of. A broker that does not answer is asked again and again.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from typing import Final, Generic, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.console.decisions import ROLES, Asked, Decision, read_decision
from streams.console.in_force import differences, in_force, record
from streams.console.read_model import ReadModel, moment
from streams.console.scores import Costs
from streams.console.state import Controls, LetterSeen, Seen, State
from streams.errors import StreamError
from streams.kafka.clients import Consumed, consume, kafka_error, reader_config
from streams.kafka.control_history import History, read_history
from streams.kafka.fleet import Fleet
from streams.kafka.following import Follower, Heard
from streams.kafka.progress import GroupProgress
from streams.kafka.reading import broker_stamp, places_of
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.dead_letters import read_letter
from streams.pipeline.records import REQUESTS, RESPONSES
from streams.settings import Settings

log = logging.getLogger(__name__)

_LETTERS: Final = "dead_letter"
_BEFORE: Final = 2_000
"""Offsets of each partition that are read of what stood there before."""
_LOOK_EVERY: Final = 2.0
_CONTROLS_EVERY: Final = 4.0
_SAMPLE_EVERY: Final = 3.0
_AGAIN_AFTER: Final = 2.0
_POLL: Final = 0.2
_SAMPLED: Final = 40
"""Records of a partition that are looked at in one go."""
_HISTORY: Final = 100
_CHANGES: Final = 20
_LONGEST: Final = 300
_TIMEOUT: Final = 2.0
_FRESH: Final = 0.5
"""Seconds for which a state that was made is given again: many browsers may look."""
_MOST_UNREAD: Final = 100_000
"""Records behind which the console may fall: beyond that it passes by what it has not read, and says how much."""
_SPOKEN_OF: Final = 600.0
"""Seconds for which a worker that fell silent is missed: after that, another one has long been in its place."""
_FEW_BYTES: Final = {"queued.max.messages.kbytes": 1024, "fetch.message.max.bytes": 256 * 1024}


class Feed:
    """The read model, kept current from `start` to `close`. `costs` are those that the threshold's cost is reckoned by."""

    def __init__(self, settings: Settings, costs: Costs) -> None:
        self._settings = settings
        self._model = ReadModel(settings.broker, costs)
        self._lock = threading.Lock()
        self._history: History | None = None
        self._state: State | None = None
        self._made = 0.0
        self._has_begun = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; what hangs in the client is left behind."""
        self._stopping.set()
        self._thread.join(3)

    def state(self) -> State:
        """As it stands now, or did a moment ago."""
        with self._lock:
            if self._state is None or time.monotonic() - self._made > _FRESH:
                self._state, self._made = self._model.state(time.time()), time.monotonic()
            return self._state

    def latest(self, asked: Asked, most: int) -> list[Seen]:
        """The last decisions that are asked for, the latest first."""
        with self._lock:
            return self._model.latest(asked, most)

    def _run(self) -> None:
        """Follow until told to stop. Each client is opened by whoever needs it: what may not be read keeps nothing else from being shown."""
        settings = self._settings
        with (
            closing(_Kept(lambda: GroupProgress(settings))) as progress,
            closing(_Kept(self._follower)) as follower,
            closing(_Kept(lambda: _Sampler(settings))) as sampler,
            closing(_Kept(lambda: Fleet(settings))) as workers,
            closing(_Kept(lambda: Consumer(reader_config(settings)))) as control,
        ):
            looks = [
                _Look("decisions", 0.0, lambda: self._follow(follower), asks=False),
                _Look("unread", _LOOK_EVERY, lambda: self._keep_up(follower), asks=False),
                _Look("progress", _LOOK_EVERY, lambda: self._measure(progress())),
                _Look("workers", _LOOK_EVERY, lambda: self._hear(workers()), asks=False),
                _Look("controls", _CONTROLS_EVERY, lambda: self._read_controls(workers(), control)),
                _Look("sample", _SAMPLE_EVERY, lambda: self._sample(sampler())),
            ]
            while not self._stopping.is_set():
                for one in looks:
                    self._tried(one)
                if follower.one is None:  # else it is waited for records
                    self._stopping.wait(_POLL)

    def _follower(self) -> Follower:
        # What stood there before is read once: begun anew after a failure, it would count twice.
        follower = Follower(self._settings, (*ROLES, _LETTERS), last=0 if self._has_begun else _BEFORE)
        self._has_begun = True
        return follower

    def _follow(self, follower: "_Kept[Follower]") -> None:
        try:
            self._take(follower().poll(_POLL))
        except StreamError:  # what waiting does not mend
            follower.close()
            raise

    def _tried(self, look: "_Look") -> None:
        """Look; what fails is said, and tried again."""
        try:
            if not look.due():
                return
        except StreamError as problem:
            self._say(look.name, str(problem))
        except KafkaException as problem:
            self._say(look.name, kafka_error(problem).str())
        except Exception as problem:
            log.exception("the console cannot follow the topics; it tries again")
            self._say(look.name, f"the console failed ({type(problem).__name__}: {problem})")
        else:
            self._say(look.name, None, answered=look.asks)

    def _say(self, look: str, problem: str | None, *, answered: bool = False) -> None:
        with self._lock:
            self._model.looked(look, problem, time.time() if answered else None)

    def _take(self, heard: list[Heard]) -> None:
        now = time.time()
        read = [(letter_of if one.role == _LETTERS else decision_of)(one.message) for one in heard]
        with self._lock:
            if heard:  # who may read nothing else is not blind
                self._model.looked("records", None, now)
            for one, what in zip(heard, read, strict=True):
                if isinstance(what, LetterSeen):
                    self._model.set_aside(what, now, live=one.live)
                elif what is not None:
                    self._model.decided(what, broker_stamp(one.message) or 0, now, live=one.live)

    def _keep_up(self, kept: "_Kept[Follower]") -> None:
        follower = kept.one
        if follower is None:
            return
        skipped = follower.skip(_BEFORE) if follower.lag() > _MOST_UNREAD else {}
        with self._lock:
            self._model.unread(follower.lag(), skipped, time.time())

    def _measure(self, progress: GroupProgress) -> None:
        reached = progress.look()
        with self._lock:
            self._model.progress(reached, time.time())

    def _hear(self, workers: Fleet) -> None:
        workers.listen(0.1)
        live, gone = workers.live, workers.gone
        with self._lock:
            self._model.heard(
                live,
                {name: workers.age(one) for name, one in live.items()},
                {name: one.at for name, one in gone.items() if workers.age(one) < _SPOKEN_OF},
            )

    def _read_controls(self, workers: Fleet, control: "_Kept[Consumer]") -> None:
        if self._history is None or self._history.end != self._end_of_control(control):
            self._history = read_history(self._settings, on=self._history)
        controls = controls_of(self._history, workers)
        with self._lock:
            self._model.in_force(controls)

    def _end_of_control(self, control: "_Kept[Consumer]") -> int:
        place = TopicPartition(topic_names(load_topics(self._settings.topic_prefix))["control"], 0)
        try:
            _, end = control().get_watermark_offsets(place, timeout=_TIMEOUT)
        except KafkaException:
            control.close()
            raise
        return int(end)

    def _sample(self, sampler: "_Sampler") -> None:
        found = sampler.sample()
        with self._lock:
            for role, request_id, at in found:
                self._model.came(role, request_id, at)


class _Client(Protocol):
    def close(self) -> None: ...


_C = TypeVar("_C", bound=_Client)


class _Kept(Generic[_C]):
    """A client that is opened when it is first needed, and kept; one that could not be opened is tried again in a moment. `one` is it, if it is open."""

    def __init__(self, open_: Callable[[], _C]) -> None:
        self.one: _C | None = None
        self._open = open_
        self._problem: StreamError | None = None
        self._again = 0.0

    def __call__(self) -> _C:
        """The client. Raises StreamError where it cannot be opened."""
        if self.one is None:
            if self._problem is not None and time.monotonic() < self._again:
                raise self._problem
            try:
                self.one = self._open()
            except StreamError as problem:
                self._problem, self._again = problem, time.monotonic() + _AGAIN_AFTER
                raise
        return self.one

    def close(self) -> None:
        """Let go of it; it may be opened anew."""
        one, self.one = self.one, None
        if one is not None:
            one.close()


class _Look:
    """Something that is looked at again and again, so many seconds apart. `asks`: that it succeeds means that a broker answered."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None], *, asks: bool = True) -> None:
        self.name, self.asks = name, asks
        self._seconds, self._work = seconds, work
        self._next = 0.0

    def due(self) -> bool:
        """Look, if it is time for it; whether it was."""
        if time.monotonic() < self._next:
            return False
        try:
            self._work()
        finally:
            self._next = time.monotonic() + self._seconds
        return True


def controls_of(history: History, workers: Fleet) -> Controls:
    """What the log says, its last messages, and what the last of them changed."""
    told = [record(one) for one in list(history.taken.values())[-_HISTORY:]][::-1]
    versions = history.log.versions[-_CHANGES - 1 :]
    changes = [
        {"version": version, "changes": [list(one) for one in differences(before, content)]}
        for (_, before), (version, content) in pairwise(versions)
    ]
    return Controls(in_force(history, workers), told, changes[::-1])


class _Sampler:
    """The last few requests and answers of one partition, each time of another one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        places = places_of(settings, REQUESTS, RESPONSES)
        self._roles = {topic: role for role, (topic, _) in places.items()}
        self._partitions = min(len(numbers) for _, numbers in places.values())
        self._turn = 0
        self._consumer = Consumer({**reader_config(settings), **_FEW_BYTES})

    def sample(self) -> list[tuple[str, str, int]]:
        """Role, id and time (ms) of each."""
        number, self._turn = self._turn, (self._turn + 1) % self._partitions
        wanted: dict[str, int] = {}
        starts = []
        for topic in self._roles:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT)
            if high > low:
                wanted[topic] = high
                starts.append(TopicPartition(topic, number, max(low, high - _SAMPLED)))
        found = []
        self._consumer.assign(starts)
        deadline = time.monotonic() + 1.0
        while wanted and time.monotonic() < deadline:
            for message in consume(self._consumer, _SAMPLED, 0.1):
                if message.error() is not None or message.offset() + 1 >= wanted.get(message.topic(), 0):
                    wanted.pop(message.topic(), None)
                if message.error() is None and (one := self._read(message)) is not None:
                    found.append(one)
        self._consumer.unassign()
        return found

    def _read(self, message: Consumed) -> tuple[str, str, int] | None:
        key, at = message.key(), broker_stamp(message)
        if not key or at is None or len(key) > _LONGEST:
            return None
        return self._roles[message.topic()], key.decode(errors="replace"), at

    def close(self) -> None:
        self._consumer.close()


def decision_of(message: Consumed) -> Decision | None:
    """The decision in a record; None where it is none."""
    return read_decision(message.value())


def place_of(message: Consumed) -> str:
    """Where a record stands."""
    return f"{message.topic()} {message.partition()}:{message.offset()}"


def letter_of(message: Consumed) -> LetterSeen:
    """A dead letter's record, without its value."""
    letter, key = read_letter(message.headers()), message.key()
    source = f"{letter.topic or 'unknown'} {letter.partition or '?'}:{letter.offset or '?'}"
    return LetterSeen(
        spot=f"{message.partition()}:{message.offset()}",
        at=moment(broker_stamp(message) or 0),
        code=(letter.code or "(no code)")[:_LONGEST],
        message=(letter.message or "")[:_LONGEST],
        source=source[:_LONGEST],
        key=(key or b"")[:_LONGEST].decode(errors="backslashreplace"),
        cycles=letter.cycles,
    )

"""What goes wrong in a stress test: workers killed, added and removed, the broker restarted."""

import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from streams.errors import StreamError
from streams.trials.worker_process import WorkerProcess

_RECOVERY_LIMIT = 120.0
_MOST_ENDED = 20
_PASSED_BY = re.compile(r"a record that is not secondlook's .*, partition (\d+), offset (\d+)")
_GUEST = "guest"
_FIRST, _LAST = 0.03, 0.93
"""The share of requests sent at which the first event comes, and the last one."""


class Event(StrEnum):
    """One thing that goes wrong."""

    KILL = "SIGKILL"
    ADD = "worker added"
    REMOVE = "worker removed"
    BROKER = "broker restarted"


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """An event, and the share of requests sent at which it comes."""

    at: float
    event: Event


def schedule(*, kills: int, rebalances: int, broker_restarts: int, seed: int) -> list[Due]:
    """Spread the events over the run, in an order drawn from the seed; adding and removing take turns."""
    rng = random.Random(seed)  # noqa: S311 - a repeatable test, not a secret
    events = [Event.KILL] * kills + [Event.ADD] * rebalances + [Event.BROKER] * broker_restarts
    rng.shuffle(events)
    step = (_LAST - _FIRST) / max(len(events) - 1, 1)
    dues, adding = [], True
    for place, drawn in enumerate(events):
        event = drawn
        if drawn is Event.ADD:
            event = Event.ADD if adding else Event.REMOVE
            adding = not adding
        dues.append(Due(_FIRST + place * step, event))
    return dues


@dataclass(slots=True)
class Damage:
    """What was done, and what it cost. `recoveries` are seconds from a named worker's end until it reads again.

    `ended_by_themselves` counts exits that nobody asked for.
    """

    kills: int = 0
    rebalances: int = 0
    broker_restarts: int = 0
    ended_by_themselves: int = 0
    unclean_stops: int = 0
    recoveries: list[float] = field(default_factory=list)
    last_words: list[str] = field(default_factory=list)


class Fleet:
    """The workers: named ones, killed and restarted under their names, and nameless ones that come and go."""

    def __init__(self, settings: Mapping[str, Any], *, workers: int, kafka: Mapping[str, str], seed: int) -> None:
        self._settings = settings
        self._kafka = kafka
        self._rng = random.Random(seed)  # noqa: S311 - as above
        self._named: dict[str, WorkerProcess] = {}
        self._guests: list[WorkerProcess] = []
        self._killed_at: dict[str, float] = {}
        self._joining: WorkerProcess | None = None
        self._all = ExitStack()
        self._names = [f"w{number}" for number in range(workers)]
        self.damage = Damage()

    def start(self) -> None:
        """Start the named workers; waits until each has its partitions."""
        for name in self._names:
            self._named[name] = self._worker(name)
        for worker in self._named.values():
            worker.wait_for("assigned", _RECOVERY_LIMIT)

    def kill(self) -> None:
        """SIGKILL one of the named workers and start it again at once."""
        name = self._rng.choice(self._names)
        self._killed_at[name] = time.monotonic()
        self._named[name].kill()
        if self._named[name].exit_code != -signal.SIGKILL:
            self._ended(name, self._named[name])  # it was quicker
        self._named[name] = self._worker(name)
        self.damage.kills += 1

    def add(self) -> None:
        """Start one more worker: the group rebalances."""
        self._joining = self._worker(None)
        self._guests.append(self._joining)
        self.damage.rebalances += 1

    def remove(self) -> None:
        """SIGTERM the worker that was added last: the group rebalances."""
        self._stop(_GUEST, self._guests.pop())
        self.damage.rebalances += 1

    def settled(self) -> bool:
        """Look after the workers; whether all that were killed, ended or added read again. Raises StreamError."""
        self._restart_ended()
        now = time.monotonic()
        for name, since in list(self._killed_at.items()):
            if _assigned(self._named[name]):
                self.damage.recoveries.append(now - since)
                del self._killed_at[name]
            elif now - since > _RECOVERY_LIMIT:
                words = self._named[name].last_words()
                raise StreamError(f"worker {name} did not come back within {_RECOVERY_LIMIT:g} s: {words}")
        if self._joining is not None and _assigned(self._joining):
            self._joining = None
        return not self._killed_at and self._joining is None

    def stop(self) -> None:
        """SIGTERM for all; their partitions' batches are committed."""
        while self._guests:
            self._stop(_GUEST, self._guests.pop())
        for name, worker in self._named.items():
            self._stop(name, worker)

    def passed_by(self) -> set[tuple[int, int]]:
        """What the named workers found in the changelog and said not to be theirs: partitions and offsets."""
        said = (str(line.get("message")) for worker in self._named.values() for line in worker.lines())
        return {(int(found[1]), int(found[2])) for found in map(_PASSED_BY.match, said) if found}

    def close(self) -> None:
        """End what still runs and remove the logs."""
        self._all.close()

    def _worker(self, name: str | None) -> WorkerProcess:
        return self._all.enter_context(WorkerProcess({**self._settings, "instance_id": name}, kafka=self._kafka))

    def _restart_ended(self) -> None:
        for name, worker in self._named.items():
            if worker.exit_code is not None:
                self._killed_at.setdefault(name, time.monotonic())
                self._ended(name, worker)
                self._named[name] = self._worker(name)
        for place, worker in enumerate(self._guests):
            if worker.exit_code is not None:
                self._ended(_GUEST, worker)
                self._joining = self._guests[place] = self._worker(None)

    def _ended(self, name: str, worker: WorkerProcess) -> None:
        """Count an exit that nobody asked for."""
        words = f"{name} ended by itself with exit code {worker.exit_code}: {_why(worker)}"
        self.damage.ended_by_themselves += 1
        self.damage.last_words.append(words)
        if self.damage.ended_by_themselves > _MOST_ENDED:
            raise StreamError(f"more than {_MOST_ENDED} workers ended by themselves, the last one: {words}")

    def _stop(self, name: str, worker: WorkerProcess) -> None:
        if worker.exit_code is not None:
            self._ended(name, worker)
            return
        try:
            clean = worker.terminate() == 0
        except subprocess.TimeoutExpired:
            clean = False
            worker.kill()
        if not clean:
            self.damage.unclean_stops += 1
            words = f"{name} was told to stop and ended with exit code {worker.exit_code}: {_why(worker)}"
            self.damage.last_words.append(words)


def _why(worker: WorkerProcess) -> str:
    """The critical line that a worker ended with; without one, its last lines."""
    said = [str(line["message"]) for line in worker.lines() if line.get("level") == "critical"]
    return (said or [worker.last_words()])[-1]


def _assigned(worker: WorkerProcess) -> bool:
    return any(line.get("message") == "assigned" for line in worker.lines())


class Chaos:
    """Lets the events happen as sending goes on, each after the one before it has been recovered from.

    `restarts` restart one node of the cluster each; together they are one restart of the broker.
    """

    def __init__(self, fleet: Fleet, dues: list[Due], restarts: Sequence[Callable[[], None]]) -> None:
        self._fleet = fleet
        self._dues = dues
        self._restarts = restarts
        self._done = 0

    @property
    def allowed(self) -> float:
        """The share of requests that may be sent: up to the event after the next one, so that each finds traffic."""
        following = self._done + 1
        return self._dues[following].at if following < len(self._dues) else 1.0

    @property
    def finished(self) -> bool:
        """Whether all events have happened and been recovered from."""
        return self._done == len(self._dues)

    def run(self, progress: Callable[[], float], ended: Callable[[], bool]) -> None:
        """Run until `ended`; `progress` is the share of requests sent."""
        going_on = False
        while not ended():
            settled = self._fleet.settled()
            if going_on and settled:
                going_on, self._done = False, self._done + 1
            if settled and not going_on and self._done < len(self._dues) and progress() >= self._dues[self._done].at:
                self._begin(self._dues[self._done].event)
                going_on = True
            time.sleep(0.05)

    def _begin(self, event: Event) -> None:
        match event:
            case Event.KILL:
                self._fleet.kill()
            case Event.ADD:
                self._fleet.add()
            case Event.REMOVE:
                self._fleet.remove()
            case Event.BROKER:
                for restart in self._restarts:
                    restart()
                    self._fleet.settled()  # a worker that ended meanwhile is not to be missed until the last node is back
                self._fleet.damage.broker_restarts += 1

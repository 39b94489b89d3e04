"""A worker with one named fault, for the tests: `python faulty_worker.py FAULT worker --broker ...`."""

import os
import signal
import sys
import time
from typing import Any

from streams.kafka import control_reader, control_status, cut_off, delivery, prober
from streams.pipeline.stages import Pipeline
from streams.worker import agents

FAULT = sys.argv.pop(1)
AFTER = 3
seen: list[str] = []


def fails_in(stage: str) -> None:
    """The stage raises on its third batch that has records."""
    original = getattr(Pipeline, stage)

    def faulty(self: Pipeline, batch: Any) -> Any:
        seen.append(stage)
        if len(seen) == AFTER:
            raise RuntimeError(f"injected fault in {stage}")
        return original(self, batch)

    setattr(Pipeline, stage, faulty)


def swallows() -> None:
    """The route stage loses its third batch without a word: it is put nowhere."""
    original = agents.App.channel

    class Losing:
        def __init__(self, channel: Any) -> None:
            self._channel, self._puts = channel, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._channel, name)

        async def put(self, value: Any) -> None:
            self._puts += 1
            if not (self._puts == AFTER and hasattr(value, "outputs")):
                await self._channel.put(value)

    def channel(self: Any, *args: Any, **options: Any) -> Any:
        return Losing(original(self, *args, **options))

    agents.App.channel = channel  # type: ignore[method-assign]
    agent = agents.App.agent
    agents.App.agent = lambda self, one, **options: agent(self, one._channel, **options)  # type: ignore[method-assign]


def hangs() -> None:
    """The Kafka client does not come back from a call, whatever timeout it was given."""

    class Hanging(delivery.Producer):
        def flush(self, timeout: float = -1) -> int:
            seen.append("flush")
            if len(seen) == AFTER:
                time.sleep(1000)
            return super().flush(timeout)

    delivery.Producer = Hanging  # type: ignore[misc] # a class like it


def freezes(call: str) -> None:
    """The process stops as a whole before this call of its third transaction, as a machine that was put to sleep."""

    class Freezing(delivery.Producer):
        def __getattribute__(self, name: str) -> Any:
            if name == call:
                seen.append(name)
                if len(seen) == AFTER:
                    os.kill(os.getpid(), signal.SIGSTOP)
            return super().__getattribute__(name)

    delivery.Producer = Freezing  # type: ignore[misc] # a class like it


def has_little_patience() -> None:
    """Whether a client is cut off is found out in two seconds instead of half a minute."""
    for module, name, seconds in (
        (cut_off, "_EVERY", 0.3),
        (cut_off, "_FOR", 2.0),
        (prober, "_RENEWED_AFTER", 2.0),
        (control_reader, "_RENEWED_AFTER", 2.0),
        (control_status, "_RENEWED_AFTER", 6.0),
    ):
        setattr(module, name, seconds)


if FAULT == "swallow":
    swallows()
elif FAULT == "hang":
    hangs()
elif FAULT == "little patience":
    has_little_patience()
elif FAULT.startswith("freeze-"):
    freezes(FAULT.removeprefix("freeze-"))
elif FAULT != "none":
    fails_in(FAULT)

from streams.cli.main import main  # noqa: E402 - the faults must be in place first

main()

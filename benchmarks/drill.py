"""How soon the console says what is wrong: faults, one after the other, on two workers at work on a real local Kafka.

A fault is brought about while all is well; measured is how long it takes until its word is said at all, and how long after its mending until all
is well again. What `secondlook doctor` and the workers' logs say meanwhile is printed below. Needs Java 17 and Maven.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from streams.cli.console import costs_of
from streams.console.feed import Feed
from streams.doctor import examine, gather
from streams.kafka.clients import base_config
from streams.kafka.publishing import publish_control
from streams.kafka.topics import create_topics, load_topics
from streams.pipeline.control_messages import ResumeAutomation, Rollback, SetModel, SetThreshold, StopAutomation
from streams.settings import Settings, load_settings
from streams.trials.brokers import LocalKafka
from streams.trials.steady import Steady
from streams.trials.worker_process import WorkerProcess

RATE = 40.0
TIMEOUT = 5.0
"""Seconds that a request waits for its answer here; the default is 60."""
WELL = ("flowing", "quiet")
LIVE_QUALITY = ("drift", "calibration", "missing")
"""Words of live quality: what recorded answers, sent again and again, may well be told as."""
_LOUD = ("warning", "error", "critical")
_MOST_LINES = 3


class Fault(NamedTuple):
    """What is done, how it is mended, and the words of which one should be said."""

    name: str
    bring: Callable[[], Any]
    mend: Callable[[], Any]
    words: tuple[str, ...]


class Drill:
    """Two workers, traffic and the console's read model."""

    def __init__(self, kafka: LocalKafka, stack: ExitStack, model: Path) -> None:
        self.kafka, self._model = kafka, model
        self.settings: Settings = load_settings({"broker": kafka.bootstrap}, environ={})
        create_topics(base_config(self.settings), load_topics(), replication_factor=1)
        self.workers: dict[str, WorkerProcess] = {}
        stack.callback(lambda: [self.kill(name) for name in list(self.workers)])
        publish_control(self.settings, SetThreshold(policy="*", threshold=0.4, issued_by="drill"))
        for name in ("worker-0", "worker-1"):
            self.run(name)
        self.traffic = Steady(self.settings, RATE)
        self.traffic.start()
        stack.callback(self.traffic.stop)
        self.feed = Feed(self.settings, costs_of(self.settings))
        self.feed.start()
        stack.callback(self.feed.close)

    def run(self, name: str, **more: Any) -> None:
        """Start a worker, as its supervisor would."""
        given = {"broker": self.kafka.bootstrap, "model": self._model, "instance_id": name, "web_port": 0}
        worker = WorkerProcess({**given, "response_timeout": TIMEOUT, **more}).__enter__()
        worker.wait_for("worker started")
        self.workers[name] = worker

    def kill(self, name: str) -> None:
        """As a crash would."""
        self.workers.pop(name).__exit__(None, None, None)

    def signal(self, name: str, what: signal.Signals) -> None:
        """Freeze it, or have it go on."""
        os.kill(self.workers[name].pid, what)

    def say(self, message: Any) -> None:
        """A control message."""
        publish_control(self.settings, message)

    def until(self, words: tuple[str, ...], limit: float, *, first: bool = False) -> tuple[float | None, str]:
        """Seconds until one of these words is said (`first`: before all others), and why it is so."""
        began = time.monotonic()
        while (took := time.monotonic() - began) < limit:
            found = [one for one in self.feed.state().findings if one.word not in LIVE_QUALITY]
            if first and not found:
                return took, "only live quality has something to say"
            for one in found[:1] if first else found:
                if one.word in words:
                    return took, f"{one.word}: {one.why}"
            time.sleep(0.1)
        return None, f"{self.feed.state().word}"

    def doctor(self) -> list[str]:
        """What `secondlook doctor` says of it."""
        found = examine(gather(self.settings))
        return [f"{one.check}: {one.about}" for one in found if one.state in ("wrong", "warning")]

    def logged(self, since: str) -> list[str]:
        """What the workers that run have logged from a time on, beside what tells nothing of a fault."""
        lines = [line for worker in self.workers.values() for line in worker.lines()]
        told = [line for line in lines if line.get("time", "") >= since and line.get("level") in _LOUD]
        return list(dict.fromkeys(str(line["message"]) for line in told))[:_MOST_LINES]

    def faults(self) -> list[Fault]:
        """Each of them."""
        set_ = self.traffic.__setattr__
        return [
            Fault(
                "one worker killed",
                lambda: self.kill("worker-0"),
                lambda: self.run("worker-0"),
                ("short of workers",),
            ),
            Fault(
                "one worker frozen",
                lambda: self.signal("worker-1", signal.SIGSTOP),
                lambda: self.signal("worker-1", signal.SIGCONT),
                ("short of workers",),
            ),
            Fault(
                "every worker killed",
                lambda: [self.kill(name) for name in ("worker-0", "worker-1")],
                lambda: [self.run(name) for name in ("worker-0", "worker-1")],
                ("down",),
            ),
            Fault("the broker stopped", self.kafka.stop, self.kafka.start, ("blind",)),
            Fault(
                "the model in force missing",
                lambda: self.say(SetModel(sha256="0" * 64, issued_by="drill")),
                lambda: self.say(Rollback(to_version=1, issued_by="drill")),
                ("closed",),
            ),
            Fault(
                "automation stopped",
                lambda: self.say(StopAutomation(policy="*", issued_by="drill", reason="a drill")),
                lambda: self.say(ResumeAutomation(policy="*", issued_by="drill")),
                ("stopped",),
            ),
            Fault(
                "one worker with other costs",
                lambda: [self.kill("worker-1"), self.run("worker-1", cost_review=0.3)],
                lambda: [self.kill("worker-1"), self.run("worker-1")],
                ("split",),
            ),
            Fault("no answers", lambda: set_("answered", False), lambda: set_("answered", True), ("unanswered",)),
            Fault(
                "answers without log-probabilities",
                lambda: set_("logprobs", False),
                lambda: set_("logprobs", True),
                ("log-probs missing",),
            ),
            Fault(
                "another partitioner for answers",
                lambda: set_("misplaced", True),
                lambda: set_("misplaced", False),
                ("not meeting",),
            ),
            Fault("poison flood", lambda: set_("poison", 0.9), lambda: set_("poison", 0.0), ("much set aside",)),
        ]


def main() -> None:
    """Run it and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, default=Path("models"), help="Model directory.")
    arguments.add_argument("--skip", type=int, default=0, help="The first so many faults.")
    arguments.add_argument("--json", type=Path, help="Write the figures here too.")
    given = arguments.parse_args()
    rows = []
    with ExitStack() as stack:
        drill = Drill(stack.enter_context(LocalKafka()), stack, given.model)
        for fault in drill.faults()[given.skip :]:
            settled, word = drill.until(WELL, 240, first=True)
            if settled is None:
                sys.exit(f"not well before {fault.name}: {word}")
            began = datetime.now(UTC).isoformat()
            fault.bring()
            said, why = drill.until(fault.words, 120)
            beside = {"doctor": drill.doctor(), "logs": drill.logged(began)}
            fault.mend()
            well, _ = drill.until(WELL, 240, first=True)
            rows.append({"fault": fault.name, "said_after": said, "why": why, "well_after": well, **beside})
            print(f"{fault.name:36} {_seconds(said):>8} {_seconds(well):>8}  {why}", flush=True)
            for who, lines in beside.items():
                print(*(f"    {who}: {line}" for line in lines or ["nothing"]), sep="\n", flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2))
    sys.exit(any(row["said_after"] is None for row in rows))


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


if __name__ == "__main__":
    main()

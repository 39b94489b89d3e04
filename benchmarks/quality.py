"""Live quality tried out: an LLM that gets worse in the middle, and humans who answer late and err; how soon it is told, and how often falsely.

`python benchmarks/quality.py` runs a worker on a local Kafka: answers of the recording, of which after a while each goes to another item's
request; a share of the automated is audited, humans judge what comes to them, and the worker is killed twice. In the end the worker's books are
held against books kept anew from the topics. `--draws N` simulates N streams in which nothing changes instead, at the very edge: calibrated, and
with a bound that is the true error rate. `--full` fills the books' memory, and measures it.
"""

import heapq
import itertools
import json
import math
import random
import resource
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from confluent_kafka import Producer

from scoring import RECORDING, Item, is_held_out, load_model, read_recording
from scoring.data import from_items
from streams.kafka.clients import Consumed, base_config
from streams.kafka.control_history import read_history
from streams.kafka.control_status import WorkerStatus, decode_status
from streams.kafka.publishing import publish_control
from streams.kafka.reading import places_of, read_values
from streams.kafka.topics import load_topics
from streams.pipeline.control_content import Bound
from streams.pipeline.control_limits import SetRiskBound
from streams.pipeline.control_messages import SetAuditRate
from streams.pipeline.quality.books import (
    MOST_AUDITS,
    MOST_ESCALATED,
    MOST_WITHOUT,
    MOST_WORDS,
    Books,
    Decision,
    Made,
)
from streams.pipeline.quality.items import NONE, Lot
from streams.pipeline.quality.items import Item as Remembered
from streams.pipeline.quality.judging import Figures
from streams.pipeline.quality.keeping import Ledger
from streams.pipeline.quality.ruling import Ruled, Ruling, Rulings
from streams.pipeline.scope import EVERYTHING
from streams.settings import Settings, load_settings
from streams.trials.brokers.local_kafka import LocalKafka
from streams.trials.outputs import OutputReader
from streams.trials.topics import own_topics
from streams.trials.worker_process import WorkerProcess

PERIOD, LOOK = 2.0, 1.0
"""Seconds that stand for a quarter of an hour, and between two looks."""
DELAYS = (0.5, 5.0)
CONFIDENCE = 0.9
_SETTLED = 6.0
_AT_ONCE = 500
_PATCHED = f"""
from functools import partial
import streams.kafka.quality_keeper as keeper
keeper.Timing = partial(keeper.Timing, look={LOOK}, save=5.0, period={PERIOD})
import streams.__main__
"""


class Run:
    """One run: what is sent, what comes back, and what humans say of it."""

    def __init__(
        self, settings: Settings, items: list[Item], count: int, change: int, rate: float, noise: float
    ) -> None:
        self._settings, self._items, self._count, self._change, self._rate = settings, items, count, change, rate
        self._noise = noise
        self._names = {role: topic.name for role, topic in load_topics(settings.topic_prefix).items()}
        self._random = random.Random(1)
        self._labels: dict[str, int] = {}
        self._due: list[tuple[float, int, bytes]] = []
        self._lock, self._number = threading.Lock(), itertools.count()
        self._producer = Producer(base_config(settings))
        self.sent = self.words = self.changed_at = 0
        self.alerts: dict[str, tuple[float, int, str]] = {}
        """By kind, when it was first told, and how many items had been sent."""
        self.last: WorkerStatus | None = None
        self.changed_time = math.inf

    def take(self, role: str, message: Consumed, now: float) -> None:
        """A decision that went to a human, or a worker's word."""
        if role == "control_status":
            status = decode_status(message.value())
            for alert in () if status is None else status.alerts:
                self.alerts.setdefault(alert.kind, (now, self.sent, alert.about))
            if status is not None and status.quality:
                self.last = status
            return
        decision = msgspec.json.decode(message.value() or b"", type=Decision)
        with self._lock:
            label = self._truth(decision)
            said = 1 - label if self._random.random() < self._noise else label
            word = {"request_id": decision.request_id, "policy": decision.policy, "outcome": said, "reviewer": "ada"}
            due = now + self._random.uniform(*DELAYS)
            heapq.heappush(self._due, (due, next(self._number), json.dumps(word).encode()))

    def _truth(self, decision: Decision) -> int:
        """The item's label. Before the change it is drawn by P(error): a few hundred items again and again would be no fair draw."""
        p, outcome = decision.error_probability, decision.llm.outcome
        if int(decision.request_id.removeprefix("item-")) >= self._change or p is None or outcome not in (0, 1):
            return self._labels[decision.request_id]
        return 1 - outcome if self._random.random() < p else outcome

    def send(self) -> Iterator[int]:
        """Send everything at the rate, and say how much that is by now."""
        began = time.monotonic()
        for number in range(self._count):
            if number == self._change:
                self.changed_time = time.monotonic()
            with self._lock:
                item = self._random.choice(self._items)
                answer = item if number < self._change else self._random.choice(self._items)
            name = f"item-{number}"
            self._labels[name] = item.label
            request = json.dumps({**item.request, "request_id": name}).encode()
            response = b'{"request_id":"%s","provider":"openai-chat","body":%s}' % (
                name.encode(),
                bytes(answer.response),
            )
            self._producer.produce(self._names["requests"], request, name)
            self._producer.produce(self._names["responses"], response, name)
            self.sent = number + 1
            if number % 50 == 0:
                self.speak()
                time.sleep(max(0.0, began + number / self._rate - time.monotonic()))
                yield number
        self._producer.flush(30)

    def speak(self, *, every: bool = False) -> int:
        """Write the human decisions that are due; how many wait."""
        with self._lock:
            while self._due and (every or self._due[0][0] <= time.monotonic()):
                self._producer.produce(self._names["human_decisions"], heapq.heappop(self._due)[2])
                self.words += 1
            self._producer.poll(0)
            return len(self._due)

    def kept_anew(self, model: str) -> list[Figures]:
        """What the topics say, from their beginning."""
        ledger, rulings = Ledger(), Rulings(read_history(self._settings).log.versions)
        for role in ("auto_action", "human_review", "human_decisions"):
            name, numbers = places_of(self._settings, role)[role]
            values = [(value, 0) for value in read_values(self._settings, name, numbers)]
            if role == "human_decisions":
                ledger.said(values)
            else:
                ledger.decided(ledger.read(values), rulings)
        ledger.use(model, None)
        return ledger.judge({}).figures


@contextmanager
def worker(settings: Settings, **more: Any) -> Iterator[WorkerProcess]:
    """A worker with short periods."""
    given = {
        "broker": settings.broker,
        "topic_prefix": settings.topic_prefix,
        "model": settings.model,
        "web_port": 0,
        "instance_id": "quality",
        **more,
    }
    with WorkerProcess(given, program=("-c", _PATCHED)) as process:
        process.wait_for("assigned")
        yield process


def bound_for(model: Path, items: list[Item], threshold: float, noise: float) -> SetRiskBound:
    """A bound half as large again as the error below the threshold on these very items, so that it holds until the change."""
    loaded, data = load_model(model), from_items(items)
    decided = data.take(data.decided)
    below = loaded.score(decided.values, decided.policies).error_probability < threshold
    errors = int(decided.errors[below].sum())
    risk = round(1.5 * errors / int(below.sum()) + noise, 3)
    return SetRiskBound(
        policy="*",
        max_risk=risk,
        confidence=CONFIDENCE,
        threshold=threshold,
        labels=len(decided),
        automated=int(below.sum()),
        errors=errors,
        labels_sha256=data.sha256(),
        sample="drawn-at-random",
        model=loaded.sha256,
    )


def on_kafka(
    model: Path, *, count: int, change: int, rate: float, audit: float, threshold: float, noise: float
) -> dict[str, Any]:
    """The run on a local Kafka; its figures."""
    items = [item for item in read_recording(RECORDING) if is_held_out(item.request_id)]
    with ExitStack() as stack:
        broker = stack.enter_context(LocalKafka()).bootstrap
        settings = load_settings({"broker": broker, "topic_prefix": "quality.", "model": str(model)}, environ={})
        stack.enter_context(own_topics(settings))
        bound = bound_for(model, items, threshold, noise)
        publish_control(settings, bound)
        publish_control(settings, SetAuditRate(policy="*", rate=audit))
        run = Run(settings, items, count, change, rate, noise)
        reader = OutputReader(settings, run.take, ("human_review", "control_status"))
        reading = threading.Thread(target=reader.run, daemon=True)
        reading.start()
        kills = [count // 5, count * 7 // 10]
        process = stack.enter_context(worker(settings))
        for number in run.send():
            if kills and number >= kills[0]:
                kills.pop(0)
                process.kill()
                process = stack.enter_context(worker(settings))
        told = _settled(run)
        reader.stop()
        reading.join(10)
        anew = run.kept_anew(load_model(model).sha256)
        same = {_counts(one) for one in anew} == {_counts(one) for one in told}
        return {
            "items": count,
            "human_decisions": run.words,
            "bound": bound.max_risk,
            "automated": sum(one.automated for one in anew),
            "audits": sum(one.audits for one in anew),
            "alerts": {
                kind: {
                    "seconds_after_change": round(at - run.changed_time, 1),
                    "items_after_change": sent - change,
                    "first": about,
                }
                for kind, (at, sent, about) in run.alerts.items()
            },
            "books_exact_after_two_sigkills": same,
            "exit_code": process.terminate(),
        }


def _settled(run: Run) -> list[Figures]:
    """What the worker says once nothing changes any more."""
    seen, since = None, time.monotonic()
    while run.speak() or not run.last or time.monotonic() - since < _SETTLED:
        if run.last is not None and seen != run.last.quality:
            seen, since = run.last.quality, time.monotonic()
        time.sleep(0.2)
    return list(run.last.quality)


def _counts(one: Figures) -> tuple[object, ...]:
    """The figures without those of the last answers alone."""
    told = msgspec.structs.replace(one, drift={}, score_drift=None, recent_audits=0, recent_error=None)
    return tuple(map(str, msgspec.structs.astuple(told)))


def without_change(draws: int, *, count: int, audit: float, threshold: float) -> dict[str, Any]:
    """Of so many streams in which nothing changes: the share in which each alert is ever raised, looked at after every period."""
    rng, raised = np.random.default_rng(1), defaultdict(int)
    ruled = Ruled(EVERYTHING, 0)
    for _ in range(draws):
        p = rng.beta(0.8, 3.0, count)
        risk = float(p[p < threshold].mean())
        wrong = rng.random(count) < p
        above = p >= threshold
        seen = np.flatnonzero(above | (rng.random(count) < audit))
        ledger, found = Ledger(), set()
        ledger.use("m", None)
        bounds = {ruled: Bound(risk, CONFIDENCE)}
        for period, places in itertools.groupby(seen.tolist(), lambda place: place * 100 // count):
            made, words = [], []
            for place in places:
                reason, chance = ("above_threshold", 1.0) if above[place] else ("audit", audit)
                made.append(
                    Made(_decision(str(place), reason, 1, float(p[place]), chance), period, Ruling(ruled=ruled))
                )
                words.append((_word(str(place), int(not wrong[place])), period))
            ledger.books.decided(made)
            ledger.said(words)
            found |= {alert.kind for alert in ledger.judge(bounds).alerts}
        for kind in found:
            raised[kind] += 1
    return {
        "draws": draws,
        "share_with_a_false_alert": {kind: raised[kind] / draws for kind in ("risk", "calibration")},
    }


def when_full() -> dict[str, Any]:
    """Books that remember as much as they may: what they take, and how long the next decisions and human decisions do."""
    books, before = Books(b"salt"), _resident()
    books.decided([Made(_decision("first", "audit", 1, 0.1, 0.1), 0)])
    for memory, most in zip(books._memories, (MOST_AUDITS, MOST_ESCALATED, MOST_WITHOUT), strict=True):  # noqa: SLF001 - as decisions do, sooner
        for number in range(most):
            lot = Lot(1, number // 10_000, 1, 1, 213, 0, NONE, 0)
            memory.add(books._about(f"audit {number}", str(most)), Remembered(lot, number % 1_000_000))  # noqa: SLF001 - likewise
            memory.turn()
    for start in range(0, MOST_WORDS, _AT_ONCE):
        books.said([(_word(f"audit {number}", 1, str(MOST_AUDITS)), 0) for number in range(start, start + _AT_ONCE)])
    pages = {name: len(packed()) for name, packed in books.pages().items()}
    more = [Made(_decision(f"more {number}", "above_threshold", 1, 0.5, 1.0), 0) for number in range(_AT_ONCE)]
    words = [
        (_word(f"audit {number}", 1, str(MOST_AUDITS)), 0) for number in range(MOST_AUDITS - _AT_ONCE, MOST_AUDITS)
    ]
    return {
        "answers": MOST_AUDITS + MOST_ESCALATED + MOST_WITHOUT,
        "words": MOST_WORDS,
        "resident_mb": round((_resident() - before) / 1e6, 1),
        "pages": {"count": len(pages), "mb": round(sum(pages.values()) / 1e6, 1)},
        "state_mb": round(sum(map(len, books.pieces())) / 1e6, 1),
        "ms_for_500_decisions": _milliseconds(lambda: books.decided(more)),
        "ms_for_500_human_decisions": _milliseconds(lambda: books.said(words)),
    }


def _decision(name: str, reason: str, outcome: int | None, p: float, chance: float) -> Decision:
    llm = {"name": "llm", "outcome": outcome}
    body = {"request_id": name, "policy": "hate", "reasons": [reason], "llm": llm, "model": {"sha256": "m"}}
    return msgspec.convert({**body, "error_probability": p, "audit_probability": chance}, Decision)


def _word(name: str, outcome: int, policy: str = "hate") -> bytes:
    said = {"request_id": name, "policy": policy, "outcome": outcome, "reviewer": name, "decided_at": 1_790_000_000_000}
    return json.dumps(said).encode()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _milliseconds(done: Callable[[], object]) -> float:
    """Of the processor's time."""
    began = time.process_time()
    done()
    return round(1000 * (time.process_time() - began), 1)


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default=Path("models"), show_default=True)
@click.option("--count", default=50_000, show_default=True, help="Items.")
@click.option("--change", default=20_000, show_default=True, help="Items after which answers are swapped.")
@click.option("--rate", default=800.0, show_default=True, help="Items a second.")
@click.option("--audit", default=0.1, show_default=True)
@click.option("--threshold", default=0.2, show_default=True)
@click.option("--noise", default=0.03, show_default=True, help="Share of the human verdicts that are wrong.")
@click.option("--draws", default=0, help="Simulate so many streams without a change instead.")
@click.option("--full", is_flag=True, help="Fill the books' memory instead, and measure it.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(
    model: Path,
    count: int,
    change: int,
    rate: float,
    audit: float,
    threshold: float,
    noise: float,
    draws: int,
    full: bool,
    path: Path | None,
) -> None:
    """Try live quality out."""
    if full:
        found = when_full()
    elif draws:
        found = without_change(draws, count=count, audit=audit, threshold=threshold)
    else:
        found = on_kafka(model, count=count, change=change, rate=rate, audit=audit, threshold=threshold, noise=noise)
    text = json.dumps(found, indent=2)
    click.echo(text)
    if path is not None:
        path.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""What the console costs beside a worker, and whether it keeps up: `python benchmarks/console.py --rate 10000`.

A worker decides a backlog on a real local Kafka (Java 17 and Maven), by which its processor time per decision is known. Then its decisions are written
again and again to the decision topics, so many a second, while `secondlook console` follows them and a browser asks for its first page every two seconds.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer
from pacing import parts

from streams.kafka.clients import base_config
from streams.kafka.reading import ends, places_of, read_values
from streams.kafka.topics import create_topics, load_topics
from streams.settings import Settings, load_settings
from streams.trials.brokers import LocalKafka
from streams.trials.worker_process import WorkerProcess

ROLES = ("auto_action", "human_review")
NAMES = {role: topic.name for role, topic in load_topics().items()}
TICK = 0.01


def decided(settings: Settings) -> int:
    """Offsets of the decision topics: decisions, and the marks of transactions."""
    return sum(sum(ends(settings, *place).values()) for place in places_of(settings, *ROLES).values())


def work(settings: Settings, model: Path, count: int) -> float:
    """Have a worker decide so many; its seconds of processor time per decision."""
    producer = Producer(
        {
            "bootstrap.servers": settings.broker,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.kbytes": 2**20,
        }
    )
    made = parts()
    for number in range(count):
        key = f"{number:08d}".encode()
        for role, part in zip(("requests", "responses"), made[number % len(made)], strict=True):
            producer.produce(NAMES[role], b'{"request_id":"' + key + b'",' + part, key)
        producer.poll(0)
    producer.flush()
    with WorkerProcess({"broker": settings.broker, "model": model, "web_port": 0, "instance_id": "one"}) as worker:
        worker.wait_for("assigned")
        process = psutil.Process(worker.pid)
        before, seen = sum(process.cpu_times()[:2]), decided(settings)
        while (now := decided(settings)) < count:
            time.sleep(0.5)
        return (sum(process.cpu_times()[:2]) - before) / (now - seen)


class Watched:
    """A console, and what it takes."""

    def __init__(self, settings: Settings) -> None:
        command = [sys.executable, "-m", "streams", "console", "--broker", settings.broker, "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._at = self._process.stdout.readline().split()[0]
        self._usage = psutil.Process(self._process.pid)

    def page(self, path: str) -> bytes:
        with urllib.request.urlopen(self._at + path, timeout=30) as answer:
            return bytes(answer.read())

    def state(self) -> Any:
        return json.loads(self.page("state.json"))

    @property
    def cpu(self) -> float:
        return float(sum(self._usage.cpu_times()[:2]))

    @property
    def memory(self) -> int:
        return int(self._usage.memory_info().rss)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def replay(settings: Settings, values: list[tuple[str, bytes]], rate: float, seconds: float) -> Iterator[int]:
    """Write so many a second; yields how many are written, every two seconds."""
    producer = Producer(
        {
            "bootstrap.servers": settings.broker,
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.kbytes": 2**20,
        }
    )
    began = told = time.monotonic()
    sent = 0
    while (now := time.monotonic()) - began < seconds:
        for _ in range(int((now - began) * rate) - sent):
            role, value = values[sent % len(values)]
            producer.produce(NAMES[role], value, str(sent))
            sent += 1
        producer.poll(0)
        if now - told >= 2:
            told = now
            yield sent
        time.sleep(TICK)
    producer.flush()
    yield sent


def main() -> None:
    """Run it and print what came of it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, default=Path("models"), help="Model directory.")
    arguments.add_argument("--rate", type=float, default=10_000, help="Decisions a second.")
    arguments.add_argument("--seconds", type=float, default=60, help="How long they come.")
    arguments.add_argument("--count", type=int, default=40_000, help="Decisions by which the worker is measured.")
    given = arguments.parse_args()
    with LocalKafka() as kafka:
        settings = load_settings({"broker": kafka.bootstrap}, environ={})
        create_topics(base_config(settings), load_topics(), replication_factor=1)
        worker = work(settings, given.model, given.count)
        print(f"worker: {1e6 * worker:.0f} us of processor time per decision", flush=True)
        values = [
            (role, value)
            for role, place in places_of(settings, *ROLES).items()
            for value in read_values(settings, *place)
        ]
        console = Watched(settings)
        try:
            time.sleep(10)
            idle = console.cpu
            time.sleep(10)
            idle = (console.cpu - idle) / 10
            before, start = console.cpu, time.monotonic()
            written = 0
            unread, skipped, memory = [], 0, []
            for sent in replay(settings, values[-20_000:], given.rate, given.seconds):
                written = sent
                console.page("")
                state = console.state()
                unread.append(state["contact"]["unread"])
                skipped = state["contact"]["skipped"]
                memory.append(console.memory)
            took = time.monotonic() - start
            cpu = console.cpu - before
            print(f"console, nothing comes: {idle:.3f} of a processor")
            print(
                f"console: {written / took:,.0f} decisions/s written; it said {state['rates']['decisions']:,.0f}; {cpu / took:.3f} of a processor"
            )
            print(
                f"console: {1e6 * (cpu - idle * took) / written:.1f} us per decision, {(cpu - idle * took) / written / worker:.2f} of the worker's"
            )
            print(
                f"unread at most {max(unread):,}; passed by {skipped:,}; memory {memory[0] / 2**20:.0f} to {max(memory) / 2**20:.0f} MiB"
            )
        finally:
            console.close()


if __name__ == "__main__":
    main()

"""Who runs: how each contender's process is started, and what of the work it does."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from job import Setup
from track import Track

from streams.trials.worker_process import WorkerProcess

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
PEERS_PYTHON = _HERE / ".venv" / "bin" / "python"


class Running(Protocol):
    """A started contender."""

    @property
    def pid(self) -> int: ...

    @property
    def exit_code(self) -> int | None: ...

    def last_words(self) -> str: ...

    def kill(self) -> None: ...


class Program:
    """A command in a process of its own, its output in a file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-600:] or "it said nothing"

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        if self.exit_code is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


@dataclass(frozen=True)
class Contender:
    """`peer` is the package that must be installed beside ours; `settle` how long (s) it may rest between two commits."""

    name: str
    matching: bool
    guarantee: str
    start: Callable[[Track, Path], Running]
    peer: str | None = None
    settle: float = 2.0


def worker(delivery: str, tree: Path | None = None, **settings: Any) -> Callable[[Track, Path], Running]:
    """A real secondlook worker; with `tree` it is that checkout's, and has the model that was trained there."""
    program = ("-m", "streams")
    if tree is not None:
        run = "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('streams', run_name='__main__', alter_sys=True)"
        program = ("-c", run, str(tree.resolve()))

    def start(track: Track, model: Path) -> Running:
        given = {
            "broker": track.broker,
            "topic_prefix": track.prefix,
            "group": f"bench-{uuid.uuid4().hex[:8]}",
            "model": model if tree is None else tree / "models",
            "delivery": delivery,
            "web_port": 0,
            # Filled topics are a backlog: nothing in them may time out, whatever the order it is read in.
            "response_timeout": 86_400,
        }
        return WorkerProcess({**given, **settings}, program=program)

    return start


def program(script: str, *arguments: str, python: Path | None = None, **flags: int) -> Callable[[Track, Path], Running]:
    """A contender's script; `flags` are its switches."""

    def start(track: Track, model: Path) -> Running:
        setup = Setup(track.broker, track.prefix, f"bench-{uuid.uuid4().hex[:8]}", str(model))
        environment = setup.environment() | {f"BENCH_{name.upper()}": str(value) for name, value in flags.items()}
        environment["PYTHONPATH"] = os.pathsep.join((str(_HERE), str(_ROOT)))
        return Program([str(python or sys.executable), str(_HERE / script), *arguments], environment)

    return start


def _peer(script: str, *arguments: str, **flags: int) -> Callable[[Track, Path], Running]:
    return program(f"peers/{script}", *arguments, python=PEERS_PYTHON, **flags)


_NO, _ONCE, _EXACTLY = "none", "at least once", "exactly once"
_AIOKAFKA, _FAUST, _QUIX, _BYTEWAX = "aiokafka_loop.py", "faust_agent.py", "quix_app.py", "bytewax_flow.py"

CONTENDERS = {
    one.name: one
    for one in (
        Contender("floor", False, _NO, program("floor.py")),
        Contender("at_least_once", True, _ONCE, worker("at_least_once")),
        Contender("exactly_once", True, _EXACTLY, worker("exactly_once")),
        Contender("aiokafka", False, _ONCE, _peer(_AIOKAFKA), "aiokafka"),
        Contender("aiokafka_exactly_once", False, _EXACTLY, _peer(_AIOKAFKA, exactly_once=1), "aiokafka"),
        Contender("faust", False, _ONCE, _peer(_FAUST, "worker"), "faust", settle=3),
        Contender("faust_take", False, _ONCE, _peer(_FAUST, "worker", take=1), "faust", settle=3),
        Contender("quix", False, _ONCE, _peer(_QUIX), "quixstreams", settle=4),
        Contender("quix_exactly_once", False, _EXACTLY, _peer(_QUIX, exactly_once=1), "quixstreams", settle=4),
        Contender("quix_join", True, _ONCE, _peer(_QUIX, join=1), "quixstreams", settle=4),
        Contender("bytewax", False, _NO, _peer(_BYTEWAX), "bytewax"),
        Contender("bytewax_join", True, _NO, _peer(_BYTEWAX, join=1), "bytewax"),
    )
}


def missing(contender: Contender) -> str | None:
    """Why a contender can't run here, or None."""
    if contender.peer is None:
        return None
    if not PEERS_PYTHON.exists():
        return f"{PEERS_PYTHON.parents[1]} is missing: run it through `make bench`, which installs it"
    try:
        done = subprocess.run([PEERS_PYTHON, "-c", f"import {contender.peer}"], capture_output=True, check=False)
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else f"{contender.peer} can't be imported"


class RunFailedError(Exception):
    """A contender ended, or did not finish."""


@dataclass(frozen=True)
class Lap:
    """One run: decisions per second; how many were decided, and of them twice; the most memory it had.

    `first` is the time (s) from the start of the process to its first readable decision, `cpu` the processor time (s) that it took
    in all. `course` are the decisions that were readable at each time (s).
    """

    throughput: float
    decided: int
    repeated: int
    peak_mib: float
    first: float
    cpu: float
    course: Sequence[tuple[float, float]]


def run(
    contender: Contender,
    track: Track,
    model: Path,
    *,
    count: int,
    seconds: float,
    warm: int | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Lap:
    """Start a contender on the filled topics, and time it until it is through or `seconds` are over.

    Timed from when `warm` answers (a tenth, at most 1,000) are decided: what comes before is its start-up. `prepare` is
    called once the outputs and the changelog are empty.
    """
    track.clear_outputs()
    prepare()
    started = time.perf_counter()
    running = contender.start(track, model)
    try:
        samples = _watch(
            running, track, count=count, seconds=max(seconds, 2 * contender.settle), settle=contender.settle
        )
        memory, cpu = peak_mib(running.pid), cpu_seconds(running.pid)
    finally:
        running.kill()
    decided = track.decisions()
    total = samples[-1][1]
    rate = _rate(samples, min(count // 10, 1000) if warm is None else warm)
    if rate is None:
        raise RunFailedError(f"{contender.name}: all {total} decisions came at once; give it more records")
    records_per_offset = len(decided) / total  # a transaction's marker takes an offset too
    course = [(at, seen * records_per_offset) for at, seen in samples]
    first = samples[1][0] - started
    return Lap(rate * records_per_offset, len(decided), repeats(decided), memory, first, cpu, course)


def _rate(samples: Sequence[tuple[float, int]], warm: int) -> float | None:
    """Offsets per second from the first sample with `warm` of them to the first with all; None if that is no time."""
    total = samples[-1][1]
    begin, before = next((sample for sample in samples if sample[1] >= warm), samples[-1])
    end, after = next(sample for sample in samples if sample[1] == total)
    return (after - before) / (end - begin) if end > begin else None


def repeats(decided: Mapping[bytes, int]) -> int:
    """Decisions beyond the first of each request."""
    return sum(decided.values()) - len(decided)


def _watch(running: Running, track: Track, *, count: int, seconds: float, settle: float) -> list[tuple[float, int]]:
    """(time, readable offsets) at every change."""
    samples = [(time.perf_counter(), 0)]
    started: float | None = None
    deadline = time.perf_counter() + 60
    while True:
        now, seen = time.perf_counter(), track.readable()
        if seen != samples[-1][1]:
            samples.append((now, seen))
            started = started or now
        if running.exit_code is not None:
            raise RunFailedError(f"it ended with exit code {running.exit_code}: {running.last_words()}")
        if started is None and now > deadline:
            raise RunFailedError(f"no decision within 60 s: {running.last_words()}")
        if started is not None:
            rested = now - samples[-1][0]
            if seen >= count and rested > min(settle, 1.0):
                return samples
            if now - started > seconds or rested > 3 * settle:
                return samples
        time.sleep(0.02)


def peak_mib(pid: int) -> float:
    """The most memory a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has taken so far, the system's part included."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

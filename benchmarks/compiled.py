"""The peers that are compiled: Kafka Streams in Java, and the native limit in Rust. How each is built and started.

What is built lies in each peer's own `target`, which git ignores. A peer whose tools are not there is missing, and says why.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from contenders import Contender, Program, Running
from job import JOINED
from parameters import write_parameters
from track import Track

from scoring.model import model_file

_PEERS = Path(__file__).parent / "peers"
_STREAMS, _LIMIT = _PEERS / "kafka_streams", _PEERS / "native_limit"
_HEAP = "-Xmx1g"
_SETTLE = 5.0
"""A task that moves between threads rests for some seconds."""
_LAST_LINES = 12


class NotBuiltError(Exception):
    """A peer that can't be built here, and why."""


@dataclass(frozen=True)
class Peer:
    """A family of contenders that are built together; `tools` must be in the path."""

    tools: tuple[str, ...]
    folder: Path
    command: tuple[str, ...]

    def build(self) -> None:
        """Build it, which takes minutes the first time. Raises NotBuiltError with the reason if that can't be done."""
        lacking = [tool for tool in self.tools if shutil.which(tool) is None]
        if lacking:
            raise NotBuiltError(f"{' and '.join(lacking)} not in the path")
        done = subprocess.run(
            self.command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            said = "\n".join(done.stdout.strip().splitlines()[-_LAST_LINES:])
            raise NotBuiltError(f"`{' '.join(self.command)}` failed in {self.folder}:\n{said}")


_MAVEN = ("mvn", "--batch-mode", "--quiet", "compile", "dependency:copy-dependencies", "-DincludeScope=runtime")
STREAMS = Peer(("javac", "mvn"), _STREAMS, _MAVEN)
LIMIT = Peer(("cargo", "cc", "make"), _LIMIT, ("cargo", "build", "--release", "--locked", "--quiet"))


class _WithState:
    """A program with a folder of its own for its state, and the topics that it makes for itself: both go when it is killed."""

    def __init__(self, program: Program, state: Path, clean: Callable[[], None]) -> None:
        self._program = program
        self._state = state
        self._clean = clean

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def exit_code(self) -> int | None:
        return self._program.exit_code

    def last_words(self) -> str:
        return self._program.last_words()

    def kill(self) -> None:
        self._program.kill()
        shutil.rmtree(self._state, ignore_errors=True)
        self._clean()


def _environment(track: Track, model: Path, state: Path, group: str) -> Mapping[str, str]:
    parameters = state / "model.txt"
    write_parameters(model, parameters)
    roles = ("requests", "responses", "auto_action", "human_review", "vectors", JOINED)
    given = {role: track.names[role] for role in roles} | {
        "broker": track.broker,
        "group": group,
        "model_file": str(model_file(model)),
        "parameters": str(parameters),
        "state": str(state / "streams"),
    }
    return {f"BENCH_{name.upper()}": value for name, value in given.items()}


def _start(command: Sequence[str], track: Track, model: Path, **own: object) -> Running:
    state = Path(tempfile.mkdtemp(prefix="secondlook-peer-"))
    group = f"bench-{uuid.uuid4().hex[:8]}"
    environment = {**_environment(track, model, state, group), **{f"BENCH_{k.upper()}": str(v) for k, v in own.items()}}
    return _WithState(Program(command, environment), state, partial(track.remove_others, group))


def _java(variant: str, threads: int, *options: str) -> Callable[[Track, Path], Running]:
    """The heap is bounded, as ours is by its work; everything else of the virtual machine is its own default, unless given."""
    path = os.pathsep.join((str(_STREAMS / "target" / "classes"), str(_STREAMS / "target" / "dependency" / "*")))
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    command = ("java", _HEAP, quiet, *options, "-cp", path, "secondlook.peers.Main", variant)
    return partial(_start, command, threads=threads)


def _streams(variant: str, threads: int, *options: str) -> Contender:
    name = f"kafka_streams_{variant}_{threads}"
    return Contender(name, True, "exactly once", _java(variant, threads, *options), settle=_SETTLE)


def _limit(name: str, guarantee: str, exactly_once: int) -> Contender:
    command = (str(_LIMIT / "target" / "release" / "native-limit"),)
    return Contender(name, False, guarantee, partial(_start, command, exactly_once=exactly_once))


COMPILED: Mapping[str, tuple[Peer, tuple[Contender, ...]]] = {
    "kafka_streams_documented": (STREAMS, tuple(_streams("documented", threads) for threads in (1, 2))),
    "kafka_streams_tuned": (STREAMS, tuple(_streams("tuned", threads, "-XX:+UseParallelGC") for threads in (1, 2))),
    "native_limit": (LIMIT, (_limit("native_limit", "none", 0),)),
    "native_limit_exactly_once": (LIMIT, (_limit("native_limit_exactly_once", "exactly once", 1),)),
}
"""By name, what it is built by, and the ways to run it: all are tried once, and the fastest one is timed."""

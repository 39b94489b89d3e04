"""Controls under load: what is in force, how soon, and what changing it costs. Two workers, exactly once, a local Kafka.

    python benchmarks/controls.py [--quick] [--messages N] [--budget-minutes M] [--rate PAIRS_PER_S] [--rounds N] [--seed N] [--json PATH]

Signed control messages of every kind, good, bad, impossible and forged, while requests and answers of several tenants come by the clock;
then (if asked for) a review budget that the workers hold, stops, swaps by `secondlook control`, and a model that one worker lacks. Each decision is judged
by a checker of its own (`control_check.py`, `control_fold.py`).
Times are differences of the broker's stamps, the workers' `decided_at` and this process's clock: all of one machine.
"""

import base64
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import orjson
from contenders import RunFailedError
from control_check import AUTO
from control_figures import (
    Notes,
    after_stops,
    counts,
    disagreements,
    in_force,
    mistakes,
    rate,
    spread_ms,
    under_the_old,
)
from control_laps import Laps, throughput
from control_models import answers, facts, furnish, usable, with_tenants
from control_script import Signer
from control_traffic import Log, Operator, Watcher, read_log, read_statuses
from course import Course, Figures, conclude, options
from pacing import Sender, parts

from featurizers import SecondlookError
from streams.errors import StreamError
from streams.trials.brokers import LocalKafka
from streams.trials.worker_process import WorkerProcess

WORKERS = ("worker-1", "worker-2")
_LACKING = WORKERS[1]
_LIMITS = {
    "records_per_s_short_of_5000": 0,
    "decisions_wrong": 0,
    "decisions_missing": 0,
    "decisions_repeated": 0,
    "budget_moves_outside": 0,
    "versions_that_went_back": 0,
    "dead_letters": 0,
    "workers_that_refused_otherwise": 0,
    "versions_of_two_contents": 0,
    "in_force_p99_ms": 1000,
    "stop_to_last_automated_max_ms": 1000,
    "automated_without_the_model": 0,
    "throughput_lost": 0.1,
}
_LONGEST = 900.0
_SETTLE = 3.0
_PATIENCE = 60.0
BUDGET = {"share": 0.8, "lowest": 0.02, "highest": 0.95}
FORGED = {"not signed", "bad signature", "not dated", "replayed"}
_PACE = 0.5
"""Seconds by which decisions may be behind what was sent."""


class Trial:
    """Two workers under load, each with a model directory of its own."""

    def __init__(
        self, broker: str, folder: Path, current: Path, *, rate: float, seed: int, budget_minutes: float
    ) -> None:
        self.directories = {name: folder / name for name in WORKERS}
        self.models = furnish(current, list(self.directories.values()))
        self._course = Course(broker, folder, "controls")
        self.track = self._course.track
        self.keys = KeyFiles(folder, self.track.names["control"])
        self.operator = Operator(self.track, self.models, seed, self.keys.operator, [self.keys.workers])
        self.notes = Notes()
        self.ports: dict[str, int] = {}
        self._rate = rate
        self._budget_minutes = budget_minutes
        self.parts = with_tenants(parts())
        self._sender = Sender(self.track, self.parts)
        self.late = 0.0

    def log(self) -> Log:
        """The control log as it stands."""
        return read_log(self.track, self.keys.operator.keys(self.keys.workers))

    @contextmanager
    def under_load(self) -> Iterator[Watcher]:
        """Both workers ready and records coming; at the end all that was sent is decided and read."""
        with ExitStack() as running:
            workers = {}
            for name in WORKERS:
                settings = {"model": self.directories[name], "response_timeout": 3600, **self.keys.settings}
                workers[name], self.ports[name] = running.enter_context(self._course.running(name, **settings))
            for name, worker in workers.items():
                wait(
                    lambda name=name: len(self.ready(name)[1].get("partitions", ())) == 2,
                    f"{name} is not ready",
                    worker,
                )
            watcher = Watcher(self.track)
            running.callback(watcher.close)
            over = threading.Event()
            with ThreadPoolExecutor(1) as threads:
                sending = threads.submit(self._send, over)
                try:
                    self._warm_up(watcher)
                    yield watcher
                finally:
                    over.set()
            self.late = sending.result()
            watcher.wait_for(self._sender.sent, _PATIENCE)
            ended = [f"{name}: {one.last_words()}" for name, one in workers.items() if one.exit_code is not None]
            if ended:
                raise StreamError(f"a worker ended: {'; '.join(ended)}")

    def _send(self, over: threading.Event) -> float:
        due = time.monotonic() + 0.5 + np.arange(int(self._rate * (_LONGEST + 60 * self._budget_minutes))) / self._rate
        return self._sender.run(1, due, over.is_set)

    def _warm_up(self, watcher: Watcher) -> None:
        """Wait until the workers keep pace; where they can't, the figures will say so."""
        time.sleep(_SETTLE)
        deadline = time.monotonic() + _PATIENCE
        while self.sent - len(watcher.seen) > self._rate * _PACE and time.monotonic() < deadline:
            time.sleep(0.1)

    @property
    def sent(self) -> int:
        """Pairs that were sent."""
        return self._sender.sent

    def ready(self, name: str) -> tuple[int, dict[str, Any]]:
        """What a worker's /ready says, with its status; 0 while it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.ports[name]}/ready", timeout=10) as answer:
                return answer.status, orjson.loads(answer.read())
        except HTTPError as refused:
            with refused:
                return refused.code, orjson.loads(refused.read())
        except OSError:
            return 0, {}

    def command(self, *words: str) -> tuple[int, str]:
        """Run `secondlook` in a process of its own; its exit code and what it said."""
        where = ["--broker", self.track.broker, "--topic-prefix", self.track.prefix]
        done = subprocess.run(
            [sys.executable, "-m", "streams", *words, *where],
            env={**os.environ, **self.keys.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def mix(self, count: int, pause: float) -> None:
        """So many messages of every kind, `pause` seconds apart; then what is plain."""
        began = time.time() * 1000
        due = time.monotonic()
        for _ in range(count):
            due += pause
            time.sleep(max(0.0, due - time.monotonic()))
            self.operator.some()
        self.notes.mix = began, time.time() * 1000
        self.operator.plain()
        time.sleep(1)

    def budget(self) -> None:
        """Have the workers hold a review budget: nothing moves in the first ten minutes."""
        self.operator.message("set_review_budget", policy="*", **BUDGET)
        time.sleep(60 * self._budget_minutes)
        self.operator.plain()

    def stop(self, times: int) -> None:
        """Stop everything and resume, again and again."""
        for _ in range(times):
            self.notes.stops.append(self.operator.message("stop_automation", policy="*"))
            time.sleep(1.5)
            self.operator.message("resume_automation", policy="*")
            time.sleep(1)

    def swap(self) -> None:
        """`secondlook control set-model`: a good model comes into force, a bad one is refused and changes nothing.

        Raises RunFailedError where that is not so.
        """
        code, said = self._set_model(self.models.other)
        expect(code == 0, f"a good model was not put in force: exit code {code}, {said}")
        for name, why in (
            ("corrupt", "is damaged"),
            ("wrong_schema", "feature schema other/1"),
            ("missing", "no whole model"),
            ("uncalibrated", "is not calibrated"),
        ):
            before = self._in_force()
            code, said = self._set_model(getattr(self.models, name))
            print(f"{name}: exit code {code}, {said}", file=sys.stderr)
            expect((code, True) == (4, why in said), f"a model that is {name} was not refused for that: {code}, {said}")
            expect(before == self._in_force(), f"a model that is {name} changed what is in force")

    def _set_model(self, sha256: str, *more: str) -> tuple[int, str]:
        return self.command("control", "set-model", sha256, "--keep-thresholds", "--wait", "30", *more)

    def _in_force(self) -> tuple[Any, ...]:
        """Version and model by the log, and by each worker's page."""
        state = self.log().fold
        return (
            state.version,
            state.state,
            *((self.ready(name)[0], self.ready(name)[1]["control_version"]) for name in WORKERS),
        )

    def lack(self) -> None:
        """A model comes into force that one worker lacks; then it is pushed."""
        self.notes.lacking = frozenset(self.ready(_LACKING)[1]["partitions"])
        code, said = self._set_model(self.models.newcomer, "--force", "--yes", "--wait", "5")
        expect(code == 3, f"a worker lacks the model, but set-model --force ended with {code}: {said}")
        print(f"newcomer: exit code {code}, {said}", file=sys.stderr)
        self.notes.newcomer, self.notes.newcomer_version = self.models.newcomer, self.log().fold.version
        time.sleep(_SETTLE)
        for name, due in zip(WORKERS, (200, 503), strict=True):
            status, page = self.ready(name)
            expect(status == due, f"{name} is {status} to /ready, not {due}: {page}")
        self.notes.pushed = time.time() * 1000
        code, said = self.command("models", "push", self.models.newcomer, "--model", str(self.directories[WORKERS[0]]))
        expect(code == 0, f"models push: {said}")
        wait(lambda: self.ready(_LACKING)[0] == 200, f"{_LACKING} did not recover")
        self.notes.recovered = time.time() * 1000
        time.sleep(_SETTLE)
        code, said = self.command("control", "wait")
        expect(code == 0, f"control wait: {code}, {said}")


class KeyFiles:
    """The keys of a trial in files: an operator's and the workers', both trusted."""

    def __init__(self, folder: Path, topic: str) -> None:
        private = {name: os.urandom(32) for name in ("operator", "workers")}
        signers = {name: Signer(topic, key) for name, key in private.items()}
        self.operator, self.workers = signers["operator"], signers["workers"].public
        for name, key in private.items():
            (folder / f"{name}.key").write_bytes(base64.b64encode(key))
        trusted = folder / "trusted.keys"
        trusted.write_text(
            "".join(f"{base64.b64encode(one.public).decode()} {name}\n" for name, one in signers.items())
        )
        self.settings = {"control_keys": trusted, "control_sign_with": folder / "workers.key"}
        self.environment = {
            "SECONDLOOK_CONTROL_KEYS": str(trusted),
            "SECONDLOOK_SIGN_WITH": str(folder / "operator.key"),
        }


def wait(there: Callable[[], bool], what: str, running: WorkerProcess | None = None) -> None:
    """Wait until it is so. Raises StreamError with `what` when it takes too long, or when the worker ends."""
    deadline = time.monotonic() + _PATIENCE
    while not there():
        if time.monotonic() > deadline or (running is not None and running.exit_code is not None):
            raise StreamError(f"{what}: {'' if running is None else running.last_words()}")
        time.sleep(0.1)


def expect(holds: bool, otherwise: str) -> None:
    """Raise RunFailedError unless it holds."""
    if not holds:
        raise RunFailedError(otherwise)


def figures_of(trial: Trial, watcher: Watcher) -> Figures:
    """All figures of a trial that has ended, and what is wrong, on stderr."""
    log, said, seen, notes = trial.log(), read_statuses(trial.track), watcher.seen, trial.notes
    loaded = usable(trial.directories[WORKERS[0]], trial.models)
    known = facts(loaded, trial.models.own)
    wrong = list(mistakes(seen, answers(trial.parts, loaded), log, known, notes))
    for line in wrong[:10]:
        print(f"WRONG  {line}", file=sys.stderr)
    reached = rate(seen, *notes.mix)
    made, readable = after_stops(seen, log, notes.stops)
    lacking = [one for one in seen if notes.lacks(one)]
    automated = [one for one in lacking if one.decided.route == AUTO]
    closed = Counter(one.decided.reasons[0] for one in lacking if one.decided_at < notes.pushed)
    expect(closed["controls_not_honoured"] > 0, "the worker that lacked the model decided nothing meanwhile")
    expect(any(one.decided_at > notes.recovered for one in automated), "it automated nothing once it had it")
    return {
        **counts(seen, trial.sent),
        "decisions_wrong": len(wrong),
        "dead_letters": sum(1 for _ in trial.track.committed(("dead_letter",))),
        "control_messages": len(log.stamps),
        "control_messages_refused": len(log.fold.refused),
        "refused_for_their_signature": sum(why in FORGED for why in log.fold.refused.values()),
        "decisions_with_a_shadow": sum(one.decided.shadow is not None for one in seen),
        "decisions_of_a_tenant": sum(one.decided.tenant is not None for one in seen),
        "budget_moves": len(log.moves),
        "budget_moves_outside": sum(not BUDGET["lowest"] <= one["threshold"] <= BUDGET["highest"] for one in log.moves),
        **disagreements(log, said),
        "records_per_s": round(reached),
        "records_per_s_short_of_5000": max(0, round(5000 - reached)),
        "sender_late_max_ms": round(trial.late * 1000),
        **spread_ms("in_force", in_force(log, said)),
        **spread_ms("decided_under_the_old", under_the_old(seen, log)),
        "stops": len(notes.stops),
        "stop_to_last_automated_median_ms": round(median(readable)),
        "stop_to_last_automated_max_ms": round(max(readable)),
        "stop_to_last_automated_made_max_ms": round(max(made)),
        "without_the_model_decided": sum(closed.values()),
        "automated_without_the_model": sum(one.decided_at < notes.pushed for one in automated),
    }


def measure(broker: str, folder: Path, given: Any) -> Figures:
    """The trial, then the laps."""
    quick = given.quick
    trial = Trial(broker, folder, given.model, rate=given.rate, seed=given.seed, budget_minutes=given.budget_minutes)
    with trial.under_load() as watcher:
        trial.mix(given.messages or (100 if quick else 1000), given.pause)
        if given.budget_minutes:
            trial.budget()
        trial.stop(3 if quick else 10)
        trial.swap()
        trial.lack()
    figures = figures_of(trial, watcher)
    show(figures)
    rounds = (2 if quick else 5) if given.rounds is None else given.rounds
    if not rounds:
        return figures
    count = 20_000 if quick else 60_000
    laps = Laps(broker, trial.directories[WORKERS[0]], trial.models, count=count, pause=given.pause, seed=given.seed)
    paces = throughput(laps, rounds)
    show(paces)
    return {**figures, **paces}


def show(figures: Figures) -> None:
    """Print them, a line each."""
    for name, value in figures.items():
        print(f"{name:36} {value:>12,}", flush=True)


def main() -> int:
    parser = options(__doc__ or "")
    parser.add_argument("--quick", action="store_true", help="100 messages, three stops, two short rounds")
    parser.add_argument("--messages", type=int, help="of every kind under load: 1,000, or 100 with --quick")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two of them")
    parser.add_argument(
        "--budget-minutes", type=float, default=0, help="hold a review budget for so long; 12 see it moved"
    )
    parser.add_argument("--rate", type=float, default=2600, help="requests per second, and as many responses")
    parser.add_argument("--rounds", type=int, help="of laps with messages and without: 5, or 2 with --quick; 0: none")
    parser.add_argument("--seed", type=int, default=16)
    given = parser.parse_args()
    try:
        with LocalKafka() as kafka, tempfile.TemporaryDirectory(prefix="secondlook-controls-") as folder:
            figures = measure(kafka.bootstrap, Path(folder), given)
    except (SecondlookError, RunFailedError) as problem:
        print(f"controls: {problem}", file=sys.stderr)
        return 1
    conclude("controls", figures, {name: limit for name, limit in _LIMITS.items() if name in figures}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

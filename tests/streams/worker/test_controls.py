"""Controls on real workers, through `secondlook control`: closed when in doubt, and what the command says and returns."""

import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from scoring.store import write_model
from scoring.training.cold_start import single_estimator_model
from streams.cli.main import main
from streams.trials.brokers import EmbeddedBroker
from streams.trials.worker_process import WorkerProcess
from tests.driving import IDS, ITEMS, decisions, ids, send, wait_until


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def own_models(models: Path, tmp_path: Path) -> Path:
    """A model directory of the test's own."""
    return Path(shutil.copytree(models, tmp_path / "models"))


def worker(broker: EmbeddedBroker, models: Path, **settings: Any) -> WorkerProcess:
    base = {"broker": broker.bootstrap, "delivery": "at_least_once", "model": models, "web_port": 0}
    return WorkerProcess({**base, "response_timeout": 3, **settings})


def control(broker: EmbeddedBroker, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["control", *arguments, "--broker", broker.bootstrap])


def shown(broker: EmbeddedBroker) -> dict[str, Any]:
    result = control(broker, "show", "--json")
    assert 0 == result.exit_code, result.output
    document: dict[str, Any] = orjson.loads(result.stdout)
    return document


def readiness(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return answer.status, orjson.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, orjson.loads(refused.read())


def second_model(directory: Path) -> str:
    """Add a model that is not calibrated; `current` stays."""
    current = (directory / "current").read_text()
    sha256 = write_model(directory, *single_estimator_model("entropy")).name
    (directory / "current").write_text(current)
    return sha256


def automated(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["route"] == "auto-action"]


def test_a_worker_without_the_model_automates_nothing_until_it_has_it(
    broker: EmbeddedBroker, own_models: Path, free_port: int
) -> None:
    """Not with another one, and not under the other's threshold; it says so, and goes on by itself."""
    sha256 = second_model(own_models)
    away = own_models.parent / "away"
    (own_models / sha256).rename(away)
    for message in (["set-model", sha256], ["set-threshold", "0.9"]):
        assert 0 == control(broker, *message, "--wait", "0").exit_code
    with worker(broker, own_models, web_port=free_port, instance_id="lacking") as running:
        running.wait_for("assigned")
        send(broker.bootstrap)
        found = decisions(broker.bootstrap)
        assert IDS == ids(found)
        assert not automated(found)
        assert {"controls_not_honoured"} <= {one["reasons"][0] for one in found}
        assert {None} == {one["model"]["sha256"] for one in found}
        missing = f"No model at {own_models / sha256}; secondlook.models has no whole model"
        wait_until(lambda: missing in readiness(free_port)[1]["reason"])  # until then, it is being looked for there
        assert 503 == readiness(free_port)[0]
        waited = control(broker, "wait", "--wait", "1")
        assert 3 == waited.exit_code
        assert "lacking: everything goes to humans, it cannot do that: No model" in waited.output

        away.rename(own_models / sha256)
        assert 0 == control(broker, "wait").exit_code
        assert 200 == readiness(free_port)[0]
        again = [{**item.request, "request_id": f"again-{item.request_id}"} for item in ITEMS]
        send(broker.bootstrap, [replace(item, request=one) for item, one in zip(ITEMS, again, strict=True)])
        later = [one for one in decisions(broker.bootstrap, 2 * len(ITEMS)) if one["request_id"].startswith("again-")]
        assert automated(later)
        assert {sha256} == {one["model"]["sha256"] for one in later}
        assert 0 == running.terminate()


def test_a_worker_fetches_the_model_that_it_lacks(broker: EmbeddedBroker, own_models: Path) -> None:
    """From the topic, as soon as it is pushed; then it goes on by itself, and the folder is there for its next start."""
    elsewhere = own_models.parent / "elsewhere"
    sha256 = write_model(elsewhere, *single_estimator_model("entropy")).name
    for message in (["set-model", sha256], ["set-threshold", "0.9"]):
        assert 0 == control(broker, *message, "--wait", "0").exit_code
    with worker(broker, own_models, instance_id="lacking") as running:
        running.wait_for("assigned")
        assert 3 == control(broker, "wait", "--wait", "1").exit_code
        pushed = CliRunner().invoke(main, ["models", "push", "--model", str(elsewhere), "--broker", broker.bootstrap])
        assert 0 == pushed.exit_code, pushed.output
        assert 0 == control(broker, "wait", "--wait", "20").exit_code
        assert [sha256] == [name for name in shown(broker)["workers"]["lacking"]["models"] if name == sha256]
        send(broker.bootstrap)
        found = decisions(broker.bootstrap)
        assert automated(found)
        assert {sha256} == {one["model"]["sha256"] for one in found}
        assert 0 == running.terminate()
    assert (elsewhere / sha256 / "model.onnx").read_bytes() == (own_models / sha256 / "model.onnx").read_bytes()
    assert sha256 != (own_models / "current").read_text().strip()


def test_stop_resume_and_rollback(broker: EmbeddedBroker, models: Path) -> None:
    """Each is one command that ends when the worker has it in force, and can be seen with who did it and why."""
    with worker(broker, models, instance_id="worker-1") as running:
        running.wait_for("assigned")
        first = control(broker, "set-threshold", "1", "--policy", "hate", "--issued-by", "ana", "--reason", "a trial")
        assert (0, True) == (first.exit_code, "worker-1: in force, version 1" in first.output), first.output
        stopped = control(broker, "stop", "--issued-by", "ben", "--reason", "wrong removals")
        assert 0 == stopped.exit_code, stopped.output
        send(broker.bootstrap)
        found = decisions(broker.bootstrap)
        assert not automated(found)
        assert "automation_stopped" in {one["reasons"][0] for one in found}

        now = shown(broker)
        stop = now["stops"]["*"]
        assert (2, "ben", "wrong removals") == (stop["since"], stop["issued_by"], stop["reason"])
        assert (1.0, "set", "ana") == tuple(
            now["thresholds"]["hate"][name] for name in ("value", "origin", "issued_by")
        )
        assert (True, False) == (now["in_force_everywhere"], now["split"])
        assert "AUTOMATION STOPPED for every policy: version 2, by ben" in control(broker, "show").output

        assert 4 == control(broker, "resume", "--policy", "hate").exit_code
        assert 0 == control(broker, "resume").exit_code
        undone = control(broker, "rollback", "0")
        assert 0 == undone.exit_code, undone.output
        assert ["*"] == list(shown(broker)["thresholds"])
        assert "threshold of hate: 1 (set) -> none" in control(broker, "diff", "1", "5").output
        told = [orjson.loads(line) for line in control(broker, "history", "--json").stdout.splitlines()]
        assert [None, None, True, None, None] == [one["refused"] and True for one in told]
        assert 0 == running.terminate()
    gone = control(broker, "wait", "--wait", "1")
    assert (5, True) == (gone.exit_code, "no worker is live" in gone.output)


def test_a_simulation_says_what_the_worker_does(broker: EmbeddedBroker, own_models: Path) -> None:
    """Of the answers that it decided, how it did and how it would; applied, the same answers are decided so."""

    def simulated(*arguments: str) -> dict[str, Any]:
        result = control(broker, "simulate", "--threshold", "0.9", "--model", str(own_models), "--json", *arguments)
        assert 0 == result.exit_code, result.output
        document: dict[str, Any] = orjson.loads(result.stdout[: result.stdout.rindex("}") + 1])
        return document

    with worker(broker, own_models, instance_id="worker-1") as running:
        running.wait_for("assigned")
        send(broker.bootstrap)
        before = len(automated(decisions(broker.bootstrap)))
        every = simulated()["rows"][0]
        assert (len(ITEMS), before) == (every["answers"], every["now"]["automated"])
        assert before < every["then"]["automated"]
        assert simulated("--apply")["rows"][0] == every
        again = [{**item.request, "request_id": f"again-{item.request_id}"} for item in ITEMS]
        send(broker.bootstrap, [replace(item, request=one) for item, one in zip(ITEMS, again, strict=True)])
        later = [one for one in decisions(broker.bootstrap, 2 * len(ITEMS)) if one["request_id"].startswith("again-")]
        assert every["then"]["automated"] == len(automated(later))
        assert 0 == running.terminate()


def test_a_worker_that_stays_silent_is_no_success(broker: EmbeddedBroker, models: Path) -> None:
    """One of two is frozen: the command names it and does not return 0."""
    with worker(broker, models, instance_id="frozen") as frozen, worker(broker, models, instance_id="well") as well:
        for one in (frozen, well):
            one.wait_for("assigned")
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            result = control(broker, "set-threshold", "0.3", "--wait", "5")
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        assert 3 == result.exit_code
        assert "frozen: silent for" in result.output
        assert "well: in force, version 1" in result.output
        assert 0 == control(broker, "wait").exit_code


def test_a_model_is_in_force_only_once_every_worker_is_ready(broker: EmbeddedBroker, own_models: Path) -> None:
    """Both lack it: refused. It is pushed: both fetch it first. One is frozen: refused again, and nothing has changed."""
    elsewhere = own_models.parent / "elsewhere"
    sha256 = write_model(elsewhere, *single_estimator_model("entropy")).name
    other = Path(shutil.copytree(own_models, own_models.parent / "other"))
    with worker(broker, own_models, instance_id="a") as first, worker(broker, other, instance_id="b") as second:
        for one in (first, second):
            one.wait_for("assigned")
        refused = control(broker, "set-model", sha256)
        assert 4 == refused.exit_code
        for name in ("a", "b"):
            assert f"{name} cannot do it: No model at" in refused.output
        pushed = CliRunner().invoke(main, ["models", "push", "--model", str(elsewhere), "--broker", broker.bootstrap])
        assert 0 == pushed.exit_code, pushed.output
        result = control(broker, "set-model", sha256[:10], "--expected-version", "0", "--reason", "better")
        assert (0, True) == (result.exit_code, "ready for it: a, b" in result.output), result.output
        assert [True, True] == [one["in_force"] for one in shown(broker)["workers"].values()]
        os.kill(second.pid, signal.SIGSTOP)
        try:
            version = shown(broker)["version"]
            result = control(broker, "set-model", (own_models / "current").read_text().strip(), "--wait", "5")
        finally:
            os.kill(second.pid, signal.SIGCONT)
        assert (4, True) == (result.exit_code, "b did not say within 5 s that it is ready" in result.output), (
            result.output
        )
        assert (version, sha256) == (shown(broker)["version"], shown(broker)["model"]["sha256"])
        told = [orjson.loads(line) for line in control(broker, "history", "--json").stdout.splitlines()]
        assert [False, False, True, False] == [one["applied"] for one in told]
        assert [None] * 4 == [one["refused"] for one in told]


def test_workers_of_different_settings_are_a_split_fleet(broker: EmbeddedBroker, models: Path) -> None:
    """The log says nothing of the threshold yet, and their settings differ."""
    with (
        worker(broker, models, instance_id="a") as first,
        worker(broker, models, instance_id="b", cost_review=0.5) as second,
    ):
        for one in (first, second):
            one.wait_for("assigned")
        assert shown(broker)["split"]
        assert "SPLIT FLEET" in control(broker, "show").output


def test_what_looks_like_a_mistake_is_not_written(broker: EmbeddedBroker, own_models: Path) -> None:
    """A policy that no model knows, a model that a worker lacks, what single policies have: said in one line, with what to do."""
    sha256 = (own_models / "current").read_text().strip()
    uncalibrated = second_model(own_models)
    with worker(broker, own_models, instance_id="worker-1") as running:
        running.wait_for("assigned")
        assert 0 == control(broker, "set-threshold", "0.3", "--policy", "hate").exit_code
        slips = {
            ("stop", "--policy", "hte"): "is 'hate' meant?",
            ("set-shadow", "--threshold", "0.3", "--policy", "hte"): "is 'hate' meant?",
            ("set-threshold", "0.3"): "takes away the thresholds that hate has of their own: say --yes",
            ("set-model", "f" * 64, "--keep-thresholds"): "worker-1 cannot do it: No model at",
            ("set-model", sha256, "--keep-thresholds", "--wait", "0"): "leaves worker-1 no time to get ready",
            ("set-model", uncalibrated, "--keep-thresholds"): "is not calibrated",
            ("set-model", "f" * 6): f"They have: {min(sha256, uncalibrated)}",
            ("set-model", "nonsense"): "is no model's sha256",
            ("set-threshold", "0.3", "--policy", "hate", "--expected-version", "7"): "expects version 7 in force",
            ("rollback", "9"): "version 9 cannot be restored",
        }
        for arguments, line in slips.items():
            result = control(broker, *arguments)
            assert (4, True) == (result.exit_code, line in result.output), result.output
            assert 1 == len(result.output.splitlines())
        assert (1, 0.3) == (shown(broker)["version"], shown(broker)["thresholds"]["hate"]["value"])
        assert 0 == control(broker, "set-model", sha256[:8], "--keep-thresholds").exit_code
        assert sha256 == shown(broker)["model"]["sha256"]
        good = shown(broker)["version"]
        forced = ["set-model", uncalibrated, "--keep-thresholds", "--force"]
        assert 2 == control(broker, *forced).exit_code
        kept = control(broker, *forced, "--yes")
        assert (3, True) == (kept.exit_code, "not calibrated" in kept.output), kept.output
        assert 0 == control(broker, "rollback", str(good)).exit_code


def test_a_worker_counts_and_says_how_its_budgets_stand(broker: EmbeddedBroker, models: Path, free_port: int) -> None:
    """What it committed, on its page and on control-status; a key that nobody trusts is refused at its start."""
    with worker(broker, models, web_port=free_port, instance_id="a") as running:
        running.wait_for("assigned")
        limits = ["--lowest", "0.2", "--highest", "0.5"]
        assert 0 == control(broker, "set-review-budget", "0.3", *limits).exit_code
        send(broker.bootstrap)
        found = decisions(broker.bootstrap)
        wait_until(lambda: [len(ITEMS)] == [one["decisions"] for one in shown(broker)["budgets"]])
        said = shown(broker)["budgets"]
        humans = (len(found) - len(automated(found))) / len(found)
        assert ("*", "gathering", 0.3, len(ITEMS)) == tuple(
            said[0][name] for name in ("policy", "state", "wanted", "decisions")
        )
        assert abs(humans - said[0]["measured"]) < 1e-6
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=5) as page:
            assert b'secondlook_review_budget{outcome="*",policy="*",tenant="*"} 0.3' in page.read()
        takes = (
            "Too little has been decided lately to judge by: that takes 10 minutes and 2,000 decisions in one worker"
        )
        assert f"{len(ITEMS)} decisions: {takes}" in " ".join(control(broker, "show").output.split())

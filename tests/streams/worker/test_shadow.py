"""A shadow on a real worker: nothing hangs on it, it comes with its model, and what it says is stamped, counted and shown."""

import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner
from msgspec.structs import replace

from scoring.store import write_model
from scoring.training.cold_start import single_estimator_model
from streams.cli.main import main
from streams.trials.brokers import EmbeddedBroker
from tests.driving import IDS, ITEMS, decisions, ids, send, wait_until
from tests.streams.worker.test_controls import broker, control, own_models, readiness, shown, worker

__all__ = ["broker", "own_models"]
AUTO, HUMAN = "auto-action", "human-review"


def metrics(port: int, name: str) -> dict[str, float]:
    """The series of a metric, by their labels as they stand."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    return {labels: float(value) for labels, value in re.findall(rf"^{name}(\{{.*\}})? (\S+)$", page, re.MULTILINE)}


def renamed(prefix: str) -> list[Any]:
    """The same items once more, under other ids."""
    again = [{**item.request, "request_id": f"{prefix}{item.request_id}"} for item in ITEMS]
    return [replace(item, request=one) for item, one in zip(ITEMS, again, strict=True)]


def live_part(found: list[dict[str, Any]], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Each decision by its item, without what two runs and a shadow differ in."""
    apart = {"request_id", "shadow", "control_version", "decided_at", "request"}
    return {
        one["request_id"].removeprefix(prefix): {name: value for name, value in one.items() if name not in apart}
        for one in found
        if one["request_id"].startswith(prefix)
    }


def test_a_shadow_is_left_out_until_its_model_comes_and_changes_nothing(
    broker: EmbeddedBroker,
    own_models: Path,
    free_port: int,
) -> None:
    """Neither decisions nor readiness; then each decision says what it would have been, and that is counted and can be shown."""
    elsewhere = own_models.parent / "elsewhere"
    sha256 = write_model(elsewhere, *single_estimator_model("entropy")).name
    set_shadow = ["set-shadow", "--sha256", sha256, "--threshold", "0.5"]
    with worker(broker, own_models, web_port=free_port, instance_id="w") as running:
        running.wait_for("assigned")
        send(broker.bootstrap)
        before = live_part(decisions(broker.bootstrap))
        assert IDS == sorted(before)

        refused = control(broker, *set_shadow)
        assert 4 == refused.exit_code
        assert "nothing has changed: w cannot do it: No model at" in refused.output
        assert "or --wait 0" in refused.output
        assert 0 == control(broker, *set_shadow, "--wait", "0").exit_code
        assert 0 == control(broker, "wait").exit_code
        send(broker.bootstrap, renamed("without-"))
        found = decisions(broker.bootstrap, 2 * len(ITEMS))
        assert before == live_part(found, "without-")
        assert not any("shadow" in one for one in found)
        assert 200 == readiness(free_port)[0]
        assert {"": 0.0} == metrics(free_port, "secondlook_shadow_honoured")
        assert "w leaves the shadow out: No model at" in " ".join(control(broker, "show").output.split())

        pushed = CliRunner().invoke(main, ["models", "push", "--model", str(elsewhere), "--broker", broker.bootstrap])
        assert 0 == pushed.exit_code, pushed.output
        wait_until(lambda: {"model": sha256} == shown(broker)["workers"]["w"]["shadow"])
        assert {"": 1.0} == metrics(free_port, "secondlook_shadow_honoured")
        send(broker.bootstrap, renamed("with-"))
        found = [one for one in decisions(broker.bootstrap, 3 * len(ITEMS)) if one["request_id"].startswith("with-")]
        assert before == live_part(found, "with-")
        assert {sha256} == {one["shadow"]["model"] for one in found}

        flips = Counter((one["route"], one["shadow"]["route"]) for one in found)
        assert {AUTO, HUMAN} == {route for _, route in flips}
        counted: Counter[tuple[str, str]] = Counter()
        for labels, count in metrics(free_port, "secondlook_shadow_decisions_total").items():
            live, shadow = re.findall(r'(?:live|shadow)="([^"]+)"', labels)
            counted[live, shadow] += int(count)
        assert flips == counted
        row = orjson.loads(control(broker, "show-shadow", "--json").stdout)["rows"][0]
        assert (len(ITEMS), flips[HUMAN, AUTO], flips[AUTO, HUMAN]) == (
            row["decisions"],
            row["to_automation"],
            row["to_humans"],
        )

        swapped = control(broker, "set-model", sha256)
        assert (0, True) == (swapped.exit_code, "the shadow has ended" in swapped.output), swapped.output
        assert (None, None) == (shown(broker)["shadow"], shown(broker)["workers"]["w"]["shadow"])
        costs = control(broker, "set-shadow", "--review", "1", "--mistake", "3")
        left_out = (
            "w: it leaves the shadow out until it can honour it: the threshold of every policy follows from costs"
        )
        assert (3, True) == (costs.exit_code, left_out in costs.output), costs.output
        assert 200 == readiness(free_port)[0]
        assert 0 == running.terminate()
    assert 3 * len(ITEMS) == len(ids(decisions(broker.bootstrap, 3 * len(ITEMS))))

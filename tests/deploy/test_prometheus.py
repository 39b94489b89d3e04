"""Prometheus itself, scraping a worker: it takes every expression of the alerts and of the board, and what must have data has."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from streams.kafka.topics import load_topics
from streams.trials.brokers import EmbeddedBroker, free_ports
from streams.trials.worker_process import WorkerProcess
from tests.deploy.alert_cases import CASES
from tests.deploy.alert_rules import ALERTS, ROOT, expression, rules
from tests.driving import ITEMS, decisions, send, wait_until

DASHBOARD = ROOT / "deploy/grafana/dashboards/secondlook.json"
WITHOUT_TRAFFIC_OF_THEIR_KIND = {
    "Alerts of live quality",
    "Audits drawn and judged",
    "Books of live quality",
    "Budgets that are not met",
    "Calibration: Spiegelhalter's z",
    "Drift: the predictors farthest from training",
    "Escalated verdicts that humans overturned",
    "How far the books are behind",
    "Log-probabilities not read",
    "Old records",
    "Share that goes to humans, and that is to go",
    "Thresholds that budgets move",
    "What became of human decisions",
    "Would be automated with the shadow",
    "Would go to humans with the shadow",
    "Wrong among the automated",
}
"""Panels that have nothing to show of this worker: no shadow, no budget, no audits, and books that were just begun."""


@dataclass(frozen=True)
class Scraped:
    """A Prometheus that has scraped a worker at work, and the page that it read."""

    address: str
    page: str

    def ask(self, path: str, **query: str) -> Any:
        """What its API answers; an expression that it does not take is an error of HTTP."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expr: str) -> list[Any]:
        """The series that an expression has now."""
        found: list[Any] = self.ask("query", query=expr.replace("$__rate_interval", "1m"))["result"]
        return found


@pytest.fixture(scope="module")
def scraped(prometheus: str, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Prometheus beside a worker that decides, sets a record aside and hears of a human decision."""
    folder = tmp_path_factory.mktemp("prometheus")
    pages = free_ports(2)
    own = pages + 1
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": "secondlook", "static_configs": [{"targets": [f"127.0.0.1:{pages}"]}]},
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    settings = {"delivery": "at_least_once", "model": models, "response_timeout": 3, "web_port": pages}
    with EmbeddedBroker() as broker, WorkerProcess({"broker": broker.bootstrap, **settings}) as worker:
        worker.wait_for("assigned")
        with _prometheus(prometheus, folder, own):
            found = Scraped(f"http://127.0.0.1:{own}", "")
            wait_until(lambda: _answers(found) and found.query("secondlook_answers_total"))
            send(broker.bootstrap, ITEMS[:20])
            _odd_records(broker.bootstrap)
            assert 20 <= len(decisions(broker.bootstrap, 20))
            # Counters that came to be with these records have no increase yet: with the next ones they have.
            wait_until(
                lambda: found.query("secondlook_human_decisions_total") and found.query("secondlook_dead_letters_total")
            )
            send(broker.bootstrap, ITEMS[20:])
            _odd_records(broker.bootstrap)
            assert len(ITEMS) <= len(decisions(broker.bootstrap, len(ITEMS)))
            wait_until(lambda: found.query(f"sum(secondlook_decisions_total) >= {len(ITEMS)}"))
            with urllib.request.urlopen(f"http://127.0.0.1:{pages}/metrics", timeout=5) as answer:
                yield Scraped(found.address, answer.read().decode())


class _prometheus:  # noqa: N801 - used as a function
    def __init__(self, program: str, folder: Path, port: int) -> None:
        arguments = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [program, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
            )

    def __enter__(self) -> None:
        """It runs."""

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def _answers(found: Scraped) -> bool:
    try:
        found.query("up")
    except OSError:
        return False
    return True


def _odd_records(bootstrap: str) -> None:
    topics = load_topics()
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topics["requests"].name, b"no record", b"x")
    human = {"request_id": "x", "policy": ITEMS[0].request["policy"], "outcome": 1, "llm": {"outcome": 0}}
    producer.produce(topics["human_decisions"].name, orjson.dumps(human), b"x")
    producer.flush(10)


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel.get("targets")]


def test_every_metric_of_the_board_is_on_a_workers_page(scraped: Scraped) -> None:
    """The families that a worker serves, whether they have a series yet or not."""
    families = set(re.findall(r"^# TYPE (\w+)", scraped.page, re.MULTILINE))
    served = families | {family + part for family in families for part in ("_bucket", "_sum", "_count")}
    exprs = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    named = set(re.findall(r"\b(?:secondlook|process)_\w+", exprs))
    assert 50 < len(named)
    assert set() == named - served


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_prometheus_takes_every_panel(panel: dict[str, Any], scraped: Scraped) -> None:
    """And has something to draw, but of what this worker does not do."""
    found = [scraped.query(target["expr"]) for target in panel["targets"]]
    assert any(found) or panel["title"] in WITHOUT_TRAFFIC_OF_THEIR_KIND


def test_no_panel_is_excused_that_is_gone() -> None:
    """A title that was changed would excuse nothing."""
    assert {panel["title"] for panel in panels()} >= WITHOUT_TRAFFIC_OF_THEIR_KIND


def test_prometheus_takes_every_rule(scraped: Scraped) -> None:
    """None of them is in error where series are real, and of a worker that is well none fires."""
    (group,) = scraped.ask("rules")["groups"]
    assert CASES.keys() == {rule["name"] for rule in group["rules"]}
    assert [] == [rule["name"] for rule in group["rules"] if rule["health"] != "ok"]
    firing = {rule["name"] for rule in group["rules"] if rule["state"] == "firing"}
    assert set() == firing


@pytest.mark.parametrize("name", CASES)
def test_what_an_alert_looks_at_is_there(name: str, scraped: Scraped) -> None:
    """A misspelled metric would never fire, and never be in error."""
    families = set(re.findall(r"^# TYPE (\w+)", scraped.page, re.MULTILINE))
    named = {one.removesuffix("_bucket") for one in re.findall(r"\bsecondlook_\w+", expression(rules()[name]))}
    assert set() == named - families

"""The files in deploy/ name things of the code, which must exist: metrics, labels, settings, folders."""

import json
import re
from pathlib import Path

import pytest

from docs.board import board
from streams.pipeline.reasons import REASONS
from streams.pipeline.routing import AUTO_ACTION, HUMAN_REVIEW
from streams.settings import KAFKA_PREFIX, PREFIX, SETTINGS
from streams.worker.metrics import described
from tests.deploy.alert_rules import expression, rules

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/dashboards/secondlook.json"
CONTAINERS = [
    ROOT / "docker-compose.yml",
    ROOT / "deploy/Dockerfile",
    *sorted(path for path in (ROOT / "deploy/kubernetes").rglob("*") if path.suffix in {".yaml", ".env"}),
]
OF_PROMETHEUS = {"instance", "job", "le", "severity"}
"""Labels that Prometheus adds, or the alert itself."""


def queries() -> list[str]:
    """Return every expression of the dashboard and of the alerts."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    dashboard = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [*dashboard, *map(expression, rules().values())]


def series() -> dict[str, set[str]]:
    """Return the time series that a worker serves, with their labels."""
    found = {}
    for one in described():
        names = [one.name + part for part in ("_bucket", "_sum", "_count")] if one.type == "histogram" else [one.name]
        found |= {name: set(one.labels) for name in names}
    return found


@pytest.mark.parametrize("query", queries())
def test_metrics_and_labels_exist(query: str) -> None:
    """Every metric in the dashboard and the alerts is served by a worker, with the labels that are asked for."""
    names = set(re.findall(r"\bsecondlook_\w+", query))
    assert names <= series().keys()
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
    matched = {label for inside in re.findall(r"{([^}]*)}", query) for label in re.findall(r"(\w+)\s*=", inside)}
    assert grouped | matched <= OF_PROMETHEUS.union(*(series()[name] for name in names))


def test_every_metric_is_on_the_board() -> None:
    """In a panel that was thought of, or in one of its own."""
    shown = set(re.findall(r"\bsecondlook_\w+", "\n".join(queries()[: -len(rules())])))
    assert [] == [one.name for one in described() if not {one.name, f"{one.name}_bucket"} & shown]


def test_a_metric_that_no_panel_knows_has_one_of_its_own() -> None:
    """So that a new one is seen without a word about the board."""
    panels = {panel["title"]: panel for panel in json.loads(board([]))["panels"]}
    assert len(panels) == len(described()) + 1
    asked = {title: panel["targets"][0]["expr"] for title, panel in panels.items() if panel.get("targets")}
    assert "sum by (source) (rate(secondlook_records_consumed_total[$__rate_interval]))" == asked["Records consumed"]
    assert "secondlook_clock_skew_seconds" == asked["Clock skew seconds"]
    assert "sum by (source) (secondlook_pending_bytes)" == asked["Pending bytes"]
    assert asked["Batch seconds"].startswith(
        "histogram_quantile(0.5, sum by (le) (rate(secondlook_batch_seconds_bucket"
    )


def test_panels_have_a_place_each() -> None:
    """None covers another one, and no two have an id."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))


def test_label_values_exist() -> None:
    """Every route and reason that is asked for is one that a decision can have."""
    asked = dict.fromkeys(re.findall(r'(route|reason)="([^"]+)"', "\n".join(queries())))
    assert asked.keys() <= {
        *(("reason", reason) for reason in REASONS),
        ("route", AUTO_ACTION),
        ("route", HUMAN_REVIEW),
    }


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_settings_exist(file: Path) -> None:
    """Every variable given to a container is a setting or an option for the Kafka client."""
    known = {PREFIX + setting.name.upper() for setting in SETTINGS}
    given = set(re.findall(rf"\b{PREFIX}\w*", file.read_text()))
    assert {name for name in given - known if not name.startswith(KAFKA_PREFIX)} == set()


def test_the_image_lets_its_worker_add_models() -> None:
    """A volume that is mounted over its models is filled with them, and the worker may write to it."""
    image = (ROOT / "deploy/Dockerfile").read_text()
    (directory,) = re.findall(r"SECONDLOOK_MODEL=(\S+)", image)
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f'volumes: ["models:{directory}"]' in compose.split("\n  worker:\n")[1].split("\n\n")[0]
    assert re.search(rf"^COPY --from=model --chown=10001 {directory} {directory}$", image, re.MULTILINE)


def test_the_image_gets_what_it_copies() -> None:
    """Everything that the Dockerfile copies exists and is let through by its ignore file."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy/Dockerfile").read_text(), flags=re.MULTILINE)
    sources = " ".join(copied).split()
    let_through = re.findall(r"^!(.+)$", (ROOT / "deploy/Dockerfile.dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(sources) == sorted(let_through)
    assert [name for name in sources if not (ROOT / name).exists()] == []

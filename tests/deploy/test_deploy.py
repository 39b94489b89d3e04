"""The files in deploy/ name things of the code, which must exist: metrics, labels, settings, folders."""

import json
import re
from pathlib import Path

import pytest

from streams.pipeline.reasons import REASONS
from streams.pipeline.routing import AUTO_ACTION, HUMAN_REVIEW
from streams.settings import KAFKA_PREFIX, PREFIX, SETTINGS
from streams.worker.metrics import TOLD, Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/dashboards/secondlook.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
CONTAINERS = [
    ROOT / "docker-compose.yml",
    ROOT / "deploy/Dockerfile",
    *sorted((ROOT / "deploy/kubernetes").glob("*.yaml")),
]
OF_PROMETHEUS = {"instance", "job", "le", "severity"}
"""Labels that Prometheus adds, or the alert itself."""


def queries() -> list[str]:
    """Return every expression of the dashboard, and the alerts' text."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    dashboard = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [*dashboard, *re.findall(r"expr: (?:\|\n)?((?:.+\n)+?) *(?:for|labels):", ALERTS.read_text())]


def series() -> dict[str, set[str]]:
    """Return the time series that a worker serves, with their labels."""
    served = Metrics().registry._names_to_collectors.items()
    # A counter's and a histogram's bare names are families, not series.
    counted = {
        name: set(collector._labelnames)
        for name, collector in served
        if collector._type == "gauge" or name != collector._name
    }
    return counted | {one.name: set(one.labels) for one in TOLD}


def test_every_alert_has_its_expression_found() -> None:
    """The reading of the alerts' file above misses none."""
    alerts = ALERTS.read_text().count("- alert:")
    assert alerts == len([query for query in queries() if query.endswith("\n")])


@pytest.mark.parametrize("query", queries())
def test_metrics_and_labels_exist(query: str) -> None:
    """Every metric in the dashboard and the alerts is served by a worker, with the labels that are asked for."""
    names = set(re.findall(r"\bsecondlook_\w+", query))
    assert names <= series().keys()
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(",")}
    matched = {label for inside in re.findall(r"{([^}]*)}", query) for label in re.findall(r"(\w+)\s*=", inside)}
    assert grouped | matched <= OF_PROMETHEUS.union(*(series()[name] for name in names))


def test_every_alert_of_live_quality_has_its_part_in_the_docs() -> None:
    """What to look at and what to do, beside what the rule itself says."""
    rules = re.findall(r"- alert: (\w+)\n((?:.+\n)+)", ALERTS.read_text())
    of_quality = {name for name, rule in rules if re.search("secondlook_(quality|live)_", rule)}
    docs = (
        (ROOT / "docs/guarantees.md")
        .read_text()
        .split("### When an alert of live quality fires\n")[1]
        .split("\n## ")[0]
    )
    assert of_quality == set(re.findall(r"^\| (Secondlook\w+) \|", docs, re.MULTILINE))
    assert not [name for name, rule in rules if not re.search(r"summary: .+\n +what_to_do: ", rule)]


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


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda file: file.name)
def test_settings_exist(file: Path) -> None:
    """Every variable given to a container is a setting or an option for the Kafka client."""
    known = {PREFIX + setting.name.upper() for setting in SETTINGS}
    given = set(re.findall(rf"\b{PREFIX}\w*", file.read_text()))
    assert {name for name in given - known if not name.startswith(KAFKA_PREFIX)} == set()


def test_workers_can_write_to_their_model_directory() -> None:
    """They fetch models into it: it is a volume that may be written to, filled with the image's model, and the setting names it."""
    stateful = (ROOT / "deploy/kubernetes/statefulset.yaml").read_text()
    (directory,) = re.findall(r"SECONDLOOK_MODEL: (\S+)", (ROOT / "deploy/kubernetes/configmap.yaml").read_text())
    (image,) = re.findall(r"SECONDLOOK_MODEL=(\S+)", (ROOT / "deploy/Dockerfile").read_text())
    before, worker = stateful.split("\n      containers:\n")
    filling = before.split("- name: models\n")[1]
    mount = f"- {{ name: models, mountPath: {directory} }}\n"
    assert f"command: [cp, -r, {image}/., {directory}]\n" in filling
    assert mount in filling
    assert mount in worker
    assert re.search(r"- name: models\n +emptyDir:", worker)
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f'volumes: ["models:{image}"]' in compose.split("\n  worker:\n")[1].split("\n\n")[0]
    assert re.search(
        rf"^COPY --from=model --chown=10001 {image} {image}$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE
    )


def test_the_image_gets_what_it_copies() -> None:
    """Everything that the Dockerfile copies exists and is let through by its ignore file."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy/Dockerfile").read_text(), flags=re.MULTILINE)
    sources = " ".join(copied).split()
    let_through = re.findall(r"^!(.+)$", (ROOT / "deploy/Dockerfile.dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(sources) == sorted(let_through)
    assert [name for name in sources if not (ROOT / name).exists()] == []

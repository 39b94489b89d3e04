"""Each alert fires when it should, stays quiet when it should, and leads to its runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.alert_cases import CASES, Series
from tests.deploy.alert_rules import ALERTS, ROOT, annotation, rules, severity

RUNBOOKS = ROOT / "docs/runbooks.md"


def test_every_alert_is_tried_firing_and_not() -> None:
    """A new rule needs both, and a case whose rule is gone goes too."""
    assert rules().keys() == CASES.keys()
    assert ALERTS.read_text().count("- alert:") == len(CASES)
    assert [] == [name for name, case in CASES.items() if not case.fires or not all(case.quiet) or not case.quiet]


def _test(name: str, series: Series, at: str, alerts: list[Any]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": alerts}],
    }


@pytest.mark.parametrize("name", CASES)
def test_it_fires_with_these_words_and_else_does_not(name: str, promtool: str, tmp_path: Path) -> None:
    """By promtool: labels, and the summary as whoever is woken reads it."""
    case, rule = CASES[name], rules()[name]
    fired = {
        "exp_labels": {**case.labels, "severity": severity(rule)},
        "exp_annotations": {
            "summary": case.summary,
            **{one: annotation(rule, one) for one in ("what_to_do", "runbook_url")},
        },
    }
    tests = [_test(name, case.fires, case.at, [fired]), *(_test(name, one, case.at, []) for one in case.quiet)]
    document = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(document))  # JSON is YAML
    ran = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stdout + ran.stderr


def test_the_rules_are_what_prometheus_takes(promtool: str) -> None:
    """Its own check of the file finds all of them."""
    found = subprocess.check_output([promtool, "check", "rules", str(ALERTS)], text=True)
    assert f"{len(CASES)} rules found" in found


@pytest.mark.parametrize("name", CASES)
def test_its_runbook_is_there(name: str) -> None:
    """The link leads to a section of its name, which says all that a runbook is to say."""
    page, _, anchor = annotation(rules()[name], "runbook_url").partition("#")
    text = (ROOT / page).read_text()
    headings = {heading.lower(): heading for heading in re.findall(r"^###? (\w+)$", text, re.MULTILINE)}
    assert name == headings[anchor]
    section = text.split(f"### {name}\n")[1].split("\n#")[0]
    for part in ("Means", "Look", "Mend", "Safe to ignore"):
        assert f"- **{part}**: " in section


def test_no_runbook_is_left_over() -> None:
    """One of an alert that is gone."""
    assert sorted(CASES) == sorted(re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE))


def test_commands_of_the_runbooks_exist() -> None:
    """Who is woken can type what stands there."""
    reference = (ROOT / "docs/reference.md").read_text()
    named = set(re.findall(r"secondlook ((?:control|models|topics|dead-letters) [a-z-]+|[a-z]+)", RUNBOOKS.read_text()))
    assert 10 < len(named)
    assert [] == [command for command in named if f"\n### secondlook {command}\n" not in reference]

"""The alert rules as their file has them, read without a YAML library: it keeps to one shape."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
_RULE = re.compile(r"- alert: (\w+)\n((?:(?! +- alert:| +# Of).*\n)+)")


def rules() -> dict[str, str]:
    """The text of each rule, by its name."""
    return dict(_RULE.findall(ALERTS.read_text()))


def expression(rule: str) -> str:
    """What it asks."""
    found = re.search(r"expr: (?:\|\n)?((?:.+\n)+?) *(?:for|labels):", rule)
    assert found, rule
    return found[1]


def annotation(rule: str, name: str) -> str:
    """One of its annotations; empty where it has none."""
    found = re.search(rf' {name}: "?(.+?)"?\n', rule)
    return found[1] if found else ""


def severity(rule: str) -> str:
    """page, ticket or info."""
    found = re.search(r"severity: (\w+)", rule)
    return found[1] if found else ""

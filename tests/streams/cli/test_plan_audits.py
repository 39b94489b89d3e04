"""`secondlook control plan-audits`: audits go where they find errors, by what has been found."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from featurizers import SCHEMA
from streams.cli.main import main


def vector(number: int, policy: str, stratum: str, **more: Any) -> dict[str, Any]:
    """An answer of outcome 0, one a second from midnight on."""
    values = [0.0 if name.startswith("outcome_is") else 0.25 for name in SCHEMA.names]
    at = f"2026-11-26T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
    return {
        "request_id": f"{number}",
        "policy": policy,
        "schema": SCHEMA.id,
        "values": values,
        "llm": "m",
        "stratum": stratum,
        "audit_probability": 1.0 if stratum == "escalated" else 0.1,
        "decided_at": at,
        **more,
    }


def planned(tmp_path: Path, vectors: list[Any], decisions: list[Any], *arguments: str) -> Result:
    files = []
    for name, records in (("vectors", vectors), ("decisions", decisions)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, records)))
        files += [f"--{name}", str(path)]
    return CliRunner().invoke(main, ["control", "plan-audits", *files, *arguments])


def history() -> tuple[list[Any], list[Any]]:
    """Two policies, one answer in ten audited; every second audit of `hate` is wrong, none of `it's spam`."""
    vectors, decisions = [], []
    for number in range(3600):
        policy = "hate" if number % 2 else "it's spam"
        stratum = "escalated" if number % 3 == 0 else "audited" if number % 10 < 2 else "automated"
        vectors.append(vector(number, policy, stratum))
        if stratum != "automated":
            wrong = policy == "hate" and number // 10 % 2 == 0
            decisions.append({"request_id": f"{number}", "policy": policy, "outcome": int(wrong)})
    return vectors, decisions


def test_a_plan_shows_rates_and_the_commands_and_issues_nothing(tmp_path: Path) -> None:
    """The policy that is often wrong is audited more; names are quoted for the shell."""
    result = planned(tmp_path, *history(), "1000")
    assert (0, None) == (result.exit_code, result.exception)
    lines = [line for line in result.output.splitlines() if line.startswith("secondlook control set-audit-rate")]
    rates = {line.split("--policy ")[1].rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
    assert {"hate", "'it'\"'\"'s spam'"} == rates.keys()
    assert rates["hate"] > 1.5 * rates["'it'\"'\"'s spam'"]


def test_the_json_comes_to_the_budget(tmp_path: Path) -> None:
    """Of what is automated a day, audited or not; escalated answers take none of it."""
    document = json.loads(planned(tmp_path, *history(), "1000", "--json").output)
    assert 1000 == pytest.approx(sum(one["audits_a_day"] for one in document["policies"]), rel=1e-6)
    assert 2400 / document["days"] == pytest.approx(sum(one["automated_a_day"] for one in document["policies"]))
    assert document["standard_error"] < document["standard_error_of_one_rate"]


def test_answers_that_do_not_say_what_became_of_them_plan_nothing(tmp_path: Path) -> None:
    """Vectors of older versions have no stratum: one line says so."""
    old = [{k: v for k, v in vector(i, "hate", "audited").items() if k != "stratum"} for i in range(100)]
    result = planned(tmp_path, old, [], "10")
    assert 4 == result.exit_code
    assert "older versions do not say what became of their answers" in result.output

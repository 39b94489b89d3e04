"""Small answers that were once read wrong, each with the right values; `null` in cases/expected.jsonl says: missing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from featurizers import explain, load_spec

pytestmark = pytest.mark.usefixtures("each_reader")

CASES = Path(__file__).parent / "cases"
EXPECTED = [json.loads(line) for line in (CASES / "expected.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", EXPECTED, ids=[case["file"].removesuffix(".json") for case in EXPECTED])
def test_case(case: dict[str, Any]) -> None:
    """The outcome and the predictors are the right ones, and what is not known is missing."""
    spec = load_spec(CASES / case["spec"] if case["spec"].endswith(".toml") else case["spec"])
    explanation = explain((CASES / case["file"]).read_bytes(), spec)
    if "outcome" in case:
        assert (-1 if case["outcome"] is None else case["outcome"]) == explanation.outcome
    assert all(explanation.values[name] is not None for name in case.get("has", []))
    expected = {name: math.nan if value is None else value for name, value in case.get("values", {}).items()}
    actual = {name: explanation.values[name] for name in expected}
    actual = {name: math.nan if value is None else value for name, value in actual.items()}
    assert pytest.approx(expected, rel=1e-4, nan_ok=True) == actual

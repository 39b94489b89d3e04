"""`make audit`: what could not be asked is never told as clean."""

import runpy
from typing import Any

import pytest

from tests.deploy.manifests import ROOT

CLEAN: dict[str, Any] = {"name": "orjson", "version": "3.13.0", "vulns": []}
VULNERABLE = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}]}
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CLEAN], 0, "1 packages looked up, 0 vulnerabilities known"),
        ([CLEAN, VULNERABLE, SKIPPED], 1, "jinja2 2.10: PYSEC-2019-217, mended in 2.10.1"),
        ([CLEAN, SKIPPED], 3, "said nothing of 1 packages (numpy)"),
        ([], 3, "0 packages looked up"),
        (None, 3, "could not be asked"),
    ],
)
def test_the_exit_code_says_what_is_known(packages: Any, code: int, said: str) -> None:
    """pip-audit itself calls it success when it could look nothing up."""
    verdict = runpy.run_path(str(ROOT / "deploy/audit.py"))["verdict"]
    found, lines = verdict(None if packages is None else {"dependencies": packages})
    assert code == found
    assert said in "\n".join(lines)

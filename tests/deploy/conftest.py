"""Prometheus and its promtool, where they are at hand: `apt-get install prometheus` on Debian.

Without them the tests are skipped, and the last lines of the run say so. With SECONDLOOK_REQUIRE_PROMETHEUS=1 they fail.
"""

import os
import shutil
from typing import Any

import pytest

SKIPPED = pytest.StashKey[str]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a process of several ran the tests, it says so to the one that writes the summary."""
    if hasattr(session.config, "workeroutput") and SKIPPED in session.config.stash:
        session.config.workeroutput["prometheus"] = session.config.stash[SKIPPED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it."""
    if skipped := getattr(node, "workeroutput", {}).get("prometheus"):
        node.config.stash[SKIPPED] = skipped


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that they did not run."""
    if SKIPPED in config.stash:
        terminalreporter.section("Prometheus", yellow=True, bold=True)
        terminalreporter.line(config.stash[SKIPPED])


def _program(name: str, config: pytest.Config) -> str:
    found = shutil.which(name)
    if found is None:
        text = f"there is no {name} (Debian: apt-get install prometheus)"
        if os.environ.get("SECONDLOOK_REQUIRE_PROMETHEUS") == "1":
            pytest.fail(f"SECONDLOOK_REQUIRE_PROMETHEUS=1, but {text}", pytrace=False)
        config.stash[SKIPPED] = f"ALERTS AND BOARD NOT TRIED BY PROMETHEUS, these tests were skipped: {text}"
        pytest.skip(text)
    return found


@pytest.fixture(scope="session")
def promtool(pytestconfig: pytest.Config) -> str:
    """Give the path of promtool."""
    return _program("promtool", pytestconfig)


@pytest.fixture(scope="session")
def prometheus(pytestconfig: pytest.Config) -> str:
    """Give the path of Prometheus."""
    return _program("prometheus", pytestconfig)

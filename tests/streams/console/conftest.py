"""The browser of these tests: Debian's Chromium, driven by Playwright's client.

Without one the tests that need it are skipped, and the last lines of the run say so. With SECONDLOOK_REQUIRE_CHROMIUM=1 they fail.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from docs.screenshots import find_chromium
from streams.errors import StreamError

USED = pytest.StashKey[str]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a process of several ran the tests, it says so to the one that writes the summary."""
    if hasattr(session.config, "workeroutput") and USED in session.config.stash:
        session.config.workeroutput["chromium"] = session.config.stash[USED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it."""
    if used := getattr(node, "workeroutput", {}).get("chromium"):
        node.config.stash[USED] = used


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which browser the tests ran in, or that they did not run."""
    used = config.stash.get(USED, None)
    if used is not None:
        terminalreporter.section("browser", blue=True, bold=True)
        terminalreporter.line(used)


@pytest.fixture(scope="module")
def chromium(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """Give the browser; Playwright's loop is a module's own, or tests with loops of theirs would meet it."""
    try:
        program = find_chromium()
    except StreamError as error:
        if os.environ.get("SECONDLOOK_REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"SECONDLOOK_REQUIRE_CHROMIUM=1, but {error}", pytrace=False)
        pytestconfig.stash[USED] = (
            f"NOT TESTED IN A BROWSER, the tests of the console's pages in one were skipped: {error}"
        )
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        pytestconfig.stash[USED] = f"Chromium {browser.version}"
        yield browser
        browser.close()

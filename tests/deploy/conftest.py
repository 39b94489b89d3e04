"""Programs that try the files, where they are at hand: Prometheus, its promtool (Debian: prometheus), kubectl 1.22 or newer.

Without one its tests are skipped, and the last lines of the run say so. With SECONDLOOK_REQUIRE_PROMETHEUS=1 or
SECONDLOOK_REQUIRE_KUBECTL=1 they fail.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import KUBERNETES, Manifests
from tests.kafka.secured import write_certificates

SKIPPED = pytest.StashKey[dict[str, str]]()
PASSWORDS = ("worker", "console", "autoscaler")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a process of several ran the tests, it says so to the one that writes the summary."""
    if hasattr(session.config, "workeroutput") and SKIPPED in session.config.stash:
        session.config.workeroutput["deploy"] = session.config.stash[SKIPPED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it."""
    if skipped := getattr(node, "workeroutput", {}).get("deploy"):
        node.config.stash.setdefault(SKIPPED, {}).update(skipped)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that they did not run."""
    if SKIPPED in config.stash:
        terminalreporter.section("deploy", yellow=True, bold=True)
        for line in config.stash[SKIPPED].values():
            terminalreporter.line(line)


def _program(name: str, config: pytest.Config, package: str, untried: str) -> str:
    found = shutil.which(name)
    if found is None:
        text, required = f"there is no {name} ({package})", package.split(",", maxsplit=1)[0].upper()
        if os.environ.get(f"SECONDLOOK_REQUIRE_{required}") == "1":
            pytest.fail(f"SECONDLOOK_REQUIRE_{required}=1, but {text}", pytrace=False)
        config.stash.setdefault(SKIPPED, {})[required] = f"{untried}, these tests were skipped: {text}"
        pytest.skip(text)
    return found


def _of_prometheus(name: str, config: pytest.Config) -> str:
    return _program(
        name, config, "Prometheus, Debian: apt-get install prometheus", "ALERTS AND BOARD NOT TRIED BY PROMETHEUS"
    )


@pytest.fixture(scope="session")
def promtool(pytestconfig: pytest.Config) -> str:
    """Give the path of promtool."""
    return _of_prometheus("promtool", pytestconfig)


@pytest.fixture(scope="session")
def prometheus(pytestconfig: pytest.Config) -> str:
    """Give the path of Prometheus."""
    return _of_prometheus("prometheus", pytestconfig)


@pytest.fixture(scope="session")
def rendered(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Manifests]:
    """Give what an overlay comes to, with a CA and passwords beside it, as an operator would lay them there."""
    kubectl = _program(
        "kubectl", pytestconfig, "kubectl, 1.22 or newer", "THE OVERLAYS OF deploy/kubernetes NOT RENDERED"
    )
    tree = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(KUBERNETES, tree)
    prod = tree / "overlays/prod"
    write_certificates(prod)
    (prod / "broker.pem").unlink()
    for user in PASSWORDS:
        (prod / f"{user}.password").write_text(f"password of {user}")
    _switch_signing_on(shutil.copytree(prod, tree / "overlays/signed"))
    made: dict[str, Manifests] = {}

    def render(overlay: str) -> Manifests:
        if overlay not in made:
            made[overlay] = _render(kubectl, tree / "overlays" / overlay)
        return made[overlay]

    return render


def _switch_signing_on(overlay: Path) -> None:
    """As an operator does: the files laid there, the marks taken off the lines that have to do with it."""
    for name in ("control-keys", "worker-key"):
        (overlay / name).write_text(name)
    file = overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("# - ", "- "))


def _render(kubectl: str, folder: Path) -> Manifests:
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return Manifests(list(yaml.safe_load_all(done.stdout)))

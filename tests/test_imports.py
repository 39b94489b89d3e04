"""The house rule of imports: streams -> scoring -> featurizers, and never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "featurizers": {"featurizers"},
    "scoring": {"featurizers", "scoring"},
    "streams": {"featurizers", "scoring", "streams"},
}
KAFKA = {"confluent_kafka", "faust", "aiokafka"}


def imported_packages(file: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    """Of the three packages, each imports only itself and those below it."""
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        forbidden = (imported_packages(file) & set(MAY_IMPORT)) - MAY_IMPORT[package]
        assert set() == forbidden, file


@pytest.mark.parametrize("package", ["featurizers", "scoring"])
def test_the_pure_packages_know_no_kafka(package: str) -> None:
    """Neither featurizers nor scoring imports a Kafka client."""
    for file in (ROOT / package).rglob("*.py"):
        assert set() == imported_packages(file) & KAFKA, file


@pytest.mark.parametrize(
    ("room", "not_into"),
    [
        ("pipeline", {"kafka", "worker", "cli", "trials"}),
        ("kafka", {"worker", "cli", "trials"}),
        ("worker", {"cli", "trials"}),
    ],
)
def test_within_streams_arrows_run_one_way(room: str, not_into: set[str]) -> None:
    """cli -> worker -> kafka -> pipeline, and the pipeline knows no client."""
    files = list((ROOT / "streams" / room).glob("*.py"))
    assert files
    for file in files:
        modules = {
            node.module
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        assert set() == {one.split(".")[1] for one in modules if one.startswith("streams.")} & not_into, file
        if room == "pipeline":
            assert set() == imported_packages(file) & KAFKA, file

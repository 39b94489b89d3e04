"""The generated docs: current, complete, and the same wherever they are generated."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.asyncapi import asyncapi
from docs.generate import COMMAND, reference_markdown
from featurizers import SCHEMA
from streams.cli.main import main
from streams.kafka.topics import load_topics
from streams.pipeline.reasons import DEAD_LETTERS, REASONS, DeadLetter, Reason

ROOT = Path(__file__).parents[1]


def test_generated_files_are_current() -> None:
    """What stands in the repository is what the code generates."""
    # In a process of its own: click keeps a command's help option as it was first asked for, which other tests do.
    fresh = (
        "import json; from docs.generate import generate; print(json.dumps({str(p): t for p, t in generate().items()}))"
    )
    generated = json.loads(subprocess.check_output([sys.executable, "-c", fresh], cwd=ROOT))
    stale = [path for path, text in generated.items() if (ROOT / path).read_text() != text]
    assert [] == stale, f"renew them with `{COMMAND}`"


@pytest.mark.parametrize("columns", ["40", "300"])
def test_the_terminal_has_no_say_in_it(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Help is wrapped at one width, so that the file is the same on every machine."""
    expected = reference_markdown()
    monkeypatch.setenv("COLUMNS", columns)
    assert expected == reference_markdown()


def test_every_command_is_there() -> None:
    """Commands that are imported only when used are listed too."""
    text = reference_markdown()
    commands = main.list_commands(None)  # type: ignore[arg-type] # the list does not depend on it
    assert commands
    assert [] == [name for name in commands if f"\n### secondlook {name}\n" not in text]


def test_every_predictor_is_there() -> None:
    """Each column of the vectors has its row, in their order."""
    table = (ROOT / "docs/predictors.md").read_text().split("make docs`: predictors -->")[1].split("<!-- end")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert list(SCHEMA.names) == [row.split("`")[1] for row in rows]


def test_every_code_has_its_meaning() -> None:
    """No reason code and no dead-letter code is without a description."""
    assert (set(Reason), set(DeadLetter)) == (set(REASONS), set(DEAD_LETTERS))


def test_asyncapi_channels_are_the_topics() -> None:
    """One channel a topic, at its name."""
    channels = asyncapi()["channels"].values()
    assert [topic.name for topic in load_topics().values()] == [channel["address"] for channel in channels]


def test_the_tests_that_the_threats_cite_are_there() -> None:
    """Each statement that is shown by a test is shown by one that exists."""
    cited = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs/threats.md").read_text())
    assert 20 < len(cited)
    assert [] == [(file, name) for file, name in cited if f"def {name}(" not in (ROOT / file).read_text()]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def at(document: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        document = document[part]
    return document


def test_asyncapi_references_lead_somewhere() -> None:
    """Each `$ref` is a file beside the document or a place inside it."""
    document = json.loads((ROOT / "docs/asyncapi.json").read_text())
    found = set(references(document))
    assert found
    for reference in found:
        file, _, pointer = reference.partition("#")
        if file:
            assert (ROOT / "docs" / file).is_file(), reference
        else:
            assert at(document, pointer), reference


@pytest.mark.parametrize("page", ["README.md", "docs/console.md"])
def test_pictures_are_there_and_small(page: str) -> None:
    """Each one that is shown; `make screenshots` makes them anew."""
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / page).read_text())
    assert found
    for picture in found:
        file = (ROOT / page).parent / picture
        assert file.is_file(), picture
        assert file.stat().st_size < 200_000, picture

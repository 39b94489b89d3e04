"""The docs as their reader takes them: every block is run, read, or marked as not run; links lead somewhere; the site loads nothing from elsewhere."""

import ast
import json
import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from docs.site import links, outside, pages
from featurizers import explain, load_spec
from featurizers.spec_files import load_rule
from tests.pages import ROOT, Block, anchors, blocks, commands, inline_commands, problem, without_blocks

PAGES = [page.as_posix() for page in pages()]
GENERATED = "docs/reference.md"  # its blocks are the commands' own help, and current by tests/test_docs.py
BLOCKS = [block for page in PAGES if page != GENERATED for block in blocks(page)]
NO_CODE = {"text"}
MARKS = re.compile(
    r"run by (?P<test>tests/\S+\.py)\b|read by spec (?P<spec>\S+): outcome (?P<outcome>\d)$|a spec$|parsed$|arguments parsed$|not run: \S"
)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_every_block_is_run_or_says_how_far_it_is_looked_at(block: Block, tmp_path: Path) -> None:
    """By the comment before it; what is not run is parsed at least, unless it says why not."""
    if block.language in NO_CODE:
        return
    mark = MARKS.match(block.mark)
    assert mark, f"{block.place}: {block.mark!r} is no mark, or none: see CONTRIBUTING.md"
    if mark["test"]:
        assert block.page in (ROOT / mark["test"]).read_text(), f"{mark['test']} does not read {block.page}"
    if mark["spec"]:
        found = explain(block.body.encode(), load_spec(mark["spec"]))
        assert (int(mark["outcome"]), True) == (found.outcome, bool(found.tokens))
        assert found.values["outcome_max_softmax"] is not None
    if not block.mark.startswith("not run"):
        parse(block, tmp_path)


def parse(block: Block, tmp_path: Path) -> None:
    match block.language:
        case "json":
            json.loads(block.body)
        case "python":
            ast.parse(block.body)
        case "toml":
            tomllib.loads(block.body)
            if block.mark == "a spec":
                file = tmp_path / "spec.toml"
                file.write_text(block.body)
                load_rule(file)
        case "yaml":
            yaml.safe_load(block.body)
        case "sh":
            subprocess.run(["bash", "-n"], input=block.body, text=True, check=True)
        case other:
            pytest.fail(f"{block.place}: nothing is known of blocks of {other!r}: say text for what is no code")


def test_commands_in_blocks_exist_with_their_options() -> None:
    """The real parser takes each."""
    found = [words for block in BLOCKS if block.language == "sh" for words in commands(block.body)]
    assert 30 < len(found)
    assert [] == [said for words in found if (said := problem(words))]


def test_commands_in_the_text_exist_with_their_options() -> None:
    """Likewise."""
    found = [
        words for page in PAGES if page != "CHANGELOG.md" for text in inline_commands(page) for words in commands(text)
    ]
    assert 60 < len(found)
    assert [] == [said for words in found if (said := problem(words))]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in {GENERATED, "CHANGELOG.md"}])
def test_code_stands_in_fences(page: str) -> None:
    """What is indented without a list above it is code as well, but cannot be marked, nor say its language."""
    paragraphs = re.split(r"\n{2,}", without_blocks(page))
    pairs = pairwise(paragraphs)
    assert [] == [
        text for above, text in pairs if text.startswith("    ") and not re.match(r" *(-|\d+\.) |    ", above)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_list_has_a_blank_line_above(page: str) -> None:
    """On GitHub it needs none, but on the site it would be part of the paragraph."""
    joined = []
    for paragraph in re.split(r"\n{2,}", without_blocks(page)):
        first, *rest = paragraph.split("\n")
        in_a_list = re.match(r"- |\d+\. |#", first)  # an item that goes on, or a heading
        joined += [line for line in rest if re.match(r"- |\d+\. ", line) and not in_a_list]
    assert [] == joined


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    """Of each page, those into the repository."""
    dead = []
    for link in links((ROOT / page).read_text()):
        target = urlsplit(link)
        if target.scheme:
            continue
        file = (ROOT / page).parent / unquote(target.path) if target.path else ROOT / page
        if not file.exists() or (target.fragment and file.suffix == ".md" and target.fragment not in anchors(file)):
            dead.append(link)
    assert [] == dead


@pytest.mark.parametrize(
    ("text", "loads"),
    [
        ('<script src="https://cdn.example/a.js"></script>', True),
        ('<link rel="preconnect" href="//fonts.example">', True),
        ('<img srcset="https://cdn.example/a.png 2x">', True),
        ("<style>@import 'https://fonts.example/a.css'; b {background: url(//cdn.example/b.png)}</style>", True),
        ('<a href="https://arxiv.org/abs/2601.07006">paper</a>', False),
        (
            '<img src="console/now.png"><script src="../assets/a.js"></script><p style="background: url(data:image/png;base64,AA)">',
            False,
        ),
    ],
)
def test_what_the_site_must_not_load_is_seen(text: str, loads: bool) -> None:
    """What `make site` refuses; a link that a reader may click is none of it."""
    assert loads == bool(outside(text, ".html"))

"""The HTML report stands alone and hides nothing."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from scoring.data.dataset import Dataset
from scoring.evaluation import evaluate
from scoring.evaluation.report import html_report
from scoring.evaluation.words import subject
from scoring.model import ErrorModel
from scoring.svg import TOP
from scoring.training import Trained

VOID = {"br", "meta"}


@pytest.fixture(scope="module")
def result(recording: Dataset, trained: Trained) -> dict[str, Any]:
    """The default model judged on the recording."""
    return evaluate(ErrorModel(trained.onnx), recording, replicates=20)


@pytest.fixture(scope="module")
def page(result: dict[str, Any]) -> str:
    """Its report."""
    return html_report(result)


def test_it_needs_nothing_from_outside(page: str) -> None:
    """No script, link, image, import or address of any kind."""
    assert not re.search(r"<script|<link|<img|@import|url\(|https?://|src=|href=", page)


def test_every_element_is_closed(page: str) -> None:
    """The page is well formed: tags nest."""

    class Nesting(HTMLParser):
        open: list[str] = []  # noqa: RUF012 - one page, one parser

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the interface
            if tag not in VOID:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert tag == self.open.pop()

    parser = Nesting()
    parser.feed(page)
    assert [] == parser.open


def test_it_says_every_conclusion_and_names_every_baseline(page: str, result: dict[str, Any]) -> None:
    """Words and comparison are all there."""
    text = unescape(page)
    assert [] == [sentence for sentence in (*subject(result), *result["conclusions"]) if sentence not in text]
    assert [] == [name for name in result["baselines"] if f"<td>{name}</td>" not in text]


def test_nothing_is_drawn_outside_of_its_chart(result: dict[str, Any]) -> None:
    """Where few labels make a band wide, the axis reaches to its end."""
    model = [{**point, "risk": {**point["risk"], "high": 0.97}} for point in result["risk_coverage"]["model"]]
    page = html_report({**result, "risk_coverage": {**result["risk_coverage"], "model": model}})
    bands = re.findall(r'<polygon class="band model" points="([^"]*)"', page)
    assert bands
    assert TOP <= min(float(point.split(",")[1]) for band in bands for point in band.split())


def test_names_from_data_are_escaped(result: dict[str, Any]) -> None:
    """A policy called like a tag is text."""
    policies = {"<b>hate</b>": result["slices"]["policy"]["hate"], "spam": result["slices"]["policy"]["sexual"]}
    page = html_report({**result, "slices": {"policy": policies}})
    assert "<b>hate" not in page
    assert "&lt;b&gt;hate&lt;/b&gt;" in page

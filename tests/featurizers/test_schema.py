"""The feature table, and the page generated from it."""

from pathlib import Path

from featurizers import SCHEMA
from featurizers.schema import markdown_table

PAGE = Path(__file__).parents[2] / "docs/predictors.md"


def test_page_is_current() -> None:
    """The documentation's table is the one that the code declares."""
    text = PAGE.read_text()
    generated = text.split("<!-- generated: featurizers.schema.markdown_table() -->\n")[1].split("<!-- end -->")[0]
    assert markdown_table() == generated.strip("\n") + "\n"


def test_names_are_unique() -> None:
    """No two predictors share a name."""
    assert len(SCHEMA.names) == len(set(SCHEMA.names))


def test_every_family_is_there() -> None:
    """The schema has the families of the method and the spans of an answer."""
    families = {"outcome", "sequence", "confidence", "attribution", "decision"}
    assert families | {"outcome span", "confidence span", "rationale span"} == {f.family for f in SCHEMA.features}

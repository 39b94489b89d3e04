"""The feature table."""

from featurizers import SCHEMA


def test_names_are_unique() -> None:
    """No two predictors share a name."""
    assert len(SCHEMA.names) == len(set(SCHEMA.names))


def test_every_family_is_there() -> None:
    """The schema has the families of the method and the spans of an answer."""
    families = {"outcome", "sequence", "confidence", "attribution", "decision"}
    assert families | {"outcome span", "confidence span", "rationale span"} == {f.family for f in SCHEMA.features}

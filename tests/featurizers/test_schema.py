"""The feature table."""

import zlib

from featurizers import SCHEMA


def test_names_are_unique() -> None:
    """No two predictors share a name."""
    assert len(SCHEMA.names) == len(set(SCHEMA.names))


def test_every_family_is_there() -> None:
    """The schema has the families of the method and the spans of an answer."""
    families = {"outcome", "sequence", "confidence", "attribution", "decision"}
    assert families | {"outcome span", "confidence span", "rationale span"} == {f.family for f in SCHEMA.features}


def test_another_table_has_another_id() -> None:
    """Vectors and models outlive a version of ours: what they were made by must not change under its name."""
    made_by = {"lpp/1": 2685262289}
    told = "names or order have changed: give the table a new id, and put its number here"
    assert zlib.crc32(" ".join(SCHEMA.names).encode()) == made_by.get(SCHEMA.id), told

"""The pictures of the console are of the pages as they are."""

import json

import pytest

from docs.screenshots import DIGESTS, OUT, PICTURES, digest_of

MOST = 100_000


def test_pictures_are_current() -> None:
    """Each was drawn of the very page, style and script that its recorded state has now."""
    drawn = json.loads(DIGESTS.read_text())
    stale = sorted(
        {*drawn, *(one.name for one in PICTURES)}
        - {one.name for one in PICTURES if drawn.get(one.name) == digest_of(one)}
    )
    assert [] == stale, "draw them anew with `make screenshots`"


@pytest.mark.parametrize("name", [one.name for one in PICTURES])
def test_pictures_are_there_and_small(name: str) -> None:
    """As WebP."""
    picture = (OUT / f"{name}.webp").read_bytes()
    assert picture[8:12] == b"WEBP"
    assert len(picture) < MOST

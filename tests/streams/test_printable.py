"""What anybody wrote, shown to an operator."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.printable import pretty, printable

HOSTILE = "\x1b[2J \x07 \x7f \x9b31m \u202e \u2066 \u200b \u2028 \r \U000e0041"


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_one_line_of_printable_characters(data: bytes | str) -> None:
    """Whatever the bytes, nothing is left that moves a cursor, ends a line or turns the text around."""
    assert printable(data).isprintable()


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_a_value_has_no_other_control_than_the_end_of_a_line(value: bytes) -> None:
    """The same for a value, which may have lines."""
    assert all(line.isprintable() for line in pretty(value).split("\n"))


def test_json_stays_the_same_json() -> None:
    """Indented, escaped where it must be, numbers as they stand, other scripts readable."""
    value = json.dumps({"text": HOSTILE + "Привет", "n": 12345678901234567890123}, ensure_ascii=False).encode()
    shown = pretty(value)
    assert json.loads(value) == json.loads(shown)
    assert "Привет" in shown
    assert "12345678901234567890123" in shown
    assert shown.startswith("{\n  ")


@pytest.mark.parametrize(
    ("data", "limit", "expected"),
    [
        (None, None, "(none)"),
        (b"a\xff\x1b", None, r"a\xff\u001b"),
        ("abcdef", 4, "abc…"),
        (b"", None, ""),
    ],
)
def test_text(data: bytes | str | None, limit: int | None, expected: str) -> None:
    """Bytes that are no text are shown by number, long text is cut."""
    assert expected == printable(data, limit)


def test_deep_nesting_is_shown_as_it_is() -> None:
    """JSON too deep to indent is a line like any other."""
    assert "[" * 50_000 == pretty(b"[" * 50_000)

"""Showing what anybody may have written: nothing in it may drive the terminal or turn the text around."""

import json

import msgspec


def printable(data: bytes | str | None, limit: int | None = None) -> str:
    r"""One line of text: what is not UTF-8 as `\xff`, every control and formatting character as JSON escapes it."""
    if data is None:
        return "(none)"
    text = data if isinstance(data, str) else data.decode(errors="backslashreplace")
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def pretty(value: bytes) -> str:
    """A value to read: JSON indented, its numbers and names as they stand, anything else line by line as it is."""
    try:
        text = msgspec.json.format(value, indent=2)
    except (msgspec.DecodeError, RecursionError):
        text = value
    return "\n".join(printable(line) for line in text.split(b"\n"))

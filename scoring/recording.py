"""Labelled LLM answers as JSONL, and the split by item that keeps some of them out of training."""

import gzip
import hashlib
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from featurizers import PRESETS, OutcomeSpec
from featurizers.caseless import caseless
from scoring.errors import DataError
from scoring.inputs import language_of

RECORDING = Path(__file__).parent / "recordings" / "qwen2.5-coder-1.5b-instruct.jsonl.xz"
"""The English recording shipped with the package: five policies. The README beside it states provenance and limits."""
MULTILINGUAL = RECORDING.with_name("qwen2.5-coder-1.5b-multilingual-hate.jsonl.xz")
"""The same LLM on ten languages, policy `hate` alone."""
RECORDINGS = (RECORDING, MULTILINGUAL)
"""What the default model is trained on."""

HELD_OUT_SHARE = 0.4
# Part of the published numbers: another salt is another split.
_SALT = b"secondlook-split-1:"
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises of a line that it cannot read."""
_VERDICTS: Final[tuple[Literal[0], Literal[1]]] = (0, 1)
_T = TypeVar("_T")
_OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}


class Item(msgspec.Struct, frozen=True):
    """One labelled answer: `request` as sent, `response` the provider body's verbatim JSON, `label` 1 = violates."""

    request: dict[str, Any]
    response: msgspec.Raw
    label: Literal[0, 1]

    @property
    def request_id(self) -> str:
        """Identity of the item, by which it is split."""
        return str(self.request["request_id"])

    @property
    def policy(self) -> str:
        """The policy that the LLM was asked about."""
        return str(self.request["policy"])

    @property
    def language(self) -> str | None:
        """The language of the content; None where the request names none."""
        return language_of(self.request.get("language"))


class _Line(msgspec.Struct):
    """An item as it stands in a file."""

    request: dict[str, Any]
    response: msgspec.Raw
    label: Literal[0, 1] | str


def is_held_out(request_id: str) -> bool:
    """Whether the item belongs to the held-out 40 %: a salted SHA-256 of its id, the same everywhere and for ever."""
    digest = hashlib.sha256(_SALT + request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield `("FILE:LINE", bytes)` of every non-blank line; `.xz` and `.gz` are unpacked. Raises DataError."""
    opener = _OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", line
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read: {error}. Expected JSONL, plain or packed as .xz or .gz.") from error


def decoded(lines: Iterable[tuple[str, bytes]], kind: type[_T], expected: str) -> Iterator[tuple[str, _T]]:
    """The records of named lines of JSON. Raises DataError, which names the line and says what was `expected`."""
    decode = msgspec.json.Decoder(kind).decode
    for where, line in lines:
        try:
            record = decode(line)
        except UNREADABLE as error:
            raise DataError(f"{where}: {error}. Expected {expected}.") from error
        yield where, record


def read_recording(path: Path, spec: OutcomeSpec = PRESETS["lpp"]) -> list[Item]:
    """Read a file of `{"request": {...}, "response": {provider body}, "label": 0|1}` lines. Raises DataError.

    A label may also be one of the words that the spec has for 0 or 1.
    """
    words: dict[str, Literal[0, 1]] = {
        caseless(word): code for code in _VERDICTS for word in (spec.labels[code] if spec.labels else ())
    }
    known = f"0 or 1, or in the words of spec {spec.name}: {', '.join(words)}" if words else "0 or 1"
    items = []
    for where, line in decoded(
        read_lines(path), _Line, f'{{"request": {{...}}, "response": {{...}}, "label": {known}}}'
    ):
        missing = {"request_id", "policy"} - line.request.keys()
        if missing:
            raise DataError(f"{where}: the request lacks {', '.join(sorted(missing))}.")
        label = words.get(caseless(line.label)) if isinstance(line.label, str) else line.label
        if label is None:
            raise DataError(
                f"{where}: the label {line.label!r} is none of {known}. What has no verdict labels nothing: leave it out."
            )
        items.append(Item(line.request, line.response, label))
    return items

"""The bytes behind a token's string: servers write tokens as text, as bytes, or as their vocabulary spells them."""

import re
from collections.abc import Callable, Iterator

import msgspec

from featurizers.wire import Token

# SentencePiece's blank, and byte-level BPE's blank and newline where the rest is plain text.
_SYMBOLS = (("\u2581", " "), ("\u0120", " "), ("\u010a", "\n"))
_BYTE = re.compile(r"<0x([0-9a-fA-F]{2})>")
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
_byte_list = msgspec.json.Decoder(list[int] | None)


def _byte_level() -> Iterator[tuple[int, int]]:
    """Byte-level BPE's characters and the bytes they stand for: visible ones for themselves, the others from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    yield from ((byte, byte) for byte in visible)
    yield from ((0x100 + index, byte) for index, byte in enumerate(sorted(set(range(0x100)) - visible)))


_BYTE_LEVEL = {chr(character): bytes([byte]) for character, byte in _byte_level()}


def plain(token: str) -> bytes:
    """A token given as its text, or as the bytes of a part of a character (`bytes:` and its numbers)."""
    listed = _BYTES.fullmatch(token)
    return token.encode("utf-8", "surrogatepass") if listed is None else bytes.fromhex(listed[1].replace("\\x", ""))


def with_symbols(token: str) -> bytes:
    """A token with symbols for blanks, or a byte's number in its place."""
    listed = _BYTE.fullmatch(token)
    if listed is not None:
        return bytes.fromhex(listed[1])
    for symbol, meant in _SYMBOLS:
        token = token.replace(symbol, meant)
    return token.encode("utf-8", "surrogatepass")


def byte_level(token: str) -> bytes:
    """A token of byte-level BPE, a character a byte; one with any other character stands for itself."""
    try:
        return b"".join([_BYTE_LEVEL[character] for character in token])
    except KeyError:
        return token.encode("utf-8", "surrogatepass")


SPELLINGS: tuple[Callable[[str], bytes], ...] = (plain, with_symbols, byte_level)


def token_bytes(token: Token, spelling: Callable[[str], bytes]) -> bytes:
    """The token's bytes; under the plain spelling those that it lists, since its string may be a stand-in for them."""
    if spelling is plain:
        try:
            listed = _byte_list.decode(token.bytes)
            if listed is not None:
                return bytes(listed)
        except (msgspec.DecodeError, ValueError):
            pass  # not a list of bytes: the string is all there is
    return spelling(token.token)

"""Lays an answer's tokens along its text: which tokens carry the answer, and how many characters each one begins.

Nearly always the tokens, concatenated, are the text. Where they are not, the text is looked up among their bytes: the
server may have cut off reasoning or end-of-turn tokens, trimmed blanks, split a character over tokens, or given the
tokens as the vocabulary spells them.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from featurizers.wire import Token

_TRIMMED = " \t\r\n\ufffd"  # U+FFFD stands for the bytes of a character that max_tokens cut in two
_SPELLINGS = (
    ("\u2581", " "),
    ("\u0120", " "),
    ("\u010a", "\n"),
)  # SentencePiece's blank; byte-level BPE's blank and newline
_byte_list = msgspec.json.Decoder(list[int] | None)


def align(tokens: Sequence[Token], text: str) -> tuple[list[Token], list[int]]:
    """The tokens that overlap the text, and the number of its characters that begin in each.

    Tokens that emit nothing, such as the end-of-turn token, are left out. If the text cannot be found, every token that
    emits something is kept with 0 characters: whole-answer statistics stand, nothing can be located.
    """
    for read in (_token_bytes, _spelled_bytes):
        pieces = [read(token) for token in tokens]
        for target in (text, text.strip(_TRIMMED)):
            lengths = _overlap(pieces, target)
            if lengths is not None:
                kept = [i for i, length in enumerate(lengths) if length is not None]
                counts = [lengths[i] or 0 for i in kept]
                counts[0] += len(text) - len(text.lstrip(_TRIMMED)) if target != text else 0
                return [tokens[i] for i in kept], counts
    kept = [i for i, token in enumerate(tokens) if _token_bytes(token)]
    return [tokens[i] for i in kept], [0] * len(kept)


def _overlap(pieces: Sequence[bytes], target: str) -> list[int | None] | None:
    """For each piece, how many of the target's characters begin in it, None if it lies outside; None if not found."""
    wanted = target.encode("utf-8", "surrogatepass")
    joined = b"".join(pieces)
    # The last occurrence, since what precedes an answer may quote it; searched backwards because rfind is quadratic.
    before_end = joined[::-1].find(wanted[::-1]) if wanted else -1
    if before_end < 0:
        return None
    start = len(joined) - before_end - len(wanted)
    begins = np.cumsum((np.frombuffer(b"\x80" + wanted, dtype=np.uint8) & 0xC0) != 0x80)  # noqa: PLR2004 -- UTF-8
    ends = np.cumsum([len(piece) for piece in pieces]) - start
    stops = np.clip(ends, 0, len(wanted))
    starts = np.append(np.clip(-start, 0, len(wanted)), stops[:-1])
    counts = begins[stops] - begins[starts]
    return [int(count) if stop > first else None for count, first, stop in zip(counts, starts, stops, strict=True)]


def _token_bytes(token: Token) -> bytes:
    """The token's bytes; its string may be a stand-in where they are not valid UTF-8."""
    try:
        listed = _byte_list.decode(token.bytes)
        if listed is not None:
            return bytes(listed)
    except (msgspec.DecodeError, ValueError):
        pass  # not a list of bytes: the string is all there is
    return token.token.encode("utf-8", "surrogatepass")


def _spelled_bytes(token: Token) -> bytes:
    spelled = token.token
    if len(spelled) == len("<0x0A>") and spelled.startswith("<0x") and spelled.endswith(">"):
        try:
            return bytes([int(spelled[3:5], 16)])
        except ValueError:
            pass  # only looks like a byte token
    for symbol, meant in _SPELLINGS:
        spelled = spelled.replace(symbol, meant)
    return spelled.encode("utf-8", "surrogatepass")

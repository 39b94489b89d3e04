"""A model as records of the models topic, and put together again: whole and true to the sha256 that names it, or not there.

A record's key is `<sha256>/<first byte>`, its value the bytes from there on. So a model that is pushed again replaces itself under
compaction, even in chunks of another size, and what stands there beyond its end does no harm.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from typing import Final

LARGEST: Final = 10 * 2**20
"""Bytes of the largest model that travels by the topic."""
CHUNK: Final = 512 * 2**10
"""Bytes of a record's value: half of what a topic takes by default."""
_KEY: Final = re.compile(rb"([0-9a-f]{64})/(0|[1-9][0-9]{0,7})")


def split(onnx: bytes, size: int = CHUNK) -> Iterator[tuple[bytes, bytes]]:
    """The records of a model: keys and values, with at most `size` bytes of it in each."""
    sha256 = hashlib.sha256(onnx).hexdigest()
    for start in range(0, len(onnx), size):
        yield f"{sha256}/{start}".encode(), onnx[start : start + size]


class Chunks:
    """What the records taken so far hold: the last of each key counts. Of the `wanted` models only, if any are named."""

    def __init__(self, wanted: Collection[str] | None = None) -> None:
        self._wanted = wanted
        self._chunks: dict[str, dict[int, bytes]] = {}
        self._sizes: dict[str, int] = {}

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record; one without a value takes its chunk away. What is no chunk is passed by."""
        found = _KEY.fullmatch(key or b"")
        if found is None:
            return
        sha256, start = found[1].decode(), int(found[2])
        if self._wanted is not None and sha256 not in self._wanted:
            return
        chunks = self._chunks.setdefault(sha256, {})
        size = self._sizes.get(sha256, 0) - len(chunks.pop(start, b""))
        # Twice the largest model: it may stand there in chunks of two sizes. Beyond that, somebody fills our memory.
        if value and size + len(value) <= 2 * LARGEST:
            chunks[start] = value
            size += len(value)
        self._sizes[sha256] = size

    def names(self) -> list[str]:
        """The sha256 of each model that there is any part of."""
        return sorted(sha256 for sha256, chunks in self._chunks.items() if chunks)

    def whole(self, sha256: str) -> bytes | None:
        """The bytes that have this sha256; None where they are not all there, or others are in their place."""
        chunks = self._chunks.get(sha256, {})
        digest, parts, position = hashlib.sha256(), [], 0
        while position in chunks and position < LARGEST:
            part = chunks[position]
            parts.append(part)
            digest.update(part)
            position += len(part)
            if digest.hexdigest() == sha256:
                return b"".join(parts)
        return None

"""Models in chunks: what was pushed comes out whole, and nothing else does."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.pipeline import model_chunks
from streams.pipeline.model_chunks import LARGEST, Chunks, split


def name(onnx: bytes) -> str:
    return hashlib.sha256(onnx).hexdigest()


def put(chunks: Chunks, onnx: bytes, size: int = 7) -> None:
    for key, value in split(onnx, size):
        chunks.take(key, value)


@given(
    models=st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.integers(1, 20)), max_size=5),
    tail=st.integers(0, 200),
    order=st.randoms(use_true_random=False),
)
def test_what_was_pushed_comes_out_whole(models: list[tuple[bytes, int]], tail: int, order: Any) -> None:
    """Pushed more than once, in chunks of other sizes, interleaved with others, with something behind its end."""
    records = [record for onnx, size in models for record in split(onnx, size)]
    order.shuffle(records)
    chunks = Chunks()
    for key, value in records:
        chunks.take(key, value)
    for onnx, _ in models:
        chunks.take(f"{name(onnx)}/{len(onnx) + tail}".encode(), b"what an older version left")
        assert onnx == chunks.whole(name(onnx))
    assert sorted({name(onnx) for onnx, _ in models}) == chunks.names()


@given(onnx=st.binary(min_size=8, max_size=60), data=st.data())
def test_what_is_not_those_very_bytes_is_not_there(onnx: bytes, data: st.DataObject) -> None:
    """A chunk is missing, cut, or another: the model is not."""
    chunks = Chunks()
    put(chunks, onnx)
    key, value = data.draw(st.sampled_from(list(split(onnx, 7))))
    other = data.draw(st.sampled_from([None, b"", value[:-1], bytes([value[0] ^ 1]) + value[1:]]))
    chunks.take(key, other)
    assert chunks.whole(name(onnx)) is None
    put(chunks, onnx)
    assert onnx == chunks.whole(name(onnx))


@pytest.mark.parametrize(
    "key", [None, b"", b"current", b"a" * 64, b"A" * 64 + b"/0", b"a" * 64 + b"/-1", b"a" * 64 + b"/00"]
)
def test_foreign_records_are_passed_by(key: bytes | None) -> None:
    """Whatever else stands in the topic is no model."""
    chunks = Chunks()
    chunks.take(key, b"x")
    assert chunks.names() == []


def test_only_what_is_wanted_is_kept() -> None:
    """A worker that lacks one model does not hold all the others in memory."""
    chunks = Chunks([name(b"this")])
    put(chunks, b"that")
    put(chunks, b"this")
    assert [name(b"this")] == chunks.names()


def test_nobody_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond twice the largest model, chunks of one name are not kept; what replaces others is."""
    monkeypatch.setattr(model_chunks, "LARGEST", 100)
    chunks = Chunks()
    sha256 = name(b"x" * 90)
    for start in range(1, 1_000):
        chunks.take(f"{sha256}/{start}".encode(), b"y" * 10)
    assert 200 == sum(map(len, chunks._chunks[sha256].values()))
    for start in range(1, 1_000):
        chunks.take(f"{sha256}/{start}".encode(), None)
    put(chunks, b"x" * 90)
    assert b"x" * 90 == chunks.whole(sha256)


def test_a_chunk_fits_a_topic_as_it_is_created() -> None:
    """With the framing, below what its `max.message.bytes` says; and the largest model's last chunk has a key."""
    from streams.kafka.topics import BATCH_FRAMING, load_topics

    assert int(load_topics()["models"].config["max.message.bytes"]) >= model_chunks.CHUNK + BATCH_FRAMING
    chunks = Chunks()
    chunks.take(f"{'a' * 64}/{LARGEST - 1}".encode(), b"x")
    assert ["a" * 64] == chunks.names()

"""Labelled files and the split by item."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from featurizers import OutcomeSpec
from scoring import MULTILINGUAL, RECORDING, DataError, is_held_out, read_recording
from scoring.data import load

LINE = b'{"request": {"request_id": "a", "policy": "hate"}, "response": {"x": 1}, "label": 1}\n'


@pytest.mark.parametrize(("path", "count"), [(RECORDING, 840), (MULTILINGUAL, 604)])
def test_the_shipped_recordings_are_whole(path: Path, count: int) -> None:
    """Every recorded item has an id of its own and a label, and none its text."""
    items = read_recording(path)
    assert count == len(items) == len({item.request_id for item in items})
    assert {0, 1} == {item.label for item in items}
    assert {("uri", "chars", "sha256")} == {tuple(item.request["content"]) for item in items}


def test_the_multilingual_recording_is_of_ten_languages() -> None:
    """Each item says its language, and what its test suite tests with it."""
    data = load([MULTILINGUAL])
    assert {"ar", "de", "es", "fr", "hi", "it", "nl", "pl", "pt", "zh"} == set(data.languages)
    assert {"slur_h", "negate_neg_nh"} < {origin.functionality for origin in data.origins}
    assert {"unknown"} == {origin.functionality for origin in load([RECORDING]).origins}


def test_about_forty_percent_are_held_out() -> None:
    """The hash keeps about 40 % of any set of ids out of training."""
    share = sum(is_held_out(f"item-{i}") for i in range(20_000)) / 20_000
    assert pytest.approx(0.4, abs=0.015) == share


def test_the_split_never_moves() -> None:
    """The published numbers rest on this very split of the recording."""
    held_out = [item.request_id for item in read_recording(RECORDING) if is_held_out(item.request_id)]
    assert 363 == len(held_out)
    assert ["oaimod-0002", "oaimod-0005", "oaimod-0008"] == held_out[:3]


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".jsonl", bytes), (".jsonl.xz", lzma.compress), (".jsonl.gz", gzip.compress)]
)
def test_plain_and_packed_files_read_alike(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    """JSONL, .xz and .gz give the same items, with the response's bytes untouched."""
    path = tmp_path / f"data{suffix}"
    path.write_bytes(pack(LINE + b"\n" + LINE))
    items = read_recording(path)
    assert [("a", "hate", 1, b'{"x": 1}')] * 2 == [(i.request_id, i.policy, i.label, bytes(i.response)) for i in items]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", r"data.jsonl:2: .*Expected \{"),
        (b'{"request": {"request_id": "\xff"}}', r"data.jsonl:2: .*Expected \{"),
        (b'{"request": {"a": ' + b"[" * 100_000, r"data.jsonl:2: .*Expected \{"),
        (LINE.replace(b'"label": 1', b'"label": 2'), r"data.jsonl:2: .*2"),
        (LINE.replace(b'"policy"', b'"topic"'), r"data.jsonl:2: the request lacks policy"),
        (b'{"request": {"request_id": "a", "policy": "p"}, "label": 0}', r"data.jsonl:2: .*response"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    """The error names the file, the line and what is wrong with it."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(LINE + content)
    with pytest.raises(DataError, match=says):
        read_recording(path)


def test_a_torn_archive_is_a_data_error(tmp_path: Path) -> None:
    """An .xz file cut short is reported as unreadable data, not as a traceback."""
    path = tmp_path / "data.jsonl.xz"
    path.write_bytes(lzma.compress(LINE * 1000)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_recording(path)


OURS = OutcomeSpec(name="ours", labels=(("allow",), ("remove", "limit"), ("unclear",)), field="verdict")


@pytest.mark.parametrize(("word", "label"), [(b'"allow"', 0), (b'"Limit"', 1), (b"1", 1)])
def test_a_label_may_be_a_word_of_the_spec(tmp_path: Path, word: bytes, label: int) -> None:
    """Of its words for 0 and 1, in any case; numbers stay what they are."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(LINE.replace(b'"label": 1', b'"label": ' + word))
    assert [label] == [item.label for item in read_recording(path, OURS)]


@pytest.mark.parametrize("word", [b'"unclear"', b'"ban"', b'"1"'])
def test_any_other_word_is_no_label(tmp_path: Path, word: bytes) -> None:
    """The error names the words that there are."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(LINE.replace(b'"label": 1', b'"label": ' + word))
    with pytest.raises(
        DataError,
        match=r"data\.jsonl:1: the label .* is none of 0 or 1, or in the words of spec ours: allow, remove, limit",
    ):
        read_recording(path, OURS)


def test_a_spec_that_reads_no_answer_is_told(tmp_path: Path) -> None:
    """Rather than that nothing can be learned."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(LINE)
    with pytest.raises(DataError, match=r"spec ours finds no outcome in any of its 1 answers.*--outcome-spec"):
        load([path], spec=OURS)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ('"{\\"outcome\\": 1}"', "the value is JSON, but no object: str"),
        ('{"provider": "none", "body": "I think so"}', "outcome_missing"),
    ],
)
def test_of_answers_that_all_lack_an_outcome_the_first_says_why(response: str, why: str, tmp_path: Path) -> None:
    """A body that a gateway logged as text is another mistake than the wrong spec."""
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{{"request": {{"request_id": "a", "policy": "p"}}, "response": {response}, "label": 1}}\n' * 2)
    with pytest.raises(DataError, match=f"finds no outcome in any of its 2 answers; the first: {why}"):
        load([file])

"""What decode refuses, and how it says so."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from featurizers import PROVIDERS, OutcomeSpec, ResponseError, decode

pytestmark = pytest.mark.usefixtures("each_reader")

NO_RECORDS = {
    "empty": b"",
    "text": b"not json",
    "array": b"[1, 2]",
    "string": b'"text"',
    "number": b"7",
    "cut off": b'{"request_id": "r1", "body": {"choi',
    "deep": b'{"a": ' * 100_000,
    "binary": bytes(range(256)),
}
UNREADABLE = {
    "empty object": {},
    "error body": {"error": {"message": "rate limit"}},
    "body null": {"request_id": "r1", "body": None},
    "no choices": {"choices": []},
    "no message": {"provider": "openai-chat", "body": {"choices": [{"index": 0}]}},
    "no text": {"provider": "completions", "body": {"choices": [{"message": {"content": "0"}}]}},
    "no output": {"provider": "openai-responses", "body": {"choices": []}},
    "no candidates": {"provider": "gemini", "body": {}},
    "wrong type": {"choices": "x"},
    "huge number": {"choices": 10**299},
    "wrong inside": {"choices": [{"message": {"content": {"a": 1}}}]},
    "unknown provider": {"provider": "acme", "body": {"choices": [{"message": {"content": "0"}}]}},
    "unknown provider of a text": {"provider": "acme", "body": "0"},
    "body a number": {"request_id": "r1", "body": 5},
    "body null, provider none": {"provider": "none", "body": None},
    "body null, provider none, own fields beside it": {"provider": "none", "body": None, "outcome": 1},
    "body null, provider none, not strict": {"provider": "none", "body": None, "outcome": float("nan")},
}


@pytest.mark.parametrize("value", NO_RECORDS.values(), ids=NO_RECORDS)
def test_not_a_record(value: bytes) -> None:
    """Bytes that are no JSON object are no record."""
    with pytest.raises(ResponseError) as caught:
        decode(value)
    assert "not_a_record" == caught.value.code


@pytest.mark.parametrize("document", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_answer(document: dict[str, Any]) -> None:
    """A JSON object that is no answer is unreadable."""
    with pytest.raises(ResponseError) as caught:
        decode(json.dumps(document).encode())
    assert "unreadable_answer" == caught.value.code


@pytest.mark.parametrize(
    "value",
    [
        b'{"request_id": "r1", "body": {"choi',
        b'{"request_id": "r1", "body": {"error": 1}}',
        b'{"request_id": "r1", "body": {"choices": "x"}}',
        b'{"body": {"choices": "x"}, "request_id": "r1"}',
    ],
)
def test_request_id_of_a_broken_record(value: bytes) -> None:
    """The request id is recovered from a record that cannot be read."""
    with pytest.raises(ResponseError) as caught:
        decode(value)
    assert "r1" == caught.value.request_id


def test_message_names_what_is_wrong() -> None:
    """The message says where in the body the wrong value is, and shows none of the content."""
    with pytest.raises(ResponseError, match=r"choices\[0\]\.message\.content") as caught:
        decode(b'{"choices": [{"message": {"content": {"secret": 1}}}]}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", ['{"choices": [{"message": {"content": "0"}}]}', '"0"'])
def test_unknown_provider_lists_the_known(body: str) -> None:
    """An unknown provider's name is answered with the known ones, whether its body is an object or a text."""
    with pytest.raises(ResponseError, match=r"\(acme\): the provider is unknown.*" + ", ".join(PROVIDERS)):
        decode(f'{{"provider": "acme", "body": {body}}}'.encode())
    with pytest.raises(ResponseError, match=", ".join(PROVIDERS)):
        decode(f'{{"body": {body}}}'.encode(), "acme")


@pytest.mark.parametrize("more", ["", ', "seed": NaN'])
@pytest.mark.parametrize(
    ("provider", "answer"),
    [("none", '"content": "0"'), ("openai-chat", '"choices": [{"message": {"content": "0"}}]')],
)
def test_a_null_body_leaves_the_record_itself(provider: str, answer: str, more: str) -> None:
    """An envelope whose body is null holds the answer beside it, strict JSON or not."""
    value = f'{{"provider": "{provider}", "body": null, {answer}{more}}}'
    assert "0" == decode(value.encode()).text


def test_numeric_request_id() -> None:
    """A request id that is a number becomes its string, as in the record's key."""
    assert "17" == decode(b'{"request_id": 17, "body": "0"}').request_id


@pytest.mark.parametrize(
    "value",
    [
        b'{"request_id": "a\\ud800b", "body": {"choices": [{"message": {"content": "\\ud800 0"}}], "model": "\\udfff"}}',
        b'{"request_id": "a\xff", "body": {"choices": [{"message": {"content": "\xc3 0"}}], "model": "\xff"}}',
        b'\xef\xbb\xbf{"request_id": "a", "body": "0"}',
    ],
    ids=["lone surrogates", "broken UTF-8", "byte order mark"],
)
def test_sloppy_text(value: bytes) -> None:
    """Text that strict JSON forbids is read, and what goes on from it can be encoded again."""
    response = decode(value)
    assert (response.request_id or "").encode().startswith(b"a")
    (response.llm or "").encode()


def test_five_megabytes() -> None:
    """A long answer is read whole."""
    text = "a" * 5_000_000
    assert text == decode(json.dumps({"choices": [{"message": {"content": text}}]}).encode()).text


@pytest.mark.parametrize(
    ("odd", "read"),
    [("é", "é"), ("\0", " "), ("a\0\0b", "a  b"), ("\ud83d", "?"), ("\ude00\ud83d", "??"), ("\ud83d\ude00", "😀")],
)
def test_each_token_has_its_own_alternatives(body: Callable[..., Any], odd: str, read: str) -> None:
    """Whatever stands in their strings: NUL is a blank, half a surrogate pair a question mark. For a spec, only its label's are kept."""
    document = body([(token, -0.1, {}) for token in ("да", "-", "safe", "!")])
    emitted = document["choices"][0]["logprobs"]["content"]
    for token, texts in zip(emitted, [["x", ""], [], ["safe", odd], [""]], strict=True):
        token["top_logprobs"] = [{"token": text, "logprob": -1.0} for text in texts]
    value = json.dumps(document).encode()
    tokens = decode(value).tokens
    assert [["x", ""], [], ["safe", read], [""]] == [tokens.alternative_texts(token) for token in range(tokens.count)]
    spec = OutcomeSpec(name="s", labels=(("safe",), ("unsafe",)), where="regex", pattern=r"(\w+)!")
    tokens = decode(value, spec=spec).tokens
    assert [[], [], ["safe", read], []] == [tokens.alternative_texts(token) for token in range(tokens.count)]

"""The native reader gives what the reference gives, or leaves the answer to it."""

import json
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers import (
    PRESETS,
    PROVIDERS,
    OutcomeSpec,
    Response,
    ResponseError,
    decode,
    decode_ahead,
    featurize,
    readers,
)
from featurizers.wire import Body
from scoring import RECORDING, read_recording

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
PYTHON = readers.python("the reference")

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture
def native(native_reader: readers.Reader, monkeypatch: pytest.MonkeyPatch) -> readers.Reader:
    monkeypatch.setattr(readers, "reader", native_reader)
    return native_reader


def result(value: bytes, provider: str | None, spec: OutcomeSpec | None) -> Response | tuple[str, str, str | None]:
    try:
        return decode(value, provider, spec=spec)
    except ResponseError as error:
        return error.code, str(error), error.request_id


def same(value: bytes, provider: str | None = None, spec: OutcomeSpec | None = None) -> None:
    """Hold one against the other; a response holds all that its predictors are made of."""
    ours, readers.reader = readers.reader, PYTHON
    try:
        expected = result(value, provider, spec)
    finally:
        readers.reader = ours
    assert expected == result(value, provider, spec), value


def chat(**changes: Any) -> dict[str, Any]:
    """A completion of two tokens; `changes` are to its choice."""
    tops = [{"token": "yes", "logprob": -0.25, "bytes": [121]}, {"token": "Yes", "logprob": -1.5, "bytes": None}]
    tokens = [
        {"token": "yes", "logprob": -0.25, "bytes": [121, 101, 115], "top_logprobs": tops},
        {"token": "", "logprob": -0.5, "bytes": [], "top_logprobs": tops},
        {"token": "!", "logprob": -0.125, "bytes": [33], "top_logprobs": []},
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "yes!", "refusal": None, "tool_calls": []},
        "logprobs": {"content": tokens, "refusal": None},
        "finish_reason": "stop",
    }
    return {"id": "1", "model": "m", "choices": [choice | changes], "usage": {"total_tokens": 7, "x": [1.5e3, True]}}


def record(**changes: Any) -> dict[str, Any]:
    return {"request_id": "r", "provider": "openai-chat", "body": chat()} | changes


def test_the_recorded_answers_are_read_natively_and_alike(native: readers.Reader) -> None:
    """No recorded answer is left to the reference, bare or in a record, compact or not."""
    for item in read_recording(RECORDING):
        body = json.loads(bytes(item.response))
        for value in (body, {"request_id": "r", "provider": "openai-chat", "body": body}, {"body": body}):
            for text in (json.dumps(value), json.dumps(value, separators=(",", ":"), ensure_ascii=False)):
                assert native.read(text.encode()) is not None
                same(text.encode())
        same(bytes(item.response), spec=PRESETS["lpp"])


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_every_case_is_read_alike(path: Path) -> None:
    """Whatever provider is named, the two readers agree on every answer that was once read wrong."""
    for provider in (None, *PROVIDERS, "unknown"):
        same(path.read_bytes(), provider)
    for spec in PRESETS.values():
        same(path.read_bytes(), spec=spec)


@pytest.mark.parametrize("finish", [None, "stop", "length", "content_filter", "STOP", "odd"])
def test_how_an_answer_ended(native: readers.Reader, finish: str | None) -> None:
    """The finish reason means what it means in the reference."""
    value = json.dumps(chat(finish_reason=finish)).encode()
    assert native.read(value) is not None
    same(value)


def body_text(body: dict[str, Any], old: str, new: str) -> bytes:
    text = json.dumps(body)
    assert old in text
    return text.replace(old, new, 1).encode(errors="surrogatepass")


LEFT = {
    "another provider": json.dumps(record(provider="completions")).encode(),
    "two answers": json.dumps(chat() | {"choices": chat()["choices"] * 2}).encode(),
    "no answers": json.dumps(chat() | {"choices": []}).encode(),
    "no log-probabilities": json.dumps(chat(logprobs=None)).encode(),
    "other text": json.dumps(chat(message={"content": "yes! "})).encode(),
    "parts": json.dumps(chat(message={"content": [{"type": "text", "text": "yes!"}]})).encode(),
    "a refusal": json.dumps(chat(message={"content": "yes!", "refusal": "no"})).encode(),
    "a tool call": json.dumps(chat(message={"content": "yes!", "tool_calls": [{}]})).encode(),
    "a body beside the body": json.dumps(record(choices=[])).encode(),
    "another format's name of the model": json.dumps(chat() | {"model": "", "modelVersion": "n"}).encode(),
    "the same in snake case": json.dumps(chat() | {"model": None, "model_version": "n"}).encode(),
    "a numeric id": json.dumps(record(request_id=7)).encode(),
    "a key twice": body_text(chat(), '"logprob": -0.25', '"logprob": -0.25, "logprob": -0.5'),
    "an answer twice": body_text(chat(), '"index": 0', '"message": {"content": "no"}'),
    "an escaped key": body_text(chat(), '"logprob": -0.25', '"l\\u006fgprob": -0.5'),
    "NaN": body_text(chat(), "-0.25", "NaN"),
    "an infinity": body_text(chat(), "-0.25", "-1e999"),
    "a number in quotes": body_text(chat(), "-0.25", '"-0.25"'),
    "a big integer": body_text(chat(), "-0.25", "-" + "9" * 25),
    "minus nought": body_text(chat(), "-0.25", "-0"),
    "a leading zero": body_text(chat(), "-0.25", "-00.25"),
    "no digits": body_text(chat(), "-0.25", "-.25"),
    "no fraction": body_text(chat(), "-0.25", "-1."),
    "half a pair": body_text(chat(), '"Yes"', '"\\ud800"'),
    "the wrong half": body_text(chat(), '"Yes"', '"\\udc00"'),
    "NUL": body_text(chat(), '"Yes"', '"\\u0000"'),
    "a raw line break": body_text(chat(), '"Yes"', '"Y\n"'),
    "an unknown escape": body_text(chat(), '"Yes"', '"\\x"'),
    "a leading zero among bytes": body_text(chat(), "[33]", "[033]"),
    "an empty item": body_text(chat(), "[33]", "[33,]"),
    "cut off": json.dumps(chat()).encode()[:-1],
    "more behind": json.dumps(chat()).encode() + b"{}",
    "a mark before": b"\xef\xbb\xbf" + json.dumps(chat()).encode(),
    "broken UTF-8": json.dumps(chat()).encode().replace(b"Yes", b"\xff"),
    "broken UTF-8 in what nobody reads": json.dumps(chat()).encode().replace(b'"id": "1"', b'"id": "\xc3"'),
    "too deep": body_text(chat(), "[33]", "[" * 200 + "]" * 200),
    "an array": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("value", LEFT.values(), ids=LEFT)
def test_what_is_left_to_the_reference(native: readers.Reader, value: bytes) -> None:
    """In any doubt the native reader has no answer, so that the reference's word is the only one."""
    assert native.read(value) is None
    same(value)


KNOWN = {
    "another order": body_text(chat(), '"index": 0', '"index": 1, "x": {"y": [null, false, "\\u00e9\\ud83d\\ude00"]}'),
    "an id that is the provider's": json.dumps(chat() | {"request_id": "x", "provider": "DeepInfra"}).encode(),
    "a record without a provider": json.dumps(record(provider=None)).encode(),
    "no model": json.dumps(chat() | {"model": None}).encode(),
    "an empty name": json.dumps(chat() | {"model": ""}).encode(),
    "whole numbers": body_text(chat(), "-0.25", "-9999"),
    "nought": body_text(chat(), "-0.25", "-0.0"),
    "powers": body_text(chat(), "-0.25", "-2.5E-1"),
    "no number": body_text(chat(), "-0.25", "null"),
    "escapes": body_text(chat(), '"Yes"', '"\\u00e9\\n\\ud83d\\ude00\\/\\\\\\""'),
    "other scripts": body_text(chat(), '"Yes"', '"да 是 😀"'),
    "blanks": json.dumps(chat(), indent=4).encode() + b" \r\n\t",
}


@pytest.mark.parametrize("value", KNOWN.values(), ids=KNOWN)
def test_what_is_known(native: readers.Reader, value: bytes) -> None:
    """What servers may well send in the common shape is read natively."""
    assert native.read(value) is not None
    same(value)


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name not in {"openai-chat", "completions"}])
def test_another_formats_answer_beside_it_is_passed_over(
    native: readers.Reader, body: Callable[..., dict[str, Any]], provider: str
) -> None:
    """A body with `choices` is chat in both readers, so that a new format is no matter of the native one."""
    value = json.dumps(
        {name: one for name, one in body(provider=provider, text="no").items() if name != "modelVersion"} | chat()
    ).encode()
    assert native.read(value) is not None
    same(value)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
ANYTHING = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=6,
)
LOGPROBS = st.one_of(
    st.floats(-30, 0),
    st.floats(-30, 0, width=32),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-10000, 1),
    st.none(),
)
STRINGS = st.one_of(st.text(max_size=6), st.sampled_from(["0", "1", ' "', "}", "\\", "\x00", "\u2581"]))


FIELDS = [field.encode_name for field in msgspec.structs.fields(Body)]


@st.composite
def alternatives(draw: st.DrawFn) -> dict[str, Any]:
    item = {"token": draw(STRINGS), "logprob": draw(LOGPROBS), "bytes": draw(st.none() | st.lists(st.integers(0, 255)))}
    if draw(st.integers(0, 30)) == 0:
        item[draw(st.sampled_from(["token", "logprob", "bytes", "id"]))] = draw(ANYTHING)
    return dict(draw(st.permutations(list(item.items()))))


@st.composite
def completions(draw: st.DrawFn) -> bytes:
    """Completions in the common shape, and a little beside it."""
    tokens = draw(st.lists(alternatives(), max_size=5))
    for token in tokens:
        token["top_logprobs"] = draw(st.none() | st.lists(alternatives(), max_size=4))
    texts = [token["token"] for token in tokens if isinstance(token.get("token"), str)]
    body = chat(
        message={"content": "".join(texts), "refusal": None} | draw(st.dictionaries(STRINGS, ANYTHING, max_size=2)),
        logprobs={"content": tokens, "refusal": None},
        finish_reason=draw(st.sampled_from(["stop", "length", None])),
    )
    body |= draw(st.dictionaries(st.sampled_from(["id", "usage", "created", "é", *FIELDS]), ANYTHING, max_size=1))
    value = draw(st.sampled_from([body, record(body=body)]))
    indent, ascii_only = draw(st.sampled_from([None, None, 1])), draw(st.booleans())
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass")


@settings(max_examples=400)
@given(completions())
def test_whatever_is_near_the_common_shape_is_read_alike(value: bytes) -> None:
    """Strings, numbers and orders of every kind."""
    same(value)


@settings(max_examples=400)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=None), st.integers(-330, 20))
def test_every_number_is_the_same_to_the_last_bit(number: Any, power: int) -> None:
    """However many digits, at any power of ten: rounded as the reference rounds."""
    for text in (f"{number:f}", f"{number:f}e{power}", f"{number:.17f}", f"-0.{abs(hash(number))}"):
        same(body_text(chat(), "-0.25", text[:60]))


def test_digits_at_the_edge_of_what_a_float_holds() -> None:
    """A long row of numbers whose 16th to 19th digit decides."""
    chance = random.Random(1)
    for _ in range(3000):
        digits = chance.randint(15, 20)
        point = chance.randint(0, digits)
        text = str(chance.randrange(10 ** (digits - 1), 10**digits))
        same(body_text(chat(), "-0.25", f"-{text[:point] or '0'}.{text[point:] or '5'}"))


def test_small_numbers_and_numbers_in_the_middle_of_two_floats() -> None:
    """However many noughts stand below the point, and where the digits end halfway between two floats."""
    chance = random.Random(2)
    for _ in range(1000):
        noughts = "0" * chance.randint(0, 25)
        same(body_text(chat(), "-0.25", f"-0.{noughts}{chance.randrange(1, 10 ** chance.randint(1, 19))}"))
        halves = chance.randrange(2**53, 2**54) | 1
        below = chance.randint(1, 3)
        for by in (-1, 0, 1):
            digits = f"{halves * 10**below // 2**below * 10 + by}"
            same(body_text(chat(), "-0.25", f"-{digits[: -below - 1]}.{digits[-below - 1 :]}"))


@pytest.mark.parametrize("below", range(38))
def test_the_numbers_nearest_the_middle_of_two_floats(native: readers.Reader, below: int) -> None:
    """At every power of ten: as many digits as are counted come as near to a middle as digits can, from both sides."""
    chance = random.Random(below)
    for _ in range(100):
        middle = (chance.randrange(2**53, 2**54) | 1) * 10**below
        digits = (middle << 10 >> middle.bit_length() - 54) + chance.choice((-1, 0, 1, 2))
        number = f"{digits // 10**below}.{digits % 10**below:0{below}d}" if below else f"{digits}.0"
        value = body_text(chat(), "-0.25", f"-{number}")
        assert native.read(value) is not None
        same(value)


def test_many_are_read_as_one_is() -> None:
    """`decode_ahead` gives what `decode` gives, and nothing for what is left to the reference or is no answer."""
    known, left = json.dumps(record()).encode(), json.dumps(chat(logprobs=None)).encode()
    assert [decode(known), None, None, decode(known)] == decode_ahead([known, left, b"", known])


def test_vectors_are_the_same_under_every_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of the columns does not ask who read them, with or without the spec in advance."""
    values = [bytes(item.response) for item in read_recording(RECORDING)][:60]
    for spec in PRESETS.values():
        natively = featurize([decode(value, spec=spec) for value in values], spec)
        with monkeypatch.context() as patch:
            patch.setattr(readers, "reader", PYTHON)
            expected = featurize([decode(value, spec=spec) for value in values], spec)
        assert expected.values.tobytes() == natively.values.tobytes()
        assert (expected.problems, expected.llms) == (natively.problems, natively.llms)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("secondlook_native")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_native_reader_of_another_version_is_not_used(built: types.ModuleType) -> None:
    """Its columns would mean something else."""
    built.INTERFACE = 0  # type: ignore[attr-defined]
    assert "another version: 0" in str(readers.load(""))
    assert "python" == readers.load("").name


def test_it_can_be_switched_off(native: readers.Reader) -> None:
    """And says so."""
    assert "python reader (SECONDLOOK_NATIVE is off)" == str(readers.load("off"))
    assert "native reader" == str(native)

"""Tokens laid along the text when they are not simply its pieces."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from featurizers import PRESETS, SCHEMA, Response, decode, featurize

Body = Callable[..., dict[str, Any]]


def read(body: Any) -> Response:
    return decode(json.dumps(body).encode())


def vector(body: Any) -> dict[str, float]:
    return dict(zip(SCHEMA.names, featurize([read(body)], PRESETS["lpp"]).values[0].tolist(), strict=True))


VERDICT = [('{"outcome": ', -0.1, {}), ("1", -0.2, {"1": -0.2, "0": -2.0}), ("}", -0.3, {})]


def test_reasoning_before_the_answer(body: Body) -> None:
    """Tokens of reasoning that the server cut off the text are not the answer's, not even where they quote it."""
    reasoning = [("<think>", -5.0, {}), ('{"outcome": 1}', -5.0, {}), ("</think>", -5.0, {})]
    actual = vector(body([*reasoning, *VERDICT, ("<|im_end|>", -5.0, {})], text='{"outcome": 1}'))
    assert pytest.approx(vector(body(VERDICT)), nan_ok=True) == actual


def test_blanks_trimmed_from_the_text(body: Body) -> None:
    """A text trimmed by the server is found inside its tokens."""
    actual = vector(body([("\n\n", -5.0, {}), *VERDICT, ("\n", -5.0, {})], text='{"outcome": 1}'))
    assert pytest.approx(vector(body(VERDICT)), nan_ok=True) == actual


def test_blanks_added_to_the_text(body: Body) -> None:
    """A text with blanks that no token carries is found too, and the label in it."""
    actual = vector(body(VERDICT, text=' {"outcome": 1}\n'))
    assert pytest.approx(vector(body(VERDICT)), nan_ok=True) == actual


def test_character_split_over_tokens(body: Body) -> None:
    """A character split over tokens is put together from their bytes, and the label behind it is found."""
    content = body([("\\xf0\\x9f\\x98", -0.5, {}), ("\\x80", -0.5, {}), *VERDICT], text='\U0001f600{"outcome": 1}')
    tokens = content["choices"][0]["logprobs"]["content"]
    tokens[0]["bytes"], tokens[1]["bytes"] = [0xF0, 0x9F, 0x98], [0x80]
    actual = vector(content)
    assert pytest.approx(-0.2) == actual["outcome_logprob"]
    assert 5.0 == actual["token_count"]


def test_character_cut_off_at_the_end(body: Body) -> None:
    """A character that max_tokens cut in two leaves the rest in place."""
    content = body([*VERDICT, ("\ufffd", -0.5, {})], text='{"outcome": 1}\ufffd', finish="length")
    content["choices"][0]["logprobs"]["content"][-1]["bytes"] = [0xF0, 0x9F]
    assert pytest.approx(-0.2) == vector(content)["outcome_logprob"]


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        ([("\u2581{", -0.1), ('"outcome":', -0.1), ("\u25811", -0.2), ("}", -0.3)], '{"outcome": 1}'),
        ([("{\u010a", -0.1), ('"outcome":', -0.1), ("\u01201", -0.2), ("}", -0.3)], '{\n"outcome": 1}'),
        ([("{", -0.1), ("<0x0A>", -0.1), ('"outcome": ', -0.1), ("1", -0.2), ("}", -0.3)], '{\n"outcome": 1}'),
    ],
    ids=["SentencePiece", "byte-level BPE", "byte token"],
)
def test_tokens_as_the_vocabulary_spells_them(body: Body, spelled: list[tuple[str, float]], text: str) -> None:
    """Tokens in the vocabulary's own spelling are understood."""
    tokens = [(token, logprob, {}) for token, logprob in spelled]
    assert pytest.approx(-0.2) == vector(body(tokens, provider="completions", text=text))["outcome_logprob"]


def test_tokens_of_another_text(body: Body) -> None:
    """Tokens that are not the text's keep their whole-answer statistics; nothing is located among them."""
    actual = vector(body([("abc", -0.5, {}), ("def", -0.5, {})], text='{"outcome": 1}'))
    assert pytest.approx(-0.5) == actual["sequence_logprob_mean"]
    assert 1.0 == actual["outcome_is_violation"]
    assert math.isnan(actual["outcome_logprob"])


def test_unaligned_answer_leaves_its_neighbours_alone(body: Body) -> None:
    """An answer that cannot be aligned takes no token of the next one in its batch."""
    stray = body([("abc", -0.5, {})], text='{"outcome": 1}')
    vectors = featurize([read(stray), read(body(VERDICT)), read(stray)], PRESETS["lpp"]).values
    column = vectors[:, SCHEMA.names.index("outcome_logprob")].tolist()
    assert pytest.approx([math.nan, -0.2, math.nan], nan_ok=True) == column


@pytest.mark.parametrize("bytes_", [None, "x", [300], [1.5], {"a": 1}])
def test_useless_bytes(body: Body, bytes_: Any) -> None:
    """Where `bytes` is no list of bytes the token's string stands."""
    content = body([("\n", -5.0, {}), *VERDICT], text='{"outcome": 1}')
    for token in content["choices"][0]["logprobs"]["content"]:
        token["bytes"] = bytes_
    assert pytest.approx(-0.2) == vector(content)["outcome_logprob"]


def test_separator_inside_a_token(body: Body) -> None:
    """An alternative may hold any character, NUL too."""
    tokens = [('{"outcome": ', -0.1, {"a\0b": -1.0, "\0": -2.0}), ("1", -0.2, {"1": -0.2, "0": -2.0}), ("}", -0.3, {})]
    actual = vector(body(tokens))
    assert pytest.approx(math.exp(-0.2) + math.exp(-2.0)) == actual["outcome_coverage"]


LOST = ("\ufffd", -0.5, {})
LABEL = ("1", -0.2, {"1": -0.2, "0": -2.0})
PLACED = [
    ([('{"a": "', -0.1, {}), LOST, LOST, (' x", "outcome": ', -0.1, {}), LABEL, (', "b": "y', -0.1, {}), LOST, ('"}', -0.1, {})],
     '{"a": "\U0001f600 x", "outcome": 1, "b": "y\U0001f600"}', 8),
    ([("<think>", -5.0, {}), LOST, ("</think>", -5.0, {}), ('{"outcome": ', -0.1, {}), LABEL, (', "b": "', -0.1, {}), LOST, ('"}', -0.1, {}), ("<|end|>", -5.0, {})],
     '{"outcome": 1, "b": "\U0001f600"}', 5),
    ([('{"b": "', -0.1, {}), ("", -0.5, {}), ("hi", -0.1, {}), ("", -0.5, {}), ('", "outcome": ', -0.1, {}), LABEL, ("}", -0.1, {})],
     '{"b": "\u201chi\u201d", "outcome": 1}', 5),
]  # fmt: skip


@pytest.mark.parametrize(("tokens", "text", "count"), PLACED, ids=["on both sides", "behind reasoning", "empty tokens"])
def test_lost_characters(body: Body, tokens: list[Any], text: str, count: int) -> None:
    """The label far from a lost character keeps its numbers, and the answer's own tokens are counted."""
    actual = vector(body(tokens, text=text))
    assert pytest.approx(-0.2) == actual["outcome_logprob"]
    assert pytest.approx(math.exp(-0.2) + math.exp(-2.0)) == actual["outcome_coverage"]
    assert count == actual["token_count"]


def test_lost_label(body: Body) -> None:
    """What a gap touches is missing, and nothing else is taken for it."""
    tokens = [('{"outcome": ', -0.1, {}), LOST, ("}", -0.1, {})]
    actual = vector(body(tokens, text='{"outcome": 1}'))
    assert (1.0, 3.0) == (actual["outcome_is_violation"], actual["token_count"])
    assert all(math.isnan(actual[name]) for name in ("outcome_logprob", "outcome_coverage", "outcome_token_count"))


def test_unknown_beginning(body: Body) -> None:
    """Where it is not known which tokens are the answer's own, the whole answer's numbers are missing."""
    tokens = [("<think>so</think>", -5.0, {}), LOST, ('{"outcome": ', -0.1, {}), LABEL, ("}", -0.1, {})]
    actual = vector(body(tokens, text='\U0001f600{"outcome": 1}'))
    assert pytest.approx(-0.2) == actual["outcome_logprob"]
    assert math.isnan(actual["sequence_logprob_mean"])
    assert math.isnan(actual["token_count"])


@pytest.mark.parametrize(
    "tokens",
    [
        ["{\u0122", '"w":"caf\u00c3\u00a9', '","outcome":\u0120', "1", "}"],
        ['{"w":"caf', "bytes:\\xc3", "bytes:\\xa9", '","outcome": ', "1", "}"],
    ],
    ids=["a character that is no byte", "bytes in words"],
)
def test_bytes_as_they_are_spelled(body: Body, tokens: list[str]) -> None:
    """Bytes are read as servers spell them; a token that is spelled otherwise is a gap."""
    spelled = [(token, -0.1, {"1": -0.1, "0": -2.5} if token == "1" else {}) for token in tokens]
    actual = vector(body(spelled, provider="completions", text='{"w":"caf\u00e9","outcome": 1}'))
    assert pytest.approx(-0.1) == actual["outcome_logprob"]

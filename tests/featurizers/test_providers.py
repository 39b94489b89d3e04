"""The same answer in every provider's format, and each format's traps."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from featurizers import PRESETS, PROVIDERS, SCHEMA, Response, decode, featurize
from featurizers.providers import FORMATS

pytestmark = pytest.mark.usefixtures("each_reader")

Body = Callable[..., dict[str, Any]]
ln = math.log


def read(body: Any, provider: str | None = None) -> Response:
    return decode(json.dumps(body).encode(), provider)


def vector(body: Any, provider: str | None = None) -> dict[str, float]:
    values = featurize([read(body, provider)], PRESETS["lpp"]).values[0].tolist()
    return dict(zip(SCHEMA.names, values, strict=True))


@pytest.mark.parametrize("provider", [name for name, one in FORMATS.items() if one.tokens != "none"])
def test_same_vector(body: Body, verdict: list[Any], provider: str) -> None:
    """An answer with log-probabilities has the same vector whichever format brought it."""
    expected = vector(body(verdict))
    assert pytest.approx(expected, nan_ok=True) == vector(body(verdict, provider=provider))


def test_same_vector_without_logprobs(body: Body, verdict: list[Any]) -> None:
    """A format without log-probabilities gives the predictors that need none, and the others are missing."""
    with_logprobs = vector(body(verdict))
    actual = vector(body(provider="none", text='{"outcome": 1, "confidence": 80}'))
    carried = {name for name, value in actual.items() if not math.isnan(value)}
    flags = {"outcome_is_violation", "outcome_is_evidence_deficiency", "outcome_is_policy_gap"}
    assert flags | {"stated_confidence", "stated_confidence_missing"} == carried
    assert {name: with_logprobs[name] for name in carried} == {name: actual[name] for name in carried}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_detection(body: Body, provider: str) -> None:
    """The format is detected from the body alone."""
    response = read(body(provider=provider, text="0"))
    assert (provider, "m", "0") == (response.provider, response.llm, response.text)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("how", ["record", "argument"])
def test_named_provider(body: Body, provider: str, how: str) -> None:
    """The provider may be named by the record or by the caller."""
    content = body(provider=provider, text="0")
    if how == "record":
        response = read({"request_id": "r1", "provider": provider, "body": content})
        assert ("r1", "0") == (response.request_id, response.text)
    else:
        assert "0" == read(content, provider).text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_truncated(body: Body, provider: str) -> None:
    """Every format says in its own way that the answer was cut off."""
    assert read(body(provider=provider, text="0", finish="length")).truncated
    assert not read(body(provider=provider, text="0")).truncated


REFUSALS = {
    "chat refusal": {"choices": [{"message": {"content": None, "refusal": "I can't"}, "finish_reason": "stop"}]},
    "chat filter": {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]},
    "responses": {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "I can't"}]}]},
    "gemini answer": {"candidates": [{"finishReason": "SAFETY"}]},
    "gemini prompt": {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
    "anthropic": {"content": [], "stop_reason": "refusal"},
    "in words": {"choices": [{"message": {"content": "I'm sorry, but I can't help with that."}}]},
}


@pytest.mark.parametrize("body", REFUSALS.values(), ids=REFUSALS)
def test_refusal(body: dict[str, Any]) -> None:
    """A refusal is told from other answers without an outcome."""
    assert ["refusal"] == featurize([read(body)], PRESETS["lpp"]).problems


TOOL_CALLS = {
    "chat": {
        "choices": [{"message": {"content": None, "tool_calls": [{"function": {"arguments": '{"outcome": 1}'}}]}}]
    },
    "responses": {"output": [{"type": "function_call", "name": "f", "arguments": '{"outcome": 1}'}]},
    "gemini": {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {"outcome": 1}}}]}}]},
    "anthropic": {"content": [{"type": "tool_use", "name": "f", "input": {"outcome": 1}}]},
}


@pytest.mark.parametrize("body", TOOL_CALLS.values(), ids=TOOL_CALLS)
def test_tool_call(body: dict[str, Any]) -> None:
    """An answer given as a tool call is read from the call's arguments."""
    assert [1] == featurize([read(body)], PRESETS["lpp"]).outcomes.tolist()


@pytest.mark.parametrize("content", ['{"outcome": 1}', [{"type": "text", "text": '{"outcome": 1}'}]])
def test_chat_content_parts(content: Any) -> None:
    """A chat message's content may come in parts."""
    assert '{"outcome": 1}' == read({"choices": [{"message": {"content": content}}]}).text


@pytest.mark.parametrize("body", ['{"outcome": 2}', {"outcome": 2}, {"outcome": 2, "model": 7, "output": "x"}])
def test_none_without_envelope(body: Any) -> None:
    """Under provider "none" a body may be plain text, or the answer's own JSON object."""
    response = read({"request_id": "r1", "provider": "none", "body": body})
    assert [2] == featurize([response], PRESETS["lpp"]).outcomes.tolist()


def test_none_bare_object() -> None:
    """A bare JSON answer is read when the caller says that there is nothing around it."""
    assert [3] == featurize([read({"outcome": 3}, "none")], PRESETS["lpp"]).outcomes.tolist()


def test_sampled_token_outside_the_alternatives(body: Body) -> None:
    """Gemini and vLLM may leave the sampled token out of the top candidates: its mass counts all the same."""
    tokens = [('{"outcome": ', -0.1, {}), ("1", ln(0.1), {"0": ln(0.6), "2": ln(0.2)}), ("}", -0.1, {})]
    actual = vector(body(tokens, provider="gemini"))
    assert pytest.approx(0.9) == actual["outcome_coverage"]
    assert pytest.approx(0.1 / 0.9) == actual["q_violation"]


def test_one_alternative_more_than_asked_for(body: Body) -> None:
    """vLLM adds the sampled token to the k best; it is counted once."""
    top = {"0": ln(0.6), "2": ln(0.2), "1": ln(0.1)}
    tokens = [('{"outcome": ', -0.1, {}), ("1", ln(0.1), top), ("}", -0.1, {})]
    assert pytest.approx(0.9) == vector(body(tokens, provider="completions"))["outcome_coverage"]


def test_masked_alternatives(body: Body) -> None:
    """Alternatives that a grammar masked with -9999 carry no mass."""
    top = {"0": ln(0.7), "1": ln(0.3), "2": -9999.0, "x": -9999.0}
    tokens = [('{"outcome": ', -0.1, {}), ("0", ln(0.7), top), ("}", -0.1, {})]
    actual = vector(body(tokens))
    assert pytest.approx(1.0) == actual["outcome_coverage"]
    assert pytest.approx(0.3) == actual["q_violation"]
    assert pytest.approx(-(0.7 * ln(0.7) + 0.3 * ln(0.3))) == actual["sequence_entropy_max"]


@pytest.mark.parametrize("number", ["-Infinity", "NaN", '"-inf"', "null"])
def test_impossible_numbers(body: Body, number: str) -> None:
    """Servers write impossible log-probabilities as no JSON allows; the rest of the answer is read."""
    tokens = [('{"outcome": ', -0.25, {}), ("1", -0.5, {"1": -0.5, "0": -1.5, "2": -7.125}), ("}", -0.1, {})]
    value = json.dumps(body(tokens)).replace("-7.125", number).encode()
    actual = featurize([decode(value)], PRESETS["lpp"]).values[0].tolist()
    assert pytest.approx(math.exp(-0.5) + math.exp(-1.5)) == actual[SCHEMA.names.index("outcome_coverage")]


def test_empty_end_token(body: Body, verdict: list[Any]) -> None:
    """llama.cpp lists the end-of-turn token with an empty string: it is no token of the answer."""
    expected = vector(body(verdict))
    assert pytest.approx(expected, nan_ok=True) == vector(body([*verdict, ("", -3.0, {"": -3.0, "\n": -0.1})]))


def test_completions_with_prompt_echo(body: Body) -> None:
    """An echoed first token without log-probability, and shorter parallel lists, are no obstacle."""
    content = body([("no", -0.5, {}), (" way", -0.25, {})], provider="completions")
    logprobs = content["choices"][0]["logprobs"]
    logprobs["token_logprobs"] = [None]
    logprobs["top_logprobs"] = None
    actual = vector(content)
    assert 2.0 == actual["token_count"]
    assert math.isnan(actual["sequence_logprob_mean"])


def test_foreign_fields(body: Body, verdict: list[Any]) -> None:
    """A gateway's own fields under another format's names do not get in the way."""
    expected = vector(body(verdict))
    foreign = {"output": "text", "candidates": 3, "promptFeedback": [], "model_version": 2, "incomplete_details": None}
    assert pytest.approx(expected, nan_ok=True) == vector(body(verdict) | foreign, "openai-chat")


def listed(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Tokens as three parallel lists."""
    return {
        "content": None,
        "tokens": [item["token"] for item in items],
        "token_logprobs": [item["logprob"] for item in items],
        "top_logprobs": [{one["token"]: one["logprob"] for one in item["top_logprobs"]} for item in items],
    }


def snake(document: Any) -> Any:
    """The document with its keys in snake case."""
    if isinstance(document, list):
        return [snake(item) for item in document]
    if not isinstance(document, dict):
        return document
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): snake(item) for key, item in document.items()}


def test_same_vector_in_another_shape(body: Body, verdict: list[Any]) -> None:
    """Each server's shape of log-probabilities gives the same vector, under whichever format it stands."""
    expected = vector(body(verdict))
    chat, completions = body(verdict), body(verdict, provider="completions")
    content = chat["choices"][0]["logprobs"]["content"]
    chat["choices"][0]["logprobs"] = listed(content)
    completions["choices"][0]["logprobs"] = {"content": content}
    for shape in (chat, completions, snake(body(verdict, provider="gemini"))):
        assert pytest.approx(expected, nan_ok=True) == vector(shape)


def test_tokens_unread(body: Body) -> None:
    """Log-probabilities in no known shape are said to be there; nothing is said of none."""
    shapes: list[Any] = [{"steps": [{"p": 0.5}]}, "yes", [{"token": 5}], None, {"content": None, "refusal": None}, {}]
    found = []
    for shape in shapes:
        content = body(text='{"outcome": 1}')
        content["choices"][0]["logprobs"] = shape
        found.append(read(content).tokens_unread)
    assert [True, True, True, False, False, False] == found


@pytest.mark.parametrize(
    "reason", ["length", "model_length", "content_filter", "error", "pause_turn", "OTHER", "unheard of", "", 7]
)
def test_cutting_reasons(reason: Any) -> None:
    """Every finish reason but the known ways to end may have cut the answer off."""
    choice = {"message": {"content": '{"outcome": 1, "confidence": 9'}, "finish_reason": reason}
    actual = vector({"choices": [choice]})
    assert (1.0, 1.0) == (actual["outcome_is_violation"], actual["stated_confidence_missing"])


@pytest.mark.parametrize("status", ["incomplete", "failed", "in_progress"])
def test_cutting_status(status: str) -> None:
    """A response that is not completed may have been cut off."""
    content = [{"type": "output_text", "text": '{"outcome": 1, "confidence": 9'}]
    actual = vector({"status": status, "output": [{"type": "message", "content": content}]})
    assert 1.0 == actual["stated_confidence_missing"]


def test_odd_optional_fields() -> None:
    """An odd value in a field that the answer can do without costs that field only."""
    message = {"content": '{"outcome": 1}', "refusal": {"a": 1}}
    choice = {"message": message, "logprobs": "x", "finish_reason": ["stop"]}
    response = read({"model": 5, "choices": [choice]})
    assert ('{"outcome": 1}', None, True) == (response.text, response.llm, response.truncated)


def test_refusal_beside_a_verdict() -> None:
    """What the provider marks as refused is no verdict."""
    message = {"content": '{"outcome": 0}', "refusal": "I can't"}
    assert ["refusal"] == featurize([read({"choices": [{"message": message}]})], PRESETS["lpp"]).problems


@pytest.mark.parametrize("provider", ["openai-chat", "completions", "gemini"])
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (['{"outcome": 1, "confidence": 80}', '{"outcome": 1}'], 1),
        (['{"outcome": 0}', '{"outcome": 1}'], -1),
        (['{"outcome": 0}', '{"outcome": 0}', "I cannot say."], -1),
        (["I cannot say.", '{"outcome": 0}'], -1),
    ],
)
def test_several_answers(body: Body, provider: str, texts: list[str], expected: int) -> None:
    """Of several answers in one body the first counts where all have its outcome."""
    several, *others = (body(text=text, provider=provider) for text in texts)
    samples = "candidates" if provider == "gemini" else "choices"
    several[samples] += [item for other in others for item in other[samples]]
    response = read(several)
    vectors = featurize([response], PRESETS["lpp"])
    assert (texts[0], [expected]) == (response.text, vectors.outcomes.tolist())
    assert (vectors.problems[0] is None) == (expected >= 0)
    told = decode(json.dumps(several).encode(), spec=PRESETS["lpp"])
    assert np.array_equal(vectors.values, featurize([told], PRESETS["lpp"]).values, equal_nan=True)


def test_items_are_not_glued() -> None:
    """Two messages of one response stay two."""
    items = [{"type": "message", "content": [{"type": "output_text", "text": text}]} for text in ("safe", "unsafe")]
    assert "safe\nunsafe" == read({"output": items}).text


@pytest.mark.parametrize("provider", ["openai-chat", "openai-responses", "gemini", "none"])
def test_text_before_a_tool_call(provider: str) -> None:
    """The call is the answer, whatever is said before it."""
    call = {"name": "f", "arguments": '{"outcome": 1}'}
    text = {"type": "text", "text": 'I note "outcome": 0.'}
    bodies: dict[str, Any] = {
        "openai-chat": {"choices": [{"message": {"content": text["text"], "tool_calls": [{"function": call}]}}]},
        "openai-responses": {"output": [{"type": "message", "content": [text]}, {"type": "function_call", **call}]},
        "gemini": {"candidates": [{"content": {"parts": [text, {"function_call": {"args": {"outcome": 1}}}]}}]},
        "none": {"content": [text, {"type": "tool_use", "input": {"outcome": 1}}]},
    }
    assert [1] == featurize([read(bodies[provider])], PRESETS["lpp"]).outcomes.tolist()


def test_arguments_as_an_object() -> None:
    """Ollama gives a call's arguments as JSON, not as a string of it."""
    message = {"content": "", "tool_calls": [{"function": {"arguments": {"outcome": 1}}}]}
    assert [1] == featurize([read({"choices": [{"message": message}]})], PRESETS["lpp"]).outcomes.tolist()


def test_fields_of_a_bare_body_are_the_providers() -> None:
    """A bare body's `provider` and `request_id` say nothing; a record's own count, and not those of its body."""
    bare = {"provider": "DeepInfra", "request_id": "glm", "choices": [{"message": {"content": "0"}}]}
    record = {"request_id": "r", "provider": "openai-chat", "body": bare}
    assert [None, "r"] == [read(one).request_id for one in (bare, record)]

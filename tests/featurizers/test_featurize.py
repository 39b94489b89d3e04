"""Predictors: hand-computed values, properties that must hold for any answer, and input that is no answer at all."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers import PRESETS, SCHEMA, ResponseError, SpecError, decode, featurize, load_spec
from scoring import RECORDING, read_recording

pytestmark = pytest.mark.usefixtures("each_reader")

LPP = PRESETS["lpp"]
RECORDED = [bytes(item.response) for item in read_recording(RECORDING)]


def token(text: str, logprob: float, *alternatives: tuple[str, float]) -> dict[str, Any]:
    top = [{"token": name, "logprob": value, "bytes": list(name.encode())} for name, value in alternatives]
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": top}


def chat(*tokens: dict[str, Any], model: str = "m") -> bytes:
    text = "".join(one["token"] for one in tokens)
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return json.dumps({"model": model, "choices": [{**choice, "logprobs": {"content": list(tokens)}}]}).encode()


def predictors(value: bytes) -> dict[str, float]:
    vectors = featurize([decode(value)], LPP)
    return dict(zip(SCHEMA.names, vectors.values[0].tolist(), strict=True))


def answer(label: tuple[tuple[str, float], ...], *, emitted: int = 0) -> bytes:
    """`{"outcome": N}` whose outcome token has these alternatives, by probability; every other token is certain."""
    alternatives = [(name, math.log(probability)) for name, probability in label]
    sure = [token(text, 0.0, (text, 0.0), ("?", -50.0)) for text in ('{"outcome":', " ")]
    return chat(
        *sure,
        token(alternatives[emitted][0], alternatives[emitted][1], *alternatives),
        token("}", 0.0, ("}", 0.0), ("?", -50.0)),
    )


def test_the_outcome_tokens_predictors_are_those_of_the_formulas() -> None:
    """Computed by hand: masses 0.6, 0.2, 0.1 over coverage 0.9; the token that is no label takes no part."""
    found = predictors(answer((("1", 0.6), ("0", 0.2), ("2", 0.1), ("x", 0.05))))
    q = [0.2 / 0.9, 0.6 / 0.9, 0.1 / 0.9]
    expected = {
        "outcome_logprob": math.log(0.6),
        "outcome_max_softmax": q[1],
        "outcome_entropy": -sum(one * math.log(one) for one in q),
        "outcome_margin": q[1] - q[0],
        "outcome_log_margin": math.log(q[1]) - math.log(q[0]),
        "outcome_coverage": 0.9,
        "q_violation": q[1],
        "q_evidence_deficiency": q[2],
        "outcome_is_violation": 1.0,
        "outcome_is_policy_gap": 0.0,
    }
    assert expected == pytest.approx({name: found[name] for name in expected}, rel=1e-5)


def test_the_sequence_predictors_are_those_of_the_formulas() -> None:
    """Mean, minimum, sum, perplexity and the share of unlikely tokens, by hand."""
    found = predictors(chat(token('{"outcome":', -0.1), token(" 0", -1.5), token("}", -0.2)))
    expected = {
        "sequence_logprob_mean": -0.6,
        "sequence_logprob_min": -1.5,
        "sequence_logprob_sum": -1.8,
        "sequence_perplexity": math.exp(0.6),
        "token_count": 3.0,
        "low_probability_fraction": 1 / 3,
    }
    assert expected == pytest.approx({name: found[name] for name in expected}, rel=1e-5)


@pytest.mark.parametrize(
    "pieces", [('{"outcome":', " 1", "}"), ('{"outcome', '": 1}'), ('{"out', 'come":1', "}"), ('{"outcome": 1}',)]
)
def test_the_outcome_is_found_by_character_not_by_token(pieces: tuple[str, ...]) -> None:
    """However the text is cut into tokens, also glued to its neighbours, the outcome is the same."""
    vectors = featurize([decode(chat(*(token(piece, -0.1) for piece in pieces)))], LPP)
    assert ([1], [None]) == (vectors.outcomes.tolist(), vectors.problems)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"outcome": 0, "confidence": 90}', 0),
        ('```json\n{\n  "outcome": 1,\n  "confidence": 100\n', 1),
        ('Here you are: {"outcome": "2"} as asked.', 2),
        ('{"confidence": 5, "outcome": 3}', 3),
        ('{"outcome": 7}', -1),
        ("I cannot help with that.", -1),
        ("", -1),
    ],
)
def test_an_outcome_is_found_in_what_llms_really_write(text: str, outcome: int) -> None:
    """Fences, prose, cut-off and refusals: an outcome, or none and why."""
    vectors = featurize([decode(chat(token(text, -0.1)))], LPP)
    assert outcome == vectors.outcomes[0]
    assert (outcome < 0) == (vectors.problems[0] is not None)


@pytest.mark.parametrize("absent", [-9999.0, -10000.0])
def test_the_apis_word_for_absent_is_missing(absent: float) -> None:
    """A log-probability of -9999 or less is no number to compute with."""
    assert math.isnan(
        predictors(chat(token('{"outcome":', -0.1), token(" 1", absent), token("}", -0.1)))["outcome_logprob"]
    )


def test_an_answer_without_log_probabilities_has_the_black_box_predictors_only() -> None:
    """Missing stays missing, never a made-up zero."""
    body = {"choices": [{"message": {"content": '{"outcome": 1, "confidence": 80}'}, "logprobs": None}]}
    found = predictors(json.dumps(body).encode())
    assert (1.0, pytest.approx(0.8)) == (found["outcome_is_violation"], found["stated_confidence"])
    assert all(math.isnan(value) for name, value in found.items() if "logprob" in name or "entropy" in name)


def test_envelope_and_bare_body_give_the_same_vector() -> None:
    """A gateway that writes the provider's body needs no envelope."""
    envelope = json.dumps({"request_id": "a", "provider": "openai-chat", "body": json.loads(RECORDED[0])}).encode()
    wrapped, bare = decode(envelope), decode(RECORDED[0])
    assert ("a", None) == (wrapped.request_id, bare.request_id)
    values = featurize([wrapped, bare], LPP).values
    np.testing.assert_array_equal(values[0], values[1])


def test_the_same_answer_gives_the_same_vector_in_every_format() -> None:
    """OpenAI chat, OpenAI responses, completions and Gemini carry one answer; the vectors agree."""
    steps = [('{"outcome":', -0.1), (" ", -0.2), ("1", -0.3), ("}", -0.05)]
    rivals = {text: [(text, value), ("0", -2.0)] for text, value in steps}
    text = "".join(text for text, _ in steps)
    items = [token(text, value, *rivals[text]) for text, value in steps]
    bodies = {
        "openai-chat": {"choices": [{"message": {"content": text}, "logprobs": {"content": items}}]},
        "openai-responses": {
            "output": [{"type": "message", "content": [{"type": "output_text", "text": text, "logprobs": items}]}]
        },
        "completions": {
            "choices": [
                {
                    "text": text,
                    "logprobs": {
                        "tokens": [one for one, _ in steps],
                        "token_logprobs": [value for _, value in steps],
                        "top_logprobs": [dict(rivals[one]) for one, _ in steps],
                        "text_offset": [0, 11, 12, 13],
                    },
                }
            ]
        },
        "gemini": {
            "candidates": [
                {
                    "content": {"parts": [{"text": text}]},
                    "logprobsResult": {
                        "chosenCandidates": [{"token": one, "logProbability": value} for one, value in steps],
                        "topCandidates": [
                            {"candidates": [{"token": name, "logProbability": other} for name, other in rivals[one]]}
                            for one, _ in steps
                        ],
                    },
                }
            ]
        },
    }
    responses = [decode(json.dumps({"provider": name, "body": body}).encode()) for name, body in bodies.items()]
    assert list(bodies) == [response.provider for response in responses]
    values = featurize(responses, LPP).values
    for row in values[1:]:
        np.testing.assert_allclose(row, values[0], rtol=1e-6)


def test_a_batch_gives_what_each_answer_gives_alone() -> None:
    """No answer leaks into its neighbours."""
    some = [decode(body) for body in RECORDED[:30]]
    alone = np.concatenate([featurize([one], LPP).values for one in some])
    np.testing.assert_allclose(featurize(some, LPP).values, alone, rtol=1e-6)


def test_every_recorded_value_is_within_the_tables_bounds() -> None:
    """The table of predictors says what each may be; NaN only where it allows it."""
    vectors = featurize([decode(body) for body in RECORDED], LPP)
    assert (len(RECORDED), len(SCHEMA.names)) == vectors.values.shape
    for column, feature in zip(vectors.values.T, SCHEMA.features, strict=True):
        known = column[~np.isnan(column)]
        assert (known >= feature.low - 1e-5).all(), feature.name
        assert (known <= feature.high + 1e-5).all(), feature.name
        assert not feature.always or known.size == column.size, feature.name


PROBABILITIES = st.lists(st.floats(1e-6, 1.0), min_size=4, max_size=4)


@given(weights=PROBABILITIES, scale=st.floats(0.1, 1.0), order=st.permutations(range(4)))
def test_order_and_scale_of_the_alternatives_change_nothing_but_coverage(
    weights: list[float], scale: float, order: list[int]
) -> None:
    """Permuted, or all log-probabilities moved by one constant, q is the same; its sum, entropy and margin keep bounds."""
    total = sum(weights)
    label = tuple((str(code), weight / total) for code, weight in enumerate(weights))
    scaled = tuple((name, probability * scale) for name, probability in label)
    plain, moved = (
        predictors(answer(label)),
        predictors(answer(tuple(scaled[i] for i in order), emitted=order.index(0))),
    )
    invariant = ("outcome_max_softmax", "outcome_entropy", "outcome_margin", "q_violation", "q_policy_gap")
    assert [plain[name] for name in invariant] == pytest.approx([moved[name] for name in invariant], abs=1e-5)
    assert 0 <= plain["outcome_entropy"] <= math.log(4) + 1e-6
    assert 0 <= plain["outcome_margin"] <= 1
    assert moved["outcome_coverage"] == pytest.approx(scale, rel=1e-4)


@settings(max_examples=300)
@given(
    body=st.sampled_from(RECORDED[:40]), cut=st.integers(0, 12000), noise=st.binary(max_size=8), drop=st.integers(0, 40)
)
def test_mutated_bodies_end_in_a_vector_or_in_the_documented_error(
    body: bytes, cut: int, noise: bytes, drop: int
) -> None:
    """Whatever the bytes, only `ResponseError` leaves the package."""
    place = cut % len(body)
    with contextlib.suppress(ResponseError):
        featurize([decode(body[:place] + noise + body[place + drop :])], LPP)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "logprobs", "body", "output", "token"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JSON)
def test_any_json_ends_in_a_vector_or_in_the_documented_error(value: Any) -> None:
    """Valid JSON of the wrong shape is normal input."""
    with contextlib.suppress(ResponseError):
        featurize([decode(json.dumps(value).encode())], LPP)


@pytest.mark.parametrize(
    ("value", "code", "request_id"),
    [
        (b"", "not_a_record", None),
        (b"\x00\xff", "not_a_record", None),
        (RECORDED[0][:500], "not_a_record", None),
        (b"[1]", "not_a_record", None),
        (b'{"request_id": "a", "body": {"choices": "upstream timeout"}}', "unreadable_answer", "a"),
        (b'{"request_id": "a"}', "unreadable_answer", None),
    ],
)
def test_what_is_no_record_and_what_is_no_answer_are_told_apart(
    value: bytes, code: str, request_id: str | None
) -> None:
    """Bytes that are no record are set aside; a record without an answer still names its request."""
    with pytest.raises(ResponseError) as caught:
        decode(value)
    assert (code, request_id) == (caught.value.code, caught.value.request_id)


@pytest.mark.parametrize(
    ("preset", "text", "outcome"),
    [
        ("llama-guard", "unsafe\nS1", 1),
        ("llama-guard", "safe", 0),
        ("yes-no", "Yes", 1),
        ("allow-block", "ALLOW", 0),
        ("true-false", "true", 1),
    ],
)
def test_other_vocabularies_are_specs_like_any_other(preset: str, text: str, outcome: int) -> None:
    """Each preset reads its own words."""
    assert outcome == featurize([decode(chat(token(text, -0.1)))], PRESETS[preset]).outcomes[0]


@pytest.mark.parametrize(
    "text", ["", "not toml [", "[labels]\n0 = []\n", 'surprise = 1\n[labels]\n0 = ["a"]\n1 = ["b"]\n']
)
def test_a_broken_spec_is_refused(tmp_path: Path, text: str) -> None:
    """The file and the reason are named."""
    file = tmp_path / "spec.toml"
    file.write_text(text)
    with pytest.raises(SpecError, match=r"spec\.toml|label"):
        load_spec(file)

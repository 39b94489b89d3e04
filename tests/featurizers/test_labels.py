"""The masses of labels that are split over tokens, glued to neighbours, or known by several names."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from featurizers import PRESETS, SCHEMA, OutcomeSpec, decode, featurize

pytestmark = pytest.mark.usefixtures("each_reader")

Values = Callable[..., dict[str, float]]
ln = math.log


def test_chain(values: Values) -> None:
    """A label of several tokens has the product of its tokens' probabilities."""
    tokens = [
        ("un", ln(0.6), {"un": ln(0.6), "safe": ln(0.4)}),
        ("safe", ln(0.9), {"safe": ln(0.9), "known": ln(0.1)}),
    ]
    actual = values(tokens, "llama-guard")
    assert pytest.approx(ln(0.6) + ln(0.9)) == actual["outcome_logprob"]
    assert pytest.approx(0.54 + 0.4) == actual["outcome_coverage"]
    assert pytest.approx(0.54 / 0.94) == actual["q_violation"]
    assert 2.0 == actual["outcome_token_count"]


def test_chain_branches_at_its_end(values: Values) -> None:
    """Where the chain ends, several continuations may complete labels."""
    spec = OutcomeSpec(name="s", labels=(("class a",), ("class b",)), where="first-token")
    tokens = [
        ("class", -0.0, {"class": ln(1.0), "x": ln(1e-9)}),
        (" b", ln(0.7), {" a": ln(0.3), " b": ln(0.7)}),
    ]
    actual = values(tokens, spec)
    assert pytest.approx(0.7) == actual["q_violation"]
    assert pytest.approx(1.0) == actual["outcome_coverage"]


def test_unsampled_beginning_is_missing(values: Values) -> None:
    """A likely beginning of a label whose continuation nobody sampled makes the distribution missing."""
    actual = values([("safe", ln(0.6), {"safe": ln(0.6), "un": ln(0.4)})], "llama-guard")
    assert pytest.approx(ln(0.6)) == actual["outcome_logprob"]
    assert math.isnan(actual["outcome_coverage"])
    assert math.isnan(actual["q_violation"])


def test_negligible_beginning_is_left_out(values: Values) -> None:
    """A beginning of a label with hardly any mass does not."""
    top = {"safe": ln(0.6), "unsafe": ln(0.399), "un": ln(0.001)}
    actual = values([("safe", ln(0.6), top)], "llama-guard")
    assert pytest.approx(0.399 / 0.999) == actual["q_violation"]


def test_chain_without_alternatives(values: Values) -> None:
    """A chain with a link that has no alternatives has no distribution."""
    actual = values([("un", ln(0.6), {"un": ln(0.6), "safe": ln(0.4)}), ("safe", -0.1, {})], "llama-guard")
    assert math.isnan(actual["outcome_coverage"])
    assert pytest.approx(ln(0.6) - 0.1) == actual["outcome_logprob"]


@pytest.mark.parametrize(
    "tokens",
    [
        [('{"outcome', -0.1, {}), ('":1', ln(0.7), {'":1': ln(0.7), '":0': ln(0.2), '":': ln(0.1)}), ("}", -0.1, {})],
        [('{"outcome":', -0.1, {}), ("1}", ln(0.7), {"1}": ln(0.7), "0}": ln(0.2), "01": ln(0.1)})],
        [('{"outcome": "', -0.1, {}), ("1", ln(0.7), {"1": ln(0.7), " 0": ln(0.2), "x": ln(0.1)}), ('"}', -0.1, {})],
    ],
    ids=["glued before", "glued behind", "in a string"],
)
def test_glued(values: Values, tokens: list[object]) -> None:
    """A label glued to its neighbours is found by its characters, its rivals by theirs."""
    actual = values(tokens)
    assert pytest.approx(ln(0.7)) == actual["outcome_logprob"]
    assert pytest.approx(0.7 / 0.9) == actual["q_violation"]
    assert pytest.approx(0.9) == actual["outcome_coverage"]


def test_glued_to_a_word(values: Values) -> None:
    """What a word glued before the label hides is taken off its rivals too."""
    top = {"label=b": ln(0.7), "label=a": ln(0.3)}
    spec = OutcomeSpec(name="s", labels=(("a",), ("b",)), where="regex", pattern=r"label=(\w)")
    assert pytest.approx(0.7) == values([("label=b", ln(0.7), top)], spec)["q_violation"]


def test_aliases_add_up(values: Values) -> None:
    """All strings of a code add to its mass, whatever their case."""
    spec = OutcomeSpec(name="s", labels=(("no", "safe"), ("yes", "unsafe")), where="first-token")
    top = {"Yes": ln(0.4), " unsafe": ln(0.2), "no": ln(0.1), "NO": ln(0.1), "SAFE": ln(0.1)}
    actual = values([("Yes", ln(0.4), top)], spec)
    assert pytest.approx(0.6 / 0.9) == actual["q_violation"]


def test_digit_is_not_a_longer_number(values: Values) -> None:
    """10 is not the label 1."""
    top = {"1": ln(0.5), "0": ln(0.3), "10": ln(0.2)}
    actual = values([('{"outcome": ', -0.1, {}), ("1", ln(0.5), top), ("}", -0.1, {})])
    assert pytest.approx(0.8) == actual["outcome_coverage"]


def test_label_in_other_alphabets(values: Values) -> None:
    """Labels may be any words, split inside a character or not."""
    spec = OutcomeSpec(name="s", labels=(("нет",), ("да",)), where="first-token")
    actual = values([("да", ln(0.8), {"да": ln(0.8), "нет": ln(0.2)})], spec)
    assert pytest.approx(0.8) == actual["q_violation"]


def test_decoded_for_the_spec(body: Callable[..., object], verdict: list[object]) -> None:
    """A response decoded for its spec has the same vector; under another spec the label distribution is missing."""
    value = json.dumps(body(verdict)).encode()
    lpp = PRESETS["lpp"]
    expected = featurize([decode(value)], lpp).values
    assert np.array_equal(expected, featurize([decode(value, spec=lpp)], lpp).values, equal_nan=True)
    other = OutcomeSpec(name="s", labels=(("80",), ("10",)), field="confidence")
    actual = featurize([decode(value, spec=lpp)], other)
    assert [0] == actual.outcomes.tolist()
    assert np.isnan(actual.values[0, SCHEMA.names.index("outcome_coverage")])


def test_labels_of_a_batch_do_not_mix(body: Callable[..., object]) -> None:
    """Whatever stands before it in its batch, a label has the alternatives of its own token: other scripts, none that were kept, a chain."""
    spec, top = PRESETS["llama-guard"], {"safe": ln(0.6), "unsafe": ln(0.3), "не": ln(0.05)}
    bodies = [
        [("safe", ln(0.6), top)],
        [("\n", -0.1, {"\n": -0.1, "x": -3.0}), ("safe", ln(0.6), {**top, "": ln(0.01), "\x00é": ln(0.01)})],
        [("safe", ln(0.6), {"unsafe": ln(0.3), "other": ln(0.05)})],
        [("un", ln(0.6), {"un": ln(0.6), "safe": ln(0.4)}), ("safe", ln(0.9), {"safe": ln(0.9), "known": ln(0.1)})],
        [("safe", ln(0.6), {})],
        [("unsafe", ln(0.7), {"safe": ln(0.3), "unsafe": ln(0.7)})],
    ]
    values = [json.dumps(body(tokens)).encode() for tokens in bodies]
    responses = [*map(decode, values), *(decode(value, spec=PRESETS["lpp"]) for value in values)]
    alone = [featurize([response], spec).values for response in responses]
    coverage = SCHEMA.names.index("outcome_coverage")
    known = [not math.isnan(row[0, coverage]) for row in alone]
    assert [True, True, True, True, False, True, True, False, True, False, False, True] == known
    for order in (responses, responses[::-1]):
        together = featurize(order, spec).values
        np.testing.assert_array_equal(np.concatenate(alone if order is responses else alone[::-1]), together)

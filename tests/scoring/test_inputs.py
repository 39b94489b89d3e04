"""What a model sees beside the predictors: policies and languages of their own."""

import numpy as np
import pytest

from scoring.inputs import Inputs, language_of

VALUES = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("pt-BR", "pt"), ("PT", "pt"), ("zh_Hant_TW", "zh"), ("", None), ("-", None), (None, None), (7, None)],
)
def test_a_language_is_the_first_part_of_its_tag(tag: object, language: str | None) -> None:
    """Region and script do not matter, and what is no text is no language."""
    assert language == language_of(tag)


def test_policies_come_before_languages_and_what_is_not_known_stays_missing() -> None:
    """One column each; a row of another language, or of none, has all of its language's columns missing."""
    encoded = Inputs(("hate",), ("de", "fr")).encode(VALUES, ["hate", "spam", "hate"], ["de-AT", "pl", None])
    nan = np.nan
    np.testing.assert_array_equal([[0, 0, 1, 1, 0], [0, 0, nan, nan, nan], [0, 0, 1, nan, nan]], encoded)


def test_who_names_no_languages_gets_the_pooled_model() -> None:
    """As if none was known."""
    inputs = Inputs((), ("de",))
    np.testing.assert_array_equal(inputs.encode(VALUES, ["p"] * 3, [None] * 3), inputs.encode(VALUES, ["p"] * 3))

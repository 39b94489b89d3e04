"""A candidate beside the model in force."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from scoring import DataError
from scoring.data.dataset import Dataset
from scoring.data.traffic import Traffic
from scoring.evaluation import rivals
from scoring.evaluation.rivals import unseen
from scoring.model import ErrorModel
from scoring.training import Trained, single_estimator_model, train

Synthetic = Callable[[int, int, float], Dataset]


def at(data: Dataset, days: list[int]) -> Dataset:
    """The same rows, decided on these days of a month."""
    origins = tuple(
        replace(one, decided_at=f"2026-11-{day:02}T00:00:00.000Z") for one, day in zip(data.origins, days, strict=True)
    )
    return Dataset(origins, data.values, data.outcomes, data.labels)


@pytest.fixture(scope="module")
def good(synthetic: Synthetic) -> ErrorModel:
    """Of errors that follow a predictor, on the first ten days."""
    data = synthetic(900, 21, 2.5)
    return ErrorModel(train(at(data, [1 + i % 10 for i in range(900)]), families=("ridge",), replicates=10).onnx)


@pytest.fixture(scope="module")
def useless(synthetic: Synthetic) -> ErrorModel:
    """Of errors that follow nothing, on the first five days."""
    data = synthetic(900, 22, 0.0)
    return ErrorModel(train(at(data, [1 + i % 5 for i in range(900)]), families=("ridge",), replicates=10).onnx)


def test_a_card_says_from_when_to_when_its_answers_are(good: ErrorModel, trained: Trained) -> None:
    """Where they say it."""
    span = {"since": "2026-11-01T00:00:00.000Z", "until": "2026-11-10T00:00:00.000Z"}
    assert span == {name: good.card["data"][name] for name in span}
    assert not span.keys() & trained.card["data"].keys()


def test_only_what_neither_was_trained_on_compares(good: ErrorModel, useless: ErrorModel, synthetic: Synthetic) -> None:
    """Answers of after both training spans; without times those that are held out by their ids."""
    data = synthetic(300, 23, 1.0)
    later = at(data, [1 + i % 20 for i in range(300)])
    assert [i % 20 >= 10 for i in range(300)] == unseen(later, good, useless).tolist()
    assert data.held_out.tolist() == unseen(data, good, useless).tolist()


@pytest.mark.parametrize("weighted", [False, True])
def test_better_same_and_worse_are_told_by_the_interval(
    good: ErrorModel, useless: ErrorModel, synthetic: Synthetic, weighted: bool
) -> None:
    """A model that ranks beside one that does not, the other way round, and beside itself; weighted labels, too."""
    data = at(synthetic(900, 24, 2.5), [20] * 900)
    if weighted:
        chances = np.where(np.arange(900) % 3, 1.0, 0.5)
        origins = tuple(replace(one, chance=c) for one, c in zip(data.origins, chances.tolist(), strict=True))
        data = Dataset(origins, data.values, data.outcomes, data.labels)
    found = rivals(good, useless, data, replicates=200)
    assert ("better", 900) == (found["verdict"], found["verdicts"])
    assert "worse" == rivals(useless, good, data, replicates=200)["verdict"]
    own = rivals(good, good, data, replicates=200)
    assert ("same", 0.0) == (own["verdict"], own["cost_difference"]["false-discovery"]["value"])


def test_a_first_day_model_can_be_beaten(good: ErrorModel, synthetic: Synthetic) -> None:
    """It has no cost threshold, and gets the best that there is for it."""
    first = ErrorModel(single_estimator_model("mean-logprob")[0])
    data = at(synthetic(900, 25, 2.5), [20] * 900)
    assert "better" == rivals(good, first, data, replicates=200)["verdict"]


def test_a_first_day_model_is_not_shown_to_be_better(useless: ErrorModel, synthetic: Synthetic) -> None:
    """Its threshold is picked on the answers that judge."""
    first = ErrorModel(single_estimator_model("entropy")[0])
    data = at(synthetic(900, 25, 2.5), [20] * 900)
    assert "flattered" == rivals(first, useless, data, replicates=200)["verdict"]


def test_without_labels_of_later_there_is_no_comparison(
    good: ErrorModel, useless: ErrorModel, synthetic: Synthetic
) -> None:
    """The error says how to come by them."""
    reviews = at(synthetic(200, 27, 1.0), [20] * 200)
    origins = tuple(replace(one, chance=1.0, stratum="escalated") for one in reviews.origins)
    reviews = Dataset(origins, reviews.values, reviews.outcomes, reviews.labels)
    traffic = Traffic(Counter(escalated=200, automated=400), Counter(escalated=200))
    with pytest.raises(DataError, match="stands for what is automated"):
        rivals(good, useless, reviews, traffic=traffic)
    data = at(synthetic(200, 26, 1.0), [3] * 200)
    with pytest.raises(DataError, match=r"0 labelled verdicts.*--until"):
        rivals(good, useless, data)

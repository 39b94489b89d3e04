"""Whether a model is better than every simple rule, and what would do instead."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featurizers import SCHEMA
from scoring.data.dataset import Dataset, Origin
from scoring.evaluation.baselines import rule
from scoring.evaluation.comparing import RIVALS, ahead, simpler, unbeaten
from scoring.evaluation.words import learned

AUROC = {"value": 0.8, "low": 0.7, "high": 0.9}


def _against(**changed: tuple[float, float]) -> dict[str, Any]:
    """Every rival beaten on both counts, but for those that are given: the lowest gain in AUROC and the highest cost."""
    judged = {}
    for name in RIVALS:
        low, high = changed.get(name.replace("-", "_"), (0.05, -0.05))
        judged[name] = {
            "auroc": {"value": low + 0.1, "low": low, "high": low + 0.2},
            "cost": {"false-discovery": {"value": high - 0.1, "low": high - 0.2, "high": high}},
        }
    return judged


def test_a_model_that_beats_every_rule_is_called_better() -> None:
    """And the closest rule is named."""
    said = learned(AUROC, _against(ucci=(0.01, -0.01)), "blend-platt")
    assert said.startswith(
        "The model is better, in ranking or in cost and in neither worse, than every base rate, single estimator, UQLM score and UCCI: AUROC 0.800"
    )
    assert "against ucci, which comes closest" in said
    assert simpler(_against()) is None


@pytest.mark.parametrize(
    ("changed", "left", "lost", "offered"),
    [
        ({"ucci": (-0.02, 0.01)}, ["ucci"], [], "probability-margin"),
        ({"label_policy_language": (-0.02, 0.01)}, ["label-policy-language"], [], "label-policy-language"),
        ({"label_and_policy": (-0.02, 0.01), "margin": (-0.03, 0.01)}, ["margin", "label-and-policy"], [], "margin"),
        ({"margin": (-0.02, -0.01)}, [], [], None),  # costs less, ranks alike
        ({"margin": (0.01, 0.02)}, [], [], None),  # ranks better, costs alike
        ({"margin": (0.01, 0.3)}, ["margin"], ["margin"], "margin"),  # ranks better, but costs more
        ({"margin": (-0.3, 0.01), "ucci": (-0.02, 0.01)}, ["margin", "ucci"], ["margin"], "margin"),  # ranks worse
    ],
)
def test_a_rule_that_is_not_shown_to_be_worse_is_named_and_offered(
    changed: dict[str, tuple[float, float]], left: list[str], lost: list[str], offered: str | None
) -> None:
    """The closest first, by the name under which it can be trained; and whether one of them is shown to be better than the model."""
    judged = _against(**changed)
    assert (left, lost, offered) == (unbeaten(judged), ahead(judged), simpler(judged))
    if left:
        said = learned(AUROC, judged, "blend-platt")
        worse = f"and is worse, in ranking or in cost, than {', '.join(lost)}" if lost else "nor worse than any rule"
        assert said.startswith(f"The model is not shown to be better than {', '.join(left)}, {worse}: AUROC 0.800")
        assert said.endswith(f"`secondlook train --only {offered}` gives the simpler one.")
        assert learned(AUROC, judged, f"{offered}-beta").endswith("It is that rule, calibrated.")


def _data(margins: list[float], errors: list[bool]) -> Dataset:
    values = np.zeros((len(margins), len(SCHEMA.names)), np.float32)
    values[:, SCHEMA.names.index("sequence_margin_mean")] = margins
    outcomes = np.zeros(len(margins), np.int8)
    origins = tuple(Origin(str(i), "hate", str(i)) for i in range(len(margins)))
    return Dataset(origins, values, outcomes, np.array(errors).astype(np.int8))


def test_ucci_maps_the_mean_margin_to_the_error_rate_of_a_rising_fit() -> None:
    """u = 1 - mean margin; isotonic on the training rows; escalated from the Bayes threshold on."""
    seen = _data([0.9, 0.9, 0.6, 0.6, 0.3, 0.3], [False, False, False, True, True, True])
    ruling = rule("ucci", seen, _data([0.95, 0.6, 0.45, 0.1, np.nan], [False] * 5), 0.64)
    assert [0.0, 0.5, 0.75, 1.0, 1.0] == pytest.approx(ruling.scores.tolist())
    assert {"false-discovery": 0.64 / 1.64, "review-charged": 0.64} == pytest.approx(ruling.thresholds)


def test_ucci_counts_labels_by_what_they_stand_for() -> None:
    """A wrong answer that stands for three is three wrong ones."""
    seen = _data([0.6, 0.6], [True, False])
    chances = (1 / 3, 1.0)
    origins = tuple(replace(one, chance=chance) for one, chance in zip(seen.origins, chances, strict=True))
    weighted = Dataset(origins, seen.values, seen.outcomes, seen.labels)
    assert [0.75] == pytest.approx(rule("ucci", weighted, _data([0.6], [False]), 0.64).scores.tolist())


@pytest.mark.parametrize(
    ("name", "feature", "value", "risk"),
    [
        ("min-probability", "sequence_logprob_min", np.log(0.25), 0.75),
        ("probability-margin", "sequence_margin_mean", 0.9, 0.1),
        ("mean-token-negentropy", "sequence_entropy_mean", np.log(20) / 4, 0.25),
        ("min-token-negentropy", "sequence_entropy_max", np.log(20), 1.0),
    ],
)
def test_uqlms_scorers_are_their_formulas(name: str, feature: str, value: float, risk: float) -> None:
    """As risks: one minus UQLM's confidence."""
    data = _data([0.5, 0.5], [True, False])
    data.values[:, SCHEMA.names.index(feature)] = value
    assert [risk] * 2 == pytest.approx(rule(name, data, data, 0.64).scores.tolist(), abs=1e-6)

"""A model against every simple rule: whether it is shown to be better than each, and what would do instead."""

from collections.abc import Mapping
from typing import Any

from scoring.evaluation.baselines import BASE_RATES, LABEL_POLICY_LANGUAGE, SINGLE_ESTIMATORS, UCCI
from scoring.evaluation.ruling import HEADLINE, Bools, Ruling, auroc, paired_difference
from scoring.thresholds import ACCOUNTINGS

RIVALS = (*SINGLE_ESTIMATORS, UCCI, *BASE_RATES)
"""From simple to complex."""
_FAMILY_OF = {UCCI: "probability-margin", **dict.fromkeys(BASE_RATES, LABEL_POLICY_LANGUAGE)}
"""What `secondlook train --only` knows a rival as, where not by its own name."""


def against(model: Ruling, baselines: Mapping[str, Ruling], errors: Bools, review: float) -> dict[str, Any]:
    """By rival: the model's gain in AUROC, and its cost minus the rival's, on the same rows; to be estimated."""
    ours = auroc(model, errors)
    return {
        name: {
            "auroc": ours.minus(auroc(baselines[name], errors)),
            "cost": {
                accounting: paired_difference(model, baselines[name], errors, accounting, review)
                for accounting in ACCOUNTINGS
            },
        }
        for name in RIVALS
    }


def unbeaten(judged: Mapping[str, Any]) -> list[str]:
    """The rivals than which the model is not shown to be better, of what `against` came to: the closest first.

    Better is to rank errors better or to cost less under the headline accounting, with an interval clear of zero, and neither
    to rank worse nor to cost more so. As all rivals must be beaten, each at its own 95 %, their number asks for no correction; that there are
    two ways to beat one means that one no worse than the model is called beaten in at most 5 % of samples, not 2.5 %.
    """
    left = [name for name, one in judged.items() if shown(one["auroc"], one["cost"][HEADLINE]) != (True, False)]
    return sorted(left, key=lambda name: float(judged[name]["auroc"]["value"]))


def ahead(judged: Mapping[str, Any]) -> list[str]:
    """Those among them than which it is shown to rank worse or to cost more."""
    return [name for name in unbeaten(judged) if shown(judged[name]["auroc"], judged[name]["cost"][HEADLINE])[1]]


def simpler(judged: Mapping[str, Any]) -> str | None:
    """The family that would do as well, the one that comes closest; None where every rival is beaten."""
    return next((_FAMILY_OF.get(name, name) for name in unbeaten(judged)), None)


def shown(ranks: Mapping[str, Any], costs: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a gain of one against another is shown, and whether a loss is, by the differences in AUROC and in cost; either may be, or both."""
    if ranks["low"] is None or costs["low"] is None:
        return False, False
    return ranks["low"] > 0 or costs["high"] < 0, ranks["high"] < 0 or costs["low"] > 0

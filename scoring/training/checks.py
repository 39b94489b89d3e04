"""What must hold before anything is trained: enough errors, and no leak."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from featurizers import SCHEMA
from scoring.data.dataset import UNKNOWN, Dataset
from scoring.data.traffic import Traffic, strata_words
from scoring.errors import TrainingError
from scoring.evaluation import metrics

MIN_PER_KIND = 40
"""Wrong and right answers, each, below which nothing is trained: about eight in each outer fold."""
MIN_PER_KIND_IN_POLICY = 10
"""Wrong and right answers, each, below which a policy or a language gets no coefficients of its own."""
MIN_PER_PART = 10
"""Labels of what is escalated, and of what is automated, below which they do not stand for it: one audit is no sample."""
LEAK_AUROC = 0.995


def require_enough(decided: Dataset) -> None:
    """Raise TrainingError when there are too few wrong or too few right answers, saying how many it takes.

    Answers of one group count once: it is never cut by the folds.
    """
    groups = np.array(decided.groups, dtype=object)
    for kind, rows in (("wrong", decided.errors), ("right", ~decided.errors)):
        answers, items = int(rows.sum()), len(set(groups[rows]))
        if items < MIN_PER_KIND:
            of = "" if items == answers else f", of {items} different items"
            raise TrainingError(
                f"{answers} {kind} answers among {len(decided)} labelled verdicts to train on{of}: it takes at least {MIN_PER_KIND} "
                f"wrong and {MIN_PER_KIND} right ones. Label more answers (held-out items do not count), or start with "
                "`secondlook train --single max-softmax`, which needs no labels."
            )


def refuse_one_stratum(decided: Dataset, traffic: Traffic) -> None:
    """Raise TrainingError when next to all rows are of one part of the traffic: what a model learned from them would be of that part."""
    missing = traffic.without(Counter(origin.stratum for origin in decided.origins), MIN_PER_PART)
    if not missing:
        return
    mend = {
        "automated": "Set an audit rate (`secondlook control set-audit-rate`), have the audits decided, and train then.",
        "escalated": "Have a part of what was escalated decided, and train then.",
    }
    parts = " and ".join(missing)
    raise TrainingError(
        f"Fewer than {MIN_PER_PART} labels to train on stand for what is {parts} (labelled verdicts, held-out ones included: "
        f"{strata_words(traffic.stated()['strata'])}): the model chose which ones humans saw, and one trained on these alone would believe that all are "
        f"like them. {mend[missing[0]]} Labels of all, however gathered, are taken by --data."
    )


def policies_of_their_own(decided: Dataset) -> tuple[str, ...]:
    """Policies with enough wrong and right answers for coefficients of their own, sorted; the others use the pooled model."""
    return _with_enough(decided.policies, decided)


def languages_of_their_own(decided: Dataset) -> tuple[str, ...]:
    """Languages likewise; none where all answers are of one, or it is not known of any."""
    known = tuple(name for name in _with_enough(decided.languages, decided) if name != UNKNOWN)
    return known if len(set(decided.languages)) > 1 else ()


def _with_enough(names: Sequence[str], decided: Dataset) -> tuple[str, ...]:
    wrong = Counter(name for name, error in zip(names, decided.errors, strict=True) if error)
    total = Counter(names)
    return tuple(
        sorted(name for name in total if min(wrong[name], total[name] - wrong[name]) >= MIN_PER_KIND_IN_POLICY)
    )


def refuse_leaks(decided: Dataset) -> None:
    """Raise TrainingError when one predictor, or its being missing, tells wrong from right answers almost perfectly.

    Looked at within each outcome, where E is the label itself or its opposite: no honest predictor separates them, but a
    label that slipped into a feature does, whichever way round it was written.
    """
    for outcome in (0, 1):
        part = decided.take(decided.outcomes == outcome)
        wrong = int(part.errors.sum())
        if min(wrong, len(part) - wrong) < MIN_PER_KIND_IN_POLICY:
            continue
        one = np.ones((1, len(part)))
        for name, column in zip(SCHEMA.names, part.values.T.astype(np.float64), strict=True):
            missing = np.isnan(column)
            for scores in (missing.astype(float), np.where(missing, np.nanmin(column, initial=0.0) - 1, column)):
                found = float(metrics.auroc(scores, part.errors, one)[0])
                if max(found, 1 - found) >= LEAK_AUROC:
                    raise TrainingError(
                        f"Predictor {name!r} alone tells wrong from right answers of outcome {outcome} with AUROC "
                        f"{max(found, 1 - found):.3f}: the label seems to have leaked into it. Check how the vectors were made."
                    )

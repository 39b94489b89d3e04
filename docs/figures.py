"""`python -m docs.figures` measures what docs/scoring.md says of the recordings, and writes it there.

Every figure comes from the two recordings: models are trained on the part of the items that is not held out, and judged on answers
that they have not seen. It takes some minutes on one core.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from docs.generate import renewed, table
from scoring import MULTILINGUAL, RECORDING, RECORDINGS, ErrorModel
from scoring.data import Dataset, load
from scoring.evaluation import evaluate, metrics
from scoring.evaluation.baselines import BASELINES, LABEL_POLICY_LANGUAGE, SINGLE_ESTIMATORS, UCCI, rule
from scoring.evaluation.bootstrap import Bootstrap, Figure
from scoring.evaluation.comparing import shown
from scoring.evaluation.diagnostics import FEWEST, SMALLEST_SLICE
from scoring.evaluation.evaluator import risks
from scoring.evaluation.ruling import HEADLINE, Ruling, auroc, cost, join, paired_difference, rule_at
from scoring.evaluation.words import stated
from scoring.thresholds import ACCOUNTINGS, COST_RATIO, cost_threshold
from scoring.training import Trained, train
from scoring.training.trainer import SEED, fit

COMMAND: Final = "make figures"
PAGE: Final = Path(__file__).parent / "scoring.md"
SETS: Final = {"English": (RECORDING,), "multilingual": (MULTILINGUAL,), "pooled": RECORDINGS}

_REPLICATES: Final = 2000
_BAYES: Final = {name: cost_threshold(name, review=COST_RATIO, mistake=1.0) for name in ACCOUNTINGS}
_CLOSE: Final = ("mean-logprob", "min-probability", "probability-margin", UCCI, LABEL_POLICY_LANGUAGE)


def main() -> None:
    """Measure, and renew the generated parts of the page."""
    measured = measure()
    page = PAGE.read_text(encoding="utf-8")
    for name, text in measured.items():
        page = renewed(page, name, text, COMMAND)
    PAGE.write_text(page, encoding="utf-8")
    click.echo(f"wrote {PAGE}")


def measure() -> dict[str, str]:
    """Every generated part of the page, by its name."""
    data = {name: load(paths) for name, paths in SETS.items()}
    trained = {name: train(each) for name, each in data.items()}
    pooled = ErrorModel(trained["pooled"].onnx)
    unseen = _unseen(data["pooled"], trained["pooled"])
    return {
        "nested": _nested_table(trained),
        "families": _families_table(trained),
        "held-out": "\n\n".join(
            f"{name[:1].upper()}{name[1:]}, the default model:\n\n{held_out_table(evaluate(pooled, each))}"
            for name, each in data.items()
        ),
        "pooling": _pooling_table(data, trained),
        "languages": _slices_table(unseen, "language"),
        "functionalities": _slices_table(unseen, "functionality"),
        "transfer": _transfer_table(unseen),
    }


def held_out_table(result: Mapping[str, Any]) -> str:
    """The model beside every baseline on the held-out part."""
    rows = []
    for name, entry in {f"**{result['model']['name']}**": result["model"], **result["baselines"]}.items():
        costs = [stated(entry["cost"][accounting]) for accounting in ACCOUNTINGS]
        accuracy = entry["automated_accuracy"]["value"]
        rows.append(
            (
                name,
                stated(entry["auroc"]),
                stated(entry["aurc"]),
                *costs,
                f"{entry['escalation_rate']['value']:.1%}",
                "none" if accuracy is None else f"{accuracy:.1%}",
            )
        )
    head = ("", "AUROC", "AURC", *(f"cost, {name}" for name in ACCOUNTINGS), "escalated", "accuracy automated")
    counts = result["data"]
    return f"{counts['held_out_decided']} verdicts, {counts['held_out_errors']} wrong.\n\n{table(head, rows)}"


def _signed(figure: Mapping[str, float | None]) -> str:
    return stated(figure, "{:+.3f}")


def _nested_table(trained: Mapping[str, Trained]) -> str:
    rows = []
    for name, each in trained.items():
        card = each.card
        own, rivals = card["nested_cv"][card["name"]], card["against"]
        singles = sorted(SINGLE_ESTIMATORS, key=lambda single: -float(card["nested_cv"][single]["auroc"]["value"]))
        cheapest = min(
            SINGLE_ESTIMATORS, key=lambda single: float(card["nested_cv"][single]["cost"][HEADLINE]["value"])
        )
        counts = f"{card['data']['decided']} verdicts, {card['data']['errors']} wrong"
        rows.append(
            (f"**{name}** ({counts}): {card['name']}", stated(own["auroc"]), "", stated(own["cost"][HEADLINE]), "", "")
        )
        for rival in dict.fromkeys((singles[0], cheapest, UCCI, LABEL_POLICY_LANGUAGE)):
            theirs = card["nested_cv"][rival]
            costs = rivals[rival]["cost"]
            rows.append(
                (
                    rival,
                    stated(theirs["auroc"]),
                    _signed(rivals[rival]["auroc"]),
                    stated(theirs["cost"][HEADLINE]),
                    _signed(costs[HEADLINE]),
                    _signed(costs["review-charged"]),
                )
            )
    head = ("", "AUROC", "model's gain", f"cost, {HEADLINE}", "model's difference", "the same, review-charged")
    said = "\n".join(f"- {name}: {each.card['verdict']}" for name, each in trained.items())
    return f"{table(head, rows)}\n\n{said}"


def _families_table(trained: Mapping[str, Trained]) -> str:
    rows = []
    for family in trained["pooled"].card["candidates"]:
        entries = [each.card["candidates"][family] for each in trained.values()]
        rows.append(
            (
                family.removesuffix("-platt"),
                *(f"{entry['auroc']['value']:.3f}" for entry in entries),
                *(f"{entry['cost'][HEADLINE]['value']:.3f}" for entry in entries),
            )
        )
    return table(("", *(f"AUROC, {name}" for name in trained), *(f"cost, {name}" for name in trained)), rows)


@dataclass(frozen=True)
class Unseen:
    """Every verdict of both recordings, and P(E) by models that have not seen it; each rival's ruling likewise."""

    data: Dataset
    model: Ruling
    rivals: dict[str, Ruling]


def _unseen(data: Dataset, trained: Trained) -> Unseen:
    """Training rows by the nested models, held-out rows by the final one; rivals on held-out rows by the training part's rates."""
    data = data.in_canonical_order()
    data = data.take(data.decided)
    held_out = data.held_out
    probabilities = np.empty(len(data))
    probabilities[~held_out] = trained.nested
    test = data.take(held_out)
    probabilities[held_out] = risks(ErrorModel(trained.onnx), test)
    train_rows, test_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    rivals = {}
    for name in _CLOSE:
        parts = [(test_rows, rule(name, data.take(train_rows), test, COST_RATIO))]
        for number in range(5):  # rates and thresholds of a fifth from the others; groups are single items here
            fold = train_rows[np.arange(len(train_rows)) % 5 == number]
            rest = np.setdiff1d(train_rows, fold)
            parts.append((fold, rule(name, data.take(rest), data.take(fold), COST_RATIO)))
        rivals[name] = join(parts, len(data))
    return Unseen(data, rule_at(probabilities, _BAYES), rivals)


def _slices_table(unseen: Unseen, dimension: str) -> str:
    column = np.array([getattr(origin, dimension) for origin in unseen.data.origins])
    single = "mean-logprob"
    errors = unseen.data.errors
    rows = []
    for value in sorted(set(column.tolist())):
        mask = column == value
        count, wrong = int(mask.sum()), int(errors[mask].sum())
        if count < SMALLEST_SLICE or min(wrong, count - wrong) < FEWEST or value == "unknown":
            continue
        ours, theirs, rates = (
            _within(one, mask) for one in (unseen.model, unseen.rivals[single], unseen.rivals[LABEL_POLICY_LANGUAGE])
        )
        part = errors[mask]
        found = _estimate(
            unseen.data.take(mask),
            {
                "auroc": auroc(ours, part),
                "gain": auroc(ours, part).minus(auroc(theirs, part)),
                "cost": cost(ours.escalated[HEADLINE], part, HEADLINE, COST_RATIO),
                "single": paired_difference(ours, theirs, part, HEADLINE, COST_RATIO),
                "rates": paired_difference(ours, rates, part, HEADLINE, COST_RATIO),
            },
        )
        rows.append(
            (
                value,
                str(count),
                f"{wrong / count:.0%}",
                stated(found["auroc"]),
                _signed(found["gain"]),
                stated(found["cost"]),
                _signed(found["single"]),
                _signed(found["rates"]),
                _helps(found),
            )
        )
    head = (
        dimension,
        "verdicts",
        "wrong",
        "AUROC",
        f"against {single}",
        "cost",
        f"against {single}",
        f"against {LABEL_POLICY_LANGUAGE}",
        "shown to help",
    )
    return table(head, rows)


def _helps(found: Mapping[str, Any]) -> str:
    gains, loses = shown(found["gain"], found["single"])
    return ("both" if loses else "yes") if gains else "worse" if loses else "no"


def _within(ruling: Ruling, mask: NDArray[np.bool_]) -> Ruling:
    return Ruling(ruling.scores[mask], ruling.thresholds, {name: one[mask] for name, one in ruling.escalated.items()})


def _estimate(data: Dataset, tree: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = Bootstrap(data.groups, _REPLICATES, SEED).estimate(tree)
    return found


def _pooling_table(data: Mapping[str, Dataset], trained: Mapping[str, Trained]) -> str:
    rows = []
    for name in ("English", "multilingual"):
        held_out = data[name].in_canonical_order()
        held_out = held_out.take(held_out.held_out & held_out.decided)
        alone, both = (rule_at(risks(ErrorModel(trained[each].onnx), held_out), _BAYES) for each in (name, "pooled"))
        errors = held_out.errors
        found = _estimate(
            held_out,
            {
                "alone": auroc(alone, errors),
                "both": auroc(both, errors),
                "gain": auroc(both, errors).minus(auroc(alone, errors)),
                "cost": paired_difference(both, alone, errors, HEADLINE, COST_RATIO),
            },
        )
        rows.append(
            (
                name,
                str(len(held_out)),
                stated(found["alone"]),
                stated(found["both"]),
                _signed(found["gain"]),
                _signed(found["cost"]),
            )
        )
    head = (
        "held-out part",
        "verdicts",
        "AUROC, trained on it alone",
        "AUROC, trained on both",
        "gain",
        "cost difference",
    )
    return table(head, rows)


def _transfer_table(unseen: Unseen) -> str:
    """Each language by a model that was trained on the training part of everything but it."""
    rows = []
    for language, mask, probabilities in _without_each(unseen.data):
        part = unseen.data.take(mask)
        errors = part.errors
        ours, single = _within(unseen.model, mask), _within(unseen.rivals["mean-logprob"], mask)
        strange = rule_at(probabilities, _BAYES)
        found = _estimate(
            part,
            {
                "strange": auroc(strange, errors),
                "own": auroc(ours, errors),
                "loss": auroc(strange, errors).minus(auroc(ours, errors)),
                "single": auroc(strange, errors).minus(auroc(single, errors)),
                "cost": paired_difference(strange, ours, errors, HEADLINE, COST_RATIO),
                "ece": _calibration_error(probabilities, errors),
            },
        )
        rows.append(
            (
                language,
                str(len(part)),
                stated(found["strange"]),
                stated(found["own"]),
                _signed(found["loss"]),
                _signed(found["single"]),
                _signed(found["cost"]),
                stated(found["ece"]),
            )
        )
    head = (
        "language",
        "verdicts",
        "AUROC without it",
        "AUROC with it",
        "difference",
        "against mean-logprob",
        "cost difference",
        "ECE without it",
    )
    return table(head, rows)


def _calibration_error(probabilities: NDArray[np.float64], errors: NDArray[np.bool_]) -> Figure:
    return Figure(lambda weights: metrics.calibration_error(probabilities, errors, weights, bins=5))


def _without_each(data: Dataset) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    languages = np.array(data.languages)
    for language in sorted(set(data.languages)):
        mask = languages == language
        model, inputs = fit(data.take(~mask & ~data.held_out))
        part = data.take(mask)
        yield language, mask, model.predict(inputs.encode(part.values, part.policies, part.languages))


def baseline_rows(page: str) -> dict[str, Sequence[str]]:
    """The cells of each baseline's row in the first held-out table of a page."""
    begin = page.index(f"<!-- generated by `{COMMAND}`: held-out -->")
    rows = [line.strip("| ").split(" | ") for line in page[begin:].splitlines() if line.startswith("| ")]
    found: dict[str, Sequence[str]] = {}
    for name, *cells in rows:
        if name in BASELINES:
            found.setdefault(name, cells)
    return found


if __name__ == "__main__":
    main()

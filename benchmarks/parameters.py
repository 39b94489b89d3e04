"""What a compiled peer must know of the model, as lines of a name and what belongs to it, separated by tabs.

Theirs is a linear model of one language: gaps filled, products with the outcome, standardised, cut, weighed, calibrated by Platt.
A model of another make is refused: a peer scores by hand what the graph says, and nothing else.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx.numpy_helper import to_array

from featurizers import SCHEMA, SecondlookError
from scoring import cost_threshold, load_model
from scoring.model import model_file
from streams.settings import Settings

_STEPS = "Cast IsNaN Where Gather Gather Mul Concat Sub Div Clip MatMul MatMul Add Cast Mul Add Sigmoid Cast"


class UnknownModelError(SecondlookError):
    """The model is none that the peers can score by hand."""


def lines_of(model: Path) -> Iterable[tuple[str, Iterable[Any]]]:
    """Each parameter's name and values; numbers are written so that they read the same."""
    loaded = load_model(model)
    graph = onnx.load(model_file(model)).graph
    if " ".join(node.op_type for node in graph.node) != _STEPS or loaded.card["inputs"].get("languages"):
        raise UnknownModelError(
            "The peers score a linear model of one language by hand, and this is none: `make bench-peers` trains one, or "
            f"leave them out with --only. Its graph: {', '.join(node.op_type for node in graph.node)}."
        )
    held = {each.name: to_array(each) for each in graph.initializer}
    given = [[held.get(name) for name in node.input] for node in graph.node]
    where, factor, others, _, _, center, scale, clip, terms, weights, intercept, _, slope, offset = given[2:16]
    yield "name", [loaded.name]
    yield "sha256", [loaded.sha256]
    defaults = Settings()
    yield (
        "threshold",
        [cost_threshold(defaults.cost_accounting, review=defaults.cost_review, mistake=defaults.cost_mistake)],
    )
    yield "terms", loaded.terms
    yield "policies", loaded.card["inputs"]["policies"]
    yield "needed", [SCHEMA.names.index(name) for name in loaded.card["inputs"]["never_missing"]]
    yield "medians", where[1].ravel().tolist()
    yield "factor", factor[1].ravel().tolist()
    yield "others", others[1].ravel().tolist()
    yield "center", center[1].ravel().tolist()
    yield "scale", scale[1].ravel().tolist()
    yield "low", [clip[1].item()]
    yield "high", [clip[2].item()]
    yield "weights", weights[1].ravel().tolist()
    # Each input pushes one term, by a weight of its own; several inputs push the same.
    yield "term_of", abs(terms[1]).argmax(axis=1).tolist()
    yield "pushes", terms[1].sum(axis=1).tolist()
    yield "intercept", intercept[1].ravel().tolist()
    yield "slope", slope[1].ravel().tolist()
    yield "offset", offset[1].ravel().tolist()


def write_parameters(model: Path, path: Path) -> None:
    """Write them to a file. Raises UnknownModelError for a model that is not scored by hand."""
    lines: Mapping[str, Iterable[Any]] = dict(lines_of(model))
    path.write_text("".join("\t".join([name, *map(str, values)]) + "\n" for name, values in lines.items()))

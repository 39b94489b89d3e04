"""Models for the first day: one estimator, no labels, the same ONNX format, openly uncalibrated. Needs the `train` extra."""

from importlib.metadata import version
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from featurizers import SCHEMA
from scoring.errors import TrainingError
from scoring.evaluation.baselines import SINGLE_ESTIMATORS, SingleEstimator
from scoring.model import CONTRIBUTIONS, INPUT, PROBABILITY
from scoring.training.export import IR_VERSION, OPSETS, finish


def single_estimator_model(name: str) -> tuple[bytes, dict[str, Any]]:
    """ONNX bytes and card of a single-estimator model. Raises TrainingError for an unknown name.

    `error_probability` is then a risk in 0..1 that ranks answers; no cost-derived threshold may be used on it.
    """
    if name not in SINGLE_ESTIMATORS:
        raise TrainingError(f"No single estimator {name!r}; there are {', '.join(SINGLE_ESTIMATORS)}.")
    estimator = SINGLE_ESTIMATORS[name]
    card = {
        "name": name,
        "kind": "single-estimator",
        "calibrated": False,
        "schema": {"id": SCHEMA.id, "names": list(SCHEMA.names)},
        "terms": [estimator.feature],
        "policies": [],
        "inputs": {"policies": [], "never_missing": [estimator.feature]},
        "verdict": "Uncalibrated: the score ranks answers by risk, it is no probability, and no threshold follows from costs. "
        "Start with everything to humans, collect labels, then train.",
        "libraries": {"onnx": version("onnx")},
    }
    return finish(_graph(estimator), card), card


def _graph(estimator: SingleEstimator) -> Any:
    """The formula of `SingleEstimator.score`, in float64; the outputs are float32."""
    constants = {
        "column": np.array([SCHEMA.names.index(estimator.feature)]),
        "slope": np.array(estimator.slope),
        "offset": np.array(estimator.offset),
        "zero": np.array(0.0),
        "one": np.array(1.0),
        "flat": np.array([-1]),
    }
    x = "exponential" if estimator.exponential else "x"
    nodes = [
        helper.make_node("Gather", [INPUT, "column"], ["picked"], axis=1),
        helper.make_node("Cast", ["picked"], ["x"], to=TensorProto.DOUBLE),
        *([helper.make_node("Exp", ["x"], ["exponential"])] if estimator.exponential else []),
        helper.make_node("Mul", [x, "slope"], ["sloped"]),
        helper.make_node("Add", ["sloped", "offset"], ["raw"]),
        helper.make_node("Clip", ["raw", "zero", "one"], ["clipped"]),
        helper.make_node("IsNaN", ["raw"], ["missing"]),
        helper.make_node("Where", ["missing", "one", "clipped"], ["risk"]),
        helper.make_node("Cast", ["risk"], [CONTRIBUTIONS], to=TensorProto.FLOAT),
        helper.make_node("Reshape", [CONTRIBUTIONS, "flat"], [PROBABILITY]),
    ]
    graph = helper.make_graph(
        nodes,
        "secondlook",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(SCHEMA.names)])],
        [
            helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info(CONTRIBUTIONS, TensorProto.FLOAT, [None, 1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSETS[""])], ir_version=IR_VERSION)

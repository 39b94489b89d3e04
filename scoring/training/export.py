"""One ONNX graph from raw predictors (NaN included) to P(E), written by skl2onnx through a converter of our own.

skl2onnx 1.20 converts neither `SimpleImputer(add_indicator=True)` nor `HistGradientBoostingClassifier`, and its float32
isotonic calibration is off by up to 0.02. So the converter states the formula itself, in float64: the graph
agrees with scikit-learn to rounding, isotonic steps and tree splits included. Needs the `train` extra.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxCast,
    OnnxClip,
    OnnxConcat,
    OnnxDiv,
    OnnxGather,
    OnnxGreaterOrEqual,
    OnnxIsNaN,
    OnnxMatMul,
    OnnxMul,
    OnnxNeg,
    OnnxReduceSum,
    OnnxReshape,
    OnnxSigmoid,
    OnnxSoftplus,
    OnnxSub,
    OnnxTreeEnsembleRegressor_3,
    OnnxUnsqueeze,
    OnnxWhere,
)
from skl2onnx.common.data_types import FloatTensorType

from scoring.model import CONTRIBUTIONS, INPUT, METADATA_KEY, PROBABILITY
from scoring.training.calibration import Beta, Calibrator, Isotonic, Platt
from scoring.training.meta_model import CLIP, Boosted, Expansion, Linear, MetaModel

OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 8
"""Of the year of opset 18, so that older onnxruntimes read the file."""


def to_onnx(model: MetaModel, card: Mapping[str, Any]) -> bytes:
    """Serialise a model with its card; the same two give the same bytes.

    Input `predictors` float32 [n, d + policies]; outputs `error_probability` float32 [n] and, for linear learners,
    `contributions` float32 [n, terms]: signed pushes on the log-odds (on the score, where the calibration is not Platt's).
    """
    update_registered_converter(
        MetaModel, "SecondlookMetaModel", _declare_shapes, _convert, parser=_parse, overwrite=True
    )
    width = len(model.scorer.expansion.fill)
    graph = convert_sklearn(
        model, initial_types=[(INPUT, FloatTensorType([None, width]))], target_opset=OPSETS, name="secondlook"
    )
    return finish(graph, card)


def finish(model: ModelProto, card: Mapping[str, Any]) -> bytes:
    """Stamp a graph with our name and its card; the same two give the same bytes."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.domain, model.doc_string = "secondlook", "", "", ""
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card, sort_keys=True)})
    return bytes(model.SerializeToString(deterministic=True))


def _parse(scope: Any, model: MetaModel, inputs: list[Any], **_options: Any) -> list[Any]:
    operator = scope.declare_local_operator("SecondlookMetaModel", model)
    operator.inputs = inputs
    names = [PROBABILITY, CONTRIBUTIONS] if isinstance(model.scorer.learner, Linear) else [PROBABILITY]
    for name in names:
        operator.outputs.append(scope.declare_local_variable(name, FloatTensorType()))
    return list(operator.outputs)


def _declare_shapes(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None])
    for contributions in operator.outputs[1:]:
        contributions.type = FloatTensorType([None, len(operator.raw_operator.scorer.expansion.terms)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    model: MetaModel = operator.raw_operator
    expansion, learner = model.scorer.expansion, model.scorer.learner
    op = {"op_version": container.target_opset_any_domain("")}
    columns = _expand(expansion, operator.inputs[0], op)
    if isinstance(learner, Linear):
        score = OnnxAdd(OnnxMatMul(columns, learner.coefficients, **op), np.array([learner.intercept]), **op)
        pushes = OnnxMatMul(columns, _term_weights(model, learner), **op)
        OnnxCast(pushes, to=TensorProto.FLOAT, output_names=operator.outputs[1:], **op).add_to(scope, container)
    else:
        score = _trees(learner, columns, op)
    probability = _calibrate(model.calibrator, score, op)
    OnnxCast(probability, to=TensorProto.FLOAT, output_names=operator.outputs[:1], **op).add_to(scope, container)


def _expand(expansion: Expansion, inputs: Any, op: dict[str, int]) -> Any:
    """Graph of `Expansion.transform`."""
    missing = OnnxIsNaN(inputs, **op)
    filled = OnnxWhere(missing, expansion.fill, OnnxCast(inputs, to=TensorProto.DOUBLE, **op), **op)
    parts = [filled]
    if len(expansion.indicated):
        indicators = OnnxGather(missing, expansion.indicated, axis=1, **op)
        parts.append(OnnxCast(indicators, to=TensorProto.DOUBLE, **op))
    if len(expansion.policy_columns):
        outcome = OnnxGather(filled, np.array([expansion.outcome_column]), axis=1, **op)
        parts.append(OnnxMul(outcome, OnnxGather(filled, expansion.policy_columns, axis=1, **op), **op))
    columns = OnnxConcat(*parts, axis=1, **op) if len(parts) > 1 else filled
    standardised = OnnxDiv(OnnxSub(columns, expansion.mean, **op), expansion.scale, **op)
    return OnnxClip(standardised, np.array(-CLIP), np.array(CLIP), **op)


def _term_weights(model: MetaModel, learner: Linear) -> np.ndarray[Any, np.dtype[np.float64]]:
    expansion = model.scorer.expansion
    slope = model.calibrator.slope if isinstance(model.calibrator, Platt) else 1.0
    weights = np.zeros((len(learner.coefficients), len(expansion.terms)))
    weights[np.arange(len(weights)), expansion.term_of_column] = learner.coefficients * slope
    return weights


def _calibrate(calibrator: Calibrator, score: Any, op: dict[str, int]) -> Any:
    if isinstance(calibrator, Platt):
        logit = OnnxAdd(OnnxMul(score, np.array([calibrator.slope]), **op), np.array([calibrator.intercept]), **op)
        return OnnxSigmoid(logit, **op)
    if isinstance(calibrator, Beta):
        log_s = OnnxNeg(OnnxSoftplus(OnnxNeg(score, **op), **op), **op)
        rising = OnnxMul(log_s, np.array([calibrator.a]), **op)
        falling = OnnxMul(OnnxSoftplus(score, **op), np.array([calibrator.b]), **op)
        return OnnxSigmoid(OnnxAdd(OnnxAdd(rising, falling, **op), np.array([calibrator.c]), **op), **op)
    if isinstance(calibrator, Isotonic):
        return _interpolate(calibrator, score, op)
    raise TypeError(f"{type(calibrator).__name__} has no ONNX form")


def _interpolate(isotonic: Isotonic, score: Any, op: dict[str, int]) -> Any:
    """np.interp as a graph: find the segment by counting knots, then go along it."""
    x, y = isotonic.scores, isotonic.probabilities
    if len(x) == 1:
        return OnnxAdd(OnnxMul(score, np.zeros(1), **op), y, **op)
    above = OnnxGreaterOrEqual(OnnxUnsqueeze(score, np.array([1]), **op), x[None, 1:-1], **op)
    counted = OnnxReduceSum(OnnxCast(above, to=TensorProto.INT64, **op), np.array([1]), keepdims=0, **op)
    start, run = OnnxGather(x[:-1], counted, axis=0, **op), OnnxGather(np.diff(x), counted, axis=0, **op)
    base, rise = OnnxGather(y[:-1], counted, axis=0, **op), OnnxGather(np.diff(y), counted, axis=0, **op)
    share = OnnxClip(OnnxDiv(OnnxSub(score, start, **op), run, **op), np.array(0.0), np.array(1.0), **op)
    return OnnxAdd(base, OnnxMul(share, rise, **op), **op)


def _trees(learner: Boosted, columns: Any, op: dict[str, int]) -> Any:
    """Graph of `Boosted.score`, from scikit-learn's grown trees (a private attribute; a test holds the parity)."""
    nodes: dict[str, list[Any]] = {key: [] for key in ("tree", "id", "feature", "split", "mode", "true", "false")}
    leaves: dict[str, list[Any]] = {key: [] for key in ("tree", "id", "value")}
    for number, (tree,) in enumerate(learner.classifier._predictors):  # noqa: SLF001 - no public way to the trees
        for i, node in enumerate(tree.nodes):
            is_leaf = bool(node["is_leaf"])
            nodes["tree"].append(number)
            nodes["id"].append(i)
            nodes["feature"].append(0 if is_leaf else int(node["feature_idx"]))
            nodes["split"].append(0.0 if is_leaf else float(node["num_threshold"]))
            nodes["mode"].append("LEAF" if is_leaf else "BRANCH_LEQ")
            nodes["true"].append(0 if is_leaf else int(node["left"]))
            nodes["false"].append(0 if is_leaf else int(node["right"]))
            if is_leaf:
                leaves["tree"].append(number)
                leaves["id"].append(i)
                leaves["value"].append(float(node["value"]))
    summed = OnnxTreeEnsembleRegressor_3(
        columns,
        n_targets=1,
        base_values_as_tensor=numpy_helper.from_array(learner.classifier._baseline_prediction[0], "base"),  # noqa: SLF001 - likewise
        nodes_treeids=nodes["tree"],
        nodes_nodeids=nodes["id"],
        nodes_featureids=nodes["feature"],
        nodes_values_as_tensor=numpy_helper.from_array(np.array(nodes["split"]), "splits"),
        nodes_modes=nodes["mode"],
        nodes_truenodeids=nodes["true"],
        nodes_falsenodeids=nodes["false"],
        target_ids=[0] * len(leaves["id"]),
        target_treeids=leaves["tree"],
        target_nodeids=leaves["id"],
        target_weights_as_tensor=numpy_helper.from_array(np.array(leaves["value"]), "leaves"),
        op_version=OPSETS["ai.onnx.ml"],
    )
    return OnnxCast(OnnxReshape(summed, np.array([-1]), **op), to=TensorProto.DOUBLE, **op)

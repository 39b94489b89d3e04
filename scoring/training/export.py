"""One ONNX graph from raw predictors (NaN included) to P(E), written by skl2onnx through a converter of our own.

skl2onnx 1.20 converts neither `SimpleImputer(add_indicator=True)` nor `HistGradientBoostingClassifier`, and its float32
isotonic calibration is off by up to 0.02. So the converter states the formula itself, in float64: the graph
agrees with scikit-learn to rounding, isotonic steps and tree splits included. Needs the `train` extra.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
from scoring.training.meta_model import CLIP, Blend, Expansion, Linear, MetaModel, Tree, Trees

OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 8
"""Of the year of opset 18, so that older onnxruntimes read the file."""


def to_onnx(model: MetaModel, card: Mapping[str, Any]) -> bytes:
    """Serialise a model with its card; the same two give the same bytes.

    Input `predictors` float32 [n, d + policies]; outputs `error_probability` float32 [n] and
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
    model.opset_import.sort(
        key=lambda one: str(one.domain)
    )  # by chance the converter has them the one way or the other
    model.producer_name, model.producer_version, model.domain, model.doc_string = "secondlook", "", "", ""
    helper.set_model_props(model, {METADATA_KEY: json.dumps(card, sort_keys=True)})
    return bytes(model.SerializeToString(deterministic=True))


def _parse(scope: Any, model: MetaModel, inputs: list[Any], **_options: Any) -> list[Any]:
    operator = scope.declare_local_operator("SecondlookMetaModel", model)
    operator.inputs = inputs
    for name in (PROBABILITY, CONTRIBUTIONS):
        operator.outputs.append(scope.declare_local_variable(name, FloatTensorType()))
    return list(operator.outputs)


def _declare_shapes(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None])
    operator.outputs[1].type = FloatTensorType([None, len(operator.raw_operator.scorer.expansion.terms)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    model: MetaModel = operator.raw_operator
    expansion, learner = model.scorer.expansion, model.scorer.learner
    op = {"op_version": container.target_opset_any_domain("")}
    columns = _expand(expansion, operator.inputs[0], op)
    if isinstance(learner, Blend):
        parts = zip(_linear(model, learner.linear, columns, op), _trees(model, learner.trees, columns, op), strict=True)
        score, pushes = (OnnxAdd(*both, **op) for both in parts)
    elif isinstance(learner, Linear):
        score, pushes = _linear(model, learner, columns, op)
    else:
        score, pushes = _trees(model, learner, columns, op)
    OnnxCast(pushes, to=TensorProto.FLOAT, output_names=operator.outputs[1:], **op).add_to(scope, container)
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
    if len(expansion.crossed):
        outcome = OnnxGather(filled, np.array([expansion.outcome_column]), axis=1, **op)
        parts.append(OnnxMul(outcome, OnnxGather(filled, expansion.crossed, axis=1, **op), **op))
    columns = OnnxConcat(*parts, axis=1, **op) if len(parts) > 1 else filled
    standardised = OnnxDiv(OnnxSub(columns, expansion.mean, **op), expansion.scale, **op)
    return OnnxClip(standardised, np.array(-CLIP), np.array(CLIP), **op)


def _linear(model: MetaModel, learner: Linear, columns: Any, op: dict[str, int]) -> tuple[Any, Any]:
    """Graph of `Linear.score` and of the terms' pushes."""
    score = OnnxAdd(OnnxMatMul(columns, learner.coefficients, **op), np.array([learner.intercept]), **op)
    return score, OnnxMatMul(columns, _term_weights(model, learner), **op)


def _term_weights(model: MetaModel, learner: Linear) -> np.ndarray[Any, np.dtype[np.float64]]:
    expansion = model.scorer.expansion
    weights = np.zeros((len(learner.coefficients), len(expansion.terms)))
    weights[np.arange(len(weights)), expansion.term_of_column] = learner.coefficients * _slope(model)
    return weights


def _slope(model: MetaModel) -> float:
    """What a push on the score is worth in log-odds, where the calibration is linear in them."""
    return model.calibrator.slope if isinstance(model.calibrator, Platt) else 1.0


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


def _trees(model: MetaModel, learner: Trees, columns: Any, op: dict[str, int]) -> tuple[Any, Any]:
    """Graph of `Trees.score` and of the terms' pushes, both off the same leaves: the first target is the score, the others are the terms."""
    trees = learner.grown
    inner = np.concatenate([tree.left >= 0 for tree in trees])
    tree_ids = np.repeat(np.arange(len(trees)), [len(tree.left) for tree in trees])
    node_ids = np.concatenate([np.arange(len(tree.left)) for tree in trees])
    targets = [target for tree in enumerate(trees) for target in _targets(model, *tree)]

    def of_inner(name: str) -> NDArray[Any]:
        return np.where(inner, np.concatenate([getattr(tree, name) for tree in trees]), 0)

    if learner.dtype is np.float32:
        columns = OnnxCast(OnnxCast(columns, to=TensorProto.FLOAT, **op), to=TensorProto.DOUBLE, **op)
    terms = len(model.scorer.expansion.terms)
    summed = OnnxTreeEnsembleRegressor_3(
        columns,
        n_targets=1 + terms,
        base_values_as_tensor=numpy_helper.from_array(np.array([learner.base, *[0.0] * terms]), "base"),
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=node_ids.tolist(),
        nodes_featureids=of_inner("column").tolist(),
        nodes_values_as_tensor=numpy_helper.from_array(of_inner("split"), "splits"),
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        nodes_truenodeids=of_inner("left").tolist(),
        nodes_falsenodeids=of_inner("right").tolist(),
        target_treeids=[tree for tree, _, _, _ in targets],
        target_nodeids=[node for _, node, _, _ in targets],
        target_ids=[target for _, _, target, _ in targets],
        target_weights_as_tensor=numpy_helper.from_array(np.array([weight for _, _, _, weight in targets]), "leaves"),
        op_version=OPSETS["ai.onnx.ml"],
    )
    score = OnnxReshape(OnnxGather(summed, np.array([0]), axis=1, **op), np.array([-1]), **op)
    pushes = OnnxGather(summed, np.arange(1, 1 + terms), axis=1, **op)
    return OnnxCast(score, to=TensorProto.DOUBLE, **op), OnnxCast(pushes, to=TensorProto.DOUBLE, **op)


def _targets(model: MetaModel, number: int, tree: Tree) -> Iterator[tuple[int, int, int, float]]:
    """(tree, leaf, target, weight): a leaf's value, and what each term has pushed on the way to it."""
    term_of, slope = model.scorer.expansion.term_of_column, _slope(model)
    for leaf, pushed in enumerate(tree.pushes()):
        if tree.left[leaf] >= 0:
            continue
        yield number, leaf, 0, float(tree.value[leaf])
        by_term: Counter[int] = Counter()
        for column, push in pushed.items():
            by_term[int(term_of[column])] += push * slope  # type: ignore[assignment]
        for term, push in sorted(by_term.items()):
            yield number, leaf, 1 + term, push

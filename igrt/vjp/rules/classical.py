"""VJP rules of the smooth classical models and of what prepares their tables (ai.onnx.ml)."""

import numpy as np

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.vjp.movement import collect
from igrt.vjp.registry import refuse, vjp

ML = "ai.onnx.ml"


@vjp("ArrayFeatureExtractor", "X", domain=ML)
def array_feature_extractor_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """z_j = x[Y_j] along the last axis, hence x_i‾ = Σ z̄_j over the j with Y_j = i."""
    x, indices = node["X"], emit.Reshape(node["Y"], [-1])
    last = x.rank - 1
    ct = emit.Reshape(ct, [-1]) if last == 0 else ct
    return collect(emit, ct, emit.dims(x, last, last + 1), indices, last)


@vjp("FeatureVectorizer", "X", domain=ML, variadic=True)
def feature_vectorizer_x(emit: Emitter, node: Node, ct: Value, index: int) -> Value:
    """y = [x₀, x₁, …] along the columns, hence xᵢ‾ is the part of ȳ that came from xᵢ."""
    x = node.inputs[index]
    widths = node.attr("inputdimensions", [])
    if x is None or x.shape is None or x.rank != 2 or x.shape[1] != widths[index]:
        raise UnsupportedOperator(
            f"its input {index} is not declared with {widths[index]} columns, "
            "so it may be cut or filled up",
            hint="declare the sizes of the model's inputs",
        )
    start = sum(widths[:index])
    return emit.cast(emit.Slice(ct, [start], [start + widths[index]], [1]), x.dtype)


@vjp("LinearClassifier", "X", domain=ML, every_output=True)
def linear_classifier_x(emit: Emitter, node: Node, cts: list[Value | None]) -> Value | None:
    """z = σ(x·Cᵀ + b), hence x‾ = (σ′·z̄)·C: 1, z(1 - z), or z(z̄ - Σ z̄z) for a softmax."""
    ct, z = cts[1], node.outputs[1] if len(node.outputs) > 1 else None
    if ct is None or z is None:
        return None
    labels = len(node.attr("classlabels_ints", None) or node.attr("classlabels_strings", []))
    rows = len(node.attr("intercepts", [])) or labels
    if rows != labels:
        raise UnsupportedOperator(
            f"it has {labels} classes and {rows} rows of coefficients: what the other class gets "
            "is onnxruntime's own convention",
            hint="export the classifier with one row per class",
        )
    match node.attr("post_transform", "NONE"):
        case "NONE":
            inner = ct
        case "LOGISTIC":
            inner = ct * z * (1.0 - z)
        case "SOFTMAX":
            inner = z * (ct - emit.ReduceSum(ct * z, [-1], keepdims=1))
        case other:
            raise UnsupportedOperator(f"its post_transform {other} has no rule")
    return _through(emit, node, inner, rows)


@vjp("LinearRegressor", "X", domain=ML)
def linear_regressor_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x·Cᵀ + b, hence x‾ = ȳ·C."""
    if (kind := node.attr("post_transform", "NONE")) != "NONE":
        raise UnsupportedOperator(f"its post_transform {kind} has no rule")
    return _through(emit, node, ct, node.attr("targets", 1))


@vjp("Normalizer", "X", domain=ML)
def normalizer_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x/n(x) row by row, hence x‾ = (ȳ - n′·Σ ȳy)/n with n′ = y, or sign x for the 1-norm."""
    x, y, norm = emit.cast(node["X"], ct.dtype), node.output, node.attr("norm", "MAX")
    if norm not in ("L1", "L2"):
        raise UnsupportedOperator(f"its norm {norm} has no rule")
    n = emit.node("Reduce" + norm, [x, [-1]], {"keepdims": 1})[0]
    along = emit.ReduceSum(ct * y, [-1], keepdims=1)
    slope = y if norm == "L2" else emit.Sign(x)
    # a row of zeros stays as it is
    inner = (ct - slope * along) / emit.Where(emit.Equal(n, 0.0), 1.0, n)
    return emit.cast(inner, node["X"].dtype)


@vjp("Scaler", "X", domain=ML)
def scaler_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = (x - offset)·scale, hence x‾ = ȳ·scale."""
    scale = np.array(node.attr("scale", [1.0]), dtype=ct.dtype)
    return emit.cast(ct * emit.constant(scale), node["X"].dtype)


@vjp("Imputer", "X", domain=ML)
def imputer_x(emit: Emitter, node: Node, ct: Value) -> Value:
    """y = x, or the stored number where x is the one to replace: x‾ = ȳ, and 0 there."""
    x, replaced = node["X"], float(node.attr("replaced_value_float", 0.0))
    there = emit.IsNaN(x) if np.isnan(replaced) else emit.Equal(x, replaced)
    return emit.masked(ct, emit.Not(there))


refuse("CastMap", "its input is a dictionary", ML)
refuse("DictVectorizer", "its input is a dictionary", ML)
refuse("SVMClassifier", "its kernels and votes have no rule", ML)
refuse("SVMRegressor", "its kernels have no rule", ML)
refuse("ZipMap", "it makes a dictionary: explain the scores in front of it", ML)

_TRAINING = "it is a step of training: no explanation has it on its way"
for _name in ("Adagrad", "Adam", "Gradient", "Momentum"):
    refuse(_name, _TRAINING, "ai.onnx.preview.training")


def _through(emit: Emitter, node: Node, ct: Value, rows: int) -> Value:
    """ct·C for the stored coefficients C, one row for each column of ct."""
    stored = np.array(node.attr("coefficients"), dtype=ct.dtype).reshape(rows, -1)
    return emit.cast(emit.MatMul(ct, emit.constant(stored)), node["X"].dtype)

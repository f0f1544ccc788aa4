"""What counts as linear is: contributions add up to the change between two points far apart."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import UnsupportedOperator
from igrt.graph import Graph
from igrt.vjp.overrides import linear

# sums of a dozen products of order ten, in float32
ROUNDING = 1e-4

# no batch axis: the two rows are one example
HEAD = '<ir_version: 8, opset_import: ["" : 22]> m (float[2,4] x) => (float[o] z) '
STORED = (
    "<float[4,4] W = {1,-2,3,0.5, -1,1,2,-3, 0.25,1,-1,2, 3,-1,1,1}, float[4] b = {1,-1,0.5,2}, "
    "float[1,1,2,2] K = {1,-2,3,0.5}, float[1] k = {0.5}, int64 at1 = {1}, int64[1] first = {0}, "
    "int64[1] last = {1}, int64[1] end = {3}, int64[4] shape = {1,1,2,4}, "
    "int64[4] deep = {1,4,1,2}, int64[4] pads = {0,1,0,2}, int64[2] parts = {1,3}, "
    "int64[2] twice = {1,2}, int64[2] lengths = {4,2}, int64[3] wide = {2,3,4}, "
    "int64[2,2] pairs = {1,0, 0,1}, "
    "int64[2,2] both = {0,1, 1,3}, float[4] scales = {1,1,2,2}, bool[4] mask = {1,0,0,1}, "
    "bool no = {0}, float half = {0.5}, int64[1] all = {-1}> "
)
MODELS = {
    "Add": "y = Add(x, b)",
    "AveragePool": "p = Reshape(x, shape) "
    "y = AveragePool<kernel_shape = [2,2], pads = [1,1,0,0]>(p)",
    "BatchNormalization": "v = Abs(b) y = BatchNormalization(x, b, b, b, v)",
    "Cast": "c = Cast<to = 11>(x) y = Cast<to = 1>(c)",
    "Concat": "n = Neg(x) y = Concat<axis = 1>(n, x, n)",
    "Conv": "p = Reshape(x, shape) y = Conv<pads = [1,1,0,0]>(p, K, k)",
    "ConvTranspose": "p = Reshape(x, shape) y = ConvTranspose(p, K, k)",
    "CumSum": "y = CumSum(x, at1)",
    "DepthToSpace": "p = Reshape(x, deep) y = DepthToSpace<blocksize = 2>(p)",
    "Div": "y = Div(x, b)",
    "Dropout": "y = Dropout(x, half, no)",
    "Einsum": 'y = Einsum<equation = "ni,ij->nj">(x, W)',
    "Expand": "u = Unsqueeze(x, last) y = Expand(u, wide)",
    "Flatten": "p = Reshape(x, shape) y = Flatten(p)",
    "Gather": "y = Gather<axis = 1>(x, parts)",
    "GatherElements": "y = GatherElements(x, pairs)",
    "GatherND": "y = GatherND(x, both)",
    "Gemm": "y = Gemm(x, W, b)",
    "GlobalAveragePool": "p = Reshape(x, shape) y = GlobalAveragePool(p)",
    "Identity": "y = Identity(x)",
    "MatMul": "y = MatMul(x, W)",
    "Mean": "n = MatMul(x, W) y = Mean(n, x, b)",
    "Mul": "y = Mul(b, x)",
    "Neg": "y = Neg(x)",
    "Pad": "y = Pad(x, pads, half)",
    "ReduceMean": "y = ReduceMean(x, last)",
    "ReduceSum": "y = ReduceSum(x, last)",
    "Reshape": "y = Reshape(x, shape)",
    "Resize": 'p = Reshape(x, shape) y = Resize<mode = "linear">(p, , scales)',
    "ReverseSequence": "y = ReverseSequence<batch_axis = 0, time_axis = 1>(x, lengths)",
    "ScatterElements": "u = Gather<axis = 1>(x, parts) "
    'y = ScatterElements<axis = 1, reduction = "add">(x, pairs, u)',
    "ScatterND": "u = GatherND(x, both) y = ScatterND(x, both, u)",
    "Slice": "y = Slice(x, last, end, last)",
    "SpaceToDepth": "p = Reshape(x, shape) y = SpaceToDepth<blocksize = 2>(p)",
    "Split": "c, y = Split<axis = 1>(x, parts)",
    "Squeeze": "u = Unsqueeze(x, last) y = Squeeze(u, last)",
    "Sub": "y = Sub(b, x)",
    "Sum": "n = MatMul(x, W) y = Sum(n, x, b)",
    "Tile": "y = Tile(x, twice)",
    "Transpose": "y = Transpose(x)",
    "Trilu": "y = Trilu(x)",
    "Unsqueeze": "y = Unsqueeze(x, last)",
    "Where": "n = MatMul(x, W) y = Where(mask, x, n)",
}
BY_CASE = {"Cast", "BatchNormalization", "Div", "Dropout", "Einsum", "Where"}
BY_CASE |= {"ScatterElements", "ScatterND"}


def model(body):
    """All elements of y, each with a weight of its own, as z [1]."""
    weighed = "f = Reshape(y, all) s = CumSum(f, no_axis) z = ReduceSum(s, first)"
    head = HEAD.replace("float[o]", "float[1]")
    stored = STORED.replace("int64[1] all", "int64 no_axis = {0}, int64[1] all")
    return parser.parse_model(head + stored + "{ " + body + " " + weighed + " }")


def test_every_operator_that_counts_as_linear_is_here():
    named = linear._JOINTLY | linear._FIRST | linear._PRODUCTS | BY_CASE
    assert set(MODELS) == named


@pytest.mark.parametrize("method", ["deeplift", "lrp"])
@pytest.mark.parametrize("name", MODELS)
def test_contributions_add_up(name, method):
    x, x0 = np.random.default_rng(0).normal(scale=3, size=(2, 2, 4)).astype(np.float32)
    built = model(MODELS[name])
    # LRP hands on what does not come from stored numbers, F(x) - F(0)
    start = x0 if method == "deeplift" else None
    found = igrt.explain(built, x, baselines=start, method=method, provider="cpu")
    change = found.output[0] - found.baseline_output[0]
    scale = np.abs(found.values["x"]).sum()
    assert abs(found.values["x"].sum() - change) <= ROUNDING * scale
    assert scale > 1


NOT = {
    "training": "v = Abs(b) y, m, s2 = BatchNormalization<training_mode = 1>(x, b, b, b, v)",
    "position": "i = ArgMax<axis = 1>(x) g = Gather(b, i) y = Add(g, x)",
    "product": 'h = Tanh(x) y = Einsum<equation = "ni,ni->n">(x, h)',
    "rounded": "c = Cast<to = 7>(x) d = Cast<to = 1>(c) y = Add(d, x)",
    "condition": "c = Cast<to = 9>(x) y = Where(c, x, b)",
    "largest": "u = Gather<axis = 1>(x, parts) "
    'y = ScatterElements<axis = 1, reduction = "max">(x, pairs, u)',
}


@pytest.mark.parametrize("name", NOT)
def test_what_only_looks_linear_is_refused(name):
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    with pytest.raises(UnsupportedOperator, match="DeepLIFT has no rule"):
        igrt.explain(model(NOT[name]), x, method="deeplift", provider="cpu")


def test_sizes_do_not_depend_on_values():
    graph = Graph(
        parser.parse_model(HEAD + STORED + "{ d = Shape(x) e = Cast<to = 1>(d) z = Mul(x, e) }")
    )
    found = [(graph.nodes[i].op_type, set(at)) for i, at, _ in linear.dependent(graph, "z", ["x"])]
    assert found == [("Mul", {0})]

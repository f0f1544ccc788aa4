"""A staged gradient graph gives what the whole one gives, in float64 to rounding."""

import numpy as np
import onnx
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from igrt.graph.normalize import normalize
from igrt.graph.prune import prune
from igrt.parts import sizes_name
from igrt.stage import regions
from igrt.stage.sized import sized_graph
from igrt.stage.split import choose, part
from igrt.vjp.augment import differentiate

ALPHAS, WEIGHTS = np.array([0.1, 0.45, 0.8]), np.array([0.25, 0.5, 0.25])

# rounding of float64 sums in another order, relative to the largest gradient
EXACT = 1e-12


class Staged:
    """Runs a gradient graph as a whole and in parts, by onnx.reference."""

    def __init__(self, model, x, others=None, *, of=None, sums, batched=True, near=None):
        model = normalize(model)
        wrt = list(x)
        augmented = differentiate(model, wrt=wrt, of=of)
        self.gradients = dict(augmented.gradients)
        self.cotangent = augmented.cotangent
        self.lean = prune(augmented.model, list(self.gradients.values()))
        self.x, self.others, self.batched = x, others or {}, batched
        rng = np.random.default_rng(5)
        self.b = {
            n: rng.normal(size=a.shape) if near is None else a + near * rng.normal(size=a.shape)
            for n, a in x.items()
        }
        y = ReferenceEvaluator(model).run([augmented.of.name], {**x, **self.others})[0]
        self.ct = rng.normal(size=y.shape)
        fed = {**x, **self.others, self.cotangent: self.ct}
        fed |= {g: x[n] for n, g in self.gradients.items()}
        self.fed = {i.name for i in self.lean.graph.input}
        sized = sized_graph(
            self.lean,
            {n: ((1, *a.shape[1:]) if batched else a.shape) for n, a in fed.items()},
            moving=wrt,
            shared=(),
            late=[self.cotangent],
            batched=batched,
            any_rows=True,
        )
        self.choice = choose(sized, list(self.gradients.values()), sums=sums)
        self.parts = self.choice.staging.parts
        needed = {"prologue": self.parts.made, "step": True, "epilogue": self.parts.pulled}
        self.models = {n: part(self.lean, self.parts, n) for n, given in needed.items() if given}

    def at(self, alpha):
        return {n: self.b[n] + alpha * (x - self.b[n]) for n, x in self.x.items()}

    def whole(self):
        run = ReferenceEvaluator(self.lean)
        found = [
            run.run(
                list(self.gradients.values()),
                self._only(self.lean, {**self.at(a), **self.others, self.cotangent: self.ct}),
            )
            for a in ALPHAS
        ]
        return [
            sum(w * g for w, g in zip(WEIGHTS, gs, strict=True)) for gs in zip(*found, strict=True)
        ]

    def run(self, name, feeds):
        """All outputs of a part, by name; nothing where there is no such part."""
        if name not in self.models:
            return {}
        names = [o.name for o in self.models[name].graph.output]
        feeds = self._only(self.models[name], feeds)
        made = ReferenceEvaluator(self.models[name]).run(names, feeds)
        return dict(zip(names, made, strict=True))

    def staged(self):
        parts = self.parts
        at_x, at_b = (z | self.run("prologue", {**z, **self.others}) for z in (self.x, self.b))
        still = [*parts.fixed, *parts.common, *map(sizes_name, parts.sized)]
        total = {}
        for alpha, weight in zip(ALPHAS, WEIGHTS, strict=True):
            feeds = {n: at_b[n] + alpha * (at_x[n] - at_b[n]) for n in parts.moving}
            feeds |= {n: at_x[n] for n in still}
            feeds |= {**self.others, self.cotangent: self.ct}
            for name, made in self.run("step", feeds).items():
                total[name] = total.get(name, 0) + weight * made
        total |= self.run("epilogue", {**total, **self.x, **self.others, self.cotangent: self.ct})
        return [total[g] for g in self.gradients.values()]

    def agree(self):
        for found, wanted in zip(self.staged(), self.whole(), strict=True):
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() <= EXACT * max(np.abs(wanted).max(), 1)

    @staticmethod
    def _only(model, feeds):
        names = {i.name for i in model.graph.input}
        return {n: a for n, a in feeds.items() if n in names}


def model(text, **weights):
    """A float64 model; weights are drawn at random where only a shape is given."""
    rng = np.random.default_rng(3)
    head = '<ir_version: 8, opset_import: ["" : 18]> '
    made = parser.parse_model(head + text)
    for name, shape in weights.items():
        array = shape if isinstance(shape, np.ndarray) else np.asarray(rng.normal(size=shape))
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return made


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def operators(part):
    return [n.op_type for n in part.graph.node] if part is not None else []


STEM = """m (double[N,3,9,9] x) => (double[N,2] y) {
    s = Constant<value_floats = [0.5]>() f = Cast<to=11>(s) c0 = Mul(x, f)
    c = Conv<strides=[2,2], pads=[1,1,1,1]>(c0, W, B)
    n = BatchNormalization(c, g, h, h, v) r = Relu(n)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    q = GlobalAveragePool(p) t = Flatten(q) y = MatMul(t, V)
}"""

# patches as torch exports them: sizes are read off inner tensors, a token is repeated for each row
PATCHES = """m (double[N,3,8,8] x) => (double[N,2] y)
<int64[1] zero={0}, int64[1] two={2}, int64[1] all={-1}, int64[2] last={1,6}, int64 first={0}> {
    c = Conv<strides=[4,4]>(x, W, B) s = Shape(c) h = Slice(s, zero, two) k = Concat<axis=0>(h, all)
    f = Reshape(c, k) t = Transpose<perm=[0,2,1]>(f)
    l = Shape<start=0, end=1>(x) e = Concat<axis=0>(l, last) o = Expand(token, e)
    j = Concat<axis=1>(o, t) z = Add(j, place) q = MatMul(z, Q) u = Softmax(q) w = Mul(u, q)
    g = ReduceMean<keepdims=0>(w, one) y = MatMul(g, V)
}"""

# a mask made of token numbers, positions, and a first layer that the path goes through straight
MASKED = """m (double[N,5,6] x, int64[N,5] seen) => (double[N,2] y)
<int64[1] one={1}, double never={-10000}, double unit={1}> {
    f = Cast<to=11>(seen) i = Sub(unit, f) m = Mul(i, never) u = Unsqueeze(m, one)
    p = Add(x, place) q = MatMul(p, Q) k = MatMul(p, K) kt = Transpose<perm=[0,2,1]>(k)
    s = MatMul(q, kt) a = Add(s, u) w = Softmax(a) v = MatMul(p, U) o = MatMul(w, v)
    g = ReduceMean<keepdims=0>(o, one) y = MatMul(g, V)
}"""

WIDE = "m (double[N,40] x) => (double[N,2] y) { h = Gemm(x, W, B) r = Tanh(h) y = MatMul(r, V) }"

# one input goes through straight, the other is squared at once; both meet behind
PAIR = """m (double[N,8] x, double[N,8] z) => (double[N,2] y) {
    a = Gemm(x, W, B) s = Mul(z, z) b = Gemm(s, U, B) t = Add(a, b) r = Sigmoid(t) y = MatMul(r, V)
}"""

# the cut is read by two branches and kept beside them
RESIDUAL = """m (double[N,6] x) => (double[N,2] y) {
    h = MatMul(x, W) r = Relu(h) t = Tanh(h) a = Mul(r, t) b = Add(a, h) y = MatMul(b, V)
}"""

# a tensor that the path does not move, as a factor of one that moves: the backward part reads it
GATED = """m (double[N,4,6] x, double[N,6,6] w) => (double[N,2] y) <int64[1] one={1}> {
    e = Exp(w) h = MatMul(x, e) r = Relu(h) g = ReduceMean<keepdims=0>(r, one) y = MatMul(g, V)
}"""

MOVED_ABOUT = """m (double[N,6,4] x) => (double[N,2] y)
<int64[3] at={4,1,1}, int64[2] three={3,3}, int64[1] one={1}, int64[6] pads={0,1,0,0,0,1},
 double fill={0.7}, int64[2,1] rows={0,2}> {
    g = Gather<axis=1>(x, at) a, b = Split<axis=1, num_outputs=2>(x) c = Concat<axis=1>(g, b, a)
    p = Pad(c, pads, fill) w = Where(open5, p, fill) d = CumSum(w, ax) n = Neg(d) q = MatMul(n, Q)
    r = Relu(q) m = ReduceMean<keepdims=0>(r, one) y = MatMul(m, V)
}"""

DROPPED = """m (double[N,8] x) => (double[N,2] y) <double half={0.5}> {
    h = Gemm(x, W, B) d, keep = Dropout(h, half) r = Softplus(d) y = MatMul(r, V)
}"""

GATES = """m (double[N,6] x) => (double[N,6] y) { h = Gemm(x, W, B) y = Sigmoid(h) }"""

# its mask is a cast of what is true or false
RECTIFIED = "m (double[N,8] x) => (double[N,2] y) { h = MatMul(x, W) r = Relu(h) y = MatMul(r, V) }"

CASES = {
    "stem": (
        model(STEM, W=(4, 3, 3, 3), B=4, g=4, h=4, V=(4, 2), v=np.full(4, 1.7)),
        {"x": rows(3, 3, 9, 9)},
        {},
    ),
    "patches": (
        model(
            PATCHES,
            W=(6, 3, 4, 4),
            B=6,
            token=(1, 1, 6),
            place=(1, 5, 6),
            Q=(6, 6),
            V=(6, 2),
            one=np.array([1]),
        ),
        {"x": rows(3, 3, 8, 8)},
        {},
    ),
    "masked": (
        model(MASKED, place=(5, 6), Q=(6, 6), K=(6, 6), U=(6, 6), V=(6, 2)),
        {"x": rows(3, 5, 6)},
        {"seen": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 1]])},
    ),
    "wide": (model(WIDE, W=(40, 3), B=3, V=(3, 2)), {"x": rows(3, 40)}, {}),
    "pair": (
        model(PAIR, W=(8, 8), U=(8, 8), B=8, V=(8, 2)),
        {"x": rows(3, 8), "z": rows(3, 8, seed=1)},
        {},
    ),
    "residual": (model(RESIDUAL, W=(6, 6), V=(6, 2)), {"x": rows(3, 6)}, {}),
    "gated": (model(GATED, V=(6, 2)), {"x": rows(3, 4, 6)}, {"w": rows(3, 6, 6, seed=1)}),
    "moved about": (
        model(
            MOVED_ABOUT, Q=(5, 4), V=(4, 2), ax=np.array(2), open5=np.array([1, 0, 1, 1, 0], bool)
        ),
        {"x": rows(3, 6, 4)},
        {},
    ),
    "dropped": (model(DROPPED, W=(8, 8), B=8, V=(8, 2)), {"x": rows(3, 8)}, {}),
    "rectified": (model(RECTIFIED, W=(8, 8), V=(8, 2)), {"x": rows(3, 8)}, {}),
    "gates": (model(GATES, W=(6, 6), B=6), {"x": rows(3, 6)}, {}),
}


@pytest.fixture(params=["as they cost", "for nothing"])
def cuts(request, monkeypatch):
    """With cuts for nothing, as much as may be staged is."""
    if request.param == "for nothing":
        for name in ("MOVED", "COPIED", "SUMMED"):
            monkeypatch.setattr(regions, name, 1e-6)


@pytest.mark.parametrize("sums", [False, True], ids=["gradients", "sums"])
@pytest.mark.parametrize("case", CASES)
def test_parts_give_what_the_whole_gives(case, sums, cuts):
    staged = Staged(*CASES[case], sums=sums)
    staged.agree()
    # rows one by one, and without a batch axis: sizes are those of one row then
    Staged(*CASES[case], sums=sums, batched=False).agree()

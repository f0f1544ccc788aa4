"""If, Scan and Loop, against finite differences of their forward pass in onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import NoGradientPath, UnsupportedOperator
from igrt.vjp.augment import augment

# central differences of fourth order at h = 1e-2 in float32: 1e-8 (truncation), 1e-7 / 1e-2
# (rounding of sums of some dozens of terms)
STEP, CLOSE = 1e-2, 5e-4

RNG = np.random.default_rng(17)


def floats(*shape):
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def parse(body, head, opset=18):
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}, "odd": 1]> {head} {{ {body} }}'
    )


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def check(model, feeds, *, of=None, wrt=None, valid=True):
    """Compare gradients, see that the forward results stay, and return the augmented model."""
    wrt = [n for n, a in feeds.items() if a.dtype == np.float32] if wrt is None else wrt
    plain = session(model)
    augmented = None
    for name in [of] if of else [o.name for o in model.graph.output]:
        augmented = augment(model, wrt=wrt, of=name)
        if valid:
            onnx.checker.check_model(augmented)
        (y,) = plain.run([name], feeds)
        ct = RNG.standard_normal(y.shape).astype(np.float32)
        # the gradients come last, with a number behind the name the second time
        outputs = [name, *(o.name for o in list(augmented.graph.output)[-len(wrt) :])]
        results = session(augmented).run(outputs, feeds | {f"igrt/cotangent/{name}": ct})
        np.testing.assert_array_equal(results[0], y)
        for tensor, gradient in zip(wrt, results[1:], strict=True):
            assert gradient.shape == feeds[tensor].shape
            v = RNG.standard_normal(gradient.shape).astype(np.float32)

            def along(step, tensor=tensor, v=v, name=name, ct=ct):
                moved = feeds | {tensor: feeds[tensor] + np.float32(step) * v}
                return float((ct.astype(np.float64) * plain.run([name], moved)[0]).sum())

            near, far = (along(s) - along(-s) for s in (STEP, 2 * STEP))
            expected = (8 * near - far) / (12 * STEP)
            got = float((gradient.astype(np.float64) * v).sum())
            scale = max(1.0, float(np.abs(gradient * v).sum()))
            assert abs(got - expected) <= CLOSE * scale, f"{name}, {tensor}: {got}, {expected}"
    return augmented


# -- If --------------------------------------------------------------------------------------------

IF = "g (bool c, float[N, 3] x, float[3] z) => (float[N, 3] y)"


@pytest.mark.parametrize("taken", [True, False])
class TestIf:
    def run(self, body, taken, head=IF, **more):
        return check(parse(body, head), {"c": np.array(taken), "x": floats(2, 3)} | more)

    def test_captured_by_both_branches_or_by_one(self, taken):
        body = """
            y = If (c) <
                then_branch = t () => (float[N, 3] u) { a = Mul (x, z) u = Tanh (a) },
                else_branch = e () => (float[N, 3] v) { v = Mul (x, x) }
            >
        """
        self.run(body, taken, z=floats(3))

    def test_several_outputs(self, taken):
        head = "g (bool c, float[N, 3] x) => (float[N, 3] y, float[N, 3] w)"
        body = """
            y, w = If (c) <
                then_branch = t () => (float[N, 3] u, float[N, 3] v) { u = Exp (x) v = Mul (u, x) },
                else_branch = e () => (float[N, 3] r, float[N, 3] s) { s = Sin (x) r = Mul (s, s) }
            >
        """
        self.run(body, taken, head)

    def test_nested(self, taken):
        body = """
            y = If (c) <
                then_branch = t () => (float[N, 3] u) {
                    h = Mul (x, x)
                    d = Not (c)
                    u = If (d) <
                        then_branch = tt () => (float[N, 3] p) { p = Neg (h) },
                        else_branch = te () => (float[N, 3] q) { k = Mul (h, z) q = Tanh (k) }
                    >
                },
                else_branch = e () => (float[N, 3] v) { v = Identity (x) }
            >
        """
        self.run(body, taken, z=floats(3))

    def test_branches_of_different_ranks(self, taken):
        head = "g (float[N, M, 3] x) => (float y)"
        body = """
            two = Constant <value_ints = [1]> ()
            s = Shape <start = 1, end = 2> (x)
            c = Equal (s, two)
            h = If (c) <
                then_branch = t () => (u) { o = Constant <value_ints = [1]> () u = Squeeze (x, o) },
                else_branch = e () => (v) { v = Identity (x) }
            >
            k = Mul (h, h)
            y = ReduceSum <keepdims = 0> (k)
        """
        check(parse(body, head), {"x": floats(2, 1 if taken else 2, 3)})

    def test_recurrent_operator_in_a_branch(self, taken):
        head = """
            g (bool c, float[4, 2, 3] x) => (float[1, 2, 5] y)
            <float[1, 20, 3] w, float[1, 20, 5] r>
        """
        body = """
            y = If (c) <
                then_branch = t () => (float[1, 2, 5] u) {
                    full, u = LSTM <hidden_size = 5> (x, w, r)
                },
                else_branch = e () => (float[1, 2, 5] v) {
                    other, v = LSTM <hidden_size = 5, direction = "reverse"> (x, w, r)
                }
            >
        """
        model = parse(body, head)
        stored = [
            onnx.numpy_helper.from_array(floats(1, 20, n), k) for n, k in ((3, "w"), (5, "r"))
        ]
        del model.graph.initializer[:]
        model.graph.initializer.extend(stored)
        check(model, {"c": np.array(taken), "x": floats(4, 2, 3)})


# -- Scan ------------------------------------------------------------------------------------------

RNN = (
    "g (float[B, 3] s0, float[T, B, 3] xs, float[3, 3] w) => (float[B, 3] last, float[T, B, 3] ys)"
)
CELL = """
    last, ys = Scan <num_scan_inputs = 1 MORE, body = b (float[B, 3] s, float[B, 3] x)
        => (float[B, 3] next, float[B, 3] y) {
        p = MatMul (s, w)
        q = Add (p, x)
        next = Tanh (q)
        y = Mul (next, x)
    }> (s0, xs)
"""


def cell(**more):
    return CELL.replace("MORE", "".join(f", {n} = {v}" for n, v in more.items()))


def rnn():
    return {"s0": floats(2, 3), "xs": floats(5, 2, 3), "w": floats(3, 3)}


@pytest.mark.parametrize("read, write", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_scan_directions(read, write):
    more = {"scan_input_directions": [read], "scan_output_directions": [write]}
    check(parse(cell(**more), RNN), rnn())


@pytest.mark.parametrize("read, write", [(1, 1), (2, 0), (0, -1), (-2, 2)])
def test_scan_axes(read, write):
    head = RNN.replace("[T, B, 3] xs", "[A, C, D] xs")
    head = head.replace("[T, B, 3] ys", "[E, F, G] ys")
    model = parse(cell(scan_input_axes=[read], scan_output_axes=[write]), head)
    feeds = rnn()
    check(model, feeds | {"xs": np.moveaxis(feeds["xs"], 0, read)})


def test_scan_of_several_states_and_sequences():
    head = """
        g (float[2] a0, float[3] b0, float[T, 2] xs, float[T, 3] zs, float[2, 3] w)
        => (float[2] a1, float[3] b1, float[T, 2] p, float[T, 3] q)
    """
    body = """
        a1, b1, p, q = Scan <num_scan_inputs = 2,
            body = b (float[2] a, float[3] b, float[2] x, float[3] z)
            => (float[2] an, float[3] bn, float[2] pp, float[3] qq) {
            ax = Mul (a, x)
            h = MatMul (ax, w)
            bz = Sub (b, z)
            bn = Tanh (bz)
            qq = Mul (h, bn)
            m = ReduceMean <keepdims = 0> (bn)
            an = Add (ax, m)
            pp = Identity (a)
        }> (a0, b0, xs, zs)
    """
    feeds = {"a0": floats(2), "b0": floats(3), "xs": floats(4, 2), "zs": floats(4, 3)}
    check(parse(body, head), feeds | {"w": floats(2, 3)})
    check(parse(body, head), feeds | {"w": floats(2, 3)}, wrt=["b0"], of="a1")


def test_scan_without_states_whose_body_captures():
    head = "g (float[3] x) => (float[2, 3] y) <float[2, 3] const = {1, 2, 3, 4, 5, 6}>"
    body = """
        y = Scan <num_scan_inputs = 1, body = b (float[3] row) => (float[3] out) {
            s = Mul (row, x)
            out = Sin (s)
        }> (const)
    """
    check(parse(body, head), {"x": floats(3)})


def test_a_state_that_only_passes_through():
    head = "g (float[3] s0, float[T, 3] xs) => (float[3] last, float[T, 3] ys)"
    body = """
        last, ys = Scan <num_scan_inputs = 1, body = b (float[3] s, float[3] x)
            => (float[3] next, float[3] y) { next = Identity (s) y = Mul (s, x) }> (s0, xs)
    """
    check(parse(body, head), {"s0": floats(3), "xs": floats(4, 3)})


def test_inputs_of_a_body_named_as_outer_tensors():
    """ONNX forbids it, onnxruntime runs it; then the body's own are meant."""
    head = "g (float[3] x, float[T, 3] xs) => (float[3] y)"
    body = """
        s = Mul (x, x)
        y = Scan <num_scan_inputs = 1, body = b (float[3] s, float[3] x) => (float[3] o) {
            p = Mul (s, x)
            o = Sin (p)
        }> (s, xs)
    """
    check(parse(body, head), {"x": floats(3), "xs": floats(2, 3)}, valid=False)


def test_what_is_expensive_is_saved_rather_than_computed_again():
    augmented = augment(parse(cell(), RNN), wrt=["xs"], of="last")
    forward, backward = (n for n in augmented.graph.node if n.op_type == "Scan")
    body = next(a.g for a in backward.attribute if a.name == "body")
    operators = [n.op_type for n in body.node]
    assert not {"MatMul", "Tanh"}.intersection(operators[:1])
    assert operators.count("MatMul") + operators.count("Gemm") == 1  # the pullback's own
    assert len(forward.output) > 2


def test_nested_scans():
    head = "g (float[3] s0, float[T, U, 3] xs, float[3] k) => (float[3] last)"
    body = """
        last = Scan <num_scan_inputs = 1, body = o (float[3] s, float[U, 3] block)
            => (float[3] next) {
            next = Scan <num_scan_inputs = 1, body = i (float[3] t, float[3] x)
                => (float[3] u) {
                p = Mul (t, k)
                q = Add (p, x)
                u = Sin (q)
            }> (s, block)
        }> (s0, xs)
    """
    check(parse(body, head), {"s0": floats(3), "xs": floats(3, 2, 3), "k": floats(3)})


# -- Loop ------------------------------------------------------------------------------------------

LOOP = "g (int64 n, float[B, 3] s0, float[3, 3] w) => (float[B, 3] last, float[T, B, 3] ys)"
TURNS = """
    true = Constant <value = bool {1}> ()
    last, ys = Loop (n, true, s0) <body = b (int64 i, bool c, float[B, 3] s)
        => (bool go, float[B, 3] next, float[B, 3] y) {
        go = Identity (c)
        p = MatMul (s, w)
        next = Tanh (p)
        j = Cast <to = 1> (i)
        y = Mul (next, j)
    }>
"""


@pytest.mark.parametrize("count", [4, 1, 0])
def test_loop_with_a_trip_count_known_at_run_time(count):
    check(parse(TURNS, LOOP), {"n": np.array(count), "s0": floats(2, 3), "w": floats(3, 3)})


def test_loop_that_ends_by_its_condition():
    head = "g (float[3] s0, float[3] k) => (float[3] last)"
    body = """
        many = Constant <value = int64 {100}> ()
        true = Constant <value = bool {1}> ()
        last, n = Loop (many, true, s0, zero) <body = b (int64 i, bool c, float[3] s, int64 m)
            => (bool go, float[3] next, int64 more) {
            p = Mul (s, k)
            next = Add (p, s)
            one = Constant <value = int64 {1}> ()
            more = Add (m, one)
            four = Constant <value = int64 {4}> ()
            go = Less (more, four)
        }>
    """
    head += " <int64 zero = {0}>"
    check(parse(body, head), {"s0": floats(3), "k": floats(3)})


def test_a_loop_state_that_is_no_float_may_change_its_shape():
    head = "g (int64 n, float[3] s0) => (float[3] last) <int64[1] seen = {0}>"
    body = """
        true = Constant <value = bool {1}> ()
        last, all = Loop (n, true, s0, seen) <body = b (int64 i, bool c, float[3] s, int64[K] a)
            => (bool go, float[3] next, int64[L] longer) {
            go = Identity (c)
            next = Sin (s)
            longer = Concat <axis = 0> (a, a)
        }>
    """
    check(parse(body, head), {"n": np.array(3), "s0": floats(3)})


def test_a_loop_state_that_grows_is_refused_with_the_reason():
    head = "g (int64 n, float[1, 3] s0) => (float[K, 3] last)"
    body = """
        true = Constant <value = bool {1}> ()
        [grow] last = Loop (n, true, s0) <body = b (int64 i, bool c, float[M, 3] s)
            => (bool go, float[L, 3] next) {
            go = Identity (c)
            next = Concat <axis = 0> (s, s)
        }>
    """
    with pytest.raises(
        UnsupportedOperator,
        match=r"Loop-18 \(state `s` changes its shape from \[1, 3\] to \[2",
    ):
        augment(parse(body, head))


def test_a_loop_in_a_loop_that_captures_the_outer_state():
    head = "g (int64 n, float[3] s0, float[3] k) => (float[3] last)"
    body = """
        true = Constant <value = bool {1}> ()
        last = Loop (n, true, s0) <body = b (int64 i, bool c, float[3] s)
            => (bool go, float[3] next) {
            go = Identity (c)
            h = Mul (s, k)
            next = Loop (n, true, h) <body = d (int64 i2, bool c2, float[3] t)
                => (bool go2, float[3] u) { go2 = Identity (c2) v = Add (t, s) u = Tanh (v) }>
        }>
    """
    check(parse(body, head), {"n": np.array(2), "s0": floats(3), "k": floats(3)})


# -- together, and what is refused -----------------------------------------------------------------


def test_if_in_a_scan_on_a_condition_of_the_step():
    head = "g (float[3] s0, float[T, 3] xs, bool[T] cs) => (float[3] last)"
    body = """
        last = Scan <num_scan_inputs = 2, body = b (float[3] s, float[3] x, bool c)
            => (float[3] next) {
            next = If (c) <
                then_branch = t () => (float[3] u) { u = Mul (s, x) },
                else_branch = e () => (float[3] v) { p = Add (s, x) v = Sin (p) }
            >
        }> (s0, xs, cs)
    """
    feeds = {"s0": floats(3), "xs": floats(4, 3), "cs": np.array([True, False, False, True])}
    check(parse(body, head), feeds)


def test_a_gradient_of_a_gradient():
    """The augmented model can be augmented again: the Hessian of a Scan times a vector."""
    feeds = rnn()
    once = augment(parse(cell(), RNN), wrt=["s0"], of="last")
    feeds["igrt/cotangent/last"] = floats(2, 3)
    check(once, feeds, of="igrt/grad/s0", wrt=["s0"])


def test_what_has_no_rule_in_a_body_is_reported():
    head = "g (float[3] x) => (float[2, 3] y) <float[2, 3] const = {1, 2, 3, 4, 5, 6}>"
    body = """
        [rows] y = Scan <num_scan_inputs = 1, body = b (float[3] row) => (float[3] out) {
            s = Add (row, x)
            out = odd.Op (s)
        }> (const)
    """
    with pytest.raises(
        UnsupportedOperator, match=r"Scan-18 \(Op \(0\) in its body\)  1 node   rows"
    ):
        augment(parse(body, head))


def test_operators_with_a_function_body_are_expanded_inside_a_body():
    head = "g (bool c, float[3] x) => (float[3] y)"
    body = """
        y = If (c) <
            then_branch = t () => (float[3] u) { u = Mish (x) },
            else_branch = e () => (float[3] v) { v = Neg (x) }
        >
    """
    check(parse(body, head), {"c": np.array(True), "x": floats(3)})


def test_a_path_that_is_cut_in_every_branch_is_refused_by_name():
    head = "g (bool c, float[3] x) => (float[3] y)"
    body = """
        [cut] y = If (c) <
            then_branch = t () => (float[3] u) { u = Round (x) },
            else_branch = e () => (float[3] v) { v = Floor (x) }
        >
    """
    with pytest.raises(NoGradientPath, match=r"`cut` \(If\)"):
        augment(parse(body, head))

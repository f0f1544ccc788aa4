"""Several targets of an example share forward passes, and come to what each comes to alone."""

import numpy as np
import pytest
from onnx import parser

import igrt

# float32 sums over rows that stand in batches of other sizes
SAME = 1e-5


def model(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')


def perceptron(activation):
    rng = np.random.default_rng(0)
    v, w = (", ".join(f"{a:.4f}" for a in rng.normal(size=n)) for n in (8 * 40, 40 * 6))
    return model(
        f"""g (float[N, 8] x) => (float[N, 6] y)
            <float[8, 40] v = {{{v}}}, float[40, 6] w = {{{w}}}> {{
              a = MatMul(x, v)  b = {activation}(a)  c = Exp(b)  d = Log(c)  h = Tanh(d)
              y = MatMul(h, w) }}"""
    )


SMOOTH, KINKED = perceptron("Sigmoid"), perceptron("Relu")
X = np.random.default_rng(4).normal(size=(3, 8)).astype(np.float32)


def explained(proto, share, **options):
    explainer = igrt.Explainer(proto, provider="cpu")
    explainer._integrator.sharing = share
    return explainer.explain(X, **options)


@pytest.mark.parametrize("proto", [SMOOTH, KINKED], ids=["smooth", "kinked"])
@pytest.mark.parametrize(
    "options",
    [
        {"target": "top4"},
        {"target": "[:]", "n_steps": 24},
        {"target": "top3", "n_steps": 24, "baselines": ["zeros", "mean"]},
        {"target": ["[:]", 0, "top2"], "n_steps": 24},
        {"target": "top5", "internal_batch_size": 7},
    ],
    ids=["adaptive", "fixed", "baselines", "some", "chunks"],
)
def test_targets_together_are_what_they_are_alone(proto, options):
    together, alone = (explained(proto, share, **options) for share in (True, False))
    assert "run once" in together.provenance["targets"]
    assert "targets" not in alone.provenance
    assert together.target == alone.target
    assert together.evaluations.tolist() == alone.evaluations.tolist()
    size = np.abs(alone.values["x"]).max()
    np.testing.assert_allclose(together.values["x"], alone.values["x"], atol=SAME * size)
    np.testing.assert_allclose(together.error, alone.error, atol=SAME)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "top3", "n_steps": 2}, "few evaluations"),
        ({"target": "[:]", "n_steps": 24, "internal_batch_size": 1}, "a run takes 1 row"),
        ({"target": 0}, None),
    ],
)
def test_where_it_would_not_pay_each_runs_alone(options, words):
    said = explained(SMOOTH, True, **options).provenance.get("targets")
    assert said == words or words in said


def test_a_graph_that_does_not_load_is_not_used(monkeypatch):
    from igrt.errors import ModelLoadError
    from igrt.sharing import Sharing

    def refuse(*_, **__):
        raise ModelLoadError("no such thing")

    monkeypatch.setattr(Sharing, "_same", refuse)
    result = explained(SMOOTH, True, target="top4")
    assert result.provenance["targets"] == "each target by itself: no such thing"
    assert result.converged.all()


def test_what_is_not_finite_is_said_of_the_row_it_is_in():
    """At the end of the path the logarithm of the second feature has an infinite slope."""
    net = model(
        """g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 2, 3, 4}> {
             t = Tanh(x)  s = Sqrt(t)  y = MatMul(s, w) }"""
    )
    with pytest.raises(igrt.IgrtError) as caught:
        igrt.explain(net, np.array([[1, 2]], np.float32), target="[:]", n_steps=40, rule="left")
    assert "alpha = 0 " in str(caught.value)

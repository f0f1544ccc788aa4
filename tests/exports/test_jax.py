"""Exports by jax2onnx, against jax.grad in float64."""

import numpy as np
import onnxruntime
import pytest

import igrt

jax = pytest.importorskip("jax", reason="networks in JAX")
jax2onnx = pytest.importorskip("jax2onnx", reason="exports by jax2onnx: pip install '.[test-jax]'")
nnx = pytest.importorskip("flax.nnx", reason="layers by flax")

import jax.numpy as jnp  # noqa: E402

# jax2onnx asks flax for weights in a way that flax is giving up
pytestmark = pytest.mark.filterwarnings("ignore:'.value' access is now deprecated")

# float32 against float64 through dozens of operations at 1e-7 each
FLOAT32 = 2e-5


class Mlp(nnx.Module):
    def __init__(self, rngs):
        self.first, self.norm = nnx.Linear(6, 16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs)
        self.last = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.norm(nnx.gelu(self.first(x))))


class Cnn(nnx.Module):
    """Channels last, as JAX has them."""

    def __init__(self, rngs):
        self.first = nnx.Conv(2, 8, (3, 3), rngs=rngs)
        self.second = nnx.Conv(8, 8, (3, 3), strides=(2, 2), rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.silu(self.first(x)), window_shape=(2, 2), strides=(2, 2))
        return nnx.log_softmax(self.head(jnp.tanh(self.second(x)).mean(axis=(1, 2))))


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.before, self.between = nnx.LayerNorm(8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 16, rngs=rngs), nnx.Linear(16, 8, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.before(x))
        return x + self.down(nnx.gelu(self.up(self.between(x))))


class Recurrent(nnx.Module):
    """A scan over time, which becomes an ONNX Scan or Loop."""

    def __init__(self, rngs):
        self.inner, self.head = nnx.Linear(4 + 5, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        def step(h, x_t):
            h = jnp.tanh(self.inner(jnp.concatenate([x_t, h], axis=-1)))
            return h, h

        start = jnp.zeros((x.shape[0], 5), x.dtype)
        return self.head(jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0])


class SparseGraph(nnx.Module):
    """Messages along seven fixed edges, added up by a segment sum."""

    def __init__(self, rngs):
        self.message, self.head = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        source, target = jnp.array([0, 1, 2, 3, 3, 4, 0]), jnp.array([1, 2, 0, 1, 4, 4, 4])
        messages = jnp.tanh(self.message(x))[:, source]
        arrived = jnp.zeros((x.shape[0], 5, 8), x.dtype).at[:, target].add(messages)
        return self.head(jnp.tanh(arrived).mean(axis=1))


NETS = {
    "mlp": (Mlp, (6,)),
    "cnn": (Cnn, (8, 8, 2)),
    "transformer": (Transformer, (5, 8)),
    "recurrent": (Recurrent, (5, 4)),
    "sparse_graph": (SparseGraph, (5, 4)),
}


def widened(module):
    """The same network with float64 weights."""
    graph, state = nnx.split(module)
    floats = jax.tree.map(lambda w: w.astype(jnp.float64) if w.dtype == jnp.float32 else w, state)
    return nnx.merge(graph, floats)


@pytest.mark.parametrize("batch", ["B", 1], ids=["dynamic", "static"])
@pytest.mark.parametrize("name", NETS)
def test_gradient_is_jaxs(name, batch):
    build, shape = NETS[name]
    module = build(nnx.Rngs(0))
    model = jax2onnx.to_onnx(module, [(batch, *shape)], model_name=name)
    (given,), (of, *_) = model.graph.input, (o.name for o in model.graph.output)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3 if batch == "B" else 1, *shape)).astype(np.float32)
    with jax.enable_x64(True):
        wide = widened(build(nnx.Rngs(0)))
        y, pullback = jax.vjp(wide, jnp.asarray(x, jnp.float64))
        ct = rng.standard_normal(y.shape).astype(np.float32)
        (expected,) = pullback(jnp.asarray(ct, y.dtype))
        y, expected = np.asarray(y), np.asarray(expected)
    assert expected.dtype == np.float64
    session = onnxruntime.InferenceSession(igrt.augment(model).SerializeToString())
    feeds = {given.name: x, f"igrt/cotangent/{of}": ct}
    output, found = session.run([of, f"igrt/grad/{given.name}"], feeds)
    assert np.abs(output - y).max() <= FLOAT32 * np.abs(y).max()
    assert np.abs(found - expected).max() <= FLOAT32 * np.abs(expected).max()

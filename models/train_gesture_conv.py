"""Train models/gesture_conv with JAX and export it with jax2onnx (under a minute).

Needs an environment of its own: jax2onnx, flax, optax, onnxruntime, scikit-learn, pillow.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import common
import datasets
import describe
import jax
import jax.numpy as jnp
import jax2onnx
import numpy as np
import optax
from flax import nnx

NAME = "gesture_conv"
LABELS = ["stop", "clockwise", "counter clockwise", "move"]
SAMPLES = 2  # of each gesture
OPSET = 21
DATASET = {
    "name": "movements of a finger tip: 16 points each, as shares of the picture's size",
    "source": "github.com/PINTO0309/hand-gesture-recognition-using-onnx",
    "licence": "Apache-2.0",
}


class GestureConv(nnx.Module):
    """Two convolutions over the time and their mean; GELU makes it smooth."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(2, 24, (5,), rngs=rngs)
        self.conv2 = nnx.Conv(24, 24, (5,), rngs=rngs)
        self.head = nnx.Linear(24, len(LABELS), rngs=rngs)

    def __call__(self, points: jax.Array) -> jax.Array:
        """[batch, 16, 2] -> logits [batch, 4]."""
        x = nnx.gelu(self.conv1(10.0 * points))  # points differ by tenths
        return self.head(nnx.gelu(self.conv2(x)).mean(axis=1))


def train(split: datasets.Split, epochs: int, batch: int, seed: int) -> GestureConv:
    """Train from scratch with Adam and a cosine learning rate."""
    network = GestureConv(nnx.Rngs(seed))
    steps = len(split) // batch
    rate = optax.cosine_decay_schedule(5e-3, epochs * steps)
    optimizer = nnx.Optimizer(network, optax.adamw(rate, weight_decay=1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(network: GestureConv, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> None:
        def loss(network: GestureConv) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(network(x), y).mean()

        optimizer.update(network, nnx.grad(loss)(network))

    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for chosen in rng.permutation(len(split))[: steps * batch].reshape(steps, batch):
            x, y = split.feeds["points"][chosen], split.labels[chosen]
            step(network, optimizer, jnp.asarray(x), jnp.asarray(y))
    return network


def export(network: GestureConv, example: common.Floats) -> None:
    """Write the network with outputs `logits` and `probabilities`, and check it against JAX."""

    def outputs(points: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = network(points)
        return logits, jax.nn.softmax(logits)

    model = jax2onnx.to_onnx(
        outputs,
        [("batch", 16, 2)],
        opset=OPSET,
        input_names=["points"],
        output_names=["logits", "probabilities"],
    )
    file = describe.write(NAME, model)
    # Two float32 implementations of the same sums; a wrong weight would be off by orders more.
    np.testing.assert_allclose(
        common.run(file, {"points": example})["logits"], network(example), rtol=1e-4, atol=1e-4
    )


def write_samples(split: datasets.Split) -> list[dict[str, object]]:
    """The first test movements of each gesture."""
    chosen = [
        int(i) for c in range(len(LABELS)) for i in (split.labels == c).nonzero()[0][:SAMPLES]
    ]
    file = common.ROOT / NAME / "inputs" / "points.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, split.feeds["points"][chosen])
    return [
        {"file": "inputs/points.npy", "row": row, "label": LABELS[split.labels[index]]}
        for row, index in enumerate(chosen)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=datasets.shared_data())
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data, test = datasets.gestures("train", args.data), datasets.gestures("test", args.data)
    common.write_labels(NAME, LABELS)
    network = train(data, args.epochs, args.batch, args.seed)
    export(network, test.feeds["points"][:2])
    describe.record(
        NAME,
        made_with={
            "jax": jax.__version__,
            "exporter": f"jax2onnx {version('jax2onnx')}",
        },
        dataset=DATASET,
        train=len(data),
        test=test,
        samples=write_samples(test),
    )


if __name__ == "__main__":
    main()

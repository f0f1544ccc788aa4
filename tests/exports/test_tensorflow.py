"""Exports of Keras networks by tf2onnx, against TensorFlow's own gradients in float64."""

import os

import numpy as np
import onnxruntime
import pytest

import igrt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow", reason="networks in TensorFlow")
tf2onnx = pytest.importorskip(
    "tf2onnx", reason="exports by tf2onnx: pip install '.[test-tensorflow]'"
)
keras = pytest.importorskip("keras")
layers = keras.layers

# float32 against float64 through dozens of operations at 1e-7 each
FLOAT32 = 2e-5


def mlp():
    # tf2onnx leaves the Erfc of an exact GELU in the model, which no runtime has
    gelu = layers.Activation(lambda x: keras.activations.gelu(x, approximate=True))
    return [layers.Dense(16), gelu, layers.LayerNormalization(), layers.Dense(3)], (6,)


def cnn():
    net = [
        layers.Conv2D(8, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.DepthwiseConv2D(3, strides=2, padding="same"),
        layers.Activation("swish"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
    ]
    return net, (8, 8, 2)


def lstm():
    net = [
        layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
        layers.LSTM(5),
        layers.Dense(3),
    ]
    return net, (5, 4)


def upsampling():
    net = [
        layers.Conv2D(4, 3, strides=2, padding="same", activation="elu"),
        layers.Conv2DTranspose(4, 2, strides=2),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Conv2D(3, 1),
    ]
    return net, (8, 8, 2)


class Attention(layers.Layer):
    def __init__(self, **given):
        super().__init__(**given)
        self.norm, self.attention = layers.LayerNormalization(), layers.MultiHeadAttention(2, 4)

    def call(self, x):
        y = self.norm(x)
        return x + self.attention(y, y)


def transformer():
    net = [layers.Dense(8), Attention(), layers.GlobalAveragePooling1D(), layers.Dense(3)]
    return net, (5, 4)


NETS = {f.__name__: f for f in (mlp, cnn, lstm, upsampling, transformer)}


def built(name, dtype):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    try:
        net, shape = NETS[name]()
        model = keras.Sequential([keras.Input(shape), *net])
    finally:
        keras.config.set_dtype_policy("float32")
    return model, shape


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("name", NETS)
def test_gradient_is_tensorflows(name, opset):
    model, shape = built(name, "float32")
    function = tf.function(
        lambda x: model(x), input_signature=[tf.TensorSpec((None, *shape), tf.float32, name="x")]
    )
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=opset
    )
    of = proto.graph.output[0].name
    wide, _ = built(name, "float64")
    wide.set_weights([w.astype(np.float64) for w in model.get_weights()])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *shape)).astype(np.float32)
    with tf.GradientTape() as tape:
        z = tf.constant(x, tf.float64)
        tape.watch(z)
        y = wide(z)
    ct = rng.standard_normal(y.shape).astype(np.float32)
    expected = tape.gradient(y, z, tf.constant(ct, tf.float64)).numpy()
    session = onnxruntime.InferenceSession(igrt.augment(proto).SerializeToString())
    feeds = {"x": x, f"igrt/cotangent/{of}": ct}
    output, found = session.run([of, "igrt/grad/x"], feeds)
    assert np.abs(output - y.numpy()).max() <= FLOAT32 * np.abs(y).max()
    assert np.abs(found - expected).max() <= FLOAT32 * np.abs(expected).max()

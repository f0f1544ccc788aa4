"""Explain the class of a picture and write the result as a page: python 01_explain_a_picture.py."""

from pathlib import Path

import igrt
from igrt.inputs import Preprocess, read, read_labels

MODELS = Path(__file__).parents[1] / "models"
folder, picture = MODELS / "inception_cifar", "ship.png"
if not (folder / "inception_cifar.onnx").is_file():  # not trained yet in this checkout
    folder, picture = MODELS / "digits_cnn", "3.png"

explainer = igrt.Explainer(folder / f"{folder.name}.onnx")
(spec,) = explainer.inputs

# the same pixels-to-numbers as in training; the file beside the model says which
loaded = read(folder / "inputs" / picture, spec, Preprocess.named(folder / "preprocess.toml"))
display = igrt.Display(
    labels=read_labels(folder / "labels.txt"),
    pictures={spec.name: loaded.pictures},
    layouts={spec.name: loaded.layout},
    sources=loaded.sources,
)

# averaged over two baselines: all zeros, and the picture itself, blurred
result = explainer.explain(loaded.array, baselines=["zeros", "blur:4"], display=display)

print(f"{picture}: {result.label(0)}, score {result.output[0]:.3f}")
for index, score in result.top(0, 3):
    print(f"  {display.label(index):12} {score:8.3f}")
print(f"completeness gap {result.delta[0]:.1e}, estimated error {result.error[0]:.1e}")
print("wrote", result.save("picture.html"), "and", result.save("picture.png"))

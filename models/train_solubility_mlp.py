"""Train models/solubility_mlp with scikit-learn and export it with skl2onnx (a few seconds)."""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import datasets
import describe
import numpy as np
import skl2onnx
import sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "solubility_mlp"
SAMPLES = 6
DATASET = {
    "name": "ESOL: solubility of molecules in water",
    "source": "Delaney 2004; copy of github.com/deepchem/deepchem",
    "licence": "MIT (repository)",
}


def train(split: datasets.Split, seed: int) -> Pipeline:
    """Standardised features and one hidden layer with tanh, which is smooth."""
    pipeline = make_pipeline(
        StandardScaler(),
        MLPRegressor(
            hidden_layer_sizes=(32,), activation="tanh", alpha=0.1, max_iter=2000, random_state=seed
        ),
    )
    pipeline.fit(split.feeds["features"], split.labels)
    return pipeline


def export(pipeline: Pipeline, example: common.Floats) -> Path:
    """The whole pipeline as one model, checked against scikit-learn."""
    columns = len(datasets.SOLUBILITY_FEATURES)
    model = skl2onnx.convert_sklearn(
        pipeline,
        initial_types=[("features", FloatTensorType([None, columns]))],
        final_types=[("prediction", FloatTensorType([None, 1]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    file = describe.write(NAME, model)
    (prediction,) = common.run(file, {"features": example}).values()
    # float32 against scikit-learn's float64, sums of 32 terms of the order of 1
    np.testing.assert_allclose(prediction[:, 0], pipeline.predict(example), rtol=1e-4, atol=1e-4)
    return file


def write_samples(split: datasets.Split) -> list[dict[str, object]]:
    """Test rows from the most soluble to the least, in one table with a header."""
    order = np.argsort(split.labels)[::-1]
    chosen = order[np.linspace(0, len(order) - 1, SAMPLES).astype(int)]
    file = common.ROOT / NAME / "inputs" / "samples.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    common.write_table(file, datasets.SOLUBILITY_FEATURES, split.feeds["features"][chosen])
    return [
        {"file": "inputs/samples.csv", "row": row, "label": round(float(split.labels[index]), 2)}
        for row, index in enumerate(chosen)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=datasets.shared_data())
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data, test = datasets.solubility("train", args.data), datasets.solubility("test", args.data)
    pipeline = train(data, args.seed)
    export(pipeline, test.feeds["features"])
    common.write_labels(NAME, ["log10 of mol per litre"])
    describe.record(
        NAME,
        made_with={
            "scikit-learn": sklearn.__version__,
            "exporter": f"skl2onnx {skl2onnx.__version__}",
        },
        dataset=DATASET,
        train=len(data),
        test=test,
        samples=write_samples(test),
    )


if __name__ == "__main__":
    main()

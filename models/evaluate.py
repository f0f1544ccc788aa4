"""Measure the shipped models again, with onnxruntime alone, and compare with MANIFEST.json.

Exit status 0: files and claims agree; 1: they do not. Token models need the package `tokenizers`,
molecules need `rdkit`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import common
import datasets
import measures

# A picture on the border between two classes may fall either way on another processor, or with
# another JPEG decoder; more than this is a different model.
UNDECIDED = 0.002


def test_split(name: str, data: Path) -> datasets.Split:
    """The test examples of a model, by its name."""
    if name in ("trec_cnn", "sst2_attention", "en_de_gru"):
        import token_data

        if name == "en_de_gru":
            return token_data.en_de_split(data)
        splits = {"trec_cnn": token_data.trec_split, "sst2_attention": token_data.sst2_split}
        return splits[name]("test", data)
    if name == "tox21_graph":
        import molecules

        return molecules.tox21_split("test", data)
    if name in ("breast_cancer_mlp", "digits_cnn"):
        return {"digits_cnn": datasets.digits, "breast_cancer_mlp": datasets.breast_cancer}[name](
            "test"
        )
    return {
        "gesture_conv": datasets.gestures,
        "inception_cifar": datasets.cifar,
        "solubility_mlp": datasets.solubility,
    }[name]("test", data)


def evaluate(name: str, data: Path) -> list[str]:
    """Check one model; print its figures and return what does not agree."""
    entry = common.manifest()[name]
    file = common.ROOT / entry["file"]
    if common.sha256(file) != entry["sha256"]:
        return [f"{name}: {file.name} is not the file that MANIFEST.json describes"]
    problems = []
    for sample in entry["samples"]:
        outputs = common.run(file, common.read_sample(name, sample))
        found = measures.predicted(name, outputs).get("predicted")
        if found != sample.get("predicted"):
            problems.append(f"{name}: {sample['file']}: {found}, not {sample['predicted']}")

    test = test_split(name, data)
    figures = measures.measure(name, file, test)
    for figure, value in figures.items():
        claim = entry["test"][figure]
        print(f"{name}: {figure} {value:.4f} (MANIFEST {claim:.4f}; {len(test)} examples)")
        if abs(value - claim) > UNDECIDED:
            problems.append(f"{name}: {figure} {value}, MANIFEST says {claim}")
    if len(test) != entry["dataset"]["split"]["test"]:
        problems.append(
            f"{name}: {len(test)} test examples, not {entry['dataset']['split']['test']}"
        )
    return problems


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help="models to measure (default: all)")
    parser.add_argument(
        "--data",
        type=Path,
        default=datasets.shared_data(),
        help="folder with datasets/ (default: IGRT_TEST_DATA, or shared/data)",
    )
    args = parser.parse_args()
    names = args.name or sorted(common.manifest())
    if unknown := set(names) - set(common.manifest()):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    problems = [problem for name in names for problem in evaluate(name, args.data)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure the shipped models again, with onnxruntime alone, and compare with MANIFEST.json.

Exit status 0: files and claims agree; 1: they do not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import common

# A picture on the border between two classes may fall either way on another processor, or with
# another JPEG decoder; more than this is a different model.
UNDECIDED = 0.002


def evaluate(name: str, data: Path) -> list[str]:
    """Check one model; print its accuracy and return what does not agree."""
    entry = common.manifest()[name]
    file = common.ROOT / entry["file"]
    if common.sha256(file) != entry["sha256"]:
        return [f"{name}: {file.name} is not the file that MANIFEST.json describes"]
    labels = common.labels_of(name)
    problems = []

    for sample in entry["samples"]:
        _, probabilities = common.run(file, common.read_sample(name, sample))
        predicted = labels[int(probabilities[0].argmax())]
        if predicted != sample["predicted"]:
            problems.append(f"{name}: {sample['file']}: {predicted}, not {sample['predicted']}")

    test = common.test_split(name, data)
    logits, _ = common.run(file, test.x)
    correct = int((logits.argmax(1) == test.labels).sum())
    claim, total = entry["accuracy"]["correct"], len(test.x)
    print(f"{name}: accuracy {correct / total:.4f} ({correct} of {total}; MANIFEST {claim})")
    if total != entry["accuracy"]["of"] or abs(correct - claim) > UNDECIDED * total:
        problems.append(f"{name}: {correct} of {total} right, MANIFEST says {claim}")
    return problems


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help="models to measure (default: all)")
    parser.add_argument(
        "--data",
        type=Path,
        default=common.shared_data(),
        help="folder with datasets/cifar10_subset.tar.gz (default: IGRT_TEST_DATA, or shared/data)",
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

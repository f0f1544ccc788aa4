"""2,000 damaged models: igrt explains them or refuses them, and does nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from damage import mutant, originals

import igrt
from igrt.errors import IgrtError, InputError, InternalError
from igrt.graph import Graph
from igrt.specs import TensorSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "alarm"), reason="needs signals to end what hangs"),
]

MUTANTS = 2000
RUN_SHARE = 8
"""Every so many mutants go through Explainer and onnxruntime as well."""

SLOWEST = 5
"""Seconds that one mutant may take. The models are explained in some milliseconds."""


def attempt(number: int, models: list[onnx.ModelProto]) -> str:
    """Nothing if a mutant is explained or refused, else what happened instead."""
    given = mutant(number, models)
    try:
        augmented = igrt.augment(given)
        onnx.checker.check_model(augmented)
        if number // 2 % RUN_SHARE == 0:
            explain(given)
    except (InternalError, onnx.checker.ValidationError) as error:
        # sizes that do not fit are found by nobody before onnxruntime runs the model
        return f"{type(error).__name__}: {error}" if runs(given) else ""
    except IgrtError as error:
        return "" if error.hint else f"no hint: {error.message}"
    except Exception:
        return traceback.format_exc(limit=-3)
    return ""


def runs(given: bytes | onnx.ModelProto) -> bool:
    """Whether a model does in onnxruntime what it says, so that igrt ought to have taken it."""
    try:
        data = given if isinstance(given, bytes) else given.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(data, options)
        model = onnx.load_from_string(data)
        graph = Graph(model)
        made = session.run([o.name for o in graph.outputs], feeds_for(graph.inputs))
        return all(keeps(a, o) for a, o in zip(made, graph.outputs, strict=True))
    except Exception:
        return False


def keeps(array: np.ndarray, declared: TensorSpec) -> bool:
    """Whether an output has the shape that was declared; onnxruntime does not insist."""
    shape = declared.shape
    return shape is None or (
        len(shape) == array.ndim
        and all(not isinstance(d, int) or d == n for d, n in zip(shape, array.shape, strict=True))
    )


def feeds_for(specs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray]:
    """Ones for every input, of size 2 where the size is open."""
    sizes = {s: [d if isinstance(d, int) else 2 for d in s.shape or ()] for s in specs}
    if any(np.prod(s, dtype=float) > 10_000 for s in sizes.values()):
        raise InputError("too large to try", hint="take a smaller one")
    return {s.name: np.ones(shape, s.dtype) for s, shape in sizes.items()}


def explain(given: bytes | onnx.ModelProto) -> None:
    explainer = igrt.Explainer(given, provider="cpu", memory=100_000_000, threads=1)
    try:
        feeds = feeds_for(explainer.inputs)
    except TypeError:  # an input that is no tensor, or of a type that NumPy lacks
        return
    explainer.explain(feeds, n_steps=2)


def worker(first: int, last: int) -> None:
    """Try some mutants and say before each which one it is."""
    import resource

    # a mutant may ask for terabytes: that is to fail in it, not in the machine
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    models = originals()
    for model in models:
        igrt.augment(model)
    explain(models[0])
    for number in range(first, last):
        print(f"\x00{number}\x00", end="", flush=True)
        signal.alarm(SLOWEST)  # ends the process, wherever it hangs
        found = attempt(number, models)
        signal.alarm(0)
        print(found, end="", flush=True)


def outcomes(first: int, last: int) -> Iterator[tuple[int, str]]:
    """What happened to some mutants, in a process of their own that may end at any of them."""
    start = first
    while start < last:
        command = [sys.executable, __file__, str(start), str(last)]
        done = subprocess.run(command, capture_output=True, check=False)
        parts = done.stdout.decode(errors="replace").split("\x00")[1:]
        assert parts, done.stderr.decode(errors="replace")[-2000:]
        numbers, found = [int(n) for n in parts[::2]], parts[1::2]
        if done.returncode:
            died = -done.returncode
            found[-1] = "hangs" if died == signal.SIGALRM else f"ends with {done.returncode}"
        yield from zip(numbers, found, strict=True)
        start = numbers[-1] + 1


def test_damaged_models_are_explained_or_refused():
    middle = MUTANTS // 2
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda p: list(outcomes(*p)), [(0, middle), (middle, MUTANTS)])
        found = [outcome for half in halves for outcome in half]
    assert [n for n, _ in found] == list(range(MUTANTS))
    failures = [f"mutant {n}: {text}" for n, text in found if text]
    listed = "\n".join(failures[:20])
    assert not failures, f"{len(failures)} of {MUTANTS}:\n{listed}"


if __name__ == "__main__":
    worker(int(sys.argv[1]), int(sys.argv[2]))

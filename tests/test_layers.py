"""Layers point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = {"errors", "specs", "blur", "roles"}
# who may import whom, beside itself and the shared words
ALLOWED = {
    "errors": set(),
    "specs": set(),
    "blur": set(),
    "roles": set(),
    "source": set(),
    "wire": set(),
    "weights": {"source", "wire"},
    "rows": set(),
    "cache": set(),
    "parts": set(),
    "making": {"graph", "parts", "source", "stage", "vjp"},
    "derived": {"cache", "graph", "making", "source"},
    "features": set(),
    "attribution": {"features", "render", "selection"},
    "baselines": set(),
    "token_baselines": set(),
    "selection": {"inputs"},
    "targets": {"selection"},
    "quadrature": {"kernels"},
    "methods": {"quadrature"},
    "graph": {"source"},
    "vjp": {"graph", "source"},
    "stage": {"graph", "parts", "vjp"},
    "runtime": {"cache", "quadrature", "kernels"},
    "feeds": {"rows"},
    "apart": {"runtime"},
    "sharing": {"apart", "derived", "kernels", "parts", "quadrature", "runtime"},
    "staged": {"apart", "derived", "kernels", "parts", "quadrature", "runtime", "sharing"},
    "subject": {"derived"},
    "gradient": {"derived", "runtime"},
    "footprint": {"derived", "gradient", "runtime", "stage"},
    "precision": {"runtime"},
    "sessions": {"derived", "gradient", "precision", "runtime", "weights"},
    "locating": {"derived", "graph", "runtime", "sharing"},
    "engine": {
        *("derived", "footprint", "gradient", "kernels", "locating", "parts", "quadrature"),
        *("runtime", "sharing", "stage", "staged"),
    },
    "opening": {"apart", "derived", "engine", "graph", "rows", "sessions", "sharing"},
    "placed": {"engine", "rows"},
    "placing": {
        *("apart", "baselines", "engine", "feeds", "opening", "placed", "rows", "runtime"),
        *("sessions", "subject", "token_baselines"),
    },
    "interactions": {
        *("engine", "graph", "kernels", "quadrature", "runtime", "sessions", "stage"),
    },
    "integrating": {
        *(
            "engine",
            "interactions",
            "kernels",
            "methods",
            "placed",
            "placing",
            "precision",
            "quadrature",
        ),
        *("runtime", "sessions", "subject"),
    },
    "explainer": {
        *("attribution", "baselines", "by_length", "cache", "derived", "integrating", "methods"),
        *("placed", "placing", "quadrature", "runtime", "sessions", "source", "subject"),
        *("targets", "text", "weights"),
    },
    "inspection": {"explainer", "graph", "source", "vjp"},
    "export": {"attribution", "graph", "vjp"},
    "inputs": set(),
    "text": {"inputs", "token_baselines"},
    "by_length": {"attribution", "baselines", "text", "token_baselines"},
    "render": {"attribution", "features", "selection"},
    "verify": {
        *(
            "apart",
            "attribution",
            "baselines",
            "derived",
            "engine",
            "explainer",
            "graph",
            "methods",
        ),
        *("render", "runtime", "selection", "source", "targets", "weights"),
    },
    "measure": {
        *("attribution", "baselines", "derived", "explainer", "graph", "kernels", "placed"),
        *("runtime", "targets", "verify"),
    },
    "cli": {
        *("attribution", "explainer", "export", "inputs", "inspection", "measure"),
        *("render", "runtime", "selection", "text", "verify", "vjp"),
    },
    "__init__": {
        *("attribution", "explainer", "methods", "selection", "text", "verify", "vjp"),
    },
    "__main__": {"cli"},
}
# third-party packages that only some layers may touch
HOMES = {
    "onnx": {
        *(
            "graph",
            "vjp",
            "stage",
            "source",
            "making",
            "derived",
            "inspection",
            "export",
            "measure",
        ),
        "verify",
    },
    "onnxruntime": {"runtime"},
    "numba": set(),
    "click": {"cli"},
    "PIL": {"inputs", "render"},
    "tokenizers": {"text"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(path):
    return path.relative_to(ROOT / "igrt").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "igrt").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_stay_within_the_table(path):
    own = layer(path)
    assert own in ALLOWED, f"{own} has no row in the table"
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "igrt" and rest and rest.split(".")[0] != "__version__":
            target = rest.split(".")[0]
            known = target in ALLOWED or target == "kernels"
            allowed = ALLOWED[own] | WORDS | {own}
            assert not known or target in allowed, f"{own} may not import igrt.{target}"
        if top in HOMES:
            assert own in HOMES[top], f"{own} may not import {top}"


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").glob("*.py")), ids=lambda p: p.name)
def test_kernels_know_arrays_only(path):
    for name in imports(path):
        top = name.split(".")[0]
        assert top in {*sys.stdlib_module_names, "numpy", "numba"}, f"kernels import {name}"


@pytest.mark.parametrize("code", ["import igrt", "from igrt.cli.main import cli"])
def test_importing_igrt_loads_nothing_heavy(code):
    heavy = "{'numba', 'onnx', 'onnxruntime', 'PIL', 'torch'} & set(__import__('sys').modules)"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint({heavy} or 'light')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "light"

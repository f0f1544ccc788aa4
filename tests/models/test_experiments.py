"""The experiments run, have a page, and draw what stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "models" / "experiments").glob("*.py"))
PAGES = ROOT / "docs" / "experiments"
# fewer examples than the page tells of, where these take long
FEWER = {
    "object_recognition": ["--count", "1"],
    "question_classification": ["--first", "30"],
    "sentiment": ["--first", "10"],
    "tabular": ["--orders", "20"],
    "translation": ["--count", "4"],
}

BY_SCRIPT = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def page_of(script):
    return PAGES / f"{script.stem.replace('_', '-')}.md"


@BY_SCRIPT
def test_an_experiment_draws_the_pictures_of_its_page(script, tmp_path):
    if "igrt.Text(" in script.read_text("utf-8"):
        pytest.importorskip("tokenizers", reason="texts need the package tokenizers")
    options = ["--output", tmp_path, *FEWER.get(script.stem, [])]
    run = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout
    shown = re.findall(r"\]\(\.\./pictures/([^)]+)\)", page_of(script).read_text("utf-8"))
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(set(shown))


@BY_SCRIPT
def test_the_page_names_its_command_and_is_in_the_index(script):
    index = (PAGES / "README.md").read_text("utf-8")
    assert f"({page_of(script).name})" in index
    command = f"$ python models/experiments/{script.name}"
    assert command in page_of(script).read_text("utf-8")

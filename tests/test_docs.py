"""What the documentation says is true: its code and commands run, its links lead somewhere."""

import importlib.util
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

import igrt.errors

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
LINKED = [*PAGES, *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("[em]*/README.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: ```python requires=torch`, ```console exit=3`, ```python quote=FILE`."""

    language: str
    marks: dict[str, str]
    text: str
    line: int


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        marks = dict(word.split("=", 1) for word in match[2].split())
        if match[1] == language:
            yield Block(match[1], marks, match[3], text.count("\n", 0, match.start(3)) + 1)


def name(page):
    return str(page.relative_to(ROOT))


def pages_with(language):
    return [pytest.param(p, id=name(p)) for p in PAGES if any(blocks(p, language))]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like the root of a checkout, where output files may be left."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run_in_order(page, checkout):
    scope = {"__name__": "__main__"}
    skipped = []
    for block in blocks(page, "python"):
        if "quote" in block.marks:
            continue
        needs = [n for n in block.marks.get("requires", "").split(",") if n]
        missing = [n for n in needs if importlib.util.find_spec(n) is None]
        if missing:
            skipped.append(f"line {block.line} needs {', '.join(missing)}")
            continue
        # so that a traceback shows the line of the page
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        with warnings.catch_warnings():
            if needs:  # other people's warnings
                warnings.simplefilter("ignore")
            exec(code, scope)
    if skipped:
        print("not run:", "; ".join(skipped))


@pytest.mark.parametrize("page", pages_with("python"))
def test_quoted_code_is_in_the_file_it_is_quoted_from(page):
    for block in blocks(page, "python"):
        if "quote" in block.marks:
            file = ROOT / block.marks["quote"]
            assert block.text.strip() in file.read_text(encoding="utf-8"), (
                f"line {block.line}: {file}"
            )


def commands(page):
    for block in blocks(page, "console"):
        lines = block.text.replace("\\\n", " ").splitlines()
        for line in lines:
            if line.startswith("$ igrt "):
                yield block, shlex.split(line.removeprefix("$ igrt "))


@pytest.mark.parametrize("page", [p for p in pages_with("console") if any(commands(*p.values))])
def test_igrt_commands_run(page, checkout, capsys):
    from igrt.cli.main import main

    for block, arguments in commands(page):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        expected = int(block.marks.get("exit", "0"))
        assert ended.value.code == expected, f"line {block.line}: {arguments}\n{said.err}"


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.name)
def test_examples_run(script, checkout):
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=checkout, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout


def slugs(page):
    """Anchors that GitHub makes of a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_internal_links_resolve(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{name(page)} links to {target}"
        assert not anchor or anchor in slugs(there), f"{name(page)} links to {target}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT / "docs").as_posix()
        assert path == "README.md" or f"({path})" in index, f"docs/README.md does not list {path}"


def test_the_error_tree_is_the_one_in_the_code():
    tree = igrt.errors.__doc__.split("```")[1].strip()
    assert tree in (ROOT / "docs" / "concepts" / "errors.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli.md", "api.md"])
def test_the_reference_is_up_to_date(page, generate):
    written = (generate.FOLDER / page).read_text(encoding="utf-8")
    assert generate.PAGES[page]() == written, f"{page} is stale, refresh it: {generate.COMMAND}"


def test_the_operator_page_is_up_to_date(generate):
    written = (generate.FOLDER / "operators.md").read_text(encoding="utf-8")
    fresh = generate.operators()
    by = re.compile(r"onnx [\d.]+")
    if by.search(written)[0] != by.search(fresh)[0]:
        pytest.skip(f"the page was made by another {by.search(written)[0]}")
    assert written == fresh, f"refresh the page: {generate.COMMAND}"

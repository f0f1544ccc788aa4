"""Write the pages of `docs/reference` from the code: python docs/generate.py [--check].

The command line comes from click, the Python interface from signatures and docstrings, operator
coverage from the table of gradient rules. `--check` writes nothing and exits 1 if a page is stale.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "reference"
COMMAND = "python docs/generate.py"
_NOTE = f"<!-- made by `{COMMAND}`: change the code, not this page -->"
_SECTIONS = ("Args", "Returns", "Raises", "Reference")


def cli() -> str:
    """Every command with its options, as click knows them."""
    import click

    from igrt.cli.main import cli as group

    context = click.Context(group, info_name="igrt", **group.context_settings)
    lines = [
        _NOTE,
        "",
        "# Command line",
        "",
        "One required argument, mostly the model; everything else is an option. `--json` prints",
        "one JSON document in place of text. `igrt COMMAND --help` prints the same as this page.",
        "[Errors](../concepts/errors.md) explains exit codes.",
        "",
        *_plain(group.epilog or ""),
        "",
    ]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        lines += [f"## igrt {name}", "", "```text", f"igrt {name} {usage}", "```", ""]
        lines += [*_help(command.help or ""), ""]
        options = [p for p in command.get_params(inner) if isinstance(p, click.Option)]
        lines += ["| option | meaning |", "|---|---|"]
        lines += [_option(p, inner) for p in options]
        lines.append("")
    return "\n".join(lines)


def _option(option: Any, context: Any) -> str:
    names = ", ".join(f"`{o}`" for o in sorted(option.opts, key=len))
    metavar = "" if option.is_flag else f" {_cell(option.metavar or option.make_metavar(context))}"
    meaning = (option.help or "").strip()
    if option.required:
        meaning += " Required."
    if option.show_default is True:
        meaning += f" Default: `{option.get_default(context)}`."
    return f"| {names}{metavar} | {_cell(meaning)} |"


def _help(text: str) -> list[str]:
    """Click's help as Markdown: a paragraph that must not be wrapped becomes a block."""
    lines = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            lines += ["```text", *paragraph.splitlines()[1:], "```", ""]
        else:
            lines += [*_plain(paragraph), ""]
    return lines[:-1]


def api() -> str:
    """Public names with their signatures and docstrings, and the errors."""
    import igrt
    from igrt import errors, methods

    lines = [
        _NOTE,
        "",
        "# Python",
        "",
        "What `import igrt` gives. Names that are not on this page may change without notice.",
        "",
    ]
    for name in igrt.__all__:
        item = getattr(igrt, name)
        # a package that is called like its function
        lines += _entry(f"igrt.{name}", getattr(item, name) if inspect.ismodule(item) else item)
    lines += ["## Methods", "", "In `igrt.methods`; see [methods](../guides/methods.md).", ""]
    for name in methods.__all__:
        if inspect.isclass(getattr(methods, name)):
            lines += _entry(f"igrt.methods.{name}", getattr(methods, name))
    lines += ["## Errors", "", "In `igrt.errors`; see [errors](../concepts/errors.md).", ""]
    lines += ["| error | exit code | meaning |", "|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            first = _first_paragraph(kind.__doc__)
            lines.append(f"| `{name}` | {kind.exit_code} | {_cell(first)} |")
    return "\n".join([*lines, ""])


def _entry(title: str, item: Any) -> list[str]:
    lines = [f"## {title}", ""]
    record = dataclasses.is_dataclass(item)
    lines += [] if record and title.endswith("Attribution") else _signature(title, item)
    lines += _docstring(item.__doc__, fields=record)
    if isinstance(item, type) and not issubclass(item, Exception):
        for name, member in vars(item).items():
            if name.startswith("_"):
                continue
            if isinstance(member, property):
                lines += [f"### {item.__name__}.{name}", "", *_docstring(member.__doc__)]
            elif isinstance(member, (classmethod, staticmethod)) or inspect.isfunction(member):
                bound = getattr(item, name)
                lines += [f"### {item.__name__}.{name}", "", *_signature(name, bound)]
                lines += _docstring(bound.__doc__)
    return lines


def _signature(name: str, item: Any) -> list[str]:
    # annotations are text in this code base; `str(signature)` would put quotes around them
    shown, star = [], False
    for parameter in inspect.signature(item).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        text = parameter.name
        if parameter.kind is parameter.VAR_KEYWORD:
            text = f"**{text}"
        if parameter.annotation is not parameter.empty:
            text += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            default = repr(parameter.default)
            text += " = …" if "<" in default else f" = {default}"
        shown.append(text)
    result = inspect.signature(item).return_annotation
    end = ")" if isinstance(item, type) or result is inspect.Signature.empty else f") -> {result}"
    line = f"{name}({', '.join(shown)}{end}"
    if len(line) > 88:
        line = "\n".join([f"{name}(", *(f"    {s}," for s in shown), end])
    return ["```text", line, "```", ""]


def _docstring(text: str | None, *, fields: bool = False) -> list[str]:
    """A Google-style docstring as Markdown."""
    lines: list[str] = []
    for title, body in _sections(inspect.cleandoc(text or "")):
        if title in ("Args", "Raises"):
            heading = "Fields" if title == "Args" and fields else title
            lines += [f"**{heading}**", "", *(f"- {i}" for i in _items(body)), ""]
        elif title:
            lines += [f"**{title}**: " + " ".join(" ".join(body).split()), ""]
        else:
            lines += [*_plain("\n".join(body).strip()), ""]
    return lines


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    title, body = "", list[str]()
    for line in text.splitlines():
        match = re.fullmatch(rf"({'|'.join(_SECTIONS)}):(.*)", line)
        if match:
            yield title, body
            title, body = match[1], [match[2]] if match[2].strip() else []
        else:
            body.append(line)
    yield title, body


def _items(body: list[str]) -> list[str]:
    items: list[str] = []
    for line in body:
        if not line.strip():
            continue
        match = re.match(r"    (\w+): (.*)", line)
        if match:
            items.append(f"`{match[1]}`: {match[2]}")
        else:
            items[-1] += " " + line.strip()
    return [_ticks(i) for i in items]


def operators() -> str:
    """What is known of every operator, with the formula of each rule and the tests that show it."""
    import onnx

    from igrt.graph.normalize.vendor.table import LAID_OUT
    from igrt.vjp.coverage import STATUSES, coverage

    newest = onnx.defs.onnx_opset_version()
    records = coverage()
    groups = {s: [r for r in records if r["status"] == s] for s in STATUSES}
    lines = [
        _NOTE,
        "",
        "# Operators",
        "",
        f"Operators of ONNX up to opset {newest}, by onnx {_release(onnx.__version__)}, and of",
        "onnxruntime's own domain. `igrt ops` prints the same, `igrt ops NAME` one of them.",
        "Models of opset 1 to 28 are read: older ones are raised to 18, newer ones written in 26.",
        "",
        "| status | operators | meaning |",
        "|---|---|---|",
        *(f"| {s} | {len(groups[s])} | {meaning} |" for s, meaning in STATUSES.items()),
        "",
        "x‾ is the cotangent of x, the gradient of the explained score with respect to x; y is the",
        "operator's output. An input without a row that may hold floats is locally constant where",
        "it says zero, and refused where it varies otherwise. The last column counts the",
        "[node tests](node-tests.md) of ONNX that are right, of those that onnxruntime runs.",
        "",
        "## Rules",
        "",
        "| operator | opset | inputs | rule | tests | node tests |",
        "|---|---|---|---|---|---|",
    ]
    counts = _node_tests()
    for record in groups["rule"]:
        lines += _rules(record, counts)
    lines += ["", "## Function bodies", "", "| operator | opset | node tests |", "|---|---|---|"]
    for r in groups["body"]:
        lines.append(f"| {_qualified(r)} | {r['opset']} | {counts.get(r['operator'], '')} |")
    lines += ["", "## Lowered", "", "| operator | opset | becomes |", "|---|---|---|"]
    for r in groups["lowered"]:
        lines.append(f"| {_qualified(r)} | {_opsets(r)} | {_cell(r['lowered_to'])} |")
    zeros = ", ".join(_qualified(r) for r in groups["zero"])
    lines += ["", "## Locally constant", "", zeros]
    lines += ["", "## Refused", "", "So is every other operator of com.microsoft, by its name.", ""]
    lines += ["| operator | why |", "|---|---|"]
    lines += [f"| {_qualified(r)} | {_cell(r['reason'])} |" for r in groups["refused"]]
    lines += [f"| all of {domain} | {_cell(why)} |" for domain, why in sorted(LAID_OUT.items())]
    return "\n".join([*lines, ""])


def _rules(record: dict[str, Any], counts: dict[str, str]) -> list[str]:
    """A row per formula; inputs that are locally constant in the last one."""
    from igrt.vjp.coverage import formulas
    from igrt.vjp.registry import Rule, lookup

    said: dict[str, list[str]] = {}
    for name, formula in sorted(formulas(record["domain"], record["operator"]).items()):
        said.setdefault(formula, []).append(name)
    zeros = [n for n, kind in record["inputs"].items() if kind == "zero"]
    if zeros:
        said["zero"] = zeros
    rows = []
    shown = counts.get(record["operator"], "")
    for formula, names in said.items():
        rule = lookup(record["domain"], record["operator"], names[0], 1000)
        module = rule.function.__module__.split(".")[-1] if isinstance(rule, Rule) else ""
        tests = f"test_{module}.py" if module else ""
        if tests and not (FOLDER.parents[1] / "tests" / "vjp" / "rules" / tests).is_file():
            tests = ""
        cells = (_qualified(record), _opsets(record), ", ".join(names), _cell(formula), tests)
        rows.append(f"| {' | '.join(cells)} | {shown} |")
    return rows


def _qualified(record: dict[str, Any]) -> str:
    return ".".join(filter(None, (record["domain"], record["operator"])))


def _opsets(record: dict[str, Any]) -> str:
    """The opsets that have an operator; igrt takes all of them."""
    return f"{record['opset']}-{record['removed'] - 1 if 'removed' in record else ''}".rstrip("-")


def _node_tests() -> dict[str, str]:
    """By operator, how many of ONNX's node tests are right, as the page of them says."""
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \|$", _written("node-tests.md"), re.M)
    return {operator: f"{right} of {run}" for operator, run, right, _ in rows}


def _release(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _first_paragraph(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def _plain(text: str) -> list[str]:
    """Docstring text as Markdown, code blocks left alone."""
    inside, lines = False, []
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        lines.append(line if inside or line.startswith("```") else _ticks(line))
    return lines


def _ticks(text: str) -> str:
    """One line of docstring text as Markdown: no double backticks, and signs that are no markup."""
    text = text.replace("``", "`")
    parts = text.split("`")
    return "`".join(p if i % 2 else _outside_code(p) for i, p in enumerate(parts))


def _outside_code(text: str) -> str:
    """Escapes `<`, and `*` where it is no emphasis."""
    text = text.replace("<", "&lt;")
    return re.sub(r"(\*\w[^*]*\w\*)|\*", lambda match: match[1] or r"\*", text)


def _cell(text: str) -> str:
    return _ticks(text).replace("|", r"\|")


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli, "api.md": api, "operators.md": operators}


def stale() -> list[str]:
    """Names of the pages that do not say what the code says."""
    return [name for name, make in PAGES.items() if make() != _written(name)]


def _written(name: str) -> str:
    page = FOLDER / name
    return page.read_text(encoding="utf-8") if page.is_file() else ""


def main() -> int:
    """Write the pages, or only look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    changed = stale()
    for name in changed:
        print(f"{'stale' if check else 'written'}: {FOLDER / name}")
        if not check:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())

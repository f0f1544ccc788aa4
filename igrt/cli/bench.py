"""`igrt bench`: how fast a model is explained, and what that takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.cli.options import (
    JSON,
    LABELS,
    OF,
    PREPROCESS,
    PROVIDER,
    QUIET,
    TARGET,
    THREADS,
    WRT,
    inputs_option,
    read_baselines,
    read_inputs,
    read_target,
    seed_option,
    tolerance_option,
)
from igrt.cli.report import print_json, printable
from igrt.errors import InputError

if TYPE_CHECKING:
    from igrt.measure import Measurement


@click.command(short_help="Measure speed and memory of an explanation.")
@click.argument("model", type=click.Path(path_type=Path))
@inputs_option("without it, inputs are drawn")
@PREPROCESS
@LABELS
@TARGET
@click.option(
    "--baseline",
    "-b",
    metavar="SPEC",
    help="zeros, constant:V, mean, blur:SIGMA, uniform:SEED or a file.",
)
@tolerance_option("Relative error of the explanation that is timed.")
@OF
@WRT
@PROVIDER
@THREADS
@click.option(
    "--memory", metavar="SIZE", help="Budget in bytes, or with a unit: 500M, 2G; default: a share."
)
@click.option(
    "--peer",
    type=click.Choice(["captum"]),
    help="Time torch and Captum in turns with igrt, on the model converted to torch.",
)
@seed_option("Seed of drawn inputs.")
@JSON
@QUIET
def bench(model: Path, inputs: tuple[str, ...], **options: Any) -> None:
    """Measure how fast MODEL is explained, and how much memory that takes.

    The forward pass, gradient evaluations and explanations are timed in turns; every figure is a
    median. Without an input, one is drawn from the declared shapes.

    \b
    igrt bench net.onnx --threads 1
    igrt bench net.onnx --input cat.jpg --preprocess imagenet --peer captum
    """  # noqa: D301
    memory = read_size(options["memory"])
    from igrt.measure import measure

    result = measure(
        model,
        **_given(model, inputs, options),
        tolerance=options["tolerance"],
        peer=options["peer"] is not None,
        of=options["of"],
        wrt=list(options["wrt"]) or None,
        provider=options["provider"],
        memory=memory,
        threads=options["threads"],
        seed=options["seed"],
        progress=None if options["quiet"] or options["as_json"] else _say,
    )
    if options["as_json"]:
        print_json(result.summary())
    else:
        click.echo(printable("\n".join(lines(result))))


def _given(model: Path, inputs: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Inputs, target and baseline as `measure` takes them; the model is read only for files."""
    if not inputs and not options["baseline"]:
        return {"target": read_target(options["target"], ())}
    from igrt.explainer import Explainer
    from igrt.specs import Display

    explainer = Explainer(model, of=options["of"], wrt=list(options["wrt"]) or None)
    feeds, display = read_inputs(explainer, inputs, options) if inputs else (None, Display())
    specs = (options["baseline"],) if options["baseline"] else ()
    return {
        "inputs": feeds,
        "target": read_target(options["target"], display.labels),
        "baselines": read_baselines(specs, explainer, display, options),
    }


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read_size(text: str | None) -> int | None:
    """A number of bytes such as ``500M``.

    Raises:
        InputError: If it is none.
    """
    if text is None:
        return None
    bare = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = bare[-1:] if bare[-1:] in _UNITS else ""
    try:
        size = float(bare.removesuffix(unit)) * _UNITS[unit]
    except ValueError:
        size = 0.0
    if not 1 <= size < 2**63:
        raise InputError(f"--memory takes a number of bytes, not `{text}`", hint="write 500M or 2G")
    return int(size)


def _say(step: str) -> None:
    click.echo(step, err=True)


def lines(result: Measurement) -> list[str]:
    """The table."""
    r = result
    threads = "threads as onnxruntime chooses" if r.threads is None else _count(r.threads, "thread")
    share = f"{r.share:.0%} of" if r.share is not None else "not counted; there are"
    at_once = f", {_count(r.at_once, 'run')} at the same time" if r.at_once > 1 else ""
    rows = [
        ("forward pass", _ms(r.forward), "per row, in chunks of the same size"),
        ("gradient evaluation", _ms(r.evaluation), f"{r.to_forward:.2f} x the forward pass"),
        ("around the model", f"{r.around:.1%}", "of it: points, sums, Python"),
        ("matrix products", share, f"{r.rate / 1e9:.1f} GFLOP/s of a large product here"),
        ("chunk", str(r.chunk), "rows per run" + at_once),
        ("memory, planned", _mib(r.predicted), "beside the loaded model"),
        ("memory, peak", _mib(r.peak), f"of a fresh process, {_mib(r.loaded)} before"),
        (
            "explanation",
            _time(r.seconds),
            f"{_count(r.evaluations, 'evaluation')}, error {r.error:.1e} of {r.tolerance:g}",
        ),
    ]
    peer = r.peer
    if peer is not None:
        rows += [
            (
                "torch, gradient",
                _ms(peer.evaluation),
                f"in batches of {peer.batch}; igrt takes {r.evaluation / peer.evaluation:.2f} x",
            ),
            (
                "Captum, explanation",
                _time(peer.seconds),
                f"{_count(peer.evaluations, 'evaluation')}; igrt takes "
                f"{r.seconds / peer.seconds:.2f} x, {peer.apart:.1e} apart",
            ),
        ]
    return [
        f"{r.model}: {r.provider}, {threads}",
        f"on {r.inputs}, medians of {_count(r.rounds, 'round')}",
        "",
        *(f"{name:<20} {value:>11}  {note}" for name, value, note in rows),
        *([f"converted by {peer.converter}"] if peer is not None else []),
    ]


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'s' * (number != 1)}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 0.1 else f"{1e3 * seconds:.0f} ms"


def _time(seconds: float) -> str:
    return _ms(seconds) if seconds < 1 else f"{seconds:.1f} s"


def _mib(count: int) -> str:
    return f"{count / 2**20:.3g} MiB" if count < 100 * 2**20 else f"{count / 2**20:.0f} MiB"

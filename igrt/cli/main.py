"""The `igrt` command."""

from __future__ import annotations

import io
import os
import sys

import click

from igrt import __version__
from igrt.cli.augment import augment
from igrt.cli.bench import bench
from igrt.cli.doctor import doctor
from igrt.cli.explain import explain
from igrt.cli.inspect import inspect
from igrt.cli.interrupt import interruptible
from igrt.cli.ops import ops
from igrt.cli.report import fail, misused, unexpected
from igrt.cli.verify import verify
from igrt.errors import Cancelled, IgrtError


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Data goes to stdout, progress and notes to stderr. Exit codes: 0 done, 1 failed, "
    "2 usage or bad input, 3 a check did not hold, 130 interrupted.",
)
@click.version_option(__version__, prog_name="igrt")
def cli() -> None:
    """Explain any ONNX model by Integrated Gradients.

    \b
    igrt explain model.onnx --input picture.png --preprocess imagenet -o picture.html
    """  # noqa: D301


for command in (explain, verify, inspect, bench, augment, ops, doctor):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the code of the contract."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    _encode(as_json)
    try:
        with interruptible():
            code = cli.main(arguments or ["--help"], prog_name="igrt", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (click.Abort, KeyboardInterrupt, Cancelled):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except IgrtError as error:
        sys.exit(fail(error, as_json=as_json))
    except click.ClickException as error:
        sys.exit(misused(error, as_json=as_json))
    except BrokenPipeError:
        # the reader of our output has gone, as in `igrt ops | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sys.exit(unexpected(error, as_json=as_json))


def _encode(as_json: bool) -> None:
    """JSON is UTF-8 whatever the terminal; text loses what a cp1252 pipe on Windows cannot hold."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if as_json:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            sys.stdout.reconfigure(errors="replace")


if __name__ == "__main__":
    main()

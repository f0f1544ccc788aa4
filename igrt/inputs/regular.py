"""Opens files that other people wrote: nothing is read before it is known to be a sane file."""

from __future__ import annotations

import itertools
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from igrt.errors import InputError
from igrt.inputs.suggest import did_you_mean

TEXT_LIMIT = 200 * 2**20
"""Largest text file read, bytes: a gigabyte of JSON would take tens of gigabytes of memory."""

_NEIGHBOURS = 2000
"""Names of a folder looked at for a did-you-mean; difflib takes a second for some ten thousand."""


def check_regular(path: Path, *, limit: int | None = None) -> int:
    """Size of a file that exists, is a regular file, is not empty and is not over `limit` bytes.

    Opening a FIFO would hang and a device never ends, so this looks before anything opens the file.

    Raises:
        InputError: If it is none of these.
    """
    shown = printable_path(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"`{shown}` does not exist", hint=_missing(path)) from None
    except ValueError as error:
        raise InputError(f"`{shown}` is not a file name: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read `{shown}`: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"`{shown}` is a folder", hint="name one file in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"`{shown}` is a pipe, a socket or a device",
            hint="write its contents to a file first",
        )
    if status.st_size == 0:
        raise InputError(f"`{shown}` is empty", hint="check that it was written to the end")
    if limit is not None and status.st_size > limit:
        raise InputError(
            f"`{shown}` has {status.st_size:,} bytes; at most {limit:,} are read",
            hint="save the numbers as .npy, which is smaller and faster to read",
        )
    return status.st_size


def read_text(path: Path, *, limit: int = TEXT_LIMIT) -> str:
    """Contents of a UTF-8 text file, without its byte order mark.

    Raises:
        InputError: If it cannot be read, is too large or is not UTF-8.
    """
    check_regular(path, limit=limit)
    shown = printable_path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"`{shown}` is not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}",
            hint="save it as UTF-8",
        ) from None
    except OSError as error:
        raise InputError(f"cannot read `{shown}`: {error.strerror}") from None


def read_toml(path: Path, *, limit: int = TEXT_LIMIT) -> dict[str, Any]:
    """Contents of a TOML file.

    Raises:
        InputError: If it cannot be read, is too large or is not TOML.
    """
    try:
        return tomllib.loads(read_text(path, limit=limit))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"`{printable_path(path)}` is not TOML: {error}") from None


def printable_path(path: Path) -> str:
    """The path as one line of encodable text: file names may hold any byte but `/` and zero."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder `{printable_path(folder)}`"
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, _NEIGHBOURS)]
    except OSError:
        return "check the name"
    return did_you_mean(path.name, names, "check the name and the folder it is relative to")


__all__ = ["TEXT_LIMIT", "check_regular", "printable_path", "read_text", "read_toml"]

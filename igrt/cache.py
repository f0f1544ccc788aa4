"""`Cache`: graphs and facts made of models, kept on disk between runs.

An entry is JSON and bytes, and nothing in it is ever executed. What cannot be read is as good as
absent: a corrupt entry is made anew, a folder that cannot be written keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, final

from igrt.errors import InputError

log = logging.getLogger("igrt")

CacheLike: TypeAlias = "bool | str | os.PathLike[str]"
"""Whether to keep, in the user's cache folder; or the folder to keep in."""

MOST_BYTES = 4 << 30
"""Size of the folder beyond which the entries that were not used for longest go."""

_LARGEST = MOST_BYTES // 4
"""Of an entry; a larger one would displace too many others."""

_AFTERWARDS = 0.8
"""Share of `MOST_BYTES` that is left, so that not every entry has to make room."""

_ABANDONED = 3600.0
"""Seconds after which a file that was never renamed belongs to a process that has ended."""

_MAGIC = b"igrt cache 1\n"
_SUFFIX = ".entry"


@final
@dataclass(frozen=True)
class Entry:
    """What is kept under one key.

    Args:
        facts: JSON values by name.
        data: A serialised model; empty where there are only facts.
    """

    facts: dict[str, Any]
    data: bytes = b""


@final
@dataclass(frozen=True)
class Cache:
    """Entries in a folder, which several processes may share.

    Args:
        folder: Made when something is kept for the first time.
        most: Bytes that the folder may take.
    """

    folder: Path
    most: int = MOST_BYTES

    def read(self, key: str) -> Entry | None:
        """What is kept under a key; None where nothing is, or nothing that is whole."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                entry = _unpacked(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.debug("cache entry %s is of no use: %s", path, error)
            return None
        try:
            os.utime(path)  # used now, so the last to go
        except OSError:
            log.debug("cannot touch %s", path)
        return entry

    def write(self, key: str, entry: Entry) -> None:
        """Keep something under a key, in one step; where that is not possible, do without."""
        if len(entry.data) > min(_LARGEST, self.most):
            log.debug("%s bytes are too many for the cache", len(entry.data))
            return
        temporary = None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.writelines(_packed(entry))
            os.replace(temporary, self._path(key))
            temporary = None
            self._make_room()
        except OSError as error:
            log.debug("nothing is kept in %s: %s", self.folder, error)
        finally:
            if temporary is not None:
                _remove(Path(temporary))

    def files(self) -> list[tuple[Path, os.stat_result]]:
        """Files of the cache, the one that was not used for longest first."""
        found = []
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        for name in names:
            if name.endswith(_SUFFIX) or name.startswith("."):
                with suppress(OSError):  # another process has just removed it
                    found.append((self.folder / name, (self.folder / name).stat()))
        return sorted(found, key=lambda pair: pair[1].st_mtime)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _make_room(self) -> None:
        files = self.files()
        old = time.time() - _ABANDONED
        gone = [p for p, s in files if p.suffix != _SUFFIX and s.st_mtime < old]
        kept = [(p, s) for p, s in files if p.suffix == _SUFFIX]
        total = sum(s.st_size for _, s in kept)
        if total > self.most:
            for path, stat in kept:
                if total <= _AFTERWARDS * self.most:
                    break
                gone.append(path)
                total -= stat.st_size
        for path in gone:
            _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # open in another process, on Windows
        log.debug("cannot remove %s: %s", path, error)


def _packed(entry: Entry) -> list[bytes]:
    """Magic, length of the head, head, data, and the checksum of all of it; data is not copied."""
    head = json.dumps(entry.facts).encode()
    parts = [_MAGIC, len(head).to_bytes(8, "little"), head, entry.data]
    return [*parts, _checksum(parts)]


def _unpacked(file: BinaryIO) -> Entry:
    magic, length = file.read(len(_MAGIC)), file.read(8)
    left = os.fstat(file.fileno()).st_size - file.tell() - 4
    size = int.from_bytes(length, "little")
    if magic != _MAGIC or not 0 <= size <= left:
        raise ValueError("not an entry")
    head, data = file.read(size), file.read(left - size)
    if file.read() != _checksum([magic, length, head, data]):
        raise ValueError("its checksum does not hold")
    facts = json.loads(head)
    if not isinstance(facts, dict):
        raise ValueError("it holds no facts")
    return Entry(facts, data)


def _checksum(parts: list[bytes]) -> bytes:
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found.to_bytes(4, "little")


def key_of(*parts: Any) -> str:
    """The digest of some JSON values; of anything else, the digest of how it is written."""
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def open_cache(choice: CacheLike) -> Cache | None:
    """The cache that was asked for; None for no cache, or where there is no place for one.

    Raises:
        InputError: If the choice is neither a truth value nor a folder.
    """
    if isinstance(choice, bool):
        folder = user_folder() if choice else None
        return None if folder is None else Cache(folder)
    if not isinstance(choice, (str, os.PathLike)) or not os.fspath(choice):
        raise InputError(
            f"cache must be True, False or a folder, not {choice!r}",
            hint="True keeps in the user's cache folder, which `igrt doctor` shows",
        )
    return Cache(Path(choice))


def user_folder() -> Path | None:
    """Where this platform wants caches; None where the user has no home.

    ``IGRT_CACHE_DIR`` names another folder.
    """
    chosen = os.environ.get("IGRT_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "igrt" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "igrt"
    # https://specifications.freedesktop.org/basedir: a relative path is to be ignored
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else home / ".cache") / "igrt"


def version_key() -> str:
    """Digest of what decides which graphs are made of a model: igrt's code, onnx and onnxruntime.

    The code is known by the size and time of its files, so that an edited checkout or another
    build of the same version begins anew.
    """
    # the files that hold the version numbers: importlib.metadata takes 20 ms to come to the same
    versions = [_text_of("onnx", "version.py"), _text_of("onnxruntime", "__init__.py")]
    return key_of(versions, sorted(_stamps(os.path.dirname(__file__))))


def _text_of(package: str, name: str) -> str:
    found = find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder, name)
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _stamps(folder: str) -> Iterator[list[Any]]:
    for item in os.scandir(folder):
        if item.name.endswith(".py"):
            stat = item.stat()
            yield [item.path, stat.st_size, stat.st_mtime_ns]
        elif item.is_dir() and not item.name.startswith((".", "__")):
            yield from _stamps(item.path)


__all__ = ["Cache", "CacheLike", "Entry", "key_of", "open_cache", "user_folder", "version_key"]

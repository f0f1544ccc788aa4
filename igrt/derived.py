"""`Derived`: a model made of another one, when it is first needed or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from igrt.cache import Cache, CacheLike, Entry, key_of, open_cache, version_key
from igrt.source import Bytes

if TYPE_CHECKING:
    import onnx

Facts = dict[str, Any]
"""JSON values by name."""


@final
class Derived:
    """A model that depends on nothing but another one and some options.

    The name of the step that makes it, its options and the key of what it is made of are its own
    key, so a whole chain is known by the digest of the model file, and what lies between the file
    and a graph that is in the cache is never built.

    Args:
        build: Makes the model, and says what is known of it.
        key: What it is kept under.
        cache: Where it is kept; None for nowhere.
    """

    def __init__(
        self, build: Callable[[], tuple[onnx.ModelProto, Facts]], key: str, cache: Cache | None
    ) -> None:
        self._build, self._key, self._cache = build, key, cache
        self._lock = threading.RLock()
        self._proto: onnx.ModelProto | None = None
        self._entry: Entry | None = None

    @staticmethod
    def of(model: onnx.ModelProto) -> Derived:
        """A model that is there already."""
        return Derived(lambda: (model, {}), "", None)

    @property
    def facts(self) -> Facts:
        """What is known of the model."""
        with self._lock:
            return self._found().facts

    @property
    def data(self) -> bytes:
        """The serialised model, as sessions load it."""
        with self._lock:
            entry = self._found()
            if entry.data:
                return entry.data
            from igrt.graph import serialise
            from igrt.graph.normalize.opset import pin_ir_version

            pin_ir_version(self.proto)
            data = serialise(self.proto)
            self._keep(Entry(entry.facts, data))
            return data

    @property
    def proto(self) -> onnx.ModelProto:
        """The model; not to be changed."""
        with self._lock:
            if self._proto is None and self._found().data:
                import onnx

                self._proto = onnx.ModelProto()
                self._proto.ParseFromString(self._found().data)
                self._entry = Entry(self._found().facts)
            return self._built()

    def then(self, step: str, **options: Any) -> Derived:
        """The model that `igrt.making` makes of this one.

        Args:
            step: Name of a function there.
            options: Its arguments beside the model: JSON values.
        """

        def build() -> tuple[onnx.ModelProto, Facts]:
            from igrt import making

            made: tuple[onnx.ModelProto, Facts] = getattr(making, step)(self.proto, **options)
            return made

        key = "" if self._cache is None else key_of(self._key, step, options)
        return Derived(build, key, self._cache)

    def fact(self, name: str, find: Callable[[], Any], **options: Any) -> Any:
        """Something else that is known of the model: a JSON value, found out once.

        Args:
            name: What it is.
            find: Finds it out.
            options: What else it depends on.
        """
        if self._cache is None:
            return find()
        key = key_of(self._key, "fact", name, options)
        entry = self._cache.read(key)
        if entry is not None:
            return entry.facts[name]
        found = find()
        self._cache.write(key, Entry({name: found}))
        return found

    def _found(self) -> Entry:
        """What is known, without building where it can be read."""
        if self._entry is None and self._cache is not None:
            self._entry = self._cache.read(self._key)
        if self._entry is None:
            self._built()
        assert self._entry is not None
        return self._entry

    def _built(self) -> onnx.ModelProto:
        if self._proto is None:
            self._proto, facts = self._build()
            if self._entry is None and facts:
                self._keep(Entry(facts))
            self._entry = Entry(facts)
        return self._proto

    def _keep(self, entry: Entry) -> None:
        if self._cache is not None:
            self._cache.write(self._key, entry)


def derived(given: Bytes, cache: CacheLike) -> Derived:
    """A model as it was read, at the beginning of the chain.

    Weights in external files are referred to by what is made of the model, never copied, so only
    their size and time are part of the key.

    Raises:
        ModelLoadError: If the model cannot be used; found out at the first use where there is
            nothing in the cache.
    """

    def build() -> tuple[onnx.ModelProto, Facts]:
        from igrt import making

        return making.loaded(given)

    chosen = open_cache(cache)
    if chosen is None:
        return Derived(build, "", None)
    key = key_of(given.sha256, len(given.data), version_key())  # less where weights were taken out
    root = Derived(build, key, chosen)
    external = root.facts["external"]
    if not external:
        return root
    try:
        if given.folder is None:
            raise FileNotFoundError
        stats = [(name, (given.folder / name).stat()) for name in external]
    except OSError:
        return Derived(build, "", None)  # to be refused when it is loaded
    stamps = [[name, s.st_size, s.st_mtime_ns] for name, s in stats]
    return Derived(lambda: (root.proto, root.facts), key_of(key, stamps), chosen)


__all__ = ["Derived", "Facts", "derived"]

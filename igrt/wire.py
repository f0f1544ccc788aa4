"""Protobuf messages as bytes: where their fields are, with nothing copied.

The protobuf package copies every byte of a message that it reads, which is several times the
weights of a large model. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

Field = tuple[int, int, int, int]
"""Number, and where it begins, where its content does, and where that ends."""


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message.

    Raises:
        IndexError: If it is cut off.
        ValueError: If it is none.
    """
    at = 0
    while at < len(data):
        begin = at
        tag, at = varint(data, at)
        match tag & 7:
            case 0:
                _, end = varint(data, at)
            case 1:
                end = at + 8
            case 2:
                size, at = varint(data, at)
                end = at + size
            case 5:
                end = at + 4
            case _:
                raise ValueError("no field")
        if end > len(data):
            raise IndexError("cut off")
        yield tag >> 3, begin, at, end
        at = end


_LONGEST = 10
"""Bytes of a number of 64 bits."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number, and where it ends.

    Raises:
        IndexError: If it is cut off.
        ValueError: If it is longer than numbers are.
    """
    value = 0
    for k in range(_LONGEST):
        byte = data[at + k]
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return value, at + k + 1
    raise ValueError("no number")


def _number(value: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def message(field: int, content: bytes) -> bytes:
    """A field that holds a message or a text."""
    return _number(field << 3 | 2) + _number(len(content)) + content


__all__ = ["fields", "message", "varint"]

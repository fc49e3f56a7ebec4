# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Boxes to bytes and back, in both versions of AMP.

A box is pairs of a key and a value, and an empty key at the end; a length of 16
bits is before each.  In version 1 that is all, so no value is longer than 65,535
bytes.  In version 2 a value is a run of pieces: one of exactly 65,535 bytes is
followed by another, a shorter one (of 0 bytes, if need be) is the last.  Up to
65,534 bytes the two are the same, byte for byte; at 65,535 they differ.  Who reads
version 1 and gets version 2 notices nothing until then, and garbage from then on:
so the version is agreed on, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import Any

from amp_stream.errors import KeyTooLong, OversizeValue

__all__ = [
    "MAX_KEY",
    "MAX_PIECE",
    "encodeBox",
    "encodeSmall",
    "encodeValue",
    "encodedSize",
    "iterateBox",
]

MAX_KEY = 255
"""
The most bytes that a key can have, in both versions.
"""

MAX_PIECE = 0xFFFF
"""
The most bytes that one length can announce.
"""

_pack = Struct("!H").pack
_END = b"\x00\x00"
_Item = tuple[bytes, "bytes | memoryview"]


def encodeBox(items: Iterable[_Item], version: int) -> list[bytes]:
    """
    Write a box.

    @param items: Its keys, each of 1 to 255 bytes, with their values, which are bytes
        or views of bytes, in the order in which to write them.

    @param version: 1 or 2.

    @return: The bytes in pieces, for C{writeSequence}.  A value that is not cut is
        there as it came; of one that is, each byte is copied once.

    @raise OversizeValue: If a value does not fit into version 1.

    @raise KeyTooLong: If a key is empty or too long.
    """
    pieces: list[bytes] = []
    for key, value in items:
        size = len(key)
        if not 0 < size <= MAX_KEY:
            raise KeyTooLong(
                f"the key {key[:40]!r} has {size} bytes; 1 to {MAX_KEY} are possible"
            )
        pieces.append(_pack(size) + key)
        pieces.extend(encodeValue(key, value, version))
    pieces.append(_END)
    return pieces


def encodeSmall(box: Mapping[bytes, Any], most: int) -> bytes | None:
    """
    Write a box that has nothing special about it: most calls and most answers.

    @param box: Its keys and values.

    @param most: How many bytes it may take, less than 65,535.

    @return: The bytes, the same in both versions; L{None} for any other box, which
        L{encodeBox} may be able to write.
    """
    pieces: list[bytes] = []
    for key in sorted(box):
        value = box[key]
        if type(value) is not bytes or len(value) > most or not 0 < len(key) <= MAX_KEY:
            return None
        pieces += (_pack(len(key)), key, _pack(len(value)), value)
    pieces.append(_END)
    data = b"".join(pieces)
    return data if len(data) <= most else None


def encodeValue(key: bytes, value: bytes | memoryview, version: int) -> list[bytes]:
    """
    Write a value.

    @param key: Its key, for an error.

    @param value: Its bytes.

    @param version: 1 or 2.

    @return: The bytes in pieces.

    @raise OversizeValue: If it does not fit into version 1.
    """
    size = len(value)
    if size < MAX_PIECE or (version == 1 and size == MAX_PIECE):
        # A transport takes no views.
        return [_pack(size), value if isinstance(value, bytes) else bytes(value)]
    if version == 1:
        raise OversizeValue(
            f"the value of {key!r} has {size} bytes, and AMP can carry {MAX_PIECE} to "
            "this peer: declare it as Stream() or BigString(), or use StreamAMP with "
            "version='auto' at both ends"
        )
    view = memoryview(value)
    pieces: list[bytes] = []
    for start in range(0, size + 1, MAX_PIECE):
        piece = bytes(view[start : start + MAX_PIECE])
        pieces += (_pack(len(piece)), piece)
    return pieces


def encodedSize(items: Iterable[_Item]) -> int:
    """
    @return: How many bytes L{iterateBox} gives for a box.
    """
    return len(_END) + sum(
        4 + len(key) + len(value) + 2 * (len(value) // MAX_PIECE)
        for key, value in items
    )


def iterateBox(items: Iterable[_Item]) -> Iterator[bytes]:
    """
    Write a box in version 2, bit by bit: no byte is copied before it is asked for.

    @return: What L{encodeBox} gives, or the same bytes in other pieces.
    """
    for key, value in items:
        if len(value) < MAX_PIECE:
            yield b"".join((_pack(len(key)), key, *encodeValue(key, value, 2)))
            continue
        yield _pack(len(key)) + key
        view = memoryview(value)
        for start in range(0, len(value) + 1, MAX_PIECE):
            piece = view[start : start + MAX_PIECE]
            yield b"".join((_pack(len(piece)), piece))
    yield _END

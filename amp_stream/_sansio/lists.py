# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Values that are lists: strings, or boxes, one behind the other.

Inside a list are lengths again, and they follow version 2 of AMP.  That needs no
agreement.  The two versions differ only for an element of 65,535 bytes or more; a list
with such an element is itself longer than that, and no value of version 1 is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amp_stream._sansio.framing import MAX_KEY, MAX_PIECE, encodeBox, encodeValue
from amp_stream.errors import FramingError

__all__ = ["joinBoxes", "joinStrings", "splitBoxes", "splitStrings"]


def joinStrings(strings: Iterable[bytes]) -> bytes:
    """
    Write a list of strings.
    """
    pieces: list[bytes] = []
    for string in strings:
        pieces.extend(encodeValue(b"", string, 2))
    return b"".join(pieces)


def joinBoxes(boxes: Iterable[Mapping[bytes, bytes]]) -> bytes:
    """
    Write a list of boxes.
    """
    pieces: list[bytes] = []
    for box in boxes:
        pieces.extend(encodeBox(sorted(box.items()), 2))
    return b"".join(pieces)


def splitStrings(value: bytes) -> list[bytes]:
    """
    Read a list of strings.

    @raise FramingError: If it ends in the middle of one.
    """
    reader = _Reader(value)
    strings = []
    while not reader.isAtEnd:
        strings.append(reader.readValue())
    return strings


def splitBoxes(value: bytes) -> list[dict[bytes, bytes]]:
    """
    Read a list of boxes.  In a list, a box may be empty.

    @raise FramingError: If it ends in the middle of one, or a key is too long.
    """
    reader = _Reader(value)
    boxes = []
    while not reader.isAtEnd:
        box: dict[bytes, bytes] = {}
        while key := reader.readPiece():
            if len(key) > MAX_KEY:
                raise FramingError(f"a key of {len(key)} bytes in a list of boxes")
            box[key] = reader.readValue()
        boxes.append(box)
    return boxes


class _Reader:
    """
    Reads lengths and what they announce, from a value that is there as a whole.
    """

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._start = 0

    @property
    def isAtEnd(self) -> bool:
        """
        Whether there is no more.
        """
        return self._start == len(self._value)

    def readPiece(self) -> bytes:
        """
        Read one length, and as many bytes.
        """
        start = self._start + 2
        end = start + int.from_bytes(self._value[start - 2 : start], "big")
        if end > len(self._value) or start > len(self._value):
            raise FramingError("a list ends in the middle of an element")
        self._start = end
        return self._value[start:end]

    def readValue(self) -> bytes:
        """
        Read one value, which may be of several pieces.
        """
        piece = self.readPiece()
        pieces = [piece]
        while len(piece) == MAX_PIECE:
            piece = self.readPiece()
            pieces.append(piece)
        return b"".join(pieces)

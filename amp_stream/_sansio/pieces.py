# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A queue of bytes whose memory stays near the number of bytes in it.

A peer decides how small its chunks are.  A C{bytes} object of one byte costs
forty, so a queue that kept each as it came could be made to hold forty times
its window: small pieces are gathered into larger ones instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

__all__ = ["PieceQueue"]

_SMALL = 2048
_GATHERED = 65536


def _gathers(piece: bytes | bytearray) -> bool:
    return type(piece) is bytearray and len(piece) < _GATHERED


class PieceQueue:
    """
    Bytes in the order in which they were added.

    @ivar size: How many bytes are queued.
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes | bytearray] = deque()
        self.size = 0

    def __iter__(self) -> Iterator[bytes | bytearray]:
        """
        Look at the pieces without taking them.
        """
        return iter(self._pieces)

    def append(self, data: bytes | bytearray) -> None:
        """
        Add bytes at the end.  Large ones are kept without a copy.
        """
        pieces = self._pieces
        if len(data) >= _SMALL:
            pieces.append(data)
        elif pieces and _gathers(pieces[-1]):
            pieces[-1] += data
        elif data:
            pieces.append(bytearray(data))
        self.size += len(data)

    def prepend(self, data: bytes) -> None:
        """
        Add bytes at the beginning.
        """
        pieces = self._pieces
        if len(data) >= _SMALL:
            pieces.appendleft(data)
        elif pieces and _gathers(pieces[0]):
            pieces[0] = bytearray(data) + pieces[0]
        elif data:
            pieces.appendleft(bytearray(data))
        self.size += len(data)

    def extend(self, other: PieceQueue) -> None:
        """
        Add everything of another queue, which is used up, at the end.
        """
        size = self.size + other.size
        self.append(other.pop())
        self._pieces.extend(other._pieces)
        self.size = size

    def pop(self) -> bytes:
        """
        Take the first piece.

        @return: At least one byte, or C{b""} if the queue is empty.
        """
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return bytes(piece)

    def join(self) -> bytes:
        """
        Take everything.
        """
        joined = b"".join(self._pieces)
        self.clear()
        return joined

    def clear(self) -> None:
        """
        Forget everything.
        """
        self._pieces.clear()
        self.size = 0

    def differs(self, start: int, data: memoryview) -> bool:
        """
        Compare the queued bytes from some place on, as far as there are any.

        @param start: Where in the queue to begin.

        @return: Whether they begin otherwise than C{data}.
        """
        for piece in self._pieces:
            if start < len(piece):
                part = data[: len(piece) - start]
                if not piece.startswith(part, start):
                    return True
                data = data[len(part) :]
                start = 0
            else:
                start -= len(piece)
            if not data:
                break
        return False

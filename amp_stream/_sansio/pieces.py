# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A queue of bytes whose memory stays near the number of bytes in it.

A peer decides how small its chunks are.  A C{bytes} object of one byte costs
forty, so a queue that kept each as it came could be made to hold forty times
its window: small pieces are gathered into larger ones instead.
"""

from __future__ import annotations

from collections import deque

__all__ = ["PieceQueue"]

_SMALL = 2048
_GATHERED = 65536


class PieceQueue:
    """
    Bytes in the order in which they were added.

    @ivar size: How many bytes are queued.
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes | bytearray] = deque()
        self.size = 0

    def append(self, data: bytes) -> None:
        """
        Add bytes at the end.  Large ones are kept without a copy.
        """
        pieces = self._pieces
        if len(data) >= _SMALL:
            pieces.append(data)
        elif pieces and type(last := pieces[-1]) is bytearray and len(last) < _GATHERED:
            last += data
        elif data:
            pieces.append(bytearray(data))
        self.size += len(data)

    def pop(self) -> bytes:
        """
        Take the first piece.

        @return: At least one byte, or C{b""} if the queue is empty.
        """
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece if type(piece) is bytes else bytes(piece)

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

    def differs(self, start: int, data: bytes | memoryview) -> bool:
        """
        Compare some of the queued bytes.

        @param start: Where in the queue to begin; C{start + len(data)} must be
            inside it.

        @return: Whether they are other than C{data}.
        """
        view = memoryview(data)
        for piece in self._pieces:
            if not view:
                break
            if start < len(piece):
                part = memoryview(piece)[start : start + len(view)]
                if part != view[: len(part)]:
                    return True
                view = view[len(part) :]
                start = 0
            else:
                start -= len(piece)
        return False

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The bytes of one stream: chunks go in in any order, and come out in the stream's order.

L{Reassembly} keeps a list of runs, with a gap between any two of them.  The first is
the one that can be read; almost always it is the only one, and a chunk goes straight
onto its end.  A chunk that touches other runs makes one of them all.

L{PieceQueue} keeps the bytes of a run, in memory near their number.  A peer decides how
small its chunks are.  A C{bytes} object of one byte costs forty, so a queue that kept
each as it came could be made to hold forty times its window: small pieces are gathered
into larger ones instead.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from operator import attrgetter

from amp_stream.errors import CapacityExceeded, ProtocolViolation

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
        """Look at the pieces without taking them."""
        return iter(self._pieces)

    def append(self, data: bytes | bytearray) -> None:
        """Add bytes at the end.  Large ones are kept without a copy."""
        pieces = self._pieces
        if len(data) >= _SMALL:
            pieces.append(data)
        elif pieces and _gathers(pieces[-1]):
            pieces[-1] += data
        elif data:
            pieces.append(bytearray(data))
        self.size += len(data)

    def prepend(self, data: bytes) -> None:
        """Add bytes at the beginning."""
        pieces = self._pieces
        if len(data) >= _SMALL:
            pieces.appendleft(data)
        elif pieces and _gathers(pieces[0]):
            pieces[0] = bytearray(data) + pieces[0]
        elif data:
            pieces.appendleft(bytearray(data))
        self.size += len(data)

    def extend(self, other: PieceQueue) -> None:
        """Add everything of another queue, which is used up, at the end."""
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
        """Take everything."""
        joined = b"".join(self._pieces)
        self.clear()
        return joined

    def clear(self) -> None:
        """Forget everything."""
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


class _Run(PieceQueue):
    """
    Bytes without a gap.

    @ivar start: The offset of the first of them.
    """

    __slots__ = ("start",)

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    @property
    def end(self) -> int:
        """The offset behind the last of them."""
        return self.start + self.size

    def prepend(self, data: bytes) -> None:
        """See L{PieceQueue.prepend}."""
        super().prepend(data)
        self.start -= len(data)


_runStart = attrgetter("start")
_runEnd = attrgetter("end")


class Reassembly:
    """
    The received and not yet consumed part of one stream.

    @ivar held: How many bytes are kept here, before and after gaps.
    """

    __slots__ = ("_maxGaps", "_runs", "held")

    def __init__(self, maxGaps: int) -> None:
        """@param maxGaps: The most runs to keep beyond gaps."""
        self._runs = [_Run(0)]
        self._maxGaps = maxGaps
        self.held = 0

    @property
    def start(self) -> int:
        """The offset of the first byte that has not been read."""
        return self._runs[0].start

    @property
    def end(self) -> int:
        """The offset up to which no byte is missing."""
        return self._runs[0].end

    def write(self, offset: int, data: bytes) -> list[bytes]:
        """
        Add a chunk.  Bytes that are here already are compared with it and not
        kept twice; bytes that were read already are gone, and not compared.

        @return: The bytes that have become readable, in their order.

        @raise ProtocolViolation: If a byte differs from one that is here.

        @raise CapacityExceeded: If there would be one gap too many.
        """
        first = self._runs[0]
        gone = max(0, first.start - offset)
        view = memoryview(data)[gone:]
        if not view:
            return []
        return self._merge(offset + gone, view)

    @property
    def hasGaps(self) -> bool:
        """Whether bytes are here that come after missing ones."""
        return len(self._runs) > 1

    def append(self, data: bytes) -> None:
        """Add bytes that begin where the others end.  There are no gaps."""
        self._runs[0].append(data)
        self.held += len(data)

    @property
    def isReadable(self) -> bool:
        """Whether there are bytes to read."""
        return self._runs[0].size > 0

    def read(self) -> bytes:
        """
        Take the next readable bytes.

        @return: At least one byte, or C{b""} if none is readable.
        """
        first = self._runs[0]
        data = first.pop()
        first.start += len(data)
        self.held -= len(data)
        return data

    def clear(self) -> None:
        """Forget every byte."""
        del self._runs[1:]
        self._runs[0].clear()
        self.held = 0

    def _merge(self, offset: int, view: memoryview) -> list[bytes]:
        """
        Make one run of a chunk and of those that it touches.

        @return: The bytes that have become readable.
        """
        runs = self._runs
        end = offset + len(view)
        low = bisect_left(runs, offset, key=_runEnd)
        high = bisect_right(runs, end, key=_runStart)
        touched = runs[low:high]
        for run in touched:
            start = max(offset, run.start)
            if run.differs(start - run.start, view[start - offset :]):
                raise ProtocolViolation(
                    "a chunk differs from bytes received before, "
                    f"at offset {start} or after it",
                    b"STREAM_CONFLICT",
                )
        if not touched:
            if len(runs) > self._maxGaps:
                raise CapacityExceeded(
                    f"more than {self._maxGaps} gaps at once; "
                    "send chunks nearer to their order, or larger ones",
                    b"STREAM_FRAGMENTED",
                )
            touched = [_Run(offset)]
            runs.insert(low, touched[0])
        merged = touched[0]
        before = sum(run.size for run in touched)
        if offset < merged.start:
            merged.prepend(bytes(view[: merged.start - offset]))
        readable: list[bytes] = []
        for run in touched[1:]:
            between = bytes(view[merged.end - offset : run.start - offset])
            if merged is runs[0]:
                readable += (between, *map(bytes, run))
            merged.append(between)
            merged.extend(run)
        rest = bytes(view[merged.end - offset :])
        if merged is runs[0]:
            readable.append(rest)
        merged.append(rest)
        del runs[low + 1 : high]
        self.held += merged.size - before
        return readable

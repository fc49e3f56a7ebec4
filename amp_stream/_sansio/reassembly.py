# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Chunks in any order in, the stream in its order out.

Almost every chunk begins where the one before it ended; it goes straight onto
the queue of bytes that can be read.  Only when that is not so is there a second
structure: the pieces beyond the gap, sorted, without overlaps.
"""

from __future__ import annotations

from bisect import bisect_right

from amp_stream._sansio.pieces import PieceQueue
from amp_stream.errors import ConflictingData, TooFragmented

__all__ = ["Reassembly"]


class Reassembly:
    """
    The received and not yet consumed part of one stream.

    @ivar start: The offset of the first byte that has not been read.
    @ivar end: The offset up to which no byte is missing.
    @ivar held: How many bytes are kept here, before and after gaps.
    """

    __slots__ = ("_gapped", "_maxGaps", "_queue", "end", "held", "start")

    def __init__(self, maxGaps: int) -> None:
        """
        @param maxGaps: The most separate pieces to keep beyond gaps.
        """
        self._queue = PieceQueue()
        self._gapped: list[tuple[int, bytes]] = []
        self._maxGaps = maxGaps
        self.start = 0
        self.end = 0
        self.held = 0

    def write(self, offset: int, data: bytes) -> list[bytes]:
        """
        Add a chunk.  Bytes that are here already are compared with it and not
        kept twice; bytes that were read already are gone, and not compared.

        @return: The bytes that have become readable, in their order.

        @raise ConflictingData: If a byte differs from one that is here.

        @raise TooFragmented: If this is one separate piece too many.
        """
        if offset == self.end and not self._gapped:
            self._queue.append(data)
            self.end += len(data)
            self.held += len(data)
            return [data]
        if offset < self.end:
            data = self._trimKnown(offset, data)
            offset = self.end
        if data:
            self._insert(offset, data)
        return self._advance()

    def read(self) -> bytes:
        """
        Take the next readable bytes.

        @return: At least one byte, or C{b""} if none is readable.
        """
        data = self._queue.pop()
        self.start += len(data)
        self.held -= len(data)
        return data

    def clear(self) -> None:
        """
        Forget every byte.
        """
        self._queue.clear()
        self._gapped.clear()
        self.held = 0

    def _trimKnown(self, offset: int, data: bytes) -> bytes:
        """
        Compare the part of a chunk that is before L{end}, and cut it off.
        """
        view = memoryview(data)
        if offset < self.start:
            view = view[self.start - offset :]
            offset = self.start
        known = view[: max(0, self.end - offset)]
        if known and self._queue.differs(offset - self.start, known):
            raise _conflict(offset)
        return bytes(view[len(known) :])

    def _insert(self, offset: int, data: bytes) -> None:
        """
        Keep a piece beyond a gap, without what its neighbours hold already.
        """
        gapped = self._gapped
        index = bisect_right(gapped, offset, key=_pieceStart)
        if index:
            index -= 1
        additions: list[tuple[int, bytes]] = []
        view = memoryview(data)
        end = offset + len(data)
        first = index
        while index < len(gapped) and gapped[index][0] < end:
            start, piece = gapped[index]
            pieceEnd = start + len(piece)
            index += 1
            if pieceEnd <= offset:
                first = index
                continue
            if start > offset:
                additions.append((offset, bytes(view[: start - offset])))
                view = view[start - offset :]
                offset = start
            shared = min(end, pieceEnd) - offset
            if (
                memoryview(piece)[offset - start : offset - start + shared]
                != (view[:shared])
            ):
                raise _conflict(offset)
            additions.append((start, piece))
            view = view[shared:]
            offset += shared
        if view:
            additions.append((offset, bytes(view)))
        growth = len(additions) - (index - first)
        if len(gapped) + growth > self._maxGaps:
            raise TooFragmented(
                f"more than {self._maxGaps} pieces wait for bytes before them; "
                "send chunks nearer to their order, or larger ones"
            )
        before = sum(len(piece) for _, piece in gapped[first:index])
        gapped[first:index] = additions
        self.held += sum(len(piece) for _, piece in additions) - before

    def _advance(self) -> list[bytes]:
        """
        Move the pieces that no longer have a gap before them.
        """
        gapped = self._gapped
        count = 0
        readable = []
        while count < len(gapped) and gapped[count][0] == self.end:
            piece = gapped[count][1]
            self._queue.append(piece)
            self.end += len(piece)
            readable.append(piece)
            count += 1
        del gapped[:count]
        return readable


def _pieceStart(piece: tuple[int, bytes]) -> int:
    return piece[0]


def _conflict(offset: int) -> ConflictingData:
    return ConflictingData(
        f"a chunk differs from bytes received before, at offset {offset} or after it"
    )

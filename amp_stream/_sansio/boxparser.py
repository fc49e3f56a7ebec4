# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Reads boxes, from bytes that come in any cut.

What has been fed is never looked at twice and never moved: the parser keeps the
pieces as they came and joins those of a value when its box is whole.  Lengths are
checked before anything is kept.

An empty box, which nobody sends, is an error: whoever reads one has lost count.

The boxes of chunks are nearly all of the bytes, and nearly all alike.  They are
recognised by their first and their last bytes, and read at once.  Most go on where
the one before ended: as many as are here are read as if they were one, so that what
has to be done for each is done less often.

How peers are read that end long values in the wrong way is in
L{amp_stream._sansio.reading}.
"""

from __future__ import annotations

from collections import deque
from struct import Struct

from amp_stream._sansio.chunkbox import (
    PLAIN_HEAD,
    PlainChunk,
    plainTail,
    tailOf,
)
from amp_stream._sansio.framing import MAX_KEY, MAX_PIECE
from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER
from amp_stream._sansio.reading import Reading, settle
from amp_stream.errors import FramingError, KeyTooLong

__all__ = ["BoxParser"]

_unpack = Struct("!H").unpack

_HEAD = len(PLAIN_HEAD) + 2
_END = 2
_OTHERS = 256

_SMALL = 2048
_GATHERED = 65_536


class BoxParser:
    """
    Bytes in, boxes out.

    @ivar version: 1 or 2.  It may be changed between two boxes.
    """

    def __init__(
        self, version: int, maxBoxSize: int, maxKeys: int, *, proper: bool = False
    ) -> None:
        """
        @param maxBoxSize: The most bytes that the keys and values of a box may have
            together.

        @param maxKeys: The most keys that a box may have.

        @param proper: Whether the peer is known to end each value as version 2
            says, because it has agreed to.  Then no bytes are read in another way.
        """
        self.version = version
        self._maxBoxSize = maxBoxSize
        self._maxKeys = maxKeys
        self._bytes = _Bytes()
        self._expected: int | None = None
        self._whole: deque[dict[bytes, bytes]] = deque()
        # All ways to read what has come; the first is the one to go by.
        self._readings = [Reading(True if proper else None)]

    @property
    def isBetweenBoxes(self) -> bool:
        """
        Whether everything that was fed has been read, to the end of a box.
        """
        started = self._readings[0].isInBox or self._expected is not None
        return not (started or self._whole or self._bytes.size)

    def feed(self, data: bytes) -> None:
        """
        Add bytes.  Nothing is read before L{next} is called.
        """
        self._bytes.add(data)

    def takeRest(self) -> bytes:
        """
        Take what has been fed and not been read: it is not AMP's any more.
        """
        rest = self._bytes.take(self._bytes.size)
        return b"" if rest is None else rest

    def read(self) -> dict[bytes, bytes] | PlainChunk | None:
        """
        Read a box, which may be the box of a chunk, or the boxes of several.

        @return: The chunk, if it is a plain one that has been recognised, with those
            that go on where it ends; for others see L{next}.  A box of short values
            that is here in one piece is read in one go, too.

        @raise FramingError: See L{next}.
        """
        here = self._bytes
        if not (here.size or self._whole):
            return None
        first = self._readings[0]
        if (
            self._expected is not None
            or first.isInBox
            or self._whole
            or len(self._readings) > 1
        ):
            return self.next()
        length = here.plainLength()
        if length is None:
            box = None
            if first.proper is not False:
                box = here.takeBox(self._maxBoxSize, self._maxKeys)
            return self.next() if box is None else box
        most = self._maxBoxSize - _OTHERS
        if self.version == 2:
            # What fills a length to the brim goes on behind the next one.
            most = min(most, MAX_PIECE - 1) if first.proper else -1
        if length > most:
            return self.next()
        if here.size < _HEAD + length + _END:
            here.compact()
            return None
        here.take(_HEAD)
        parts = here.takeParts(length) or []
        tail = here.takePlainTail()
        if tail is not None:
            id, offset = tail
            here.takePlainRun(parts, id, offset + length, most)
            return PlainChunk(id, offset, b"".join(parts))
        # It is another chunk, or the rest is yet to come.
        first.resume(b"StreamData", b"".join(parts))
        return self.next()

    def next(self) -> dict[bytes, bytes] | None:
        """
        Read a box.

        @return: Its keys and values; L{None} if it has not come whole.

        @raise FramingError: If a length breaks a rule or a limit, or if the bytes
            can be read in two ways.  There is no going on after that.
        """
        while not self._whole:
            length = self._expected
            if length is None:
                prefix = self._bytes.take(2)
                if prefix is None:
                    return None
                self._lengthReceived(*_unpack(prefix))
                continue
            string: bytes | list[bytes | memoryview] | None
            if length == MAX_PIECE and self.version == 2:
                string = self._bytes.takeParts(length)
            else:
                string = self._bytes.take(length)
            if string is None:
                return None
            self._expected = None
            if len(self._readings) > 1 or not self._readings[0].readOn(string):
                self._stringReceived(string)
        return self._whole.popleft()

    def _lengthReceived(self, length: int) -> None:
        """
        Hold a length to the rules and the limits, before its bytes are there.
        """
        if self.version == 1:
            del self._readings[1:]
        first = self._readings[0]
        if length > MAX_KEY and (first.key is None or len(self._readings) > 1):
            first = self._longReceived(length)
        if first.key is None and length and len(first.box) >= self._maxKeys:
            raise FramingError(
                f"a box of more than {self._maxKeys} keys; raise Limits.maxBoxKeys"
            )
        for each in self._readings:
            each.size += length
        if first.size > self._maxBoxSize:
            raise FramingError(
                f"a box of more than {self._maxBoxSize} bytes; raise "
                "Limits.maxBoxSize, or send the value as a Stream"
            )
        self._expected = length

    def _longReceived(self, length: int) -> Reading:
        """
        The length of what cannot be a key has come.

        @return: The way to read that is to go by.
        """
        readings = [each for each in self._readings if each.key is not None]
        if not readings:
            raise KeyTooLong(
                f"a key of {length} bytes, and {MAX_KEY} are possible; the peer does "
                "not speak AMP, or another version of it"
            )
        self._goOn(readings)
        return self._readings[0]

    def _stringReceived(self, string: bytes | list[bytes | memoryview]) -> None:
        """
        Read on in all ways.
        """
        contested = len(self._readings) > 1
        readings: list[Reading] = []
        for each in self._readings:
            readings += each.read(string, contested)
        if not readings:
            raise FramingError(
                "an empty box, or one with two of _command, _answer and _error, or "
                "none: the peer lost count of its own bytes"
            )
        self._goOn(readings)

    def _goOn(self, readings: list[Reading]) -> None:
        self._readings = settle(readings)
        self._whole.extend(self._readings[0].takeBoxes())


class _Bytes:
    """
    Pieces as they came, and where the next byte is.

    @ivar size: How many bytes are here.
    """

    __slots__ = ("_head", "_rest", "_start", "size")

    def __init__(self) -> None:
        self._head = b""
        self._start = 0
        self._rest: deque[bytes | bytearray] = deque()
        self.size = 0

    def add(self, data: bytes) -> None:
        """
        Add a piece.
        """
        if self.size:
            self._append(data)
        else:
            self._head = data
            self._start = 0
        self.size += len(data)

    def _append(self, data: bytes) -> None:
        """
        A peer decides how small the pieces are: gather those that are.
        """
        rest = self._rest
        if len(data) >= _SMALL:
            rest.append(data)
        elif rest and isinstance(rest[-1], bytearray) and len(rest[-1]) < _GATHERED:
            rest[-1] += data
        else:
            rest.append(bytearray(data))

    def take(self, count: int) -> bytes | None:
        """
        Take bytes.

        @return: That many, or L{None} if there are not so many.
        """
        start = self._start
        end = start + count
        if count < self.size and end <= len(self._head):
            self.size -= count
            self._start = end
            return self._head[start:end]
        parts = self.takeParts(count)
        return None if parts is None else b"".join(parts)

    def plainLength(self) -> int | None:
        """
        @return: How many bytes the chunk has whose box is next; L{None} if it does not
            look like that of a plain chunk.
        """
        start = self._start
        if start == len(self._head) and self._rest:
            self._head, self._start = bytes(self._rest.popleft()), 0
            start = 0
        if not self._head.startswith(PLAIN_HEAD, start):
            return None
        length: bytes = self._head[start + _HEAD - 2 : start + _HEAD]
        return None if len(length) < 2 else int.from_bytes(length, "big")

    def takePlainTail(self) -> tuple[int, int] | None:
        """
        Take what comes behind the bytes of a plain chunk.

        @return: The id and the offset, or L{None} if there is something else.
        """
        tail = plainTail(self._head, self._start)
        if tail is None:
            return None
        id, offset, end = tail
        self.size -= end - self._start
        self._start = end
        return id, offset

    def takePlainRun(
        self, parts: list[bytes | memoryview], id: int, offset: int, most: int
    ) -> None:
        """
        Take the plain chunks that are here in one piece and go on where another ended.

        @param parts: What to add their bytes to.

        @param id: The stream.

        @param offset: Where the next chunk has to begin.

        @param most: How many bytes each may have.
        """
        head, position = self._head, self._start
        while offset <= MAX_NUMBER - MAX_CHUNK and head.startswith(
            PLAIN_HEAD, position
        ):
            start = position + _HEAD
            length = int.from_bytes(head[start - 2 : start], "big")
            end = start + length
            tail = tailOf(id, offset)
            if length > most or not head.startswith(tail, end):
                break
            parts.append(_slice(head, start, end))
            position = end + len(tail)
            offset += length
        self.size -= position - self._start
        self._start = position
        if not self.size:
            self._head, self._start = b"", 0

    def takeBox(self, maxSize: int, maxKeys: int) -> dict[bytes, bytes] | None:
        """
        Take a box that is here in one piece and has nothing special about it: what is
        the same in both versions, and within the limits.

        @return: The box, or L{None}, and then nothing has been taken.
        """
        head, position = self._head, self._start
        end = len(head)
        box: dict[bytes, bytes] = {}
        try:
            while size := head[position] << 8 | head[position + 1]:
                start = position + 2
                position = start + size
                key = head[start:position]
                length = head[position] << 8 | head[position + 1]
                if size > MAX_KEY or length == MAX_PIECE:
                    return None
                start = position + 2
                position = start + length
                box[key] = head[start:position]
        except IndexError:
            # Not all of it is here.
            return None
        position += 2
        taken = position - self._start
        if not box or len(box) > maxKeys or taken > maxSize:
            return None
        self.size -= taken
        if position == end and not self.size:
            self._head, self._start = b"", 0
        else:
            self._start = position
        return box

    def compact(self) -> None:
        """
        It will take a while until what is here can be taken: do not keep a large
        piece for a few bytes.
        """
        if 2 * self._start > len(self._head):
            self._head = self._head[self._start :]
            self._start = 0

    def takeParts(self, count: int) -> list[bytes | memoryview] | None:
        """
        Take bytes without copying them, as far as they are in long pieces.

        @return: That many, or L{None} if there are not so many.
        """
        if count > self.size:
            return None
        self.size -= count
        parts = []
        while count > len(self._head) - self._start:
            part = _slice(self._head, self._start, len(self._head))
            parts.append(part)
            count -= len(part)
            # One that is still gathering is bytes from now on.
            self._head, self._start = bytes(self._rest.popleft()), 0
        end = self._start + count
        parts.append(_slice(self._head, self._start, end))
        self._start = end
        if not self.size:
            self._head, self._start = b"", 0
        return parts


def _slice(data: bytes, start: int, end: int) -> bytes | memoryview:
    if end - start < _SMALL:
        return data[start:end]
    return memoryview(data)[start:end]

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
Boxes and lists to bytes, and back, in both versions of AMP.

A box is pairs of a key and a value, followed by an empty key; a length of 16 bits
precedes each string.  In version 1 that is all, so no value has more than 65,535
bytes.  In version 2 a value is a run of segments: a segment of exactly 65,535 bytes
is followed by another one, and a shorter one (of 0 bytes, if need be) is the last.  Up
to 65,534 bytes the two versions are the same, byte for byte.  A reader of version 1
that gets version 2 cannot notice the difference until then, and reads garbage from
then on: so the version is agreed on, never guessed.

An empty box is a framing error.  No conforming peer sends one, so the two ends must
disagree about where boxes begin.

A list value (C{AmpList}, C{ListOf}) has lengths of its own, which follow version 2.
That needs no agreement: the two versions differ only for an element of 65,535 bytes or
more, and a list with such an element is longer than any value of version 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Any

from amp_stream._sansio.frames import FRAME_HEAD, BytesLike, StreamFrame, tailOf
from amp_stream._sansio.limits import MAX_CHUNK, MAX_NUMBER
from amp_stream.errors import FramingError, OversizeValue

MAX_KEY = 255
"""
The most bytes that a key can have, in both versions.
"""

MAX_SEGMENT = 0xFFFF
"""
The most bytes that one length can announce.
"""

_pack = Struct("!H").pack
_END = b"\x00\x00"


def encodeBox(
    items: Iterable[tuple[bytes, BytesLike]], version: int
) -> list[BytesLike]:
    """
    Write a box.

    @param items: Its keys, each of 1 to 255 bytes, with their values, which are bytes
        or views of bytes, in the order in which to write them.

    @param version: 1 or 2.

    @return: The bytes in pieces, to be joined.  A value that is not cut is there as it
        came, and one that is as views of it: no byte is copied.

    @raise OversizeValue: If a value does not fit into version 1.

    @raise FramingError: If a key is empty or too long.
    """
    pieces: list[BytesLike] = []
    for key, value in items:
        size = len(key)
        if not 0 < size <= MAX_KEY:
            raise FramingError(
                f"the key {key[:40]!r} has {size} bytes; 1 to {MAX_KEY} are possible",
                b"AMP_KEY_TOO_LONG",
            )
        pieces.append(_pack(size) + key)
        pieces.extend(encodeValue(key, value, version))
    pieces.append(_END)
    return pieces


def encodeInline(box: Mapping[bytes, Any], version: int) -> bytes | None:
    """
    Write a box that C{amp.AMP} could write: nearly every call and answer.

    @param version: 1 or 2.

    @return: The bytes; L{None} if a value is not C{bytes} or has more than 65,535
        bytes, or a key is empty or too long.
    """
    pieces: list[bytes] = []
    for key in sorted(box):
        value = box[key]
        size = len(key)
        if type(value) is not bytes or len(value) > MAX_SEGMENT or not 0 < size < 256:
            return None
        pieces += (_pack(size), key, _pack(len(value)), value)
        if len(value) == MAX_SEGMENT and version == 2:
            pieces.append(_END)
    pieces.append(_END)
    return b"".join(pieces)


def encodeValue(key: bytes, value: BytesLike, version: int) -> list[BytesLike]:
    """
    Write a value.

    @param key: Its key, for an error.

    @param value: Its bytes.

    @param version: 1 or 2.

    @return: The bytes in pieces.

    @raise OversizeValue: If it does not fit into version 1.
    """
    size = len(value)
    if size < MAX_SEGMENT or (version == 1 and size == MAX_SEGMENT):
        return [_pack(size), value]
    if version == 1:
        raise OversizeValue(
            f"the value of {key!r} has {size} bytes, and AMP can carry {MAX_SEGMENT} "
            "to this peer: declare it as Stream() or BigString(), or use StreamAMP "
            "with version='auto' at both ends"
        )
    view = memoryview(value)
    pieces: list[BytesLike] = []
    for start in range(0, size + 1, MAX_SEGMENT):
        piece = view[start : start + MAX_SEGMENT]
        pieces += (_pack(len(piece)), piece)
    return pieces


_FRAME_KEYS = {b"_command", b"data", b"id", b"offset"}
_FRAME_START = len(FRAME_HEAD) + 2
_FRAME_KEYS_SIZE = 256
_MAX_DIGITS = 19

_SMALL = 2048
_GATHERED = 65_536


class BoxParser:
    """
    Bytes in, boxes out, however the bytes are cut.

    Each byte of a value is copied once, into its place in the box.  Lengths are checked
    before anything is kept for them.  The values of a C{stream.Data} frame are taken
    from the box when it is whole, and the frames behind it that go on where it ended
    are read with it: a transport brings several at once, and all that is done for a
    frame is done once for a run of them.

    @ivar version: 1 or 2.  It may be changed between two boxes.
    """

    def __init__(self, version: int, maxBoxSize: int, maxKeys: int) -> None:
        """
        @param maxBoxSize: The most bytes that the keys and values of a box may have
            together.

        @param maxKeys: The most keys that a box may have, repeated ones included.
        """
        self.version = version
        self._maxBoxSize = maxBoxSize
        self._maxKeys = maxKeys
        self._fed: deque[bytes | bytearray] = deque()
        # The segment of the transport that is being read, and where the next byte is.
        self._data = b""
        self._pos = 0
        # The box that is being read: what it has, its sizes, and the key whose value
        # is next.
        self._box: dict[bytes, bytes] = {}
        self._size = 0
        self._keys = 0
        self._key: bytes | None = None
        # The value that is being read, if it is not here in one piece; how many bytes
        # of the present length are missing; and whether another length follows.
        self._parts: list[bytes | bytearray | memoryview] = []
        self._missing = 0
        self._goesOn = False

    @property
    def isBetweenBoxes(self) -> bool:
        """Whether everything that was fed has been read, to the end of a box."""
        isInBox = self._keys or self._pos < len(self._data)
        return not (isInBox or self._fed)

    def feed(self, data: bytes) -> None:
        """Add bytes.  Nothing is read before L{next} or L{read} is called."""
        fed = self._fed
        if not fed or len(data) >= _SMALL:
            fed.append(data)
            return
        # The peer decides how small the pieces are: gather those that are.
        last = fed[-1]
        if type(last) is bytearray and len(last) < _GATHERED:
            last += data
        else:
            fed.append(bytearray(data))

    def takeRest(self) -> bytes:
        """
        Take what has been fed and not been read, between two boxes: it does not belong
        to AMP any more.
        """
        rest = b"".join((self._data[self._pos :], *self._fed))
        self._data, self._pos = b"", 0
        self._fed.clear()
        return rest

    def read(self) -> dict[bytes, bytes] | StreamFrame | None:
        """
        Read a box, or the frames of a stream.

        @return: A L{StreamFrame} for a C{stream.Data} box that asks for no answer and
            has nothing but bytes, together with those behind it that go on where it
            ends; the keys and values of any other box; L{None} if none has come whole.

        @raise FramingError: See L{next}.
        """
        if not (self._data or self._fed):
            return None
        box = self.next()
        if box is None or len(box) != 4 or box.keys() != _FRAME_KEYS:
            return box
        idDigits, offsetDigits = box[b"id"], box[b"offset"]
        if (
            box[b"_command"] != b"stream.Data"
            or not (idDigits.isdigit() and offsetDigits.isdigit())
            or max(len(idDigits), len(offsetDigits)) > _MAX_DIGITS
        ):
            return box
        id, offset, data = int(idDigits), int(offsetDigits), box[b"data"]
        if max(id, offset) > MAX_NUMBER - MAX_CHUNK or len(data) > MAX_CHUNK:
            return box
        parts: list[BytesLike] = [data]
        end = offset + len(data)
        head, pos = self._data, self._pos
        # In version 2, a full length says that the value goes on behind it.
        most = min(MAX_CHUNK + 1 - self.version, self._maxBoxSize - _FRAME_KEYS_SIZE)
        while head.startswith(FRAME_HEAD, pos) and end <= MAX_NUMBER - MAX_CHUNK:
            start = pos + _FRAME_START
            stop = start + int.from_bytes(head[start - 2 : start], "big")
            tail = tailOf(id, end)
            if stop - start > most or not head.startswith(tail, stop):
                break
            parts.append(memoryview(head)[start:stop])
            end += stop - start
            pos = stop + len(tail)
        if len(parts) == 1:
            return StreamFrame(id, offset, data)
        self._standAt(pos)
        return StreamFrame(id, offset, b"".join(parts))

    def next(self) -> dict[bytes, bytes] | None:
        """
        Read a box.

        @return: Its keys and values; L{None} if it has not come whole.

        @raise FramingError: If a length breaks a rule or a limit.  There is no going on
            after that.
        """
        box = self._scan() if self._data else None
        while box is None and self._pull():
            box = self._scan()
        return box

    def _pull(self) -> bool:
        """
        Go on with the bytes that were fed next.

        @return: Whether there are any.
        """
        if not self._fed:
            return False
        fed = self._fed.popleft()
        missing = self._missing
        if not missing:
            if self._data:
                self._data = self._data[self._pos :] + fed
            else:
                self._data = bytes(fed)
            self._pos = 0
            return True
        if len(fed) < missing:
            self._missing = missing - len(fed)
            self._gather(fed)
            return True
        self._missing = 0
        self._parts.append(_slice(fed, 0, missing))
        if not self._goesOn and self._key is not None:
            self._box[self._key] = b"".join(self._parts)
            self._key = None
            self._parts.clear()
        self._data = bytes(fed)
        self._standAt(missing)
        return True

    def _scan(self) -> dict[bytes, bytes] | None:
        """
        Read on in the bytes at hand.

        @return: The box, if its end is there.
        """
        data, pos, end = self._data, self._pos, len(self._data)
        box, key, size, keys = self._box, self._key, self._size, self._keys
        most, parts = self._maxBoxSize, self._parts
        missing = self._missing
        while end - pos >= 2 and not missing:
            length = data[pos] << 8 | data[pos + 1]
            start = pos + 2
            stop = start + length
            if key is None:
                if not length:
                    if not box:
                        raise FramingError(
                            "an empty box arrived; no AMP peer sends one, so the two "
                            "ends disagree about where boxes begin"
                        )
                    self._box, self._key, self._size, self._keys = {}, None, 0, 0
                    self._standAt(start)
                    return box
                if length > MAX_KEY or keys == self._maxKeys or size + length > most:
                    raise self._badKey(length, keys)
                if stop > end:
                    break
                key = data[start:stop]
                keys += 1
            else:
                if size + length > most:
                    raise self._tooLong()
                goesOn = length == MAX_SEGMENT and self.version == 2
                if stop > end:
                    parts.append(_slice(data, start, end))
                    missing = stop - end
                    stop = end
                    self._goesOn = goesOn
                elif parts or goesOn:
                    parts.append(_slice(data, start, stop))
                    if not goesOn:
                        box[key] = b"".join(parts)
                        parts.clear()
                        key = None
                else:
                    box[key] = data[start:stop]
                    key = None
            size += length
            pos = stop
        self._key, self._size, self._keys = key, size, keys
        self._missing = missing
        self._standAt(pos)
        return None

    def _standAt(self, pos: int) -> None:
        """
        The next byte is here.  Bytes that have been read are not kept for a few behind
        them.
        """
        if pos == len(self._data):
            self._data, self._pos = b"", 0
        elif len(self._data) - pos < _SMALL < pos and not self._fed:
            self._data, self._pos = self._data[pos:], 0
        else:
            self._pos = pos

    def _gather(self, data: bytes | bytearray) -> None:
        last = self._parts[-1]
        if len(data) >= _SMALL:
            self._parts.append(data)
        elif type(last) is bytearray and len(last) < _GATHERED:
            last += data
        else:
            self._parts.append(bytearray(data))

    def _badKey(self, length: int, keys: int) -> FramingError:
        if length > MAX_KEY:
            return FramingError(
                f"a key of {length} bytes arrived, and {MAX_KEY} are possible; the "
                "peer does not speak AMP, or speaks another version of it",
                b"AMP_KEY_TOO_LONG",
            )
        if keys == self._maxKeys:
            return FramingError(
                f"a box of more than {self._maxKeys} keys arrived; raise "
                "Limits.maxBoxKeys"
            )
        return self._tooLong()

    def _tooLong(self) -> FramingError:
        return FramingError(
            f"a box of more than {self._maxBoxSize} bytes arrived; raise "
            "Limits.maxBoxSize, or send the value as a Stream"
        )


def _slice(data: bytes | bytearray, start: int, end: int) -> BytesLike:
    if end - start < _SMALL:
        return bytes(data[start:end])
    return memoryview(data)[start:end]


def joinStrings(strings: Iterable[bytes]) -> bytes:
    """Write a list of strings."""
    pieces: list[BytesLike] = []
    for string in strings:
        pieces.extend(encodeValue(b"", string, 2))
    return b"".join(pieces)


def joinBoxes(boxes: Iterable[Mapping[bytes, bytes]]) -> bytes:
    """Write a list of boxes."""
    pieces: list[BytesLike] = []
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
    """Reads lengths and what they announce, from a value that is there as a whole."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._start = 0

    @property
    def isAtEnd(self) -> bool:
        """Whether there is no more."""
        return self._start == len(self._value)

    def readPiece(self) -> bytes:
        """Read one length, and as many bytes."""
        start = self._start + 2
        end = start + int.from_bytes(self._value[start - 2 : start], "big")
        if end > len(self._value) or start > len(self._value):
            raise FramingError("a list ends in the middle of an element")
        self._start = end
        return self._value[start:end]

    def readValue(self) -> bytes:
        """Read one value, which may be of several pieces."""
        piece = self.readPiece()
        pieces = [piece]
        while len(piece) == MAX_SEGMENT:
            piece = self.readPiece()
            pieces.append(piece)
        return b"".join(pieces)

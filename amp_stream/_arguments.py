# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
AMP arguments for values that are longer than one key of a box can hold.

 - L{Stream} and L{StreamChunk} declare a stream in a command.

 - L{BigString} and its like spread one value over several keys of the box.

 - The lists take elements of any length.  An element of C{amp.AmpList} or C{amp.ListOf}
   cannot be longer than 65,535 bytes, because the lengths inside them are those of
   version 1.  The lists here write the same bytes up to there, and have no such limit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NoReturn

from twisted.protocols import amp
from twisted.protocols.amp import Argument, Box, String

from amp_stream._boxes import BoxErrors, StreamBox, argumentKey, checkKeys, connectionOf
from amp_stream._commands import chunkFromBox
from amp_stream._incoming import IncomingStream
from amp_stream._outgoing import Announcement, OutgoingStream, asSource
from amp_stream._sansio.boxes import joinBoxes, joinStrings, splitBoxes, splitStrings
from amp_stream._sansio.frames import Chunk, parseNumber
from amp_stream._sansio.splitting import (
    DEFAULT_MAX_SIZE,
    PIECE_SIZE,
    checkClash,
    checkSize,
    join,
    show,
    split,
)
from amp_stream.errors import (
    InvalidValue,
    SourceFailed,
    StreamsUnsupported,
    UsageError,
    ValueTooLong,
)

_ELEMENT = b"element"
_CHUNK_KEYS = (b"id", b"offset", b"fin", b"sha256")
_MOST_INLINE = 65_279
_NOT_IN_LIST = (
    "a Stream cannot be inside an AmpList: declare it as an argument of the command "
    "itself"
)


class BigString(Argument):
    """
    Bytes of any length up to a bound, all in the one box of the call or answer.

    It stands in for C{amp.String}: up to 65,535 bytes it is the same on the wire,
    and beyond that it uses the further keys C{name.2}, C{name.3} and so on.  So
    no other argument of the command may be called C{name.} and a number.  The
    sender passes any bytes-like object, the receiver gets C{bytes}.

    The whole value is in memory, at both ends, and while its box is being sent
    no other box is: for more than a few hundred kilobytes declare C{Stream}.

    As an item of an C{AmpList} it works as anywhere else, within the 65,535 bytes
    that AMP allows for the list.  As the element of a C{ListOf} it has no keys to
    spread over, so there a long value is refused.

    A value that cannot be sent makes C{callRemote} raise at once.  In a response
    it is a responder's error, for which a stock C{amp.AMP} drops the connection:
    a responder there should check the length of what it returns.

    @ivar maxSize: The most bytes that the value may have.
    """

    def __init__(self, optional: bool = False, maxSize: int = DEFAULT_MAX_SIZE) -> None:
        """
        @param optional: Whether the value may be left out, or be L{None}.

        @param maxSize: The most bytes that the value may have, when it is sent
            and when it is received.
        """
        super().__init__(optional)
        if maxSize < 0:
            raise ValueError(f"maxSize must be 0 bytes or more, not {maxSize}")
        self.maxSize = maxSize
        # Moves a value between the dictionaries of AMP's calls, as it is.
        self._whole = String(optional)

    def toBox(
        self, name: bytes, strings: Box, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        Spread a value over keys of a box.

        @raise TypeError: The value is not of the type that was declared.

        @raise ValueTooLong: The value is longer than C{maxSize}.

        @raise UsageError: Another argument has the name of one of the keys.
        """
        whole: dict[bytes, Any] = {}
        self._whole.toBox(name, whole, objects, proto)
        if name in whole:
            checkClash(name, strings, objects)
            pieces: Any = split(name, self._encode(name, whole[name]), self.maxSize)
            strings.update(pieces)

    def fromBox(
        self, name: bytes, strings: Box, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        Gather a value from the keys of a box.

        @raise InvalidValue: The value is not there, not whole, or not valid.

        @raise ValueTooLong: It has more bytes than C{maxSize}.

        @raise UsageError: Another argument has one of its keys.

        @raise amp.RemoteAmpError: In place of each of these, with its code, if the box
            is not a response: with it, AMP answers the caller and keeps the connection.
        """
        whole: dict[bytes, Any] = {}
        with BoxErrors(strings):
            checkClash(name, (), objects)
            value = join(name, strings, self.maxSize)
            if value is not None:
                whole[name] = self._decode(name, value)
            elif not self.optional:
                raise InvalidValue(
                    f"the value {show(name)} is not in the box", b"BIG_VALUE_GAP"
                )
        self._whole.fromBox(name, whole, objects, proto)

    def toString(self, inObject: Any) -> bytes:
        """
        Encode an element of a C{ListOf}.

        @raise TypeError: The value is not of the type that was declared.

        @raise ValueTooLong: It is longer than 65,535 bytes, or than C{maxSize}.
        """
        pieces = split(_ELEMENT, self._encode(_ELEMENT, inObject), self.maxSize)
        if len(pieces) > 1:
            size = sum(map(len, pieces.values()))
            raise ValueTooLong(
                f"an element of a ListOf has at most {PIECE_SIZE:,} bytes, and this "
                f"one has {size:,}; send each element in a call of its own, "
                "or declare Stream()",
                b"BIG_VALUE_TOO_LONG",
            )
        return bytes(pieces[_ELEMENT])

    def fromString(self, inString: bytes) -> Any:
        """
        Decode an element of a C{ListOf}.

        @raise amp.RemoteAmpError: The element is too long or not valid.
        """
        with BoxErrors():
            checkSize(_ELEMENT, len(inString), self.maxSize)
            return self._decode(_ELEMENT, inString)

    def _encode(self, name: bytes, value: Any) -> Any:
        return value

    def _decode(self, name: bytes, value: bytes) -> Any:
        return value


class BigUnicode(BigString):
    """
    Text of any length up to a bound: a L{BigString} of its UTF-8.

    C{maxSize} counts bytes, not characters.  The text is encoded first and split
    then, so the pieces are not text: a character may be divided between two.
    """

    def _encode(self, name: bytes, value: Any) -> bytes:
        if not isinstance(value, str):
            raise TypeError(
                f"the value {show(name)} must be str, not {type(value).__name__}; "
                "declare BigString for bytes"
            )
        return value.encode("utf-8")

    def _decode(self, name: bytes, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidValue(
                f"the value {show(name)} cannot be UTF-8, see byte {error.start}",
                b"BIG_VALUE_TEXT",
            ) from None


class _LongList(amp.Argument):
    """The part of a list that is the same whatever its elements are."""

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """See L{amp.IArgumentType.toBox}."""
        elements = self.retrieve(objects, argumentKey(name), proto)
        if not (self.optional and elements is None):
            strings[name] = self._join(elements, proto)

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """See L{amp.IArgumentType.fromBox}."""
        value = self.retrieve(strings, name, proto)
        objects[argumentKey(name)] = None
        if not (self.optional and value is None):
            with BoxErrors(strings):
                objects[argumentKey(name)] = self._split(value, proto)

    @abstractmethod
    def _join(self, elements: Iterable[Any], proto: Any) -> bytes:
        """Write the elements."""

    @abstractmethod
    def _split(self, value: bytes, proto: Any) -> list[Any]:
        """Read them."""


class ListOf(_LongList, amp.ListOf):
    """
    C{amp.ListOf}, with elements of any length where the connection can carry
    them.
    """

    def _join(self, elements: Iterable[Any], proto: Any) -> bytes:
        return joinStrings(map(self.elementType.toString, elements))

    def _split(self, value: bytes, proto: Any) -> list[Any]:
        return list(map(self.elementType.fromString, splitStrings(value)))


class AmpList(_LongList, amp.AmpList):
    """C{amp.AmpList}, with values of any length where the connection can carry them."""

    def _join(self, elements: Iterable[Any], proto: Any) -> bytes:
        return joinBoxes(
            amp._objectsToStrings(item, self.subargs, amp.AmpBox(), proto)
            for item in elements
        )

    def _split(self, value: bytes, proto: Any) -> list[Any]:
        return [
            amp._stringsToObjects(amp.AmpBox(box), self.subargs, proto)
            for box in splitBoxes(value)
        ]


class Stream(amp.Argument):
    """
    A value of any size, sent between other calls and taken as it arrives.

    The sender passes a bytes-like object, a binary file (which is read from where
    it stands, and closed at the end), a C{FilePath}, an C{IBodyProducer}, or an
    iterable or async iterable of bytes.  The receiver gets an L{IncomingStream}.

    On the wire its key holds the number of the stream and, where the size is
    known, the key with C{.size} behind it holds that.  The bytes follow the box.  A
    bytes-like object of up to 65,279 bytes travels inside the box, in the key with
    C{.data} behind it, unless C{digest} is set.
    """

    announcesStream = True
    _mayBeInline = True

    def __init__(
        self, optional: bool = False, maxSize: int | None = None, digest: bool = False
    ) -> None:
        """
        @param optional: Whether the argument may be left out, or be L{None}.

        @param maxSize: The most bytes to take, at the receiver (bytes); L{None}
            for no bound but that of its C{Limits}.

        @param digest: Whether the sender adds a SHA-256 of the whole, which the
            receiver checks before it takes the value for complete.
        """
        super().__init__(optional)
        self._maxSize = maxSize
        self._digest = digest

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """
        See L{amp.IArgumentType.toBox}.

        @raise StreamsUnsupported: If C{proto} is a connection without streams.

        @raise SourceFailed: If a file cannot be opened.

        @raise UsageError: If the value is not one to make a stream from.
        """
        value = self.retrieve(objects, argumentKey(name), proto)
        sizeKey, dataKey = _sizeKey(name), _dataKey(name)
        checkKeys(self, (sizeKey, dataKey), strings, objects)
        if self.optional and value is None:
            return
        isSender = getattr(connectionOf(proto), "isSender", False)
        if (
            isinstance(value, (bytes, bytearray, memoryview))
            and self._mayBeInline
            and isSender
            and not self._digest
            and len(value) <= _inlineRoom(strings)
        ):
            strings[dataKey] = bytes(value)
            return
        if isinstance(proto, amp.BinaryBoxProtocol) and not isSender:
            raise StreamsUnsupported(
                f"{type(proto).__name__} cannot send a stream; use StreamAMP in the "
                "place of amp.AMP"
            )
        try:
            source = asSource(value)
        except OSError as error:
            raise SourceFailed(f"the source cannot be opened: {error}") from error
        values: dict[bytes, Any] = strings
        values[name] = Announcement(source, self._digest, self._open)
        if source.size is not None:
            strings[sizeKey] = b"%d" % source.size

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """See L{amp.IArgumentType.fromBox}."""
        objects[argumentKey(name)] = None
        if self.optional and not (name in strings or _dataKey(name) in strings):
            return
        with BoxErrors(strings):
            objects[argumentKey(name)] = self._accept(name, strings, proto)

    def toString(self, inObject: object) -> NoReturn:
        """
        There is no one string for a stream.

        @raise UsageError: Always: the command declares a list of streams.
        """
        raise UsageError(
            f"{type(self).__name__} cannot be an element of ListOf: declare it as an "
            "argument of the command"
        )

    fromString = toString

    def _open(
        self, multiplexer: Any, box: amp.AmpBox, name: bytes, announcement: Announcement
    ) -> OutgoingStream:
        stream: OutgoingStream = multiplexer.open(
            announcement.source, announcement.digest
        )
        return stream

    def _accept(self, name: bytes, strings: amp.AmpBox, proto: Any) -> IncomingStream:
        box = strings if isinstance(strings, StreamBox) else None
        if box is not None:
            connection = box.connection
        else:
            connection = getattr(connectionOf(proto), "_demultiplexer", None)
        if connection is None:
            raise StreamsUnsupported
        data = strings.pop(_dataKey(name), None)
        if data is not None:
            if amp.COMMAND not in strings and amp.ANSWER not in strings:
                raise UsageError(_NOT_IN_LIST)
            stream: IncomingStream = connection.acceptInline(data, self._maxSize)
            if box is not None:
                box.accepted.append(stream)
            return stream
        id = parseNumber(repr(name), strings.pop(name, None))
        size = strings.pop(_sizeKey(name), None)
        known = None if size is None else parseNumber(repr(_sizeKey(name)), size)
        stream = self._ask(connection, name, strings, id, known)
        if box is not None:
            box.accepted.append(stream)
        return stream

    def _ask(
        self,
        connection: Any,
        name: bytes,
        strings: amp.AmpBox,
        id: int,
        size: int | None,
    ) -> IncomingStream:
        stream: IncomingStream = connection.accept(id, size, self._maxSize)
        return stream


def _sizeKey(name: bytes) -> bytes:
    return name + b".size"


def _dataKey(name: bytes) -> bytes:
    return name + b".data"


def _inlineRoom(strings: amp.AmpBox) -> int:
    """
    @return: How many bytes more the values of streams may have that travel in a box: no
        more than a chunk in all, as every other call waits while it is sent.
    """
    room = _MOST_INLINE
    for key in strings:
        if key.endswith(b".data"):
            room -= len(strings[key])
    return room


class StreamChunk(amp.Argument):
    """
    An argument whose value is a L{Chunk}.

    Declared under a name, the bytes go into the key of that name and the rest
    into the keys C{id}, C{offset}, C{fin} (only when true) and C{sha256} (only
    when there is one) of the same box.  So a command has room for one chunk, and
    none of its other arguments can have one of these names.

    @raise InvalidValue: When a box that arrives has no well-formed chunk.

    @raise UsageError: When a box is made in which another argument has one of the
        keys.
    """

    def fromBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """See L{amp.IArgumentType.fromBox}."""
        key = argumentKey(name)
        if self.optional and name not in strings:
            objects[key] = None
            return
        with BoxErrors(strings):
            objects[key] = chunkFromBox(name, strings)

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """See L{amp.IArgumentType.toBox}."""
        chunk = self.retrieve(objects, argumentKey(name), proto)
        checkKeys(self, _CHUNK_KEYS, strings, objects)
        if self.optional and chunk is None:
            return
        if not isinstance(chunk, Chunk):
            raise InvalidValue(f"{name!r} must be a Chunk, not {type(chunk).__name__}")
        strings[name] = chunk.data
        strings[b"id"] = b"%d" % chunk.id
        strings[b"offset"] = b"%d" % chunk.offset
        if chunk.fin:
            strings[b"fin"] = b"True"
        if chunk.sha256 is not None:
            strings[b"sha256"] = chunk.sha256

    def toString(self, inObject: object) -> NoReturn:
        """
        There is no one string for a chunk.

        @raise UsageError: Always: the command declares a list of chunks.
        """
        raise UsageError(
            "StreamChunk takes several keys of a box; it cannot be an element of "
            "ListOf: declare it as an argument of the command"
        )

    fromString = toString

# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The argument by which a command declares a stream.
"""

from __future__ import annotations

from typing import Any, NoReturn

from twisted.protocols import amp

from amp_stream._boxerrors import boxErrors
from amp_stream._sansio.chunk import parseNumber
from amp_stream.boxes import StreamBox
from amp_stream.chunks import argumentKey
from amp_stream.errors import DeclarationError, KeyClash, NotStreaming, SourceFailed
from amp_stream.incoming import IncomingStream
from amp_stream.outgoing import Announcement, OutgoingStream
from amp_stream.receiver import StreamReceiver
from amp_stream.sources import asSource

__all__ = ["Stream"]


class Stream(amp.Argument):
    """
    A value of any size, sent between other calls and taken as it arrives.

    The sender passes a bytes-like object, a binary file (which is read from where
    it stands, and closed at the end), a C{FilePath}, an C{IBodyProducer}, or an
    iterable or async iterable of bytes.  The receiver gets an L{IncomingStream}.

    On the wire its key holds the number of the stream and, where the size is
    known, the key with C{.size} behind it holds that.  The bytes follow the box.
    """

    announcesStream = True

    def __init__(
        self,
        optional: bool = False,
        maxSize: int | None = None,
        digest: bool = False,
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

        @raise NotStreaming: If C{proto} is a connection without streams.

        @raise SourceFailed: If a file cannot be opened.

        @raise UsageError: If the value is not one to make a stream from.
        """
        value = self.retrieve(objects, argumentKey(name), proto)
        sizeKey = _sizeKey(name)
        if sizeKey in strings or argumentKey(sizeKey) in objects:
            raise KeyClash(
                f"{type(self).__name__} needs the key {sizeKey!r}, which another "
                "argument of this command has too; rename that one"
            )
        if self.optional and value is None:
            return
        if isinstance(proto, amp.BinaryBoxProtocol) and not hasattr(
            proto, "sendStream"
        ):
            raise NotStreaming(
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
        """
        See L{amp.IArgumentType.fromBox}.
        """
        objects[argumentKey(name)] = None
        if self.optional and name not in strings:
            return
        with boxErrors(strings):
            objects[argumentKey(name)] = self._claim(name, strings, proto)

    def toString(self, inObject: object) -> NoReturn:
        """
        There is no one string for a stream.

        @raise DeclarationError: Always: somebody declared a list of streams.
        """
        raise DeclarationError(
            f"{type(self).__name__} cannot be an element of ListOf: declare it as an "
            "argument of the command"
        )

    fromString = toString

    def _open(
        self, link: Any, box: amp.AmpBox, name: bytes, announcement: Announcement
    ) -> OutgoingStream:
        stream: OutgoingStream = link.open(announcement.source, announcement.digest)
        return stream

    def _claim(self, name: bytes, strings: amp.AmpBox, proto: Any) -> IncomingStream:
        box = strings if isinstance(strings, StreamBox) else None
        connection = proto if box is None else box.connection
        if not isinstance(connection, StreamReceiver):
            raise NotStreaming
        id = parseNumber(repr(name), strings.pop(name, None))
        size = strings.pop(_sizeKey(name), None)
        known = None if size is None else parseNumber(repr(_sizeKey(name)), size)
        stream = self._ask(connection, name, strings, id, known)
        if box is not None:
            box.claimed.append(stream)
        return stream

    def _ask(
        self,
        connection: Any,
        name: bytes,
        strings: amp.AmpBox,
        id: int,
        size: int | None,
    ) -> IncomingStream:
        stream: IncomingStream = connection.incoming(id, size, self._maxSize)
        return stream


def _sizeKey(name: bytes) -> bytes:
    return name + b".size"

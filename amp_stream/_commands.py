# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
The argument that carries one chunk of a stream in a box.

The AMP commands of the stream layer.

C{StreamData} may be sent either way.  Without C{_ask}, its sender keeps within
the window that L{MaxStreamData} opens.  With C{_ask}, the answer comes once there
is room for the next chunk: to wait for each answer is all the flow control that a
simple sender needs.
"""

from __future__ import annotations

from typing import Any, NoReturn

from twisted.protocols import amp

from amp_stream._boxes import boxErrors
from amp_stream._sansio.frames import Chunk, parseNumber
from amp_stream.errors import STREAM_ERRORS, DeclarationError, InvalidChunk, KeyClash

__all__ = [
    "AskTicket",
    "Chunk",
    "MaxStreamData",
    "ResetStream",
    "StopSending",
    "StreamBox",
    "StreamChunk",
    "StreamData",
    "StreamSettings",
    "StreamVersion",
    "TakeTicket",
    "argumentKey",
    "chunkFromBox",
]


_KEYS = (b"id", b"offset", b"fin", b"sha256")


def chunkFromBox(name: bytes, strings: dict[bytes, bytes]) -> Chunk:
    """
    Take a chunk out of a box.

    @param name: The key of the bytes.

    @param strings: The box; the keys of the chunk are removed from it.

    @raise InvalidChunk: If a key is missing or its value malformed.
    """
    data = strings.pop(name, None)
    if data is None:
        raise InvalidChunk(f"the bytes of the chunk, {name!r}, are missing")
    fin = strings.pop(b"fin", b"False")
    if fin not in (b"True", b"False"):
        raise InvalidChunk("fin must be True or False")
    return Chunk(
        parseNumber("id", strings.pop(b"id", None)),
        parseNumber("offset", strings.pop(b"offset", None)),
        data,
        fin == b"True",
        strings.pop(b"sha256", None),
    )


class StreamChunk(amp.Argument):
    """
    An argument whose value is a L{Chunk}.

    Declared under a name, the bytes go into the key of that name and the rest
    into the keys C{id}, C{offset}, C{fin} (only when true) and C{sha256} (only
    when there is one) of the same box.  So a command has room for one chunk, and
    none of its other arguments can have one of these names.

    @raise InvalidChunk: When a box that arrives has no well-formed chunk.

    @raise KeyClash: When a box is made in which another argument has one of the
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
        with boxErrors(strings):
            objects[key] = chunkFromBox(name, strings)

    def toBox(
        self, name: bytes, strings: amp.AmpBox, objects: dict[str, Any], proto: Any
    ) -> None:
        """See L{amp.IArgumentType.toBox}."""
        chunk = self.retrieve(objects, argumentKey(name), proto)
        for key in _KEYS:
            if key in strings or argumentKey(key) in objects:
                raise KeyClash(
                    f"StreamChunk needs the key {key!r}, which another argument of "
                    "this command has too; rename that one"
                )
        if self.optional and chunk is None:
            return
        if not isinstance(chunk, Chunk):
            raise InvalidChunk(f"{name!r} must be a Chunk, not {type(chunk).__name__}")
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

        @raise DeclarationError: Always: somebody declared a list of chunks.
        """
        raise DeclarationError(
            "StreamChunk takes several keys of a box; it cannot be an element of "
            "ListOf: declare it as an argument of the command"
        )

    fromString = toString


def argumentKey(name: bytes) -> str:
    """@return: The name by which Python knows the argument of a key."""
    key: str = amp._wireNameToPythonIdentifier(name)
    return key


class StreamData(amp.Command):
    """
    Bytes of a stream.

    The response says up to which offset the sender may go on without another
    answer; one that waits for each answer need not look at it.
    """

    arguments = [(b"data", StreamChunk())]
    response = [(b"maximum", amp.Integer(optional=True))]
    errors = STREAM_ERRORS


class MaxStreamData(amp.Command):
    """
    The receiver will take the bytes of a stream below C{maximum}, an absolute
    offset that never goes back (RFC 9000, section 19.10).
    """

    arguments = [(b"id", amp.Integer()), (b"maximum", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class ResetStream(amp.Command):
    """
    The sender of a stream gives up after C{final_size} bytes (RFC 9000, section
    19.4).  What was sent must not be taken for the whole.
    """

    arguments = [
        (b"id", amp.Integer()),
        (b"code", amp.String()),
        (b"final_size", amp.Integer()),
    ]
    errors = STREAM_ERRORS
    requiresAnswer = False


class StopSending(amp.Command):
    """
    The receiver of a stream wants no more of it (RFC 9000, section 19.5).  The
    sender answers with L{ResetStream}.
    """

    arguments = [(b"id", amp.Integer()), (b"code", amp.String())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class TakeTicket(amp.Command):
    """
    The receiver of a stream that was announced as L{OutOfBand}, which has an HTTP
    server, tells its sender how to C{PUT} the bytes there.

    An answer without an error says that the sender is going to.
    """

    arguments = [
        (b"id", amp.Integer()),
        (b"url", amp.String()),
        (b"token", amp.String()),
        (b"method", amp.String()),
        (b"lifetime", amp.Integer()),
        (b"max_size", amp.Integer(optional=True)),
        (b"certificate", amp.String(optional=True)),
        (b"server_name", amp.String(optional=True)),
    ]
    errors = STREAM_ERRORS


class AskTicket(amp.Command):
    """
    The receiver of such a stream, which has no HTTP server, asks its sender, which
    has one, how to C{GET} the bytes.
    """

    arguments = [(b"id", amp.Integer())]
    response = TakeTicket.arguments[1:]
    errors = STREAM_ERRORS


class StreamSettings(amp.Command):
    """What the side that sends this can read, once, at the start of a connection."""

    arguments = [(b"versions", amp.String()), (b"box", amp.Integer())]
    errors = STREAM_ERRORS


class StreamVersion(amp.Command):
    """
    The boxes behind this one are of another version of AMP.  It is only sent to a
    peer that has said that it can read that.
    """

    arguments = [(b"version", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False


class StreamBox(amp.Command):
    """
    A box is coming, as the bytes of a stream, in version 2 of AMP.  When it is whole
    it is taken as if it had come like any other.
    """

    arguments = [(b"id", amp.Integer()), (b"size", amp.Integer())]
    errors = STREAM_ERRORS
    requiresAnswer = False
